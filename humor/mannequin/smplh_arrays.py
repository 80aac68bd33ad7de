"""The arrays and files of the mannequin: the default body, since SMPL+H's licence forbids shipping it."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ..errors import SettingError
from ..io.files import whole_file
from ..skeleton import GENDERS, NUM_BETAS, SMPLH
from .cage import cage, fairing, subdivision
from .cage_points import half_cage, joint_positions
from .proportions import BUILDS, SHAPE_STEPS, Build, Floats, Ints
from .skinning_weights import skinning_weights

NUM_JOINTS = len(SMPLH)


def mannequin_arrays(gender: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of an SMPL+H file, under that file's names, of an invented male, female or neutral body.

    Metres; rest pose with y up, facing +z, left at +x, arms out, palms down. The arrays are shared and read-only.
    Raises SettingError for another gender.
    """
    if gender not in BUILDS:
        raise SettingError(f'the mannequin has no gender "{gender}"; take one of {", ".join(GENDERS)}.')
    return _arrays(gender)


@cache
def _arrays(gender: str) -> dict[str, NDArray[np.generic]]:
    build = BUILDS[gender]
    vertices, weights = surface(build), skinning_weights()
    regressor = _joint_regressor(vertices, joint_positions(build), weights)
    parents = np.array(SMPLH.parents, dtype=np.int64) % 2**32  # the root's parent is 2**32 - 1 in SMPL+H files
    arrays: dict[str, NDArray[np.generic]] = {
        "v_template": vertices.astype(np.float32),
        "shapedirs": _shapedirs(build).astype(np.float32),
        "posedirs": _posedirs(vertices, regressor @ vertices, weights),
        "J_regressor": regressor.astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.stack([parents, np.arange(NUM_JOINTS)]).astype(np.uint32),
        "f": triangles().astype(np.uint32),
        "bs_type": np.array("lrotmin"),
        "bs_style": np.array("lbs"),
    }
    for side in "lr":
        arrays["hands_components" + side] = np.eye(45, dtype=np.float32)
        arrays["hands_mean" + side] = np.zeros(45, dtype=np.float32)
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def surface(build: Build) -> Floats:
    """The vertices (6890, 3) of a build in the rest pose, metres, exactly symmetric."""
    vertices = subdivision().matrix @ (fairing() @ cage().points(half_cage(build)))
    return 0.5 * (vertices + vertices[subdivision().mirror] * [-1, 1, 1])


@cache
def triangles() -> Ints:
    """Triangles (13776, 3), facing outward; quadrangles are cut so that left and right mirror each other."""
    left = subdivision().quads[: len(subdivision().quads) // 2]
    cut = np.concatenate([left[:, [0, 1, 2]], left[:, [0, 2, 3]]])
    return np.concatenate([cut, subdivision().mirror[cut][:, [0, 2, 1]]])


def _shapedirs(build: Build) -> Floats:
    """Shape blend shapes (6890, 3, 16), metres for each unit: half the difference of one step up and one step down."""
    assert len(SHAPE_STEPS) == NUM_BETAS
    directions = []
    for field, step in SHAPE_STEPS:
        value = getattr(build, field)
        more, less = (surface(replace(build, **{field: value + sign * step})) for sign in (1, -1))
        directions.append((more - less) / 2)
    return np.stack(directions, axis=-1)


def _joint_regressor(vertices: Floats, joints: Floats, weights: Floats) -> Floats:
    """The joint regressor (52, 6890); its rows are not negative and sum to 1.

    A row weights the vertices around its joint as evenly as possible while their mean is the joint.
    """
    regressor = np.zeros((NUM_JOINTS, len(vertices)))
    partner = subdivision().mirror
    for joint, name in enumerate(SMPLH.names):
        if name.startswith("right_"):
            regressor[joint, partner] = regressor[SMPLH.names.index("left_" + name[6:])]
            continue
        chosen = _ring(vertices, joints, joint, weights)
        points = vertices[chosen] - joints[joint]
        system = np.concatenate([1e3 * points.T, 1e3 * np.ones((1, len(chosen))), 0.3 * np.eye(len(chosen))])
        wanted = np.concatenate([np.zeros(3), [1e3], np.full(len(chosen), 0.3 / len(chosen))])
        row, _ = nnls(system, wanted)
        regressor[joint, chosen] = row / row.sum()
        if not name.startswith("left_"):
            regressor[joint] = 0.5 * (regressor[joint] + regressor[joint, partner])
    return regressor


def _ring(vertices: Floats, joints: Floats, joint: int, weights: Floats, count: int = 48) -> Ints:
    """The vertices around a joint: of those that it moves, the nearest to the plane through it across the bone."""
    child = SMPLH.parents.index(joint) if joint in SMPLH.parents else joint
    bone = joints[child] - joints[joint] if child != joint else joints[joint] - joints[SMPLH.parents[joint]]
    mine = np.flatnonzero(weights[:, joint] > 0.02)
    away = vertices[mine] - joints[joint]
    height = np.abs(away @ bone) / np.linalg.norm(bone)
    distance = np.hypot(height, 0.25 * np.linalg.norm(away, axis=1))
    return mine[np.argsort(distance, kind="stable")[:count]]


# How far a bent joint pushes the skin out where the weights of the two bones meet, as a share of the limb's radius.
FULLNESS = {"elbow": 0.30, "knee": 0.30, "hip": 0.25, "shoulder": 0.15, "wrist": 0.2, "ankle": 0.2, "foot": 0.2}
LARGEST_PUSH = 0.018  # metres at a right angle


def _posedirs(vertices: Floats, joints: Floats, weights: Floats) -> NDArray[np.float32]:
    """Pose blend shapes (6890, 3, 459), one for each element of R - I of joints 1 to 51, row-major.

    Linear blend skinning thins a bent joint. The trace of I - R is 2 (1 - cos angle), whatever the axis: so the same
    outward displacement for the three diagonal elements restores the volume smoothly, and is zero at rest.
    """
    directions = np.zeros((len(vertices), 3, 9 * (NUM_JOINTS - 1)), dtype=np.float32)
    for joint, name in enumerate(SMPLH.names[1:], 1):
        share = FULLNESS.get(name.rpartition("_")[2], 0.15 if joint < 22 else 0.2)
        parent = SMPLH.parents[joint]
        meet = 4 * weights[:, joint] * weights[:, parent]
        away = vertices - joints[joint]
        bone = joints[joint] - joints[parent]
        bone = bone / np.linalg.norm(bone)
        away = away - (away @ bone)[:, None] * bone
        radius = np.linalg.norm(away, axis=1, keepdims=True)
        push = share * meet[:, None] * away * np.minimum(1, LARGEST_PUSH / np.maximum(share * radius, 1e-9))
        for diagonal in (0, 4, 8):
            directions[:, :, 9 * (joint - 1) + diagonal] = -0.5 * push
    return directions


def write_mannequins(folder: Path) -> list[Path]:
    """Write `male/model.npz`, `female/model.npz` and `neutral/model.npz` as SMPL+H has them; returns the paths.

    Raises FileError where they cannot be written.
    """
    paths = []
    for gender in GENDERS:
        path = folder / gender / "model.npz"
        with whole_file(path) as file:
            np.savez_compressed(file, **mannequin_arrays(gender))  # type: ignore[arg-type]
        paths.append(path)
    return paths
