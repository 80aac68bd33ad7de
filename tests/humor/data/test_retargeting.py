"""A CMU skeleton's motion, carried over to the SMPL skeleton, looks like its source."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from humor.body import BodyModel
from humor.data.cmu.amc import read_amc
from humor.data.cmu.asf import AsfSkeleton, read_asf
from humor.data.retargeting import RetargetedMotion, retarget
from humor.data.source_motion import world_joints, world_rotations
from humor.errors import MotionError
from humor.rotations import rotvec_to_rotmat
from humor.skeleton import BODY_NAMES
from tests.support.cmu_files import MOCAP, made_up_amc, made_up_asf, needs_mocap, random_frames, read_made_up

CLIPS = ("01_01", "01_08", "02_01", "02_03", "02_04", "02_06", "03_02", "07_05", "09_06", "11_01")
LIMBS = (
    ("hip", "knee", "femur"),
    ("knee", "ankle", "tibia"),
    ("shoulder", "elbow", "humerus"),
    ("elbow", "wrist", "radius"),
)
SIDES = (("left", "l"), ("right", "r"))


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.mannequin("neutral")


def posed_joints(body: BodyModel, clip: RetargetedMotion) -> np.ndarray:
    rotmats = rotvec_to_rotmat(torch.as_tensor(clip.poses[:, :66].reshape(-1, 22, 3)))
    betas = torch.as_tensor(clip.betas).expand(len(rotmats), 16)
    return body(rotmats, betas, torch.as_tensor(clip.trans)).joints.double().numpy()


def limb_angles(skeleton: AsfSkeleton, source: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Degrees between the limbs of the source and of the body, (frames, 8), both z up."""
    angles = []
    for side, letter in SIDES:
        for start, end, bone in LIMBS:
            ours = joints[:, BODY_NAMES.index(f"{side}_{end}")] - joints[:, BODY_NAMES.index(f"{side}_{start}")]
            index = skeleton.index(letter + bone)
            theirs = source[:, index] - source[:, skeleton.parents[index]]
            sine = np.linalg.norm(np.cross(ours, theirs), axis=-1)
            angles.append(np.degrees(np.arctan2(sine, (ours * theirs).sum(-1))))
    return np.stack(angles, -1)


