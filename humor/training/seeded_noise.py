"""What a training step draws: functions of (seed, epoch, index) alone, so that resuming needs no generator's state.

Everything is drawn on the CPU: the same on every device and, for all processes together, in each process.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..data.windows import PAIRS
from ..model import LATENT_SIZE

_NOISE, _TEACHER_FORCING, _VALIDATION_NOISE = range(3)  # separate streams for the same step


def training_noise(seed: int, epoch: int, index: int, windows: int) -> Float[Tensor, "windows 10 48"]:
    """The posterior's noise of a training step, standard normal."""
    return _noise((seed, epoch, index, _NOISE), windows)


def validation_noise(seed: int, index: int, windows: int) -> Float[Tensor, "windows 10 48"]:
    """The posterior's noise of a validation batch, the same in every epoch so that epochs compare."""
    return _noise((seed, 0, index, _VALIDATION_NOISE), windows)


def draw_teacher_forcing(seed: int, epoch: int, index: int, rate: float) -> tuple[bool, ...] | None:
    """Draw whether the second to tenth input of a step's windows is the ground truth; None where all of them are.

    One draw for each input and the whole batch, as in the published code.
    """
    if rate >= 1:
        return None
    random = np.random.default_rng((seed, epoch, index, _TEACHER_FORCING))
    return tuple((random.random(PAIRS - 1) < rate).tolist())


def generator(key: tuple[int, ...]) -> torch.Generator:
    """A CPU generator seeded by a key of whole numbers."""
    return torch.Generator().manual_seed(seed_of(key))


def seed_of(key: tuple[int, ...]) -> int:
    """The seed that a key of whole numbers gives."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _noise(key: tuple[int, ...], windows: int) -> Tensor:
    return torch.randn(windows, PAIRS, LATENT_SIZE, generator=generator(key))
