"""CMU's skeletons and motions are read and posed as they are meant."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from humor.data.cmu.amc import read_amc
from humor.data.cmu.asf import read_asf
from humor.data.source_motion import world_joints, world_rotations
from tests.support.bvh_files import slow_joint_places
from tests.support.cmu_files import (
    MOCAP,
    TREE,
    made_up_amc,
    made_up_asf,
    made_up_bones,
    needs_mocap,
    random_frames,
    read_made_up,
)


def test_a_skeleton_is_read_in_metres_with_parents_first(tmp_path: Path) -> None:
    (tmp_path / "77.asf").write_text(made_up_asf())
    skeleton = read_asf(tmp_path / "77.asf")
    assert skeleton.names[0] == "root"
    assert set(skeleton.names[1:]) == set(made_up_bones())
    assert all(parent < bone for bone, parent in enumerate(skeleton.parents))
    assert skeleton.lengths[skeleton.index("lfemur")] == pytest.approx(8 / 0.5 * 0.0254)
    np.testing.assert_allclose(np.linalg.norm(skeleton.directions[1:], axis=-1), 1)
    # About fixed axes, x first: z's turn of 15 degrees is what is left for a thigh.
    np.testing.assert_allclose(skeleton.axes[skeleton.index("lfemur")][:, 0], [0.9659258, 0.2588190, 0], atol=1e-6)


def test_radians_and_gzip_read_as_the_same_motion(tmp_path: Path) -> None:
    frames = random_frames(1)
    skeleton, motion = read_made_up(tmp_path / "plain", frames)
    turned = [
        {bone: v[:3] + [math.radians(a) for a in v[3:]] if bone == "root" else [math.radians(a) for a in v]
         for bone, v in frame.items()} for frame in frames
    ]  # fmt: skip
    text = made_up_amc(turned, ":FULLY-SPECIFIED\n:RADIANS")
    (tmp_path / "77_02.amc.gz").write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))
    (tmp_path / "77.asf.gz").write_bytes(gzip.compress(made_up_asf("length 0.5\n angle rad").encode()))
    in_radians = read_asf(tmp_path / "77.asf.gz")
    again = read_amc(tmp_path / "77_02.amc.gz", in_radians)
    np.testing.assert_allclose(in_radians.axes, skeleton.axes, atol=1e-12)
    np.testing.assert_allclose(again.rotations, motion.rotations, atol=1e-12)
    np.testing.assert_allclose(again.root_translation, motion.root_translation, atol=1e-12)


def slow_joint(frames: list[dict[str, list[float]]], frame: int, bone: str) -> tuple[np.ndarray, np.ndarray]:
    """Obvious twin: where a bone ends and how it is turned, one bone of one frame at a time, from the numbers."""
    if bone == "root":
        values = frames[frame]["root"]
        return np.array(values[:3]) / 0.5 * 0.0254, spin("xyz", values[3:])
    parent = next(row.split()[0] for row in TREE if bone in row.split()[1:])
    place, turn = slow_joint(frames, frame, parent)
    way, length, axis, dof = made_up_bones()[bone]
    own = spin("xyz", axis)
    turn = turn @ own @ spin(dof, frames[frame].get(bone, [])) @ np.linalg.inv(own)
    return place + turn @ (np.array(way) / np.linalg.norm(way)) * length / 0.5 * 0.0254, turn


def spin(letters: str, degrees: list[float] | tuple[float, ...]) -> np.ndarray:
    matrix = np.eye(3)
    for letter, angle in zip(letters, degrees, strict=True):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        one = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
               "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}  # fmt: skip
        matrix = np.array(one[letter]) @ matrix
    return matrix


def test_joints_are_where_a_bone_by_bone_walk_puts_them(tmp_path: Path) -> None:
    frames = random_frames(2, 4)
    skeleton, motion = read_made_up(tmp_path, frames)
    joints, turns = world_joints(skeleton, motion), world_rotations(skeleton, motion)
    for frame in range(len(frames)):
        for index, bone in enumerate(skeleton.names):
            place, turn = slow_joint(frames, frame, bone)
            np.testing.assert_allclose(joints[frame, index], place, atol=1e-12)
            np.testing.assert_allclose(turns[frame, index], turn, atol=1e-12)


@needs_mocap
def test_the_bvh_of_a_clip_puts_the_source_skeleton_in_the_same_places() -> None:
    skeleton = read_asf(MOCAP / "01.asf")
    source = world_joints(skeleton, read_amc(MOCAP / "01_01.amc.gz", skeleton))
    bvh = slow_joint_places(MOCAP / "01_01.bvh")
    thorax = source[:, skeleton.index("thorax")] - source[:, skeleton.index("upperback")]
    pairs = {
        "LeftUpLeg": "lhipjoint", "LeftLeg": "lfemur", "LeftFoot": "ltibia", "LeftToeBase": "lfoot",
        "LeftToeBase end": "ltoes", "RightLeg": "rfemur", "RightFoot": "rtibia", "RightToeBase end": "rtoes",
        "Spine": "lowerback", "Spine1": "upperback", "Head": "upperneck", "Head end": "head", "LeftArm": "lclavicle",
        "LeftForeArm": "lhumerus", "LeftHand": "lradius", "RightForeArm": "rhumerus", "RightHand": "rradius",
    }  # fmt: skip
    for theirs, bone in pairs.items():
        place = bvh[theirs][1:] / 0.45 * 0.0254  # the first frame is a rest pose of the converter's
        above = theirs.startswith(("Head", "LeftArm", "LeftForeArm", "LeftHand", "RightForeArm", "RightHand"))
        # That converter gives the thorax no length: all that hangs from it is lower by that one bone.
        np.testing.assert_allclose(place + thorax * above, source[:, skeleton.index(bone)], atol=2e-5, err_msg=bone)


@needs_mocap
def test_another_conversion_on_another_skeleton_points_the_same_way() -> None:
    skeleton = read_asf(MOCAP / "11.asf")
    source = world_joints(skeleton, read_amc(MOCAP / "11_01.amc", skeleton))
    bvh = slow_joint_places(MOCAP / "11_01.bvh")
    for letter in "lr":
        for start, end, bone in (
            ("Thigh", "Shin", "femur"),
            ("Shin", "Foot", "tibia"),
            ("Shldr", "ForeArm", "humerus"),
        ):
            theirs = bvh[letter + end][1:] - bvh[letter + start][1:]
            index = skeleton.index(letter + bone)
            ours = source[:, index] - source[:, skeleton.parents[index]]
            cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
            assert np.median(np.degrees(np.arccos(cosine))) < 8
