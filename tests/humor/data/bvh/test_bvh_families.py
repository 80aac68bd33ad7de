"""One person's walk gives one motion, whatever family of skeletons it is written in."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from humor.body import BodyModel
from humor.data.bvh.source import read_source
from humor.data.cmu.importing import read_cmu
from humor.data.retargeting import RetargetedMotion, retarget
from humor.errors import MotionError
from humor.rotations import rotvec_to_rotmat
from humor.skeleton import BODY, BODY_NAMES
from tests.support.bvh_files import FAMILIES, places, slow_joint_places, walking, without, write_bvh
from tests.support.cmu_files import MOCAP, needs_mocap

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


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("mixamo", ("neck",)), ("lafan1", ("spine", "spine1")), ("bandai-namco", ("collar",)),
        ("unreal", ("toes", "finger")), ("blender", ("toes", "collar", "neck1", "spine")),
    ],
)  # fmt: skip
def test_missing_joints_do_not_change_the_limbs(
    tmp_path: Path, body: BodyModel, world: dict[str, np.ndarray], name: str, missing: tuple[str, ...]
) -> None:
    clip, _ = imported(tmp_path, body, write_bvh(without(FAMILIES[name], *missing), world))
    assert limb_angles(body, clip, places(world)).max() < 0.5
    knees = np.degrees(clip.poses[:, :66].reshape(-1, 22, 3)[:, [4, 5]])
    assert knees[..., 0].min() > 0
    assert np.abs(knees[..., 1:]).max() < 6


def test_a_unit_an_up_axis_and_joints_that_are_given_are_taken(
    tmp_path: Path, body: BodyModel, world: dict[str, np.ndarray]
) -> None:
    text = write_bvh(FAMILIES["lafan1"], world)
    clip, layout = imported(tmp_path, body, text)
    inches, other = imported(tmp_path, body, text, unit="in", up="y")
    assert (layout, other) == ("cm, y up, 30/s", "in, y up, 30/s")
    # The body is as tall as it can be, and takes steps of its own length.
    assert inches.betas[0] > clip.betas[0] + 0.5 or np.abs(inches.betas).max() > np.abs(clip.betas).max() + 0.5
    strange = text.replace("LeftLeg", "Linkes Knie").replace("LeftForeArm", "Linker Ellbogen")
    given = {"left_knee": "Linkes Knie", "left_elbow": "Linker Ellbogen"}
    (tmp_path / "b.bvh").write_text(strange)
    mapped = read_source(tmp_path / "b.bvh", given=given)
    np.testing.assert_array_equal(mapped.motion.rotations, read_source(tmp_path / "walk.bvh").motion.rotations)
    lying, layout = imported(tmp_path, body, text, up="z")
    assert layout == "cm, z up, 30/s"
    assert world_rotations(lying)[0, 0, 1, 1] > 0.9  # its head is where its face should be


MISTAKES = [
    ("LeftLeg", "Left Ham",
     'walk.bvh: which joint is the left_knee cannot be told; there are "Hips", "Spine", "Spine1", "Spine2", "Neck", '
     '"Head", "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand", "RightShoulder", "RightArm", "RightForeArm", '
     '"RightHand", "LeftUpLeg", "Left Ham", "LeftFoot", "LeftToe", "RightUpLeg", "RightLeg", "RightFoot", "RightToe"; '
     'map it with --joints FILE, a file with a line such as: left_knee = "its name".'),
    ("RightUpLeg", "RightThing", "walk.bvh: which joint is the right_hip cannot be told; "),
    ("LeftHand", "LeftPaw", "walk.bvh: which joint is the left_wrist cannot be told; "),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_joint_that_cannot_be_told_is_named(
    tmp_path: Path, body: BodyModel, world: dict[str, np.ndarray], old: str, new: str, message: str
) -> None:
    with pytest.raises(MotionError) as caught:
        imported(tmp_path, body, write_bvh(FAMILIES["lafan1"], world).replace(old, new))
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("name", ["mixamo", "bandai-namco"])
def test_left_and_right_that_are_swapped_are_told(
    tmp_path: Path, body: BodyModel, world: dict[str, np.ndarray], name: str
) -> None:
    family = FAMILIES[name]
    swapped = replace(family, sides=(family.sides[1], family.sides[0]))
    with pytest.raises(MotionError) as caught:
        imported(tmp_path, body, write_bvh(swapped, world))
    assert str(caught.value) == (
        "walk.bvh: the feet point backwards or the knees bend forwards, as if left were right; map the joints with "
        "--joints."
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"head": "Hair"}, 'walk.bvh: no joint "Hair", which --joints has as head; there are "Hips", "Spine", '),
        ({"left_knee": "RightLeg"}, "walk.bvh: which joint is the left_hip cannot be told; "),
        ({"left_knee": "LeftFoot", "left_ankle": "LeftLeg"},
         'walk.bvh: "LeftLeg", taken for the left_ankle, does not hang from the left_knee "LeftFoot"; map the joints '
         "with --joints."),
        ({"left_ankle": "LeftToe", "left_foot": "LeftToe"},
         'walk.bvh: "LeftToe", taken for the left_foot, does not hang from the left_ankle "LeftToe"; map the joints '
         "with --joints."),
    ],
)  # fmt: skip
def test_joints_that_are_mapped_wrongly_are_told(
    tmp_path: Path, world: dict[str, np.ndarray], given: dict[str, str], message: str
) -> None:
    (tmp_path / "walk.bvh").write_text(write_bvh(FAMILIES["lafan1"], world))
    with pytest.raises(MotionError) as caught:
        read_source(tmp_path / "walk.bvh", given=given)
    assert str(caught.value).startswith(message)


def test_a_body_of_no_persons_size_is_refused(tmp_path: Path, world: dict[str, np.ndarray]) -> None:
    (tmp_path / "walk.bvh").write_text(write_bvh(replace(FAMILIES["lafan1"], metres=0.25), world))
    with pytest.raises(MotionError) as caught:
        read_source(tmp_path / "walk.bvh")
    assert str(caught.value) == (
        "walk.bvh: a body 7.24 units high; expected a person's in m, cm, mm, in, cmu, pass --unit."
    )


@needs_mocap
def test_a_clip_of_cmu_is_the_same_motion_from_both_of_its_formats(body: BodyModel) -> None:
    amc = read_cmu(MOCAP / "01_01.amc.gz", MOCAP / "01.asf")
    bvh = read_source(MOCAP / "01_01.bvh")
    assert bvh.layout == "cmu, y up, 120/s, first frame a rest pose, left out"
    ours, theirs = (world_rotations(retarget(clip.skeleton, clip.motion, body, clip.fps)) for clip in (bvh, amc))
    assert ours.shape == theirs.shape
    apart = np.einsum("fjab,fjab->fj", ours, theirs)
    angle = np.degrees(np.arccos(np.clip((apart - 1) / 2, -1, 1))).max(0)
    assert angle[[joint for joint, name in enumerate(BODY_NAMES) if "hip" not in name]].max() < 1
    assert angle.max() < 3  # the thigh about itself: by the knee's axis in the one, by how it bends in the other


@needs_mocap
@pytest.mark.parametrize("name", ["01_01", "11_01"])
def test_a_real_clip_points_where_its_file_does(name: str, body: BodyModel) -> None:
    clip = read_source(MOCAP / f"{name}.bvh")
    place = slow_joint_places(MOCAP / f"{name}.bvh")
    names = {
        "01_01": "{}UpLeg {}Leg {}Foot {}Arm {}ForeArm {}Hand",
        "11_01": "{}Thigh {}Shin {}Foot {}Shldr {}ForeArm {}Hand",
    }
    words = {"01_01": ("Left", "Right"), "11_01": ("l", "r")}[name]
    joints = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    found = {
        f"{side}_{joint}": place[theirs.format(word)][1:]
        for side, word in zip(SIDES, words, strict=True)
        for joint, theirs in zip(joints, names[name].split(), strict=True)
    }
    angles = limb_angles(body, retarget(clip.skeleton, clip.motion, body, clip.fps), found)
    assert np.median(angles) < 2
    assert angles.max() < 10
