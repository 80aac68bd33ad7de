"""How good motion is: distances from the true one, plausibility, how a set of samples covers what happened.

Acceleration, penetration and the groups of joints are those of the published evaluation of fitted motion. The measures
of samples are those of stochastic motion prediction (Yuan and Kitani 2020), which Rempe et al. 2021 report for HuMoR;
the released code does not compute them, so that whether it averages over joints and frames as we do is not certain.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..data.processing import TARGET_FPS, TOE_HEIGHT

# Ankles, toe bases and wrists; knees, ankles and toe bases.
JOINT_GROUPS = {"joints": tuple(range(22)), "end_effectors": (7, 8, 10, 11, 20, 21), "legs": (4, 5, 7, 8, 10, 11)}
PELVIS, NECK, TOES = 0, 12, (10, 11)
LEAN = 60.0  # degrees from upright, up to which a body stands
SUNK, FLOWN = 0.2, 0.5  # metres below and above the floor, between which the lower toe base of one that stands is
PENETRATION_CM = (0, 3, 6, 9, 12, 15)
MILLIMETRES = 1000.0


class Means:
    """Means by name, over all elements of what was added; a name without elements has none."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.counts: Counter[str] = Counter()

    def add(self, **values: Tensor) -> None:
        """Count every element of these tensors in."""
        for name, each in values.items():
            self.sums[name] += float(each.double().sum())
            self.counts[name] += each.numel()

    def merge(self, other: "Means") -> None:
        """Count in what another was given."""
        for name, value in other.sums.items():
            self.sums[name] += value
        self.counts.update(other.counts)

    def read(self) -> Mapping[str, float]:
        """The means."""
        return {name: self.sums[name] / count for name, count in self.counts.items() if count}


def joint_distances(
    joints: Float[Tensor, "*batch 22 3"], truth: Float[Tensor, "*batch 22 3"]
) -> dict[str, Float[Tensor, "*batch J"]]:
    """Distances from the true joints (metres) in millimetres, of each group of joints."""
    distances = MILLIMETRES * torch.linalg.vector_norm(joints - truth, dim=-1)
    return {f"{name}_mm": distances[..., list(group)] for name, group in JOINT_GROUPS.items()}


def plausibility(joints: Float[Tensor, "*batch T 22 3"]) -> dict[str, Tensor]:
    """What can be said of motion on the floor z = 0 without the truth.

    The size of each joint's acceleration in m/s^2, by second differences at 30 frames a second; the horizontal speed in
    m/s of those toe bases that are near the floor in two frames; the depth in mm of those that are below it; and for
    each number of centimetres whether a toe base is deeper.
    """
    acceleration = (joints[..., 2:, :, :] - 2 * joints[..., 1:-1, :, :] + joints[..., :-2, :, :]) * TARGET_FPS**2
    depth = -joints[..., list(TOES), 2]
    return {
        "acceleration": torch.linalg.vector_norm(acceleration, dim=-1),
        "sliding": sliding_speeds(joints),
        "penetration_mm": MILLIMETRES * depth[depth > 0],
        **{f"toes_below_{cm}cm": depth > cm / 100 for cm in PENETRATION_CM},
    }


def sliding_speeds(joints: Float[Tensor, "*batch T 22 3"]) -> Float[Tensor, " moves"]:
    """Horizontal speeds in m/s of toe bases between two frames in which they are near the floor z = 0."""
    toes = joints[..., list(TOES), :]
    near = toes[..., 2] < TOE_HEIGHT
    speeds = torch.linalg.vector_norm(toes[..., 1:, :, :2] - toes[..., :-1, :, :2], dim=-1) * TARGET_FPS
    return speeds[near[..., 1:, :] & near[..., :-1, :]]


def find_standing(joints: Float[Tensor, "*batch T 22 3"]) -> Bool[Tensor, "*batch T"]:
    """Whether a body over the floor z = 0 stands: leans by less than LEAN, and neither sinks into the floor nor flies.

    A jump is lower than FLOWN. Joints that are not finite do not stand.
    """
    trunk = joints[..., NECK, :] - joints[..., PELVIS, :]
    upright = trunk[..., 2] > math.cos(math.radians(LEAN)) * torch.linalg.vector_norm(trunk, dim=-1)
    lowest = joints[..., list(TOES), 2].amin(-1)
    return upright & (lowest > -SUNK) & (lowest < FLOWN)


def contact_accuracies(contacts: Float[Tensor, "*batch 9"], truth: Float[Tensor, "*batch 9"]) -> dict[str, Tensor]:
    """Whether each contact logit is on the right side of zero: of all, of those that touch, of those that do not."""
    touches = truth > 0.5
    right = (contacts > 0) == touches
    return {"contacts_acc": right, "contacts_pos_acc": right[touches], "contacts_neg_acc": right[~touches]}


def sample_measures(
    samples: Float[Tensor, "W S T 22 3"], truth: Float[Tensor, "W T 22 3"]
) -> dict[str, Float[Tensor, " W"]]:
    """How close the best of S samples comes to the truth, and how much the samples differ, in millimetres.

    ADE and FDE, average and final displacement error: the least over the samples of the mean distance of joints over
    all frames, and at the last frame. APD, average pairwise distance: the mean distance of joints between two samples,
    over all pairs; nothing for a single sample.
    """
    distances = MILLIMETRES * torch.linalg.vector_norm(samples - truth.unsqueeze(1), dim=-1).mean(-1)
    found = {"ade_mm": distances.mean(-1).amin(1), "fde_mm": distances[..., -1].amin(1)}
    count = samples.shape[1]
    if count > 1:
        by_joint = samples.flatten(2, 3).transpose(1, 2)  # (W, T * 22, S, 3)
        pairs = torch.cdist(by_joint, by_joint, compute_mode="donot_use_mm_for_euclid_dist").mean(1)
        found["apd_mm"] = MILLIMETRES * pairs.sum((1, 2)) / (count * (count - 1))
    return found
