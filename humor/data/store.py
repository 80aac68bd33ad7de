"""A store of processed clips: one flat file of frames, mapped into memory, from which batches of windows are cut."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import FileError, MotionError, SettingError
from ..io.untrusted_arrays import require_file
from ..skeleton import CONTACT_JOINTS, GENDERS, NUM_BETAS
from ..state import CanonicalFrame, MotionState
from .processing import Clip
from .splits import subset_of
from .windows import FRAMES, PAIRS, WindowBatch

FORMAT, VERSION = "humor motion store", 1
INDEX_FILE, FRAMES_FILE = "index.json", "frames.f32"
# What the frames file holds of each frame, in order. First what a change of coordinates rotates, as 50 vectors:
# together they make a matrix product of a size that the BLAS is fast at.
FIELDS = {
    "trans": 3, "trans_vel": 3, "root_orient_vel": 3, "joints": 66, "joints_vel": 66, "root_orient_columns": 9,
    "pose_body": 189, "contacts": len(CONTACT_JOINTS),
}  # fmt: skip
FRAME_WIDTH = sum(FIELDS.values())
_VECTORS, _JOINTS, _POSE_END = 50, slice(3, 25), 339  # which of the vectors are joints; where the pose ends
FRAME_DTYPE = np.dtype("<f4")
NO_WINDOWS = f"no clip has the {FRAMES} frames of a window; use longer clips."


@dataclass(frozen=True)
class ClipInfo:
    """A clip of a store, and where its frames are."""

    name: str
    gender: str
    fps: float | int
    first: int  # index of its first frame in the frames file
    frames: int
    subset: str  # the first folder of its path in the tree that it came from, e.g. CMU


class MotionStore:
    """Clips whose frames stay on disk until a window asks for them.

    Opened once and shared: processes that map the same file share its pages, and one larger than memory takes only the
    pages in use. A pickled store is its folder, not its frames.
    """

    def __init__(
        self,
        frame_data: Float[np.ndarray, "frames 348"],
        clips: Sequence[ClipInfo],
        betas: Float[np.ndarray, "clips 16"],
        folder: Path | None = None,
    ) -> None:
        self.frame_data, self.clips, self.folder = frame_data, tuple(clips), folder
        self.betas = betas.astype(np.float32)
        self.frames = np.array([clip.frames for clip in self.clips], dtype=np.int64)
        self._first = np.array([clip.first for clip in self.clips], dtype=np.int64)
        self._gender = np.array([GENDERS.index(clip.gender) for clip in self.clips], dtype=np.int64)

    @classmethod
    def open(cls, folder: str | Path) -> "MotionStore":
        """Map a store that `humor process` built. Raises FileError for a missing, damaged or unfinished one."""
        folder = Path(folder)
        clips, betas, count = _read_index(folder)
        path = folder / FRAMES_FILE
        size, wanted = require_file(path).stat().st_size, count * FRAME_WIDTH * FRAME_DTYPE.itemsize
        if size != wanted:
            raise FileError(f"{path}: {size} bytes; the index wants {wanted}; run humor process again.")
        try:
            frame_data = np.memmap(path, FRAME_DTYPE, "r", shape=(count, FRAME_WIDTH))
        except OSError as error:
            raise FileError(f"{path}: cannot be mapped ({error.strerror}); check its permissions.") from None
        return cls(frame_data.view(np.ndarray), clips, betas, folder)

    @classmethod
    def in_memory(cls, clips: Sequence[Clip]) -> "MotionStore":
        """Put processed clips into a store without files."""
        first = np.cumsum([0, *map(len, clips)]).tolist()
        infos = [
            ClipInfo(clip.name, clip.gender, clip.fps, at, len(clip), subset_of(clip.name))
            for clip, at in zip(clips, first, strict=False)
        ]
        frame_data = np.concatenate([np.zeros((0, FRAME_WIDTH), np.float32), *map(frame_data_of, clips)])
        return cls(frame_data, infos, np.array([clip.betas.numpy() for clip in clips]).reshape(-1, NUM_BETAS))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is None:
            return MotionStore, (self.frame_data, self.clips, self.betas, None)
        return _reopen, (self.folder, [clip.name for clip in self.clips])

    def __len__(self) -> int:
        return len(self.clips)

    def select(self, names_or_predicate: Collection[str] | Callable[[ClipInfo], bool]) -> "MotionStore":
        """A view of some of the clips, in the store's order: those of these names, or those that a function chooses."""
        if callable(names_or_predicate):
            chosen = [number for number, clip in enumerate(self.clips) if names_or_predicate(clip)]
        else:
            names = set(names_or_predicate)
            unknown = sorted(names - {clip.name for clip in self.clips})
            if unknown:
                raise SettingError(f"no clip {unknown[0]} among the store's {len(self)}; check the name.")
            chosen = [number for number, clip in enumerate(self.clips) if clip.name in names]
        return MotionStore(self.frame_data, [self.clips[number] for number in chosen], self.betas[chosen], self.folder)

    def states(self, clip: int) -> MotionState:
        """All frames of a clip, in the world."""
        data = torch.from_numpy(self.frame_data[self._first[clip] :][: self.frames[clip]].copy())
        vectors, pose = data[:, : 3 * _VECTORS], data[:, 3 * _VECTORS : _POSE_END]
        return _state(vectors.unflatten(-1, (-1, 3)), pose.unflatten(-1, (21, 3, 3)))

    def contacts(self, clip: int) -> Float[Tensor, "frames 9"]:
        """What touches in each frame of a clip, 0 or 1, in the order of `skeleton.CONTACT_JOINTS`."""
        return torch.from_numpy(self.frame_data[self._first[clip] :][: self.frames[clip], _POSE_END:].copy())

    def joints(self, clips: Int[np.ndarray, " B"], frames: Int[np.ndarray, "B T"]) -> Float[Tensor, "B T 22 3"]:
        """Body joints in the world, metres, at the given frames of each clip."""
        columns = slice(3 * _JOINTS.start, 3 * _JOINTS.stop)
        joints = self.frame_data[self._first[clips, None] + frames, columns]
        return torch.from_numpy(joints).unflatten(-1, (-1, 3))

    def batch(
        self, clips: Int[np.ndarray, " B"], starts: Int[np.ndarray, " B"], with_world: bool = False
    ) -> WindowBatch:
        """The windows of these clips that begin at these frames, grouped by gender and otherwise in order.

        `world`, which training does not read, is there only where it is asked for. Raises MotionError for no windows
        and for one that is not in its clip.
        """
        if not len(clips):
            raise MotionError(NO_WINDOWS)
        wrong = (clips < 0) | (clips >= len(self))
        wrong |= (starts < 0) | (starts > self.frames[np.where(wrong, 0, clips)] - FRAMES)
        if wrong.any():
            clip, start = clips[wrong][0], starts[wrong][0]
            raise MotionError(f"window at frame {start} of clip {clip} is outside the store; draw it with a sampler.")
        order = np.argsort(self._gender[clips], kind="stable")
        clips, starts = clips[order], starts[order]
        frames = (self._first[clips] + starts)[:, None] + np.arange(FRAMES)
        data = torch.from_numpy(np.take(self.frame_data, frames, axis=0))
        vectors, pose = data[..., : 3 * _VECTORS].unflatten(-1, (-1, 3)), data[..., 3 * _VECTORS : _POSE_END]
        pose = pose.unflatten(-1, (21, 3, 3))
        frame = CanonicalFrame.of(_state(vectors[:, :-1], pose[:, :-1]))
        world = _to_canonical(vectors[:, 1:], frame.map(lambda x: x[:, :1])) if with_world else None
        return WindowBatch(
            past=_state(_to_canonical(vectors[:, :-1], frame), pose[:, :-1]),
            current=_state(_to_canonical(vectors[:, 1:], frame), pose[:, 1:]),
            world=None if world is None else _state(world, pose[:, 1:]),
            contacts=data[:, 1:, _POSE_END:],
            betas=torch.from_numpy(self.betas[clips])[:, None].expand(-1, PAIRS, -1),
            gender=[GENDERS[number] for number in self._gender[clips]],
        )

    def evaluation_batches(self, batch_size: int) -> Iterator[WindowBatch]:
        """Every window in order, none overlapping another; the last batch may be short."""
        for clips, starts in self.windows_in_order(batch_size):
            yield self.batch(clips, starts, with_world=True)

    def windows_in_order(
        self, batch_size: int, frames: int = FRAMES
    ) -> Iterator[tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]]:
        """Clips and first frames of the windows of each evaluation batch, windows of so many frames each."""
        counts = self.frames // frames
        clips = np.repeat(np.arange(len(self)), counts)
        starts = frames * (np.arange(len(clips)) - np.repeat(np.cumsum(counts) - counts, counts))
        for first in range(0, len(clips), batch_size):
            chosen = slice(first, first + batch_size)
            yield clips[chosen], starts[chosen]


