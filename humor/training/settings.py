"""Training settings and the schedules derived from them."""

from dataclasses import dataclass
from itertools import pairwise

from ..data.batches import Sampling
from ..errors import SettingError
from ..precision.presets import PrecisionName
from .execution import Execution


@dataclass(frozen=True)
class TrainSettings:
    """How to train; the defaults are the published ones. Raises SettingError for impossible values."""

    precision: PrecisionName = "fp32"  # number format of the network
    execution: Execution = "eager"  # how a step runs: by operators, compiled, or as a recorded CUDA graph
    width: int = 1  # factor on every hidden size: 1 is the released network, 4 the study's
    init_from: str | None = None  # checkpoint to go on from, a run's or a released one: weights, optimizer and epoch
    epochs: int = 200  # of the whole training, with those that an --init-from had
    batch_size: int = 200  # windows a step, of each process; the study's profile has 8
    steps_per_epoch: int | None = None  # default: as many as show as many windows as the training clips hold
    seed: int = 0  # of the first weights, the batches and the noise
    sampling: Sampling = "clip"  # draw a clip and then a start, or ("frames") every window as likely as another
    learning_rate: float = 1e-4
    lr_milestones: tuple[int, ...] = (50, 80, 140)  # epochs that halve the learning rate
    scheduled_sampling_start: int = 10  # epoch from which the network's predictions replace the truth as its input
    scheduled_sampling_end: int = 20  # epoch from which all inputs after a window's first are predictions
    smpl_joint_inputs: bool = False  # feed the posed body's joints back instead of the predicted ones: HuMoR-Qual
    validate_every: int = 1  # epochs
    save_every: int = 1000  # steps between checkpoints within an epoch; one is saved after each epoch anyway
    log_every: int = 20  # steps between readings of the losses, which are computed without waiting for them

    def __post_init__(self) -> None:
        for name in ("width", "epochs", "batch_size", "validate_every", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} {getattr(self, name)}: expected a whole number from 1.")
        if self.steps_per_epoch is not None and self.steps_per_epoch < 1:
            raise SettingError(f"steps_per_epoch {self.steps_per_epoch}: expected a whole number from 1.")
        if self.seed < 0:
            raise SettingError(f"seed {self.seed}: expected a whole number from 0.")
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate {self.learning_rate}: expected a number above 0.")
        if self.scheduled_sampling_end < self.scheduled_sampling_start:
            raise SettingError(
                f"scheduled_sampling_end {self.scheduled_sampling_end} is before scheduled_sampling_start "
                f"{self.scheduled_sampling_start}; give epochs in order."
            )
        if any(later <= earlier for earlier, later in pairwise(self.lr_milestones)):
            raise SettingError(f"lr_milestones {self.lr_milestones}: expected epochs in order, none twice.")

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch."""
        return float(self.learning_rate * 0.5 ** sum(epoch >= milestone for milestone in self.lr_milestones))

    def teacher_forcing_rate_at(self, epoch: int) -> float:
        """The probability that an input is the ground truth, not a prediction: 1, then falling linearly to 0."""
        if epoch >= self.scheduled_sampling_end:
            return 0.0
        length = max(1, self.scheduled_sampling_end - self.scheduled_sampling_start)
        return 1.0 - max(0.0, (epoch - self.scheduled_sampling_start) / length)
