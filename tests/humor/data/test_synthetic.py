"""The embedded motion is a person who walks, turns and stands, and passes for recorded motion."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import humor
from humor.data.processing import process_clip
from humor.data.synthetic.gait import Anatomy
from humor.data.synthetic.walker import synthetic_clip, synthetic_clips
from humor.errors import SettingError
from humor.kinematics import forward_kinematics
from humor.rotations import rotvec_to_rotmat
from humor.skeleton import BODY, BODY_NAMES, GENDERS

FPS = 120.0
PELVIS, NECK = BODY_NAMES.index("pelvis"), BODY_NAMES.index("neck")
KNEES, ANKLES, TOES = (
    [BODY_NAMES.index(f"{side}_{joint}") for side in ("left", "right")] for joint in ("knee", "ankle", "foot")
)
WRISTS = [BODY_NAMES.index(f"{side}_wrist") for side in ("left", "right")]
CONTACT_TOES = [5, 6]


def pose(clip):
    """Joints (T,22,3) and rotations, local and in the world, (T,22,3,3) of a raw clip, in float64."""
    rotmats = rotvec_to_rotmat(torch.from_numpy(clip["poses"][:, :66]).unflatten(-1, (22, 3)))
    rest = torch.from_numpy(Anatomy.of(str(clip["gender"]), clip["betas"]).joints).expand(len(rotmats), 22, 3)
    world = forward_kinematics(rotmats, rest, BODY)
    joints = world.translations.numpy() + clip["trans"][:, None]
    forward = world.rotmats[:, PELVIS, :2, 2].numpy()
    return SimpleNamespace(
        clip=clip,
        joints=joints,
        local=rotmats.numpy(),
        forward=forward / np.linalg.norm(forward, axis=1, keepdims=True),
        speed=np.linalg.norm(np.gradient(joints[:, PELVIS, :2], axis=0), axis=1) * float(clip["mocap_framerate"]),
    )


def mesh_heights(clip, body, every=4):
    """(T,) height of the lowest vertex."""
    rotvecs = torch.from_numpy(clip["poses"][::every, :66]).float().unflatten(-1, (22, 3))
    betas = torch.from_numpy(clip["betas"]).float().expand(len(rotvecs), 16)
    trans = torch.from_numpy(clip["trans"][::every]).float()
    with torch.no_grad():
        return body(rotvec_to_rotmat(rotvecs), betas, trans, vertices="all").vertices[..., 2].amin(1).numpy()


def planted(person, foot):
    """(T,) whether a foot stands: its toe base is at its lowest height."""
    height = person.joints[:, TOES[foot], 2]
    return height < height.min() + 1e-6


def runs(flags):
    """Slices over which flags are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [slice(start, stop) for start, stop in edges.reshape(-1, 2)]


@pytest.fixture(scope="module")
def people():
    """The default clip, and five more people."""
    return [pose(clip) for clip in [synthetic_clip(), *synthetic_clips(5, seed=7, fps=FPS)]]


def test_a_clip_has_amass_names_shapes_and_types():
    clip = synthetic_clip(seconds=2.0, fps=60.0, gender="female")
    assert {key: value.shape for key, value in clip.items()} == {
        "poses": (120, 156), "trans": (120, 3), "betas": (16,), "gender": (), "mocap_framerate": (),
    }  # fmt: skip
    assert str(clip["gender"]) == "female"
    assert float(clip["mocap_framerate"]) == 60
    assert all(np.isfinite(clip[key]).all() for key in ("poses", "trans", "betas"))
    assert not clip["poses"][:, 66:].any()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_walk():
    one, again, other = (synthetic_clip(seed, seconds=3.0) for seed in (4, 4, 5))
    assert all(one[key].tobytes() == again[key].tobytes() for key in one)
    assert np.abs(one["trans"] - other["trans"]).max() > 0.1
    assert np.abs(one["betas"] - other["betas"]).max() > 0.1


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_every_frame_rate_samples_the_same_motion(fps):
    slow, fast = synthetic_clip(3, 4.0, fps), synthetic_clip(3, 4.0, FPS)
    for key in ("poses", "trans"):
        np.testing.assert_allclose(slow[key], fast[key][:: round(FPS / fps)], rtol=0, atol=1e-12)


