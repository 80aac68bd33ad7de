import pytest

from humor.report import read_document, render_page
from tests.support import report_documents as made


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The page of a document of every kind, as text."""
    return render_page([read_document(file) for file in made.everything(tmp_path_factory.mktemp("documents"))])
