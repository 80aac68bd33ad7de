"""Axes of bones: where a bone points, and what its joint bends about."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


def axes_along(along: Float[np.ndarray, "3"], hinge: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"] | None:
    """Axes (columns): along a bone, across it as near to the hinge as can be, and the third.

    None where the bone has no length (1 mm of metres, or none of a direction) or the hinge lies along it.
    """
    first = along / max(float(np.linalg.norm(along)), 1e-3)
    second = hinge / max(float(np.linalg.norm(hinge)), 1e-9)
    second = second - first * (first @ second)
    if np.linalg.norm(first) < 0.5 or np.linalg.norm(second) < 0.1:
        return None
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], -1)


def shortest_rotation(start: Float[np.ndarray, "3"], end: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation from one direction to another."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    angle = np.arctan2(sine, start @ end)
    if sine < 1e-9 * np.linalg.norm(start):  # equal, or opposite and any axis will do
        return np.eye(3) if start @ end > 0 else np.diag([1.0, -1, -1])
    return np.asarray(Rotation.from_rotvec(axis / sine * angle).as_matrix())
