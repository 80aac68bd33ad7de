"""Data-parallel training: the processes that torchrun starts, each with its share of one global batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data.batches import WindowSampler
from ..data.store import MotionStore
from ..errors import SettingError
from ..skeleton import GENDERS


@dataclass(frozen=True)
class Team:
    """The processes that train together: this one's rank, how many there are, and this one's device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """Wrap the model so that its gradients are averaged over the processes; a single process needs no wrapper."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def average(self, values: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, for gradients that `wrap_ddp` does not see."""
        if self.size > 1:
            for work in [dist.all_reduce(value, async_op=True) for value in values]:
                work.wait()
            torch._foreach_div_(values, float(self.size))

    def total(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sum over the processes, returned in each of them."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. Every process must call it."""
        return flag if self.size == 1 else bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)


class TeamSampler(WindowSampler):
    """A process's share of the global batch.

    The global batch is sorted by gender, as a store does, and a process takes windows `rank::size` of it: the noise of
    the global batch is divided alike, and every process has about as many windows of each gender.
    """

    def __init__(self, store: MotionStore, batch_size: int, seed: int, sampling: str, team: Team) -> None:
        super().__init__(store, batch_size * team.size, seed, sampling)
        self.team = team
        self._gender = np.array([GENDERS.index(clip.gender) for clip in store.clips])

    def draw(self, epoch: int, index: int) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Draw the clips and first frames of this process's windows of a batch."""
        clips, starts = super().draw(epoch, index)
        order = np.argsort(self._gender[clips], kind="stable")[self.team.rank :: self.team.size]
        return clips[order], starts[order]


@contextmanager
def process_group(device: str | None = None) -> Iterator[Team]:
    """Join torchrun's process group, if it started this process, and leave it at the end. Yields the team.

    Raises SettingError for a CUDA device that is not there and for more processes than GPUs.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise SettingError(f"device {device}: no CUDA device here; pass --device cpu.")
    if size == 1:
        yield Team(0, 1, chosen)
        return
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            raise SettingError(
                f"process {local} has no GPU for itself among {torch.cuda.device_count()}; "
                "start fewer with --nproc-per-node, or pass --device cpu."
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), size, chosen)
    finally:
        dist.destroy_process_group()
