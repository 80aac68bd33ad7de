"""The split of clips into training and validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from ..data.splits import split_of
from ..data.store import ClipInfo, MotionStore
from ..data.windows import FRAMES
from ..errors import MotionError, listed

HOLD_OUT_EVERY = 10  # one clip in so many validates where no subset does


@dataclass(frozen=True, eq=False)
class Split:
    """Clips to train on, clips to validate on, and the rule that separated them in one sentence."""

    train: MotionStore
    validation: MotionStore | None
    rule: str

    @property
    def fingerprint(self) -> str:
        """A text that is the same for two runs on the same motion."""
        stores = [store for store in (self.train, self.validation) if store is not None]
        clips = [f"{clip.name} {clip.gender} {clip.frames}" for store in stores for clip in store.clips]
        return f"{len(clips)} clips, {sum(int(store.frames.sum()) for store in stores)} frames, {_hash(clips):08x}"


def split_clips(store: MotionStore, subsets: Sequence[str] = ()) -> Split:
    """Split a store by the published subsets where it has both sides; else hold out a tenth of the clips.

    `subsets` names the only ones to train on, e.g. CMU, the study's. Clips are held out by a hash of their names, at
    least one: the same ones in any order, and nearly the same when clips are added. Raises MotionError where no clip is
    left to train on.
    """
    usable = store.select(lambda clip: clip.frames >= FRAMES and split_of(clip.subset) != "test")
    validation = usable.select(lambda clip: split_of(clip.subset) == "validation")

    def wanted(clip: ClipInfo) -> bool:
        return clip.subset in subsets if subsets else split_of(clip.subset) != "validation"

    train = usable.select(wanted)
    if not len(train):
        names = listed(sorted({clip.subset or "no subset" for clip in store.clips})) or "no subset"
        raise MotionError(
            f"no clip of {FRAMES} frames to train on among {len(store)} clips of {names}; "
            f"{'name other --subsets' if subsets else 'add clips of a training subset, e.g. CMU'}."
        )
    if len(validation):
        return Split(train, validation, f"{len(train)} clips train and {len(validation)} validate, by their subsets")
    if len(train) == 1:
        return Split(train, None, "1 clip trains and none validates: there is no other")
    ranked = sorted(train.clips, key=lambda clip: (_hash([clip.name]), clip.name))
    held = {clip.name for clip in ranked[: max(1, len(ranked) // HOLD_OUT_EVERY)]}
    return Split(
        train.select(lambda clip: clip.name not in held),
        train.select(lambda clip: clip.name in held),
        f"{len(train) - len(held)} clips train and {len(held)} validate, held out by a hash of their names: "
        "no subset is there to validate on",
    )


def _hash(texts: Sequence[str]) -> int:
    return crc32("\n".join(texts).encode())
