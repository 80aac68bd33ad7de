"""The motion prior is followed as far as it knows the motion and would have placed limbs that are seen."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from humor import BodyModel
from humor.motion import prior_share
from humor.motion.fit_result import pose_motion
from humor.motion.observations import PinholeCamera, observe
from humor.motion.prior_share import choose_share, find_hidden, interpolate
from humor.rotations import rotvec_to_rotmat
from humor.skeleton import BODY_NAMES

FRAMES = 5
LEGS = ("left_knee", "right_knee", "left_ankle", "right_ankle")
MOTIONS = 2


@pytest.fixture(scope="module")
def body():
    return BodyModel.mannequin("neutral")


def motion(body, bend):
    """Two motions whose joints all turn, by radians."""
    rotmats = rotvec_to_rotmat(torch.full((MOTIONS, FRAMES, 22, 3), bend))
    return pose_motion(body, rotmats, torch.full((MOTIONS, FRAMES, 3), bend), torch.zeros(MOTIONS, 16))


def chosen(body, monkeypatch, seen, misfit=1.0, true=0.3, before=0.0, after=0.3):
    """The shares where the first motion's legs are hidden, and the limbs that were asked."""
    limbs = []
    errors = torch.tensor([misfit, 1.0])[:, None].expand(MOTIONS, FRAMES - 1) * 339
    monkeypatch.setattr(prior_share, "transition_errors", lambda start: errors)

    def fit_hiding(limb, observed):
        limbs.append(limb)
        assert bool(find_hidden(observed)[limb].all())
        return motion(body, before), motion(body, after)

    return choose_share(body, seen, SimpleNamespace(), fit_hiding).tolist(), limbs


@pytest.fixture
def seen(body):
    """Two motions, the first without legs."""
    observed = observe(motion(body, 0.3).joints, 0.04)
    observed.confidence[0, :, [BODY_NAMES.index(name) for name in LEGS]] = 0
    return observed


def test_hidden_is_a_limb_that_no_frame_shows(seen):
    wanted = {"left arm": False, "right arm": False, "left leg": True, "right leg": True}
    assert {limb: hidden.tolist() for limb, hidden in find_hidden(seen).items()} == {
        limb: [hidden, False] for limb, hidden in wanted.items()
    }
    seen.confidence[0, 2, BODY_NAMES.index("left_ankle")] = 0.1
    assert not find_hidden(seen)["left leg"].any()


@pytest.mark.parametrize(
    ("after", "share"), [(0.3, 1.0), (0.6, 0.5), (0.4, 0.75), (-0.1, 0.0)]
)  # bends, where the truth is 0.3 and the stage before at 0
def test_the_share_is_the_one_that_would_have_found_the_arms(body, seen, monkeypatch, after, share):
    assert chosen(body, monkeypatch, seen, after=after) == ([share, 1.0], ["left arm", "right arm"])


def test_nothing_is_asked_of_a_network_that_does_not_know_the_motion(body, seen, monkeypatch):
    assert chosen(body, monkeypatch, seen, misfit=3.5) == ([0.0, 1.0], [])
    assert chosen(body, monkeypatch, seen, misfit=2.5) == ([1.0, 1.0], ["left arm", "right arm"])


@pytest.mark.parametrize(("misfit", "share"), [(2.5, 1.0), (3.5, 0.75)])
def test_nothing_is_asked_where_nothing_is_hidden(body, monkeypatch, misfit, share):
    assert chosen(body, monkeypatch, observe(motion(body, 0.3).joints, 0.04), misfit=misfit) == ([share, 1.0], [])


def test_a_network_that_knows_the_motion_is_followed_where_no_limb_is_seen(body, seen, monkeypatch):
    seen.confidence[0, :, 1:] = 0
    assert chosen(body, monkeypatch, seen, after=-0.1) == ([1.0, 1.0], [])


def test_images_leave_it_to_the_network(body, seen):
    camera = PinholeCamera(*map(torch.tensor, ([1000.0, 1000.0], [500.0, 500.0])), torch.eye(3), torch.zeros(3))
    start = SimpleNamespace(betas=torch.zeros(MOTIONS, 16))
    assert choose_share(body, replace(seen, camera=camera), start, None).tolist() == [1.0, 1.0]


def test_half_way_is_half_the_turn_of_every_joint(body):
    before, after = motion(body, 0.1), motion(body, 0.5)
    for share, bend in ((0.0, 0.1), (0.5, 0.3), (1.0, 0.5)):
        found = interpolate(body, before, after, share)
        for name in ("rotmats", "trans", "joints"):
            torch.testing.assert_close(getattr(found, name), getattr(motion(body, bend), name), rtol=1e-4, atol=1e-5)
    found = interpolate(body, before, after, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(found.joints[0], before.joints[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.joints[1], after.joints[1], rtol=1e-4, atol=1e-5)
