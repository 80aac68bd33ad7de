"""Observations are read as they are, or refused in one sentence, and a camera projects where it says."""

import json

import numpy as np
import pytest
import torch

from humor import BodyModel
from humor.errors import HumorError
from humor.motion.observation_files import VideoSettings, read_observations
from humor.motion.observations import Observations, PinholeCamera
from humor.skeleton import BODY_NAMES

# Looks along y from 4 m away and 1 m above the floor.
CAMERA = PinholeCamera(
    torch.tensor([1000.0, 1000.0]),
    torch.tensor([500.0, 500.0]),
    torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    torch.tensor([0.0, 1.0, 4.0]),
)


def save(path, **changes):
    arrays = {"joints3d": np.random.default_rng(0).normal(size=(4, 22, 3)), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


PERSON = np.broadcast_to(BodyModel.mannequin().rest_joints(torch.zeros(16)).numpy(), (4, 22, 3))
HEAD_AND_HANDS = np.where(np.isin(np.arange(22), [15, 20, 21])[:, None], PERSON, np.nan)
TOO_SHORT = "1 frames at 30 a second; expected 3 to 3000: give another part of the clip."
TOO_MANY = "2001 points in a frame; expected 1 to 2000: thin them out."
NEEDS_PLACE = 'no "rotation", which joints2d needs; expected numbers of shape (3, 3).'
LENS = {"camera": [900.0, 900.0, 300.0, 300.0], "rotation": np.eye(3), "translation": np.zeros(3)}


def test_observations_are_read_as_they_are(tmp_path):
    joints = np.ones((4, 22, 3))
    joints[1, 2, 0] = np.nan
    found = read_observations(
        save(tmp_path / "o.npz", joints3d=joints, noise=0.02, gender="female", truth=np.ones((4, 22, 3)))
    )
    assert isinstance(found, Observations)
    assert (found.noise, found.gender, found.camera) == (0.02, "female", None)
    assert found.confidence.sum() == 87
    assert not found.residuals(torch.ones(4, 22, 3)).any()
    joints[..., 2] = 0.5
    joints[3, :, 2] = 0
    found = read_observations(save(tmp_path / "p.npz", joints3d=None, joints2d=joints, **LENS))
    assert found.confidence.sum() == 0.5 * (3 * 22 - 1)
    assert found.joints.shape == (4, 22, 2)
    assert found.joints.isfinite().all()


@pytest.mark.parametrize("joints", [PERSON, 0.4 * PERSON, HEAD_AND_HANDS, PERSON + np.array([300, -200, 0])])
def test_people_of_all_sizes_and_places_are_read(tmp_path, joints):
    found = read_observations(save(tmp_path / "o.npz", joints3d=joints)).joints
    np.testing.assert_allclose(found, np.nan_to_num(joints), rtol=1e-6)


def test_a_camera_sees_where_it_says_that_things_are():
    points = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    expected = torch.tensor([[500.0, 500.0], [750.0, 500.0], [500.0, 250.0]])  # y is down in a picture
    torch.testing.assert_close(CAMERA.project(points), expected)
    torch.testing.assert_close(CAMERA.unproject(expected, torch.full((3,), 4.0)), points)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"joints3d": None}, "holds none of joints3d, joints2d, keypoints3d, points3d; expected one of them."),
        ({"joints3d": np.ones((4, 21, 3))}, '"joints3d" is float64 (4, 21, 3); expected numbers (4, 22, 3).'),
        ({"joints3d": np.ones((2, 22, 3))}, "2 frames; expected 3 or more."),
        ({"joints3d": np.full((4, 22, 3), np.nan)}, "nothing is observed in any frame; check joints3d."),
        ({"noise": 0.0}, "noise 0; expected a standard deviation above 0, in metres or pixels."),
        ({"joints3d": PERSON, "fps": 0.5}, "0.5 frames a second; expected 1 to 1000."),
        ({"joints3d": PERSON, "fps": np.nan}, "nan frames a second; expected 1 to 1000."),
        (
            {"joints3d": PERSON, "fps": 120.0},
            "1 frames at 30 a second; expected 3 to 3000: give another part of the clip.",
        ),
        (
            {"joints3d": PERSON, "points3d": np.ones((4, 2001, 3))},
            "2001 points in a frame; expected 1 to 2000: thin them out.",
        ),
        ({"joints3d": PERSON, "joints2d": np.ones((4, 22, 3)), "camera": LENS["camera"]}, NEEDS_PLACE),
        ({"noise": 30.0}, "noise 30; expected a standard deviation above 0, in metres or pixels."),
        ({"joints3d": 1000 * PERSON}, '"joints3d" shows limbs of 260 m; give metres.'),
        ({"joints3d": 100 * PERSON}, '"joints3d" shows limbs of 26 m; give metres.'),
        ({"joints3d": PERSON / 0.3048}, '"joints3d" shows limbs of 0.854 m; give metres.'),
        ({"joints3d": PERSON / 100}, '"joints3d" shows limbs of 0.0026 m; give metres.'),
        ({"joints3d": 1000 * HEAD_AND_HANDS}, '"joints3d" shows joints 1348 m apart; give metres.'),
        ({"joints3d": PERSON, "truth": 1000 * PERSON}, '"truth" shows limbs of 260 m; give metres.'),
        (
            {"joints3d": None, "joints2d": np.ones((4, 22, 3)), **LENS, "translation": np.array([0, 0, 4000.0])},
            "the camera is 4000 m from the world's origin; give metres.",
        ),
        (
            {"joints3d": None, "joints2d": np.ones((4, 22, 3))},
            'no "camera", which joints2d needs; expected numbers of shape (4,).',
        ),
        (
            {"joints3d": None, "joints2d": np.ones((4, 22, 3)), **LENS, "rotation": -np.eye(3)},
            '"rotation" is no rotation matrix; expected world to camera, y down.',
        ),
        (
            {"joints3d": None, "joints2d": np.ones((4, 22, 3)), **LENS, "camera": np.zeros(4)},
            "the camera is not finite or has no focal length; expected fx, fy, cx, cy in pixels.",
        ),
    ],
)
def test_observations_that_cannot_be_used(tmp_path, changes, text):
    path = save(tmp_path / "o.npz", **changes)
    with pytest.raises(HumorError) as raised:
        read_observations(path)
    assert str(raised.value) == f"{path}: {text}"


