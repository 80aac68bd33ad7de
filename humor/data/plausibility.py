"""Whether positions can be a person's in metres: files state no unit, and a body's size tells it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..skeleton import BODY_NAMES

# Thighs, shins, upper arms and forearms, by the names of their ends.
_LIMBS = tuple(
    (BODY_NAMES.index(f"{side}_{start}"), BODY_NAMES.index(f"{side}_{end}"))
    for side in ("left", "right")
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
SHORTEST_LIMB, LONGEST_LIMB = 0.08, 0.7  # metres, of their median: a toddler's is 0.12, a tall man's 0.4
LARGEST_SPREAD = 3.0  # metres from one joint of a body to another


def implausible_size(joints: Float[Tensor, "frames 22 3"], present: Bool[Tensor, "frames 22"]) -> str:
    """What joints show that no person in metres can; empty where they can be one's.

    Judged by the limbs, or by how far the joints are apart where no limb is seen; joints in one point say nothing.
    """
    starts, ends = torch.tensor(_LIMBS).T
    lengths = torch.linalg.vector_norm(joints[:, starts] - joints[:, ends], dim=-1)
    seen = lengths[present[:, starts] & present[:, ends] & (lengths > 0)]
    if len(seen):
        limb = float(seen.median())
        return "" if SHORTEST_LIMB <= limb <= LONGEST_LIMB else f"limbs of {limb:.3g} m"
    spread = _spread(joints, present)
    return "" if spread <= LARGEST_SPREAD else f"joints {spread:.0f} m apart"


def _spread(joints: Tensor, present: Tensor) -> float:
    """The middle frame's largest extent along an axis."""
    shown = present.unsqueeze(-1)
    highest = joints.masked_fill(~shown, -torch.inf).amax(1)
    extents = (highest + (-joints).masked_fill(~shown, -torch.inf).amax(1)).amax(-1)
    seen = extents[present.any(1)]
    return float(seen.median()) if len(seen) else 0.0
