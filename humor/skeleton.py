"""The SMPL family's joints: names, parents, depth levels, and the lists that the motion model is built on."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

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
AMASS_GENDERS = ("male", "female")  # which the published loss has bodies for

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
class Block:
    """Joints of one depth whose parents are one joint, or as many that stand together in an earlier block."""

    joints: tuple[int, ...]
    parent: int  # which block the parents are in
    first: int  # where they begin in it
    count: int  # 1, or as many as there are joints

    def is_followed_by(self, parent: int, place: int) -> bool:
        """Whether an only child of this parent can stand at the block's end."""
        only_children = self.count == len(self.joints)
        return only_children and self.parent == parent and self.first + self.count == place


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
        # Worked out now: torch.compile cannot follow the lock inside cached_property.
        _ = self.blocks, self.block_sizes, self.by_block, self.by_joint, self.parent_slices

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
    def blocks(self) -> tuple[Block, ...]:
        """The joints below the root by depth, each depth cut into siblings and rows of only children."""
        stands = {0: (0, 0)}  # a joint's block and its place there; the root is block 0
        blocks: list[Block] = []
        for level in self.levels[1:]:
            families = [tuple(family) for _, family in groupby(level.joints, lambda joint: self.parents[joint])]
            for family in families:
                parent, first = stands[self.parents[family[0]]]
                last = blocks[-1] if blocks else None
                if last and len(family) == 1 and last.is_followed_by(parent, first) and last.joints[0] in level.joints:
                    blocks[-1] = last = Block(last.joints + family, parent, last.first, last.count + 1)
                else:
                    blocks.append(last := Block(family, parent, first, 1))
                stands.update((joint, (len(blocks), place)) for place, joint in enumerate(last.joints))
        return tuple(blocks)

    @cached_property
    def block_sizes(self) -> tuple[int, ...]:
        """How many joints each block holds, the root's first."""
        return (1, *(len(block.joints) for block in self.blocks))

    @cached_property
    def by_block(self) -> tuple[slice, ...]:
        """Slices that put joints in the order of the blocks."""
        return _slices(self._block_order)

    @cached_property
    def by_joint(self) -> tuple[slice, ...]:
        """Slices that put them back."""
        return _slices(tuple(self._block_order.index(joint) for joint in range(len(self))))

    @cached_property
    def parent_slices(self) -> tuple[slice, ...]:
        """Slices that pick every joint's parent, the root left out."""
        return _slices(self.parents[1:])

    @property
    def _block_order(self) -> tuple[int, ...]:
        return (0, *(joint for block in self.blocks for joint in block.joints))


def _slices(positions: tuple[int, ...]) -> tuple[slice, ...]:
    """Positions as few slices as go up evenly; an index tensor would have to travel to the device."""
    slices, start = [], 0
    while start < len(positions):
        step = max(positions[start + 1] - positions[start], 0) if start + 1 < len(positions) else 0
        stop = start + 1
        while step and stop < len(positions) and positions[stop] - positions[stop - 1] == step:
            stop += 1
        slices.append(slice(positions[start], positions[stop - 1] + 1, max(step, 1)))
        start = stop
    return tuple(slices)


BODY = Skeleton(BODY_NAMES, BODY_PARENTS)
SMPLH = Skeleton(BODY_NAMES + HAND_NAMES, BODY_PARENTS + HAND_PARENTS)
SMPL = Skeleton((*BODY_NAMES, "left_hand", "right_hand"), (*BODY_PARENTS, 20, 21))