def frame_data_of(clip: Clip) -> Float[np.ndarray, "frames 348"]:
    """A clip as the frames file holds it."""
    state = clip.state
    parts = (
        *(state.trans, state.trans_vel, state.root_orient_vel, state.joints, state.joints_vel, state.root_orient.mT),
        *(state.pose_body, clip.contacts),
    )
    return torch.cat([part.flatten(1) for part in parts], -1).numpy().astype(FRAME_DTYPE)


def _state(vectors: Float[Tensor, "*batch 50 3"], pose_body: Float[Tensor, "*batch 21 3 3"]) -> MotionState:
    """The state whose vectors these are, without copying them."""
    trans, trans_vel, root_vel = vectors[..., :3, :].unbind(-2)
    joints, joints_vel, root_columns = vectors[..., 3:, :].split((22, 22, 3), -2)
    return MotionState(trans, trans_vel, root_columns.mT, root_vel, pose_body, joints, joints_vel)


def _to_canonical(vectors: Float[Tensor, "B 10 50 3"], frame: CanonicalFrame) -> Float[Tensor, "B 10 50 3"]:
    """Express the vectors of a state in a frame: what `CanonicalFrame` does to a state, in one matrix product."""
    moved, pivot = vectors.clone(), frame.pivot
    shift = frame.origin + pivot
    moved[..., 0, :] -= frame.origin
    for axis in (0, 1):  # on the floor z is 0; and an axis at a time is one long loop, not many of three
        moved[..., _JOINTS, axis] -= shift[..., axis, None]
    turned = moved @ frame.rotmat.mT
    for axis in (0, 1):
        turned[..., _JOINTS, axis] += pivot[..., axis, None]
    return turned


