"""Recognise a person's joints among those of a .bvh file: by their names, and by where they hang in the tree.

Names give the limbs and the head. The pelvis is where the legs meet, the chest where the arms do; what lies between is
spine, neck, collar bone or twist bone, whatever its name. So skeletons may have more of these, or none.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...errors import MotionError
from ..text_files import quoted
from .reading import BvhMotion

# Words for the joint at the start of a bone, the ones that can mean nothing else first. In some skeletons the hip is a
# stub and the shoulder is the collar bone: the joint that is nearest to the knee or the elbow is taken.
WORDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "knee": (("knee", "shin", "calf", "lowerleg", "lowleg", "tibia"), ("leg",)),
    "hip": (("upleg", "upperleg", "thigh", "femur"), ("hip",), ("leg",)),
    "ankle": (("ankle",), ("foot",)),
    "foot": (("toe", "toes", "toebase", "ball"), ("foot",)),
    "elbow": (("elbow", "forearm", "lowerarm", "lowarm", "radius"),),
    "shoulder": (("upperarm", "uparm", "arm", "shldr", "humerus"), ("shoulder",)),
    # CMU's files have a short bone at the end of the forearm, called hand or, beside a radius, wrist.
    "wrist": (("fingerbase",), ("wrist",), ("hand",)),
}
_WRIST_BEYOND_RADIUS = (("hand",), ("wrist",))
_KNOWN = {word for choices in WORDS.values() for words in choices for word in words}
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
# What exporters put before or after a name.
_JUNK = {"j", "jnt", "joint", "bone", "b", "bip", "def", "org", "jt"}
SIDES = ("left", "right")
MAPPABLE = ("head", *(f"{side}_{joint}" for side in SIDES for joint in WORDS))
MAX_NAMED = 40  # joints that a message names


@dataclass(frozen=True)
class BodyJoints:
    """Which joints of a file are a person's, by their positions in its arrays."""

    pelvis: int  # where the legs meet
    spine: tuple[int, ...]  # from above the pelvis up to the chest, where the arms meet; empty where that is the pelvis
    neck: tuple[int, ...]  # between chest and head
    head: int
    limbs: Mapping[str, int]  # "left_hip", "left_knee", ... as WORDS has them; a foot without toes has none
    collars: Mapping[str, int]  # by side; a side whose arm hangs from the chest has none

    @property
    def chest(self) -> int:
        """Where the arms meet."""
        return self.spine[-1] if self.spine else self.pelvis


def recognise_joints(motion: BvhMotion, given: Mapping[str, str] | None = None) -> BodyJoints:
    """Find a person's joints in a file; `given` maps SMPL's names to the file's where a user knows better.

    Raises MotionError where a joint cannot be told, with the names that there are.
    """
    tree = _Tree(motion)
    known = _given(motion, given or {})
    limbs = dict(known)
    for side in SIDES:
        for middle, start, end in (("knee", "hip", "ankle"), ("elbow", "shoulder", "wrist")):
            names = [f"{side}_{joint}" for joint in (middle, start, end)]
            if names[0] not in limbs:
                limbs[names[0]] = tree.first(side, middle, range(len(motion.names)))
            at = limbs[names[0]]
            if names[1] not in limbs:
                limbs[names[1]] = tree.first(side, start, tree.above(at))
            if names[2] not in limbs:
                limbs[names[2]] = tree.first(side, end, tree.below(at), at)
        toes = f"{side}_foot"
        below = tree.below(limbs[f"{side}_ankle"])
        found = [joint for choice in WORDS["foot"] for joint in below if tree.is_named(joint, side, choice)]
        if toes not in limbs and (found or below):
            limbs[toes] = (found or below)[0]
    pelvis = tree.meeting(limbs["left_hip"], limbs["right_hip"])
    chest = tree.meeting(limbs["left_shoulder"], limbs["right_shoulder"])
    head = limbs.pop("head", None)
    head = tree.head(chest) if head is None else head
    _require_tree(motion, tree, limbs, head, chest)
    spine = tree.path(tree.meeting(pelvis, chest), chest)
    collars = {}
    for side in SIDES:
        between = tree.path(chest, limbs[f"{side}_shoulder"])[:-1]
        if between:
            collars[side] = between[0]
    return BodyJoints(pelvis, spine, tree.path(chest, head)[:-1], head, limbs, collars)


