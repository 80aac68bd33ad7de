"""Pose the joints of a .bvh file: where each is in every frame, and how it is turned."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .reading import BvhMotion


@dataclass(frozen=True, eq=False)
class PosedJoints:
    """Rotations and positions in the world of some joints of a file, in its units and axes."""

    name: str  # of the file, for messages
    names: tuple[str, ...]  # of all its joints
    rotations: Mapping[int, Float[np.ndarray, "frames 3 3"]]
    places: Mapping[int, Float[np.ndarray, "frames 3"]]

    def offset(self, joint: int, child: int) -> Float[np.ndarray, "3"]:
        """Where a child is, seen from a joint in the joint's own axes: the median over the frames."""
        apart = self.places[child] - self.places[joint]
        return np.asarray(np.median((self.rotations[joint].swapaxes(-1, -2) @ apart[..., None])[..., 0], 0))

    def turned(self, turn: Float[np.ndarray, "3 3"]) -> "PosedJoints":
        """The same motion in other axes."""
        return PosedJoints(
            self.name,
            self.names,
            {joint: turn @ rotation for joint, rotation in self.rotations.items()},
            {joint: place @ turn.T for joint, place in self.places.items()},
        )

    def every(self, step: int) -> "PosedJoints":
        """Every so many frames of it."""
        return PosedJoints(
            self.name,
            self.names,
            {joint: rotation[::step] for joint, rotation in self.rotations.items()},
            {joint: place[::step] for joint, place in self.places.items()},
        )


def pose_joints(motion: BvhMotion, wanted: Iterable[int]) -> PosedJoints:
    """Pose these joints in every frame, and those that they hang from."""
    rotations: dict[int, np.ndarray] = {}
    places: dict[int, np.ndarray] = {}
    for joint in _with_ancestors(motion, wanted):
        parent = motion.parents[joint]
        turn, place = motion.rotations(joint), motion.places(joint)
        rotations[joint] = turn if parent < 0 else rotations[parent] @ turn
        places[joint] = place if parent < 0 else places[parent] + (rotations[parent] @ place[..., None])[..., 0]
    return PosedJoints(motion.name, motion.names, rotations, places)


def pose_at_zero(motion: BvhMotion, wanted: Iterable[int]) -> PosedJoints:
    """One frame in which no joint is rotated, each where it is in its parent in the median."""
    rotations: dict[int, np.ndarray] = {}
    places: dict[int, np.ndarray] = {}
    for joint in _with_ancestors(motion, wanted):
        parent = motion.parents[joint]
        place = np.median(motion.places(joint), 0, keepdims=True)
        rotations[joint] = np.eye(3)[None]
        places[joint] = place if parent < 0 else places[parent] + place
    return PosedJoints(motion.name, motion.names, rotations, places)


def _with_ancestors(motion: BvhMotion, wanted: Iterable[int]) -> list[int]:
    """These joints and all that they hang from, parents first."""
    found: set[int] = set()
    for joint in wanted:
        while joint >= 0 and joint not in found:
            found.add(joint)
            joint = motion.parents[joint]
    return sorted(found)
