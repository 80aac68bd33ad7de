"""The SMPL family's joints: names, parents, depth levels, and the lists that the motion model is built on."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

BODY_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
BODY_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
FINGERS = ("index", "middle", "pinky", "ring", "thumb")
HAND_NAMES = tuple(f"{side}_{finger}{k}" for side in ("left", "right") for finger in FINGERS for k in (1, 2, 3))
# A finger is a chain of three joints; each chain starts at its side's wrist, joint 20 or 21.
HAND_PARENTS = tuple(20 + i // 15 if i % 3 == 0 else 21 + i for i in range(30))

NUM_VERTICES = 6890
NUM_BODY_JOINTS = 22
NUM_BETAS = 16
GENDERS = ("male", "female", "neutral")

# The pelvis, knees, ankles, toe bases and wrists: the released weights' nine contacts, in their order.
CONTACT_JOINTS = (0, 4, 5, 7, 8, 10, 11, 20, 21)

# Vertices kept as surface markers by the published preprocessing, in its order.
KEYPOINT_VERTICES = (
    4404, 920, 3076, 3169, 823, 4310, 1010, 1085, 4495, 4569, 6615, 3217, 3313, 6713, 6785, 3383, 6607, 3207, 1241,
    1508, 4797, 4122, 1618, 1569, 5135, 5040, 5691, 5636, 5404, 2230, 2173, 2108, 134, 3645, 6543, 3123, 3024, 4194,
    1306, 182, 3694, 4294, 744,
)  # fmt: skip


@dataclass(frozen=True)
class Level:
    """The joints at one depth of the tree, and where each one's parent stands in the level above."""

    joints: tuple[int, ...]
    parents: tuple[int, ...]  # positions within the level above


@dataclass(frozen=True)
class Skeleton:
    """A tree of joints, every parent before its children.

    `parents[0]` is -1. Raises ValueError where the parents are not such a tree.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.parents) or not self.parents or self.parents[0] != -1:
            raise ValueError("a skeleton needs a name for every joint and -1 as the root's parent")
        if any(not 0 <= parent < joint for joint, parent in enumerate(self.parents[1:], 1)):
            raise ValueError(f"every joint's parent must come before it, got parents {self.parents}")

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """How many bones lie between the root and each joint."""
        depths = [0]
        for parent in self.parents[1:]:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The joints by depth; the root alone comes first."""
        by_depth = [[j for j, d in enumerate(self.depths) if d == depth] for depth in range(max(self.depths) + 1)]
        levels = [Level((0,), ())]
        for above, here in pairwise(by_depth):
            levels.append(Level(tuple(here), tuple(above.index(self.parents[j]) for j in here)))
        return tuple(levels)

    @cached_property
    def is_level_order(self) -> bool:
        """Whether the levels one after the other give the joints in their own order."""
        return [j for level in self.levels for j in level.joints] == list(range(len(self)))


BODY = Skeleton(BODY_NAMES, BODY_PARENTS)
SMPLH = Skeleton(BODY_NAMES + HAND_NAMES, BODY_PARENTS + HAND_PARENTS)
SMPL = Skeleton((*BODY_NAMES, "left_hand", "right_hand"), (*BODY_PARENTS, 20, 21))