def test_a_longer_clip_begins_with_the_shorter_one():
    short, long = synthetic_clip(3, 3.0), synthetic_clip(3, 20.0)
    np.testing.assert_allclose(short["poses"], long["poses"][: len(short["poses"])], rtol=0, atol=1e-12)


def test_clips_are_of_different_men_and_women_on_different_ways():
    clips = synthetic_clips(6, seed=1, seconds=2.0)
    assert [str(clip["gender"]) for clip in clips] == 3 * ["male", "female"]
    assert len({clip["betas"].tobytes() for clip in clips}) == 6
    headings = [np.arctan2(*pose(clip).forward[0][::-1]) for clip in clips]
    assert np.ptp(headings) > 1
    assert synthetic_clips(0) == []


def test_a_standing_foot_stays_where_it_is(people):
    for person in people:
        for foot in (0, 1):
            stances = runs(planted(person, foot))
            assert len(stances) > 5
            assert max(np.ptp(person.joints[stance, TOES[foot]], axis=0).max() for stance in stances) < 1e-4


def test_one_foot_at_least_always_stands(people):
    for person in people:
        # A landing foot rolls down from its heel while the other one rolls off its toes, which stay.
        assert (planted(person, 0) | planted(person, 1)).all()


def test_no_part_of_the_body_is_under_the_floor(people):
    for person in people[:3]:
        lowest = mesh_heights(person.clip, humor.BodyModel.mannequin(str(person.clip["gender"])))
        assert lowest.min() > -0.005
        assert lowest.max() < 0.002


def test_a_swinging_foot_clears_the_floor_and_does_not_stamp(people):
    for person in people:
        for foot in (0, 1):
            rises = person.joints[:, TOES[foot], 2] - person.joints[:, TOES[foot], 2].min()
            heights = [rises[swing].max() for swing in runs(~planted(person, foot)) if swing.stop < len(rises)]
            assert min(heights) > 0.03
            assert max(heights) < 0.15


def test_knees_bend_forwards_by_a_walkers_angles(people):
    for person in people:
        bend = person.clip["poses"][:, [3 * knee for knee in KNEES]]
        assert bend.min() > 0
        assert np.radians(45) < bend.max() < np.radians(75)
        hips, knees, ankles = (person.joints[:, joints] for joints in ([1, 2], KNEES, ANKLES))
        in_front = ((knees - 0.5 * (hips + ankles))[..., :2] * person.forward[:, None]).sum(-1)
        assert in_front.min() > 0


def test_other_joints_stay_within_what_people_can_do(people):
    for person in people:
        angles = np.degrees(np.linalg.norm(person.clip["poses"][:, 3:66].reshape(-1, 21, 3), axis=-1))
        assert angles[:, [0, 1]].max() < 60  # hips
        assert angles[:, [6, 7]].max() < 40  # ankles
        assert angles[:, [2, 5, 8, 11, 12, 13, 14]].max() < 25  # spine, neck, collars, head


def test_feet_pass_each_other_without_touching(people):
    for person in people:
        assert np.linalg.norm(person.joints[:, ANKLES[0], :2] - person.joints[:, ANKLES[1], :2], axis=1).min() > 0.08


def test_each_arm_swings_with_the_other_sides_leg(people):
    for person in people:
        walking = person.speed > 0.6
        ahead = ((person.joints - person.joints[:, :1])[..., :2] * person.forward[:, None]).sum(-1)
        legs, arms = (ahead[walking, pair[0]] - ahead[walking, pair[1]] for pair in (ANKLES, WRISTS))
        assert np.corrcoef(legs, arms)[0, 1] < -0.8
        assert np.ptp(arms) > 0.3


