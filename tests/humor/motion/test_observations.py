"""Observations are read as they are, or refused in one sentence, and a camera projects where it says."""

import numpy as np
import pytest
import torch

from humor import BodyModel
from humor.errors import HumorError
from humor.motion.observations import Observations, PinholeCamera, read_observations

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
        ({"joints3d": None}, 'holds neither; expected one of "joints3d", "joints2d".'),
        ({"joints3d": np.ones((4, 21, 3))}, '"joints3d" is float64 (4, 21, 3); expected numbers (4, 22, 3).'),
        ({"joints3d": np.ones((2, 22, 3))}, "2 frames; expected 3 or more."),
        ({"joints3d": np.full((4, 22, 3), np.nan)}, "no joint is observed in any frame; check joints3d."),
        ({"noise": 0.0}, "noise 0; expected a standard deviation above 0, in metres or pixels."),
        ({"fps": 25.0}, "25 frames a second; the network knows 30: resample."),
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
