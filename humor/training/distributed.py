"""The processes that train together, each on its share of one global batch."""

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
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over the processes."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def average(self, values: list[Tensor]) -> None:
        """Replace each by its mean over the processes: what `share` does of itself, for gradients it cannot see."""
        if self.size > 1:
            for sent in [dist.all_reduce(value, async_op=True) for value in values]:
                sent.wait()
            torch._foreach_div_(values, float(self.size))

    def total(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sum over the processes, in each of them."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process. Every process must ask."""
        return flag if self.size == 1 else bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)


class TeamSampler(WindowSampler):
    """A process's share of the global batch.

    The global batch is put in the order of genders, as a store does, and dealt out in turn: rows `rank::size` of it, so
    that noise drawn for the whole of it is dealt alike and every process has about as many of each gender.
    """

    def __init__(self, store: MotionStore, batch_size: int, seed: int, sampling: str, team: Team) -> None:
        super().__init__(store, batch_size * team.size, seed, sampling)
        self.team = team
        self._gender = np.array([GENDERS.index(clip.gender) for clip in store.clips])

    def draw(self, epoch: int, index: int) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Clips and first frames of this process's windows of a batch."""
        clips, starts = super().draw(epoch, index)
        order = np.argsort(self._gender[clips], kind="stable")[self.team.rank :: self.team.size]
        return clips[order], starts[order]


@contextmanager
def joined(device: str | None = None) -> Iterator[Team]:
    """Join the other processes of torchrun, if it started this one, and leave them at the end.

    Raises SettingError where there are more processes than GPUs.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    kind = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if kind.type == "cuda" and not torch.cuda.is_available():
        raise SettingError(f"device {device}: no CUDA device here; pass --device cpu.")
    if size == 1:
        yield Team(0, 1, kind)
        return
    if kind.type == "cuda":
        if local >= torch.cuda.device_count():
            raise SettingError(
                f"process {local} has no GPU of its own among {torch.cuda.device_count()}; "
                "start fewer with --nproc-per-node, or pass --device cpu."
            )
        kind = torch.device("cuda", local)
        torch.cuda.set_device(kind)
    dist.init_process_group("nccl" if kind.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), size, kind)
    finally:
        dist.destroy_process_group()