def _reopen(folder: Path, names: list[str]) -> MotionStore:
    return MotionStore.open(folder).select(names)


def _read_index(folder: Path) -> tuple[list[ClipInfo], np.ndarray, int]:
    """Clips, betas and how many frames there are."""
    path = folder / INDEX_FILE
    if not path.is_file():
        raise FileError(f"{folder}: no finished motion store (no {INDEX_FILE}); build one with humor process.")
    try:
        index = json.loads(path.read_text("utf-8"))
        if index["format"] != FORMAT:
            raise ValueError(f'format "{index["format"]}"')
        if index["version"] != VERSION or index["fields"] != FIELDS:
            raise FileError(
                f"{path}: version {index['version']} of the store, or other fields; this humor reads {VERSION}; "
                "run humor process again."
            )
        betas = np.array([clip.pop("betas") for clip in index["clips"]], dtype=np.float32).reshape(-1, NUM_BETAS)
        clips = [ClipInfo(**clip) for clip in index["clips"]]
        count = 0
        for clip in clips:
            numbers = isinstance(clip.frames, int) and isinstance(clip.fps, int | float)
            if clip.gender not in GENDERS or clip.first != count or not numbers or clip.frames < 1:
                raise ValueError(f"clip {clip.name}")
            count += clip.frames
        if count != index["frames"] or len(betas) != len(clips) or not np.isfinite(betas).all():
            raise ValueError("counts do not agree")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise FileError(f"{path}: damaged index ({error}); run humor process again.") from None
    return clips, betas, count
