"""Training of the lifting networks, in the loop and the run folder of the motion model."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import SettingError
from ..training.distributed import Team
from ..training.micro_batches import Terms
from ..training.optimizer import Adamax, AdamW
from ..training.seeded_noise import seed_of
from ..training.settings import TrainSettings
from ..training.split import Split
from ..training.step import BaseStep
from ..training.task import TrainingTask, Validation
from .cameras import NOISES, NoiseName
from .inference import lift
from .metrics import MILLIMETRES, mpjpe
from .networks import LiftingName, LiftingNetwork, build_network
from .recipes import RECIPES, RecipeName
from .windows import LiftingBatch, LiftingWindows


@dataclass(frozen=True)
class LiftingSettings(TrainSettings):
    """How to train a lifting network. Settings of the motion model alone must keep their defaults."""

    model: LiftingName = "poseformer-v2"
    frames: int = 81  # of 2D joints that the network sees
    kept_frames: int | None = None  # in the middle, that PoseFormerV2 sees; a ninth of all, as in released ones
    coefficients: int | None = None  # of the cosine transform, that it sees; a ninth of the frames
    noise: NoiseName = "noisy"  # of the detector in training
    recipe: RecipeName = "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = {
            "width": (1,),
            "execution": ("eager", "compile"),
            "smpl_joint_inputs": (False,),
        }
        for name, possible in allowed.items():
            if getattr(self, name) not in possible:
                raise SettingError(f"{name} {getattr(self, name)}: not for {self.model}; leave it out.")

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch."""
        decay = RECIPES[self.recipe].decay
        return super().learning_rate_at(epoch) if decay is None else float(self.learning_rate * decay**epoch)

    def teacher_forcing_rate_at(self, epoch: int) -> float:
        """Always 1: a lifting network does not read its own predictions."""
        return 1.0


class LiftingStep(BaseStep):
    """Prepare, sample (the network forward), loss, backward, optimize, of a lifting network."""

    settled_gradient_scale = 65536.0

    def __call__(self, batch: LiftingBatch) -> Float[Tensor, ""]:
        """Take one step. Returns the error before it in millimetres, on the device."""
        with self.phase("prepare"):
            batch = batch.to(self.device)
        with self.phase("sample"), self.precision.autocast_scope(self.device), self.half_weights.active():
            predicted = self.network(batch.points)
        self.time_network_backward([predicted])
        with self.phase("loss"):
            error = mpjpe(predicted, batch.joints)
        self.backward(error / MILLIMETRES)
        self.optimize()
        return error.detach()

    def lift(self, batch: LiftingBatch, flips: bool = False) -> Float[Tensor, "B 17 3"]:
        """Predict the joints of a batch, in metres from the root, without gradients; with flips, the mean both ways."""
        training = self.model.training
        self.model.eval()
        try:
            with self.precision.autocast_scope(self.device), self.half_weights.active():
                return lift(self.model, batch.to(self.device).points, flips)
        finally:
            self.model.train(training)


class LiftingTask(TrainingTask):
    """Trains a lifting network. Losses are millimetres, and validation gives the error for each kind of noise."""

    settings: LiftingSettings
    validation_columns = tuple(NOISES)

    def __init__(self, settings: LiftingSettings, split: Split, team: Team) -> None:
        super().__init__(settings, split, team)
        self.recipe = RECIPES[settings.recipe]
        self._motion = LiftingWindows(split.train, settings.frames)

    def build_model(self) -> LiftingNetwork:
        """Make the network of the settings."""
        settings = self.settings
        network = build_network(settings.model, settings.frames, settings.kept_frames, settings.coefficients)
        network.set_drop_path(self.recipe.drop_path)
        return network

    def build_optimizer(self, model: torch.nn.Module) -> Adamax | AdamW:
        """Make the recipe's optimizer."""
        return self.recipe.optimizer(model.parameters(), lr=self.settings.learning_rate)

    def build_step(self, **arguments: Any) -> LiftingStep:
        """Make the lifting network's step."""
        return LiftingStep(**arguments)

    def draw_batch(self, epoch: int, index: int) -> LiftingBatch:
        """Draw windows, their cameras, their noise and which are mirrored."""
        noise, drawn = NOISES[self.settings.noise], self.sampler.draw(epoch, index)
        return self._motion.batch(*drawn, noise, self._key(epoch, index), self.recipe.flips)

    def take_step(self, batch: LiftingBatch, epoch: int, index: int) -> tuple[Tensor, Terms]:
        """Take a training step. The loss has no terms."""
        torch.manual_seed(seed_of((*self._key(epoch, index), 1)))  # for stochastic depth
        return self.step(batch), {}

    def validate(self, epoch: int) -> Validation:
        """The error on the validation clips for each kind of noise; that of the training's is loss and score."""
        errors: dict[str, float] = {name: self._validation_error(name) for name in NOISES}
        return Validation(errors[self.settings.noise], errors[self.settings.noise], errors)

    def _key(self, epoch: int, index: int) -> tuple[int, ...]:
        return self.settings.seed, epoch, index, self.team.rank

    def _validation_error(self, noise: NoiseName) -> float:
        """Millimetres, over every validation window in order, with the same cameras in each epoch."""
        assert self.split.validation is not None
        motion = LiftingWindows(self.split.validation, self.settings.frames)
        batches = motion.evaluation_batches(self.windows, NOISES[noise], self.settings.seed)

        def evaluate(index: int, batch: LiftingBatch) -> tuple[Tensor]:
            return (mpjpe(self.step.lift(batch, self.recipe.flips), batch.joints.to(self.team.device)),)

        return self.mean_over(batches, evaluate, 1)[0]
