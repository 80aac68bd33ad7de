"""Clocks, and two calls measured in alternation."""
