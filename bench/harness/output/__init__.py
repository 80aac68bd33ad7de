"""Verdicts as a table, as JSON, as Markdown, and as a pull request's comment."""
