"""Training of the lifting networks, in the loop and the run folder of the motion model."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import SettingError
from ..training.distributed import Team
from ..training.micro_batches import Terms
from ..training.settings import TrainSettings
from ..training.split import Split
from ..training.step import BaseStep
from ..training.task import TrainingTask, Validation
from .cameras import NOISES, NoiseName
from .networks import NETWORKS
from .windows import LiftingBatch, LiftingWindows

LiftingName = Literal["poseformer", "poseformer-v2"]
MILLIMETRES = 1000.0


@dataclass(frozen=True)
class LiftingSettings(TrainSettings):
    """How to train a lifting network. Settings of the motion model alone must keep their defaults."""

    model: LiftingName = "poseformer-v2"
    frames: int = 81  # of 2D joints that the network sees
    noise: NoiseName = "noisy"  # of the detector in training

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = {
            "width": (1,),
            "execution": ("eager", "compile"),
            "smpl_joint_inputs": (False,),
            "init_from": (None,),
        }
        for name, possible in allowed.items():
            if getattr(self, name) not in possible:
                raise SettingError(f"{name} {getattr(self, name)}: not for {self.model}; leave it out.")

    def teacher_forcing_rate_at(self, epoch: int) -> float:
        """Always 1: a lifting network does not read its own predictions."""
        return 1.0


def mpjpe(predicted: Float[Tensor, "*b J 3"], target: Float[Tensor, "*b J 3"]) -> Float[Tensor, ""]:
    """Mean per-joint position error in millimetres, of joints in metres."""
    return MILLIMETRES * (predicted.float() - target).norm(dim=-1).mean()


class LiftingStep(BaseStep):
    """Prepare, sample (the network forward), loss, backward, optimize, of a lifting network."""

    settled_gradient_scale = 64.0  # at 256 and more, gradients of millimetres overflow

    def __call__(self, batch: LiftingBatch) -> Float[Tensor, ""]:
        """Take one step. Returns the error before it in millimetres, on the device."""
        with self.phase("prepare"):
            batch = batch.to(self.device)
        with self.phase("sample"), self.precision.autocast_scope(self.device), self.half_weights.active():
            predicted = self.network(batch.points)
        self.time_network_backward([predicted])
        with self.phase("loss"):
            total = mpjpe(predicted, batch.joints)
        self.backward(total)
        self.optimize()
        return total.detach()

    @torch.no_grad()
    def lift(self, batch: LiftingBatch) -> Float[Tensor, "B 17 3"]:
        """Predict the joints of a batch, in metres from the root, without gradients."""
        with self.precision.autocast_scope(self.device), self.half_weights.active():
            return self.model(batch.to(self.device).points)


class LiftingTask(TrainingTask):
    """Trains a lifting network. Losses are millimetres, and validation gives the error for each kind of noise."""

    settings: LiftingSettings
    validation_columns = tuple(NOISES)

    def __init__(self, settings: LiftingSettings, split: Split, team: Team) -> None:
        super().__init__(settings, split, team)
        self._motion = LiftingWindows(split.train, settings.frames)

    def build_model(self) -> nn.Module:
        """Make the network of the settings."""
        return NETWORKS[self.settings.model](self.settings.frames)

    def build_step(self, **arguments: Any) -> LiftingStep:
        """Make the lifting network's step."""
        return LiftingStep(**arguments)

    def draw_batch(self, epoch: int, index: int) -> LiftingBatch:
        """Draw windows, their cameras and their noise."""
        key = (self.settings.seed, epoch, index, self.team.rank)
        return self._motion.batch(*self.sampler.draw(epoch, index), NOISES[self.settings.noise], key)

    def take_step(self, batch: LiftingBatch, epoch: int, index: int) -> tuple[Tensor, Terms]:
        """Take a training step. The loss has no terms."""
        return self.step(batch), {}

    def validate(self, epoch: int) -> Validation:
        """The error on the validation clips for each kind of noise; that of the training's is loss and score."""
        errors: dict[str, float] = {name: self._validation_error(name) for name in NOISES}
        return Validation(errors[self.settings.noise], errors[self.settings.noise], errors)

    def _validation_error(self, noise: NoiseName) -> float:
        """Millimetres, over every validation window in order, with the same cameras in each epoch."""
        assert self.split.validation is not None
        motion = LiftingWindows(self.split.validation, self.settings.frames)
        batches = motion.evaluation_batches(self.windows, NOISES[noise], self.settings.seed)

        def evaluate(index: int, batch: LiftingBatch) -> tuple[Tensor]:
            return (mpjpe(self.step.lift(batch), batch.joints.to(self.team.device)),)

        return self.mean_over(batches, evaluate, 1)[0]
