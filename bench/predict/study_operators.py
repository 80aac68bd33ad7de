"""The operators of the study's phases and of wider steps, counted without a GPU.

The network runs on fake tensors, which have shapes and no data, so that a width takes no memory. The published loss
reads values, so it runs on the CPU.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from humor import HumorLoss, HumorModel, Precision
from humor.data import WindowBatch
from humor.model import Transition
from humor.skinning import LARGE_BLOCK, use_block_size
from humor.study.published import PUBLISHED_BATCH, PublishedTime
from humor.training.execution import assume_device_type
from humor.training.optimizer import Adamax
from humor.training.step import TrainStep

from ..harness.counters.operators import Operator, count_operators
from ..published_loss import PublishedLoss
from ..studies.phases import loss_alone
from ..workload import Workload
from .cost_model import extrapolate

FITTED_PHASES = ("sample", "loss")  # the study prepares data in another way


def is_fitted(time: PublishedTime) -> bool:
    """Whether the host's dispatch and launch times are fitted to a published time."""
    return time.precision == "fp32" and time.phase in FITTED_PHASES


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Inside, the library chooses blocks, micro-batches and the optimizer's update as on a GPU."""
    with use_block_size(LARGE_BLOCK), assume_device_type("cuda"):
        yield


def warm_operators(call: Callable[[], Any]) -> list[Operator]:
    """The operators that a call dispatches when it runs for the second time."""
    call()
    return count_operators(call).records


class StudyOperators:
    """The operators of the study's phases and of whole steps as on a GPU, each counted when first asked for."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.phase, self.step = cache(self._phase), cache(self._step)
        self._network, self._loss = cache(self._count_network), cache(self._count_loss)

    def batch(self, windows: int) -> WindowBatch:
        """Windows of men and women, as in the study's data."""
        men = windows // 2
        return replace(self._workload.make_batch(windows), gender=["male"] * men + ["female"] * (windows - men))

    def _phase(self, phase: str, width: int, precision: str) -> list[Operator]:
        """A forward phase of the study's step with the published loss."""
        batch = self.batch(PUBLISHED_BATCH)
        if phase == "prepare":
            return count_operators(lambda: batch.to("meta")).records
        if phase == "sample":
            with FakeTensorMode() as fake, as_on_a_gpu():
                step = fake_step(width, precision)
                given = fake_batch(batch, fake)
                return warm_operators(lambda: step.sample(given))
        step = self._loss_step("published", precision)
        out = step.model(batch.past, batch.current)
        return warm_operators(lambda: step.compute_loss(out, batch, 50))

    def _step(self, loss: str, width: int, windows: int, precision: str) -> list[Operator]:
        """A whole step, with our loss or the published one."""
        return self._network(width, windows, precision) + self._loss(loss, windows, precision)

    def _count_network(self, width: int, windows: int, precision: str) -> list[Operator]:
        """The operators of a step without its loss."""
        with FakeTensorMode() as fake, as_on_a_gpu():
            step = fake_step(width, precision)
            given = fake_batch(self.batch(windows), fake)
            prepared = count_operators(lambda: given.to("meta")).records
            return prepared + warm_operators(lambda: step(given))

    def _count_loss(self, loss: str, windows: int, precision: str) -> list[Operator]:
        """The loss forward and backward, extrapolated from 2 and 4 windows: blocks of 512 bodies do not show."""
        if windows not in (2, 4):
            few, more = (self._loss(loss, size, precision) for size in (2, 4))
            return extrapolate(few, more, (windows - 2) / 2)
        with as_on_a_gpu():
            return warm_operators(loss_alone(self._loss_step(loss, precision), self.batch(windows)))

    def _loss_step(self, loss: str, precision: str) -> TrainStep:
        made = PublishedLoss(self._workload.body_arrays) if loss == "published" else HumorLoss(self._workload.bodies)
        model = HumorModel()
        return TrainStep(model, made, Adamax(model.parameters()), Precision(precision))


class NoLoss(HumorLoss):
    """A stand-in for the loss where the network is counted: the sum of every output."""

    def __init__(self) -> None:
        super().__init__({})

    def forward(self, out: Transition, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and no terms."""
        assert out.posterior is not None
        assert out.prior is not None
        parts = [*vars(out.state).values(), out.contacts, *vars(out.posterior).values(), *vars(out.prior).values()]
        return torch.stack([part.sum() for part in parts]).sum(), {}


def fake_step(width: int, precision: str) -> TrainStep:
    """The step of a network whose weights take no memory, inside a FakeTensorMode."""
    model = HumorModel(width)
    return TrainStep(model, NoLoss(), Adamax(model.parameters()), Precision(precision))


def fake_batch(batch: WindowBatch, fake: FakeTensorMode) -> WindowBatch:
    """A batch of fake tensors with the same shapes."""
    return batch.with_tensors([fake.from_tensor(x) for x in batch.tensors()])
