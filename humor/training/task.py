"""What a `Trainer` trains: a network, its training step, its batches and its validation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..body import BodyModel
from ..data.windows import WindowBatch
from ..losses import HumorLoss
from ..model import HumorModel
from ..precision.presets import Precision
from .distributed import Team, TeamSampler
from .execution import require_execution
from .log import rounded
from .micro_batches import Terms
from .optimizer import Adamax, AdamW
from .phase_timer import PhaseTimer
from .seeded_noise import draw_teacher_forcing, training_noise, validation_noise
from .settings import TrainSettings
from .split import Split
from .step import BaseStep, TrainStep

Batch = TypeVar("Batch", bound=Sized)


@dataclass(frozen=True)
class Validation:
    """What an epoch's validation measured."""

    loss: float
    score: float  # by which epochs compare: the lowest is the best
    extra: Mapping[str, float] = field(default_factory=dict)  # by the task's `validation_columns`


class TrainingTask(ABC):
    """A network to train on a split's clips. The step and all that it needs exist after `build`."""

    loss_terms: tuple[str, ...] = ()  # columns of steps.csv beside the loss
    validation_columns: tuple[str, ...] = ()  # columns of epochs.csv beside those that every task has

    def __init__(self, settings: TrainSettings, split: Split, team: Team) -> None:
        self.settings, self.split, self.team = settings, split, team
        self.windows = settings.batch_size * team.size  # of a step, of all processes together
        self.step: Any  # a BaseStep, made by `build`

    def build(self, timer: PhaseTimer | None = None) -> None:
        """Make the network, with the seed's first weights, and its step.

        Raises SettingError where the device or the number of processes does not allow the settings.
        """
        precision = Precision(self.settings.precision)
        precision.require(self.team.device)
        require_execution(self.settings.execution, self.team.device, self.team.size)
        with torch.random.fork_rng(devices=[]):  # drawn on the CPU: the same on every device
            torch.manual_seed(self.settings.seed)
            model = self.build_model().to(self.team.device)
        optimizer = self.build_optimizer(model)
        average = self.team.average if precision.preset.keep_half_weights else None  # DDP does not see their gradients
        network = self.team.wrap_ddp(model) if average is None else model
        parts = {"model": model, "optimizer": optimizer, "precision": precision, "network": network}
        self.step = self.build_step(**parts, timer=timer, average=average, execution=self.settings.execution)

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Make the network on the CPU."""

    def build_optimizer(self, model: nn.Module) -> Adamax | AdamW:
        """Make the optimizer of the network's weights, on their device."""
        return Adamax(model.parameters(), lr=self.settings.learning_rate)

    @abstractmethod
    def build_step(self, **arguments: Any) -> BaseStep:
        """Make the training step, given the arguments of `BaseStep`."""

    @cached_property
    def sampler(self) -> TeamSampler:
        """Draws this process's windows of each batch."""
        settings = self.settings
        return TeamSampler(self.split.train, settings.batch_size, settings.seed, settings.sampling, self.team)

    @abstractmethod
    def draw_batch(self, epoch: int, index: int) -> Any:
        """Prepare a training batch; a thread calls this ahead of its use."""

    @abstractmethod
    def take_step(self, batch: Any, epoch: int, index: int) -> tuple[Tensor, Terms]:
        """Take a training step. Returns the loss before it and its terms, on the device."""

    @abstractmethod
    def validate(self, epoch: int) -> Validation:
        """Evaluate the network on the validation clips. Every process must call it."""

    def mean_over(
        self, batches: Iterable[Batch], evaluate: Callable[[int, Batch], Sequence[Tensor]], count: int
    ) -> list[float]:
        """The means over all windows of the `count` values that `evaluate(index, batch)` returns, in every process."""
        sums = torch.zeros(count + 1, dtype=torch.float64, device=self.team.device)
        for index, batch in enumerate(batches):
            if index % self.team.size == self.team.rank:
                values = evaluate(index, batch)
                sums += len(batch) * torch.stack([*values, torch.ones_like(values[0])])
        *totals, windows = self.team.total(sums).tolist()
        return [rounded(total / windows) for total in totals]


class MotionTask(TrainingTask):
    """Trains HuMoR's motion model."""

    loss_terms = ("reconstr_weighted_loss", "kl_loss", "joints_loss", "smpl_mesh_loss", "contacts_loss")

    def __init__(self, settings: TrainSettings, split: Split, bodies: Mapping[str, BodyModel], team: Team) -> None:
        super().__init__(settings, split, team)
        self.bodies = bodies

    def build_model(self) -> HumorModel:
        """Make the motion model."""
        return HumorModel(self.settings.width)

    def build_step(self, **arguments: Any) -> TrainStep:
        """Make the motion model's step, with the loss on the device."""
        loss = HumorLoss(self.bodies).to(self.team.device)
        return TrainStep(loss=loss, smpl_joint_inputs=self.settings.smpl_joint_inputs, **arguments)

    def draw_batch(self, epoch: int, index: int) -> WindowBatch:
        """Draw windows and read them from the store."""
        return self.sampler.batch(epoch, index)

    def take_step(self, batch: WindowBatch, epoch: int, index: int) -> tuple[Tensor, Terms]:
        """Take a training step with noise and scheduled sampling drawn for this epoch and index."""
        key = (self.settings.seed, epoch, index)
        noise = self._to_device(training_noise(*key, self.windows)[self.team.rank :: self.team.size])
        rate = self.settings.teacher_forcing_rate_at(epoch)
        total, terms = self.step(batch, epoch, noise, draw_teacher_forcing(*key, rate))
        return total, terms

    def validate(self, epoch: int) -> Validation:
        """The mean loss over the validation windows, and for the score the same with the full KL weight."""
        assert self.split.validation is not None
        seed, rate = self.settings.seed, self.settings.teacher_forcing_rate_at(epoch)

        def evaluate(index: int, batch: WindowBatch) -> tuple[Tensor, Tensor]:
            noise = self._to_device(validation_noise(seed, index, len(batch)))
            total, terms = self.step.evaluate(batch, epoch, noise, draw_teacher_forcing(seed, epoch, index, rate))
            return total, terms["reconstr_weighted_loss"] + self.step.loss.weights.kl * terms["kl_loss"]

        loss, score = self.mean_over(self.split.validation.evaluation_batches(self.windows), evaluate, 2)
        return Validation(loss, score)

    def _to_device(self, noise: Tensor) -> Tensor:
        if self.team.device.type == "cuda":
            noise = noise.contiguous().pin_memory()  # a copy from other memory would wait for the device
        return noise.to(self.team.device, non_blocking=True)