@pytest.mark.parametrize("fps", [15.0, 25.0, 60.0, 120.0, 59.94])
def test_other_rates_are_resampled_to_the_networks(tmp_path, fps):
    times = np.arange(40) / fps
    joints = PERSON[0] + times[:, None, None]
    joints[7] = np.nan
    found = read_observations(
        save(tmp_path / "o.npz", joints3d=joints, truth=PERSON[0] + times[:, None, None], fps=fps)
    )
    expected = PERSON[0] + np.arange(int(39 / fps * 30 + 1e-6) + 1)[:, None, None] / 30
    there = (found.confidence > 0).numpy()
    assert len(expected) - 4 < there.sum() / 22 <= len(expected)
    np.testing.assert_allclose(found.joints.numpy()[there], expected[there], atol=1e-5)
    np.testing.assert_allclose(found.truth, expected, atol=1e-5)
    assert found.given_fps == fps


def test_everything_that_a_file_holds_is_observed_together(tmp_path):
    rng = np.random.default_rng(1)
    found = read_observations(
        save(
            tmp_path / "o.npz", joints3d=PERSON, keypoints3d=rng.normal(size=(4, 43, 3)),
            points3d=np.full((4, 9, 3), 0.5), joints2d=np.ones((4, 22, 3)), noise=0.02, noise2d=3.0, **LENS,
        )
    )  # fmt: skip
    assert [part.kind for part in found.parts] == ["joints", "joints", "keypoints", "points"]
    assert [part.noise for part in found.parts] == [0.02, 3.0, 0.02, 0.02]
    assert found.floor_known
    assert found.parts[1].camera is not None


def test_a_camera_at_an_unknown_place_looks_along_the_floor(tmp_path):
    joints = np.ones((4, 22, 3))
    found = read_observations(save(tmp_path / "o.npz", joints3d=None, joints2d=joints, camera=LENS["camera"]))
    assert not found.floor_known
    assert found.camera is not None
    above = found.camera.project(torch.tensor([[0.0, 4.0, 0.0], [0.0, 4.0, 1.0], [1.0, 4.0, 0.0]]))
    torch.testing.assert_close(above, torch.tensor([[300.0, 300.0], [300.0, 75.0], [525.0, 300.0]]))


def write_openpose(folder, keypoints):
    folder.mkdir()
    for frame, people in enumerate(keypoints):
        person = {"pose_keypoints_2d": people.flatten().tolist()}
        (folder / f"clip_{frame:012d}_keypoints.json").write_text(json.dumps({"people": [person]}))
    return folder


def test_a_folder_of_openpose_is_read_with_a_focal_length_alone(tmp_path):
    keypoints = np.random.default_rng(0).uniform(100, 500, (7, 25, 3))
    keypoints[..., 2] = 0.5
    keypoints[:, 19, 2] = 0  # the left big toe
    folder = write_openpose(tmp_path / "video", keypoints)
    with pytest.raises(HumorError, match="focal length in pixels: --focal"):
        read_observations(folder)
    found = read_observations(folder, VideoSettings(focal=1000.0))
    names = [name for name, seen in zip(BODY_NAMES, found.confidence[0] > 0, strict=True) if seen]
    assert len(names) == 11
    assert "left_foot" not in names
    np.testing.assert_allclose(found.joints[:, BODY_NAMES.index("left_knee")], keypoints[:, 13, :2], rtol=1e-6)
    assert not found.floor_known


def test_a_point_of_a_cloud_counts_by_the_nearest_vertex():
    cloud = Observations(
        torch.tensor([[[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]]), torch.tensor([[1.0, 0.0]]), 0.5, kind="points"
    )
    surface = torch.tensor([[[0.0, 3.0, 0.0], [0.0, 1.0, 0.0]]])
    torch.testing.assert_close(cloud.distances(surface), torch.tensor([[2.0, 0.0]]))
