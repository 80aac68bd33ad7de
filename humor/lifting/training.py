"""Training of the lifting networks: the same phases, the same loop, the same folder of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from ..data.batches import BatchLoader
from ..errors import SettingError
from ..training.distributed import Team
from ..training.log import COLUMNS, rounded
from ..training.loop import Trainer, checked_precision, first_weights, shared
from ..training.micro_batches import Terms
from ..training.optimizer import Adamax
from ..training.settings import TrainSettings
from ..training.split import Split
from ..training.step import Step
from .cameras import NOISES, NoiseName
from .networks import NETWORKS
from .windows import LiftingBatch, LiftingMotion

LiftingName = Literal["poseformer", "poseformer-v2"]
MILLIMETRES = 1000.0


@dataclass(frozen=True)
class LiftingSettings(TrainSettings):
    """How to train a lifting network; what of the motion model's settings says nothing of it, may only be as it is."""

    model: LiftingName = "poseformer-v2"
    frames: int = 81  # that the network sees of the joints in 2D
    noise: NoiseName = "noisy"  # of the detector in training

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, possible in {"width": (1,), "execution": ("eager", "compile")}.items():
            if getattr(self, name) not in possible:
                raise SettingError(f"{name} {getattr(self, name)}: not for {self.model}; leave it out.")

    def truth_share_at(self, epoch: int) -> float:
        """Always 1: a lifting network is never fed what it told."""
        return 1.0


def mpjpe(predicted: Float[Tensor, "*b J 3"], target: Float[Tensor, "*b J 3"]) -> Float[Tensor, ""]:
    """Mean distance of joints from where they should be, in millimetres; of joints in metres."""
    return MILLIMETRES * (predicted.float() - target).norm(dim=-1).mean()


class LiftingStep(Step):
    """Prepare, sample (the network forward), loss, backward, optimize, of a lifting network."""

    settled_gradient_scale = 64.0  # at 256 and more, gradients of millimetres overflow

    def __call__(self, batch: LiftingBatch) -> Float[Tensor, ""]:
        """Take one step. Returns the error before it in millimetres, on the device and unread."""
        with self._phase("prepare"):
            batch = batch.to(self.device)
        with self._phase("sample"), self.precision.autocast_scope(self.device), self.half_weights.active():
            predicted = self.network(batch.points)
        if self.clock is not None:
            predicted.register_hook(self._enter_network_backward)
        with self._phase("loss"):
            total = mpjpe(predicted, batch.joints)
        self.backward(total)
        self.optimize()
        return total.detach()

    @torch.no_grad()
    def lift(self, batch: LiftingBatch) -> Float[Tensor, "B 17 3"]:
        """The joints that the network sees in a batch."""
        with self.precision.autocast_scope(self.device), self.half_weights.active():
            return self.model(batch.to(self.device).points)


class LiftingTrainer(Trainer):
    """Trains a lifting network. Losses are millimetres; each epoch tells the held-out error for each kind of noise."""

    terms = ()
    columns = {  # noqa: RUF012
        **COLUMNS,
        "steps.csv": ("epoch", "step", "loss", "taken"),
        "epochs.csv": (*COLUMNS["epochs.csv"], *NOISES),
    }

    def __init__(self, settings: LiftingSettings, split: Split, out: Path, team: Team, console: Console) -> None:
        self.lifting = settings
        super().__init__(settings, split, {}, out, team, console)

    def _built(self) -> tuple[Adamax, LiftingStep]:
        settings = self.lifting
        precision = checked_precision(settings, self.team)
        model = first_weights(lambda: NETWORKS[settings.model](settings.frames), settings, self.team)
        optimizer = Adamax(model.parameters(), lr=settings.learning_rate)
        network, average = shared(model, precision, self.team)
        return optimizer, LiftingStep(model, optimizer, precision, network, self.clock, average, settings.execution)

    def _loader(self) -> BatchLoader[Any]:
        settings, motion = self.lifting, LiftingMotion(self.split.train, self.lifting.frames)

        def draw(epoch: int, index: int) -> LiftingBatch:
            key = (settings.seed, epoch, index, self.team.rank)
            return motion.batch(*self.sampler.draw(epoch, index), NOISES[settings.noise], key)

        return BatchLoader(draw, self.steps, self.team.device)

    def _take(self, batch: LiftingBatch) -> tuple[Tensor, Terms]:
        return self.step(batch), {}

    def _validate(self, epoch: int) -> tuple[float, float, dict[str, float]]:
        """The held-out error with the training's noise, twice, and with each kind of noise."""
        errors: dict[str, float] = {name: rounded(self._held_out_error(name)) for name in NOISES}
        own = errors[self.lifting.noise]
        return own, own, errors

    def _held_out_error(self, noise: NoiseName) -> float:
        """Millimetres, over every held-out window in order through cameras that are always the same."""
        assert self.split.validation is not None
        motion = LiftingMotion(self.split.validation, self.lifting.frames)
        sums = torch.zeros(2, dtype=torch.float64, device=self.team.device)
        for index, batch in enumerate(motion.evaluation_batches(self.windows, NOISES[noise], self.settings.seed)):
            if index % self.team.size == self.team.rank:
                error = mpjpe(self.step.lift(batch), batch.joints.to(self.team.device))
                sums += len(batch) * torch.stack([error, torch.ones_like(error)])
        total, count = self.team.total(sums).tolist()
        return total / count
