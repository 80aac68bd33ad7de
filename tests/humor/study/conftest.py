import pytest

from tests.support import golden_values as golden
from tests.support.tiny_run import tiny_split


@pytest.fixture(scope="session")
def split():
    """Four short walks, one of them held out."""
    return tiny_split(golden.bodies())
