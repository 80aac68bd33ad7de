"""The SMPL family's joints: names, parents, groups for kinematics, and the joint and vertex lists of HuMoR."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

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

# Pelvis, knees, ankles, toe bases and wrists: the nine contacts of the released weights, in their order.
CONTACT_JOINTS = (0, 4, 5, 7, 8, 10, 11, 20, 21)

# Vertices that the published preprocessing keeps as surface markers, in its order.
KEYPOINT_VERTICES = (
    4404, 920, 3076, 3169, 823, 4310, 1010, 1085, 4495, 4569, 6615, 3217, 3313, 6713, 6785, 3383, 6607, 3207, 1241,
    1508, 4797, 4122, 1618, 1569, 5135, 5040, 5691, 5636, 5404, 2230, 2173, 2108, 134, 3645, 6543, 3123, 3024, 4194,
    1306, 182, 3694, 4294, 744,
)  # fmt: skip


@dataclass(frozen=True)
class JointGroup:
    """Joints of one depth that share a parent, or whose parents are as many consecutive joints of an earlier group."""

    joints: tuple[int, ...]
    parent: int  # number of the group that holds the parents
    first: int  # position of the first parent in it
    count: int  # parents: 1, or as many as there are joints

    def can_append(self, parent: int, position: int) -> bool:
        """Whether an only child of the joint at a position of a group can be added to this group."""
        only_children = self.count == len(self.joints)
        return only_children and self.parent == parent and self.first + self.count == position


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
        # Computed now: torch.compile cannot trace the lock inside cached_property.
        _ = self.groups, self.group_sizes, self.by_group, self.by_joint, self.parent_slices

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Number of bones between the root and each joint."""
        depths = [0]
        for parent in self.parents[1:]:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    @cached_property
    def groups(self) -> tuple[JointGroup, ...]:
        """The joints below the root by depth, each depth cut into siblings and runs of only children."""
        places = {0: (0, 0)}  # each joint's group and its position there; the root is group 0
        groups: list[JointGroup] = []
        by_depth = sorted(range(1, len(self)), key=self.depths.__getitem__)
        for (depth, joint), siblings in groupby(by_depth, lambda child: (self.depths[child], self.parents[child])):
            joints, (parent, first) = tuple(siblings), places[joint]
            last = groups[-1] if groups else None
            if last and self.depths[last.joints[0]] == depth and len(joints) == 1 and last.can_append(parent, first):
                groups[-1] = last = JointGroup(last.joints + joints, parent, last.first, last.count + 1)
            else:
                groups.append(last := JointGroup(joints, parent, first, 1))
            places.update((child, (len(groups), position)) for position, child in enumerate(last.joints))
        return tuple(groups)

    @cached_property
    def group_sizes(self) -> tuple[int, ...]:
        """Number of joints in each group, the root's first."""
        return (1, *(len(group.joints) for group in self.groups))

    @cached_property
    def by_group(self) -> tuple[slice, ...]:
        """Slices that put joints in the order of the groups."""
        return _slices(self._group_order)

    @cached_property
    def by_joint(self) -> tuple[slice, ...]:
        """Slices that put joints in the order of the groups back in their own."""
        return _slices(tuple(self._group_order.index(joint) for joint in range(len(self))))

    @cached_property
    def parent_slices(self) -> tuple[slice, ...]:
        """Slices that select every joint's parent, the root left out."""
        return _slices(self.parents[1:])

    @property
    def _group_order(self) -> tuple[int, ...]:
        return (0, *(joint for group in self.groups for joint in group.joints))


def _slices(positions: tuple[int, ...]) -> tuple[slice, ...]:
    """Positions as the fewest evenly spaced ascending slices: an index tensor would have to be copied to the device."""
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