def test_people_walk_turn_and_stand(people):
    for person in people:
        heading = np.unwrap(np.arctan2(person.forward[:, 1], person.forward[:, 0]))
        stands = [run for run in runs(person.speed < 0.1) if run.stop - run.start > 0.8 * FPS]
        walks = [run for run in runs(person.speed > 0.6) if run.stop - run.start > 1.0 * FPS]
        assert 0.75 < np.median(person.speed[np.r_[tuple(walks)]]) < 1.7
        assert person.speed.max() < 2
        assert any(run.start > FPS for run in stands)
        assert np.ptp(heading) > 0.8


def test_the_body_is_upright_and_looks_where_it_goes(people):
    for person in people:
        trunk = person.joints[:, NECK] - person.joints[:, PELVIS]
        assert (trunk[:, 2] / np.linalg.norm(trunk, axis=1)).min() > np.cos(np.radians(12))
        walking = person.speed > 0.6
        step = np.gradient(person.joints[:, PELVIS, :2], axis=0)[walking]
        along = (step * person.forward[walking]).sum(1) / np.linalg.norm(step, axis=1)
        assert along.min() > np.cos(np.radians(30))


def test_nothing_jumps(people):
    for person in people:
        turned = person.local[1:] @ person.local[:-1].swapaxes(-1, -2)
        twist = turned - turned.swapaxes(-1, -2)
        rate = 0.5 * FPS * np.stack([twist[..., 2, 1], twist[..., 0, 2], twist[..., 1, 0]], -1)
        assert np.linalg.norm(rate, axis=-1).max() < 12  # rad/s
        assert np.linalg.norm(np.diff(rate, axis=0), axis=-1).max() * FPS < 1500  # rad/s^2
        assert np.linalg.norm(np.diff(person.joints, n=2, axis=0), axis=-1).max() * FPS**2 < 400  # m/s^2


@pytest.mark.parametrize("fps", [30.0, 60.0, 120.0, 250.0])
def test_processing_keeps_the_clip_and_finds_the_floor_at_any_frame_rate(fps, bodies_by_gender):
    clip = process_clip(synthetic_clip(2, 6.0, fps), bodies_by_gender)
    assert clip.floor_height == pytest.approx(0.015, abs=0.01)
    assert 0.5 < clip.contacts[:, CONTACT_TOES].mean() < 1


@pytest.mark.parametrize("gender", GENDERS)
def test_feet_rest_in_turns_while_walking_and_both_while_standing(gender, bodies_by_gender):
    clip = process_clip(synthetic_clip(1, 12.0, FPS, gender), bodies_by_gender)
    toes = clip.contacts[:, CONTACT_TOES].numpy() > 0.5
    speed = clip.state.trans_vel[:, :2].norm(dim=-1).numpy()
    standing = (clip.state.joints_vel[:, KNEES].norm(dim=-1) < 0.03).all(-1).numpy()
    assert standing.mean() > 0.1
    assert toes[standing].all()
    assert toes.any(1).all()
    walking = (speed > 0.6) & (toes.sum(1) == 1)
    turns = np.flatnonzero(np.diff(toes[walking, 0].astype(int)))
    assert walking.mean() > 0.15
    assert len(turns) >= 5  # left alone, right alone, left alone, ...


@pytest.fixture(scope="module")
def bodies_by_gender():
    return {gender: humor.BodyModel.mannequin(gender) for gender in GENDERS}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gender": "cat"}, 'gender "cat" is not one of male, female, neutral.'),
        ({"seconds": 0.0}, "seconds is 0, expected a number above 0; try seconds=12."),
        ({"seconds": float("nan")}, "seconds is nan, expected a number above 0; try seconds=12."),
        ({"fps": -30.0}, "fps is -30, expected a number above 0; try fps=120."),
        ({"fps": float("inf")}, "fps is inf, expected a number above 0; try fps=120."),
        ({"seed": -1}, "seed is -1, expected 0 or more; try seed=0."),
    ],
)
def test_nonsense_is_refused_in_one_sentence(settings, message):
    with pytest.raises(SettingError) as error:
        synthetic_clip(**settings)
    assert str(error.value) == message


def test_a_negative_number_of_clips_is_refused():
    with pytest.raises(SettingError) as error:
        synthetic_clips(-1)
    assert str(error.value) == "n is -1, expected 0 clips or more; try n=4."
