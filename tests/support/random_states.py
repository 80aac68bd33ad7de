"""States of random motion, which no body could make."""

import torch

from humor import MotionState
from humor.rotations import rotvec_to_rotmat


def random_state(batch=(3,), seed=0, dtype=torch.float64, device="cpu"):
    """A state of a batch shape, of standard normal numbers and rotations by random vectors."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*batch, *shape, generator=random, dtype=dtype).to(device)

    return MotionState(
        draw(3), draw(3), rotvec_to_rotmat(draw(3)), draw(3), rotvec_to_rotmat(draw(21, 3)), draw(22, 3), draw(22, 3)
    )
