"""Everything that was measured, judged and predicted on one page: a file of HTML that needs no network."""

from .documents import Document, as_document, read_document
from .page import render_page, write_page

__all__ = ["Document", "as_document", "read_document", "render_page", "write_page"]
