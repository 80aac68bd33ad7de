"""One person's walk gives one motion, whatever family of skeletons it is written in."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from humor.body import BodyModel
from humor.data.bvh.source import read_source
from humor.data.retargeting import RetargetedMotion, retarget
from humor.rotations import rotvec_to_rotmat
from humor.skeleton import BODY, BODY_NAMES
from tests.support.bvh_files import FAMILIES, places, walking, write_bvh

LIMBS = (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
SIDES = ("left", "right")
# What differs between families: those with fewer joints in the spine bend less evenly.
UNLIKE = {"spine1", "spine2"}


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.mannequin("neutral")


@pytest.fixture(scope="module")
def world() -> dict[str, np.ndarray]:
    return walking()


def imported(folder: Path, body: BodyModel, text: str, **settings: str) -> tuple[RetargetedMotion, str]:
    path = folder / "walk.bvh"
    path.write_bytes(text.encode())
    clip = read_source(path, **settings)
    return retarget(clip.skeleton, clip.motion, body, clip.fps), clip.layout


def world_rotations(clip: RetargetedMotion) -> np.ndarray:
    """World rotations of the 22 joints, (frames, 22, 3, 3), z up."""
    local = rotvec_to_rotmat(torch.as_tensor(clip.poses[:, :66].reshape(-1, 22, 3))).numpy()
    world = local.copy()
    for joint, parent in enumerate(BODY.parents[1:], 1):
        world[:, joint] = world[:, parent] @ local[:, joint]
    return world


def limb_angles(body: BodyModel, clip: RetargetedMotion, place: Mapping[str, np.ndarray]) -> np.ndarray:
    """Degrees between the limbs of the body and of the person, both as the pelvis of the body sees them."""
    rotmats = rotvec_to_rotmat(torch.as_tensor(clip.poses[:, :66].reshape(-1, 22, 3)))
    joints = body(rotmats, torch.as_tensor(clip.betas).expand(len(rotmats), 16), torch.as_tensor(clip.trans)).joints
    angles = []
    for side in SIDES:
        for start, end in LIMBS:
            ours = (
                joints[:, BODY_NAMES.index(f"{side}_{end}")] - joints[:, BODY_NAMES.index(f"{side}_{start}")]
            ).numpy()
            theirs = place[f"{side}_{end}"] - place[f"{side}_{start}"]
            theirs = np.stack([theirs[:, 0], -theirs[:, 2], theirs[:, 1]], -1)
            angles.append(
                np.degrees(np.arctan2(np.linalg.norm(np.cross(ours, theirs), axis=-1), (ours * theirs).sum(-1)))
            )
    return np.stack(angles, -1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_walk_is_the_same_in_every_family_of_skeletons(
    tmp_path: Path, body: BodyModel, world: dict[str, np.ndarray], name: str
) -> None:
    family = FAMILIES[name]
    clip, layout = imported(tmp_path, body, write_bvh(family, world))
    rest = ", first frame a rest pose, left out" if family.rest_first else ""
    assert layout == f"{family.unit}, {family.up} up, 30/s{rest}"
    assert len(clip.poses) == len(world["hips"])
    assert limb_angles(body, clip, places(world)).max() < 0.5
    # The made-up person's T-pose is the body's, so every joint is turned as the person's is.
    ours = world_rotations(clip)
    z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    roles = {"pelvis": "hips", "spine3": "spine2", "neck": "neck", "head": "head"}
    roles |= {f"{side}_{joint}": f"{side}_{joint}" for side in SIDES for joint in ("collar", "wrist", "ankle")}
    for joint, role in roles.items():
        apart = np.swapaxes(z_up @ world[role], -1, -2) @ ours[:, BODY_NAMES.index(joint)]
        angle = np.degrees(np.arccos(np.clip((np.trace(apart, axis1=-2, axis2=-1) - 1) / 2, -1, 1)))
        assert angle.max() < 6, joint
