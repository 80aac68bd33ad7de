"""Measurements, verdicts and predictions on one page: an HTML file that needs no network."""

from .documents import Document, as_document, read_document
from .page import render_page, write_page

__all__ = ["Document", "as_document", "read_document", "render_page", "write_page"]