class _Tree:
    """The joints of a file with their names taken apart, and where they hang."""

    def __init__(self, motion: BvhMotion) -> None:
        self.motion = motion
        self.parents = motion.parents
        words = [_words(name) for name in motion.names]
        joints = [own for own, end in zip(words, motion.is_end, strict=True) if not end]
        self.names = [
            (None, "") if end else _side_and_word(own[_common(joints) :])
            for own, end in zip(words, motion.is_end, strict=True)
        ]

    def is_named(self, joint: int, side: str | None, words: Iterable[str]) -> bool:
        """Whether a joint's name is one of these words, of this side."""
        own, word = self.names[joint]
        return own == side and (word in words or word.rstrip("0123456789") in words)

    def above(self, joint: int) -> list[int]:
        """A joint's parent, its parent, and so on."""
        found = []
        while self.parents[joint] >= 0:
            joint = self.parents[joint]
            found.append(joint)
        return found

    def below(self, joint: int) -> list[int]:
        """All that hangs from a joint, the nearest first; end sites too."""
        depth = {joint: 0}
        for child in range(joint + 1, len(self.parents)):
            if self.parents[child] in depth:
                depth[child] = depth[self.parents[child]] + 1
        return sorted(depth.keys() - {joint}, key=lambda child: (depth[child], child))

    def meeting(self, one: int, other: int) -> int:
        """The lowest joint from which both hang, or which one of them is and the other hangs from."""
        line = [one, *self.above(one)]
        return next(joint for joint in [other, *self.above(other)] if joint in line)

    def path(self, start: int, end: int) -> tuple[int, ...]:
        """The joints from below the one down to the other, which hangs from it."""
        line = [end, *self.above(end)]
        return tuple(reversed(line[: line.index(start)]))

    def first(self, side: str, joint: str, among: Sequence[int], above: int | None = None) -> int:
        """The first of some joints that has the clearest of a joint's words as its name."""
        beyond_radius = joint == "wrist" and above is not None and self.names[above][1] == "radius"
        for words in _WRIST_BEYOND_RADIUS if beyond_radius else WORDS[joint]:
            for candidate in among:
                if self.is_named(candidate, side, words):
                    return candidate
        raise MotionError(_not_told(self.motion, f"{side}_{joint}"))

    def head(self, chest: int) -> int:
        """The joint named head, or the end of the neck: the only branch of the chest that leads to no arm."""
        below = self.below(chest)
        for words in (("head",), ("skull",)):
            for joint in below:
                if self.is_named(joint, None, words):
                    return joint
        sided = {joint for joint in below if self.names[joint][0]}
        branches = [
            joint for joint in below
            if self.parents[joint] == chest and not sided.intersection([joint, *self.below(joint)])
        ]  # fmt: skip
        if len(branches) != 1:
            raise MotionError(_not_told(self.motion, "head"))
        line = [joint for joint in (branches[0], *self.below(branches[0])) if not self.motion.is_end[joint]]
        return (line or branches)[-1]


def _given(motion: BvhMotion, given: Mapping[str, str]) -> dict[str, int]:
    """The joints that a user has mapped."""
    found = {}
    for name, theirs in given.items():
        if theirs not in motion.names:
            raise MotionError(
                f"{motion.name}: no joint {quoted(theirs)}, which --joints has as {name}; {_there(motion)}."
            )
        found[name] = motion.names.index(theirs)
    return found


def _require_tree(motion: BvhMotion, tree: _Tree, limbs: Mapping[str, int], head: int, chest: int) -> None:
    """Raise MotionError where the joints do not hang from one another as a person's do."""
    chains = (("hip", "knee", "ankle", "foot"), ("shoulder", "elbow", "wrist"))
    pairs = [(f"{side}_{a}", f"{side}_{b}") for side in SIDES for chain in chains for a, b in pairwise(chain)]
    joints = {**limbs, "head": head}
    for parent, child in [*pairs, ("chest", "head")]:
        start = chest if parent == "chest" else joints[parent]
        if child in joints and start not in tree.above(joints[child]):
            found = quoted(motion.names[joints[child]])
            raise MotionError(
                f"{motion.name}: {found}, taken for the {child}, does not hang from the {parent} "
                f"{quoted(motion.names[start])}; map the joints with --joints."
            )
    if len(set(joints.values())) != len(joints):
        raise MotionError(f"{motion.name}: one joint is taken for two; map the joints with --joints.")


def _not_told(motion: BvhMotion, name: str) -> str:
    return (
        f"{motion.name}: which joint is the {name} cannot be told; {_there(motion)}; map it with --joints FILE, a file "
        f'with a line such as: {name} = "its name".'
    )


def _there(motion: BvhMotion) -> str:
    names = [name for name, end in zip(motion.names, motion.is_end, strict=True) if not end]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"there are {', '.join(map(quoted, names[:MAX_NAMED]))}{more}"


def _words(name: str) -> list[str]:
    """A name in lower case, without a namespace, taken apart at capitals, digits and signs."""
    return [
        word.lower() for word in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", name.rpartition(":")[2])
    ]


def _common(names: Sequence[Sequence[str]]) -> int:
    """How many words nearly all names begin with: Bip01, Character1."""
    count = 0
    while True:
        starts = [tuple(words[: count + 1]) for words in names if len(words) > count]
        most = max(map(starts.count, set(starts)), default=0)
        if most < 0.8 * len(names) or len(names) < 5:
            return count
        count += 1


def _side_and_word(words: Sequence[str]) -> tuple[str | None, str]:
    """The side that a name says, and the rest of it in one word."""
    sides = [_SIDES[word] for word in words if word in _SIDES]
    rest = [word for word in words if word not in _SIDES and word not in _JUNK]
    word = "".join(rest)
    if len(sides) == 1:
        return sides[0], word
    if sides:
        return None, word
    for start, side in sorted(_SIDES.items(), key=lambda item: -len(item[0])):  # "lfemur", "LEFTFOOT"
        for cut in (word.removeprefix(start), word.removesuffix(start)):
            if cut != word and cut.rstrip("0123456789") in _KNOWN:
                return side, cut
    return None, word
