"""Windows of ten transitions, cut from processed clips and told in canonical frames."""

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
    world: MotionState | None = None  # where it was asked for: training does not read it

    def __len__(self) -> int:
        return len(self.gender)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "WindowBatch":
        """The batch on a device, without waiting for the copy."""

        return self._map(lambda x: x.to(device, dtype, non_blocking=True))

    def pinned(self) -> "WindowBatch":
        """The batch in page-locked memory, from which `to` copies to a CUDA device while both go on."""
        return self._map(lambda x: x.contiguous().pin_memory())

    def tensors(self) -> list[Tensor]:
        """All its tensors, in an order that is always the same."""
        found: list[Tensor] = []
        self._map(lambda x: found.append(x) or x)  # type: ignore[func-returns-value]
        return found

    def holding(self, tensors: Iterable[Tensor]) -> "WindowBatch":
        """The same batch with other tensors, in the order of `tensors`."""
        given = iter(tensors)
        return self._map(lambda _: next(given))

    def some(self, windows: slice) -> "WindowBatch":
        """A part of the batch."""
        part = self._map(lambda x: x[windows])
        return replace(part, gender=self.gender[windows])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "WindowBatch":
        world = None if self.world is None else self.world.map(change)
        contacts, betas = change(self.contacts), change(self.betas)
        return WindowBatch(self.past.map(change), self.current.map(change), contacts, betas, self.gender, world)


def evaluation_windows(clips: Sequence[Clip]) -> list[Window]:
    """Every window of every clip in order, none overlapping another."""
    return [window for clip in clips for window in cut(clip, torch.arange(0, max(len(clip) - FRAMES + 1, 0), FRAMES))]


def cut(clip: Clip, starts: Int[Tensor, " windows"]) -> Iterator[Window]:
    """The windows that begin at these frames, all told in canonical frames at once."""
    frames = starts[:, None] + torch.arange(FRAMES)
    states = clip.state.map(lambda x: x[frames])
    past, current = states.map(lambda x: x[:, :-1]), states.map(lambda x: x[:, 1:])
    frame = CanonicalFrame.of(past)
    told = (frame.enter(past), frame.enter(current), frame.map(lambda x: x[:, :1]).enter(current))
    contacts = clip.contacts[frames[:, 1:]]
    for w, start in enumerate(starts.tolist()):
        own_past, own_current, world = (state.map(itemgetter(w)) for state in told)
        yield Window(own_past, own_current, world, contacts[w], clip.betas, clip.gender, clip.name, start)
