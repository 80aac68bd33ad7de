"""Errors whose text is one sentence for the user: what was found, what was expected, how to mend it."""

from collections.abc import Sequence

MOST_NAMES = 4  # in a sentence


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them: the first few, and how many there are beside them."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


class HumorError(Exception):
    """Any mistake in what the user gave."""


class FileError(HumorError):
    """A file that is missing, damaged, cannot be written, or holds something else than it should."""


class MotionError(HumorError):
    """A motion whose arrays cannot be used: wrong shape, not finite, too short, a missing key."""


class BodyError(HumorError):
    """A body model whose arrays do not make an SMPL-family body."""


class CheckpointError(HumorError):
    """Network weights that do not fit the network."""


class SettingError(HumorError):
    """A setting that is not one of the allowed names or numbers, or does not fit the others."""
