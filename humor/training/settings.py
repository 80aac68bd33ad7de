"""What a training run is told: its settings, and what they make of each epoch. Nothing here depends on what ran."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ..errors import SettingError
from ..precision.presets import PrecisionName
from .execution import Execution


@dataclass(frozen=True)
class TrainSettings:
    """How to train; the defaults are the published ones."""

    precision: PrecisionName = "fp32"  # number format of the network
    execution: Execution = "eager"  # how a step runs: by operators, compiled, or as a recorded CUDA graph
    width: int = 1  # factor on every hidden size: 1 is the released network, 4 the study's
    epochs: int = 200
    batch_size: int = 200  # windows a step, of each process; the study's profile has 8
    steps_per_epoch: int | None = None  # default: as many as show as many windows as the training clips hold
    seed: int = 0  # of the first weights, the batches and the noise
    by: Literal["clip", "frames"] = "clip"  # draw a clip and then a start, or every window as likely as another
    learning_rate: float = 1e-4
    halved_at: tuple[int, ...] = (50, 80, 140)  # epochs that halve the learning rate
    own_input_from: int = 10  # epoch from which the network is fed its own predictions, ever more often
    own_input_only_from: int = 20  # epoch from which it is fed nothing else
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
        if self.own_input_only_from < self.own_input_from:
            raise SettingError(
                f"own_input_only_from {self.own_input_only_from} is before own_input_from {self.own_input_from}; "
                "give epochs in order."
            )
        if any(later <= earlier for earlier, later in pairwise(self.halved_at)):
            raise SettingError(f"halved_at {self.halved_at}: expected epochs in order, none twice.")

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch."""
        return float(self.learning_rate * 0.5 ** sum(epoch >= milestone for milestone in self.halved_at))

    def truth_share_at(self, epoch: int) -> float:
        """How often the network's next input is the truth, not its own prediction: 1, falling linearly, then 0."""
        if epoch >= self.own_input_only_from:
            return 0.0
        done = (epoch - self.own_input_from) / max(1, self.own_input_only_from - self.own_input_from)
        return 1.0 - max(0.0, done)
