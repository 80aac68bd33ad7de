"""What tests of training, lifting, generation and studies share."""

import pytest

from tests.support import golden_values as golden
from tests.support.tiny_training import tiny_split


@pytest.fixture(scope="session")
def split():
    """Four short walks of the golden bodies, one of them held out."""
    return tiny_split(golden.bodies())
