"""Windows of ten transitions, cut from processed clips, in canonical frames."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..state import CanonicalFrame, MotionState
from .processing import Clip

PAIRS = 10
FRAMES = PAIRS + 1


@dataclass(frozen=True, eq=False)
class Window:
    """Ten (past, current) pairs of consecutive frames."""

    past: MotionState  # (10, ...), each in its own frame
    current: MotionState  # (10, ...), each in its past's frame
    world: MotionState  # (10, ...), current in the frame of the first past
    contacts: Float[Tensor, "10 9"]  # of current
    betas: Float[Tensor, "16"]
    gender: str
    clip: str
    start: int  # frame of the first past


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Many windows, grouped by gender so that no loss ever has to look for them."""

    past: MotionState  # (B, 10, ...)
    current: MotionState
    contacts: Float[Tensor, "B 10 9"]
    betas: Float[Tensor, "B 10 16"]
    gender: list[str]
    world: MotionState | None = None  # current in the frame of the window's first past; on request, as in Window

    def __len__(self) -> int:
        return len(self.gender)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "WindowBatch":
        """The batch on a device, without waiting for the copy."""

        return self._map(lambda x: x.to(device, dtype, non_blocking=True))

    def pin_memory(self) -> "WindowBatch":
        """The batch in page-locked memory, from which `to` copies to a CUDA device while both go on."""
        return self._map(lambda x: x.contiguous().pin_memory())

    def tensors(self) -> list[Tensor]:
        """All tensors of the batch, in a fixed order."""
        tensors: list[Tensor] = []
        self._map(lambda x: tensors.append(x) or x)  # type: ignore[func-returns-value]
        return tensors

    def with_tensors(self, tensors: Iterable[Tensor]) -> "WindowBatch":
        """The same batch with other tensors, in the order of `tensors`."""
        values = iter(tensors)
        return self._map(lambda _: next(values))

    def select(self, windows: slice) -> "WindowBatch":
        """A slice of the windows."""
        part = self._map(lambda x: x[windows])
        return replace(part, gender=self.gender[windows])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "WindowBatch":
        world = None if self.world is None else self.world.map(change)
        contacts, betas = change(self.contacts), change(self.betas)
        return WindowBatch(self.past.map(change), self.current.map(change), contacts, betas, self.gender, world)


def evaluation_windows(clips: Sequence[Clip]) -> list[Window]:
    """Every window of every clip in order, none overlapping another."""
    return [
        window
        for clip in clips
        for window in cut_windows(clip, torch.arange(0, max(len(clip) - FRAMES + 1, 0), FRAMES))
    ]


def cut_windows(clip: Clip, starts: Int[Tensor, " windows"]) -> Iterator[Window]:
    """Cut the windows that begin at the given frames, each pair in its past's canonical frame."""
    frames = starts[:, None] + torch.arange(FRAMES)
    states = clip.state.map(lambda x: x[frames])
    past, current = states.map(lambda x: x[:, :-1]), states.map(lambda x: x[:, 1:])
    frame = CanonicalFrame.of(past)
    world = frame.map(lambda x: x[:, :1]).world_to_canonical(current)
    past, current = frame.world_to_canonical(past), frame.world_to_canonical(current)
    contacts = clip.contacts[frames[:, 1:]]
    for w, start in enumerate(starts.tolist()):
        own_past, own_current, own_world = (state.map(itemgetter(w)) for state in (past, current, world))
        yield Window(own_past, own_current, own_world, contacts[w], clip.betas, clip.gender, clip.name, start)