def z_up(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_limbs_of_any_pose_point_where_the_source_limbs_do(tmp_path_factory, body: BodyModel, seed: int) -> None:
    skeleton, motion = read_made_up(tmp_path_factory.mktemp("clip"), random_frames(seed))
    clip = retarget(skeleton, motion, body)
    # As the pelvis sees it, for the room may have been levelled.
    root = rotvec_to_rotmat(torch.as_tensor(clip.poses[:, :3])).numpy()
    ours = posed_joints(body, clip) @ root
    theirs = world_joints(skeleton, motion) @ world_rotations(skeleton, motion)[:, 0]
    assert limb_angles(skeleton, theirs, ours).max() < 0.01


def test_knees_and_elbows_bend_about_their_hinges_and_the_right_way(tmp_path: Path, body: BodyModel) -> None:
    bent = {bone: [70.0] for bone in ("ltibia", "rtibia", "lradius", "rradius")}
    skeleton, motion = read_made_up(tmp_path, [{}, bent])
    clip = retarget(skeleton, motion, body)
    turn = np.degrees(clip.poses[1, :66].reshape(22, 3) - clip.poses[0, :66].reshape(22, 3))
    for joint, axis in (("left_knee", 0), ("right_knee", 0), ("left_elbow", 1), ("right_elbow", 1)):
        wanted = np.zeros(3)
        wanted[axis] = -70 if joint == "left_elbow" else 70
        np.testing.assert_allclose(
            turn[BODY_NAMES.index(joint)], wanted, atol=6
        )  # the body's own limbs rest a little bent
    joints = posed_joints(body, clip)[1]
    for side, _ in SIDES:
        knee, ankle, elbow, wrist = (
            joints[BODY_NAMES.index(f"{side}_{j}")] for j in ("knee", "ankle", "elbow", "wrist")
        )
        assert ankle[1] - knee[1] > 0.3  # z up, facing -y: shins go back
        assert wrist[1] - elbow[1] < -0.15  # forearms come forward


def test_the_source_at_rest_stands_upright_with_flat_feet_and_straight_hands(tmp_path: Path, body: BodyModel) -> None:
    frame = {"lfemur": [0.0, 0.0, -14.5], "rfemur": [0.0, 0.0, 14.5]}  # legs brought together
    clip = retarget(*read_made_up(tmp_path, [frame, frame]), body)
    rotmats = rotvec_to_rotmat(torch.as_tensor(clip.poses[:1, :66].reshape(-1, 22, 3)))
    posed = body(rotmats, torch.as_tensor(clip.betas)[None], torch.as_tensor(clip.trans[:1]), vertices="all")
    assert posed.vertices is not None
    skin = posed.vertices[0]
    assert abs(float(skin[:, 2].min())) < 0.012
    joints = posed.joints[0]
    for side, _ in SIDES:
        toes = skin[(skin[:, 2] < 0.03) & (skin[:, 0] * (1 if side == "left" else -1) > 0)]
        assert float(toes[:, 1].max() - toes[:, 1].min()) > 0.15  # heel and toes alike are near the floor
        elbow, wrist = (joints[BODY_NAMES.index(f"{side}_{j}")] for j in ("elbow", "wrist"))
        assert abs(float(wrist[2] - elbow[2])) < 1e-3
    np.testing.assert_allclose(
        clip.poses[0, 3 * 20 : 3 * 22], 0, atol=0.4
    )  # wrists: nothing but the elbow's other axis


def test_betas_give_the_body_the_subjects_limbs(tmp_path: Path, body: BodyModel) -> None:
    skeleton, motion = read_made_up(tmp_path, [{}, {}])
    clip = retarget(skeleton, motion, body)
    rest = body.rest_joints(torch.stack([torch.zeros(16), torch.as_tensor(clip.betas).float()])).numpy()

    def length(joints: np.ndarray, *chain: str) -> float:
        points = joints[[BODY_NAMES.index(f"left_{joint}") for joint in chain]]
        return float(np.linalg.norm(np.diff(points, axis=0), axis=-1).sum())

    assert np.abs(clip.betas).max() <= 3
    for chain, wanted in ((("hip", "knee", "ankle"), 16), (("shoulder", "elbow", "wrist"), 11.5)):
        before, after = (abs(length(joints, *chain) - wanted / 0.5 * 0.0254) for joints in rest)
        assert after < 0.02 < before


def test_a_room_that_leans_by_a_degree_is_levelled(tmp_path: Path, body: BodyModel) -> None:
    straight = {"lfemur": [0.0, 0.0, -14.5], "rfemur": [0.0, 0.0, 14.5]}
    frames = []
    for step in range(6):  # six stands along a ramp of 1 in 50, 14 cm apart in the file's units x 0.0508
        at = 14.0 * step
        frames += [straight | {"root": [0.0, 17 + at / 50, at, 0.0, 0.0, 0.0]}] * 20
    joints = posed_joints(body, retarget(*read_made_up(tmp_path, frames), body))
    toes = joints[10::20, 10, 2]
    assert np.ptp(toes) < 0.01
    assert np.ptp(joints[10::20, 0, 1]) > 3


def test_another_skeleton_than_cmus_is_refused(tmp_path: Path, body: BodyModel) -> None:
    (tmp_path / "77.asf").write_text(made_up_asf().replace("lhand", "lpaw"))
    (tmp_path / "77_01.amc").write_text(made_up_amc([{}, {}]).replace("lhand", "lpaw"))
    skeleton = read_asf(tmp_path / "77.asf")
    with pytest.raises(MotionError) as caught:
        retarget(skeleton, read_amc(tmp_path / "77_01.amc", skeleton), body)
    assert str(caught.value) == (
        '77.asf: no bone named "lhand"; expected the bones of CMU\'s skeletons, other skeletons cannot be imported.'
    )


def test_a_motion_of_one_frame_is_refused(tmp_path: Path, body: BodyModel) -> None:
    with pytest.raises(MotionError) as caught:
        retarget(*read_made_up(tmp_path, [{}]), body)
    assert str(caught.value) == "77.asf: a motion of 1 frame; expected two or more, leave it out."


@needs_mocap
@pytest.mark.parametrize("name", CLIPS)
def test_a_real_clip_looks_like_its_source(name: str, body: BodyModel) -> None:
    skeleton = read_asf(MOCAP / f"{name[:2]}.asf")
    path = MOCAP / f"{name}.amc"
    motion = read_amc(path if path.exists() else path.with_name(f"{name}.amc.gz"), skeleton)
    clip = retarget(skeleton, motion, body)
    joints = posed_joints(body, clip)
    angles = limb_angles(skeleton, z_up(world_joints(skeleton, motion)), joints)
    assert np.median(angles) < 2
    assert angles.max() < 10
    rotvecs = clip.poses[:, :66].reshape(-1, 22, 3)
    assert np.degrees(rotvecs[:, [4, 5], 0].min()) > -8  # knees: straight is where the body's own rest is a little bent
    assert np.degrees((rotvecs[:, [18, 19], 1] * [-1, 1]).min()) > -10  # elbows
    # The lowest of the feet that rest have their soles on the floor.
    speed = np.linalg.norm(np.diff(joints[:, [10, 11]], axis=0), axis=-1) * 120
    resting = joints[:-1, [10, 11], 2][speed < 0.3]
    lowest = resting[np.abs(resting - np.percentile(resting, 5)) < 0.03]
    rest = body.rest_joints(torch.as_tensor(clip.betas).float())
    skin = body(torch.eye(3).expand(22, 3, 3), torch.as_tensor(clip.betas), torch.zeros(3), vertices="all").vertices
    assert skin is not None
    assert np.median(lowest) == pytest.approx(float(rest[10, 1] - skin[:, 1].min()), abs=0.015)
