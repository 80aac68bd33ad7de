"""Training batches: which windows each one has, and a thread that prepares them ahead of their use."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from time import perf_counter
from typing import Generic, Literal, Protocol, Self, TypeVar, get_args

import numpy as np
import torch
from jaxtyping import Int

from ..errors import MotionError, SettingError
from .store import NO_WINDOWS, MotionStore
from .windows import FRAMES, WindowBatch

Sampling = Literal["clip", "frames"]


class DeviceBatch(Protocol):
    """A batch that a loader can copy to a device."""

    def pin_memory(self) -> Self:
        """The batch in page-locked memory, from which copies to a CUDA device run beside other work."""

    def to(self, device: torch.device | str) -> Self:
        """The batch on a device."""


Batch = TypeVar("Batch", bound=DeviceBatch)


class WindowSampler:
    """Which windows a training batch has: a function of (seed, epoch, index) alone, so that resuming needs no state.

    With sampling "clip", a clip is drawn uniformly and then a start uniformly; with "frames", every window is as likely
    as another. Raises SettingError for a wrong setting, MotionError for a store without a window.
    """

    def __init__(self, store: MotionStore, batch_size: int, seed: int, sampling: str = "clip") -> None:
        if sampling not in get_args(Sampling):
            raise SettingError(f'sampling "{sampling}" is neither "clip" nor "frames".')
        if batch_size < 1:
            raise SettingError(f"a batch of {batch_size} windows; give 1 or more.")
        if seed < 0:
            raise SettingError(f"seed {seed}; give 0 or more.")
        self.store, self.batch_size, self.seed, self.sampling = store, batch_size, seed, sampling
        self._usable = np.flatnonzero(store.frames >= FRAMES)
        if not len(self._usable):
            raise MotionError(NO_WINDOWS)
        self._starts = store.frames[self._usable] - FRAMES + 1  # how many windows each usable clip has
        self._ends = np.cumsum(self._starts)

    def draw(self, epoch: int, index: int) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Draw the clips and first frames of a batch's windows."""
        random = np.random.default_rng([self.seed, epoch, index])
        if self.sampling == "clip":
            chosen = random.integers(len(self._usable), size=self.batch_size)
            return self._usable[chosen], random.integers(self._starts[chosen])
        window = random.integers(self._ends[-1], size=self.batch_size)
        chosen = np.searchsorted(self._ends, window, side="right")
        return self._usable[chosen], window - (self._ends - self._starts)[chosen]

    def batch(self, epoch: int, index: int) -> WindowBatch:
        """Draw a batch and read its windows from the store."""
        return self.store.batch(*self.draw(epoch, index))


def _compute_on_one_core(thread: ThreadPoolExecutor) -> None:
    """Keep a pool's one thread from starting threads of its own for PyTorch's operators.

    With them there would be more OpenMP threads than cores, and GNU's OpenMP then puts idle ones to sleep at once, the
    training step's too: on two cores, a step took 1.4 times as long with 8 windows and 1.6 times with 200.
    """
    threads = torch.get_num_threads()
    thread.submit(torch.set_num_threads, 1).result()
    thread.submit(torch.get_num_threads).result()  # a thread takes the number over where it is first asked for
    torch.set_num_threads(threads)  # which was set for every thread that had not asked yet


class BatchLoader(Generic[Batch]):
    """Batches of an epoch, prepared ahead of their use by a thread.

    What takes the time of preparing one releases Python's lock. `waited` is the seconds that consumers have waited.
    """

    def __init__(
        self,
        draw: Callable[[int, int], Batch],  # the batch of an epoch and an index, e.g. WindowSampler.batch
        steps_per_epoch: int,
        device: torch.device | str = "cpu",
        prefetch: int = 2,
    ) -> None:
        self.draw, self.steps_per_epoch = draw, steps_per_epoch
        self.device, self.prefetch, self.waited = torch.device(device), prefetch, 0.0

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch from the `first` on, the same whatever the prefetch; closing it ends its thread."""
        indices, ahead = iter(range(first, self.steps_per_epoch)), deque[Future[Batch]]()
        with ThreadPoolExecutor(1, "batches") as thread:
            _compute_on_one_core(thread)
            try:
                while True:
                    wanted = islice(indices, 1 + self.prefetch - len(ahead))
                    ahead.extend(thread.submit(self._prepare, epoch, index) for index in wanted)
                    if not ahead:
                        return
                    asked = perf_counter()
                    batch = ahead.popleft().result()
                    self.waited += perf_counter() - asked
                    yield batch
            finally:
                for waiting in ahead:
                    waiting.cancel()

    def _prepare(self, epoch: int, index: int) -> Batch:
        batch = self.draw(epoch, index)
        if self.device.type == "cpu":
            return batch
        with torch.cuda.device(self.device):
            return batch.pin_memory().to(self.device)
