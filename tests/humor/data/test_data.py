"""Clips are processed and cut by the published rules."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from humor.data import RawClip, evaluation_windows, process_clip, read_amass
from humor.data.processing import Dropped, angular_velocity, downsample, process_or_drop
from humor.data.synthetic.walker import synthetic_clip
from humor.rotations import rotvec_to_rotmat
from humor.state import CanonicalFrame


@pytest.fixture(scope="module")
def clip(bodies):
    return process_clip(synthetic_clip(seconds=6.0), bodies)


def test_floor_is_found_at_zero_and_contacts_are_where_feet_rest(clip):
    assert clip.floor_height == pytest.approx(0.0, abs=0.02)
    feet = clip.contacts[:, [5, 6]]
    assert 0.2 < feet.mean() < 1
    assert clip.contacts[:, 0].sum() == 0
    resting = clip.state.joints_vel[:, [10, 11]].norm(dim=-1)[feet > 0]
    assert resting.median() < 0.05
    assert resting.max() < 2 * 0.005 * 120  # a central difference reaches a frame before the contact


def test_a_constant_turn_has_its_angular_velocity():
    rate = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    times = torch.arange(50, dtype=torch.float64) / 240
    found = angular_velocity(rotvec_to_rotmat(times[:, None] * rate), 240.0)
    torch.testing.assert_close(found, rate.expand(48, 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("frames", "fps", "kept", "rate"), [(382, 120.0, 95, 30), (300, 30.0, 300, 30), (90, 25.0, 90, 25)]
)
def test_clips_are_brought_to_thirty_frames_a_second_and_slower_ones_left(frames, fps, kept, rate):
    chosen, found = downsample(frames, fps)
    assert (len(chosen), found) == (kept, rate)
    assert (chosen[0], chosen[-1]) == (0, frames - 1)


def test_old_and_new_keys_hold_the_same_clip():
    old = synthetic_clip(seconds=2.0)
    new = {
        "root_orient": old["poses"][:, :3],
        "pose_body": old["poses"][:, 3:66],
        "pose_hand": old["poses"][:, 66:],
        "trans": old["trans"],
        "betas": np.concatenate([old["betas"], np.ones(284)]),
        "gender": np.array(b"neutral"),
        "mocap_frame_rate": np.array(120),
        "surface_model_type": np.array("smplx"),
    }
    one, other = RawClip.from_arrays(old), RawClip.from_arrays(new)
    np.testing.assert_array_equal(one.poses, other.poses)
    np.testing.assert_array_equal(one.betas, other.betas)
    assert (one.gender, one.fps) == (other.gender, other.fps)


def test_hands_of_smplx_rows_are_found_behind_the_face():
    poses = np.arange(2 * 165, dtype=float).reshape(2, 165)
    clip = RawClip.from_arrays({"poses": poses, "trans": np.zeros((2, 3))}, fps=30.0, gender="male")
    np.testing.assert_array_equal(clip.poses[:, 66:], poses[:, 75:])


def test_what_a_file_holds_is_not_replaced_by_what_was_supplied():
    raw = synthetic_clip(seconds=2.0)
    clip = RawClip.from_arrays(raw, fps=60.0, gender="male")
    assert (clip.fps, clip.gender) == (120, "neutral")


def test_turning_y_up_undoes_a_motion_told_with_y_up(bodies):
    raw = synthetic_clip(seconds=3.0)
    back = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    told = dict(raw, trans=raw["trans"] @ back.T)
    roots = torch.as_tensor(back) @ rotvec_to_rotmat(torch.as_tensor(raw["poses"][:, :3]).double())
    from humor.rotations import rotmat_to_rotvec

    told["poses"] = np.concatenate([rotmat_to_rotvec(roots).numpy(), raw["poses"][:, 3:]], 1)
    one, other = RawClip.from_arrays(raw), RawClip.from_arrays(told, up="y")
    np.testing.assert_allclose(other.trans, one.trans, atol=1e-9)
    turns = [rotvec_to_rotmat(torch.as_tensor(c.poses[:, :3])) for c in (one, other)]
    torch.testing.assert_close(*turns, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("path", "rate"), [("BMLhandball/S1/t.npz", 240), ("x_20160930_50032/t.npz", 59), ("20161014_50033_t.npz", 59)]
)
def test_rates_known_to_be_wrong_are_mended(tmp_path, path, rate):
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **synthetic_clip(seconds=1.0))
    assert read_amass(file).fps == rate


def test_a_clip_of_under_a_second_is_dropped_and_says_so(bodies):
    outcome = process_or_drop(RawClip.from_arrays(synthetic_clip(seconds=1.2), "short"), bodies)
    assert outcome == Dropped("short", "0.96 s after trimming, under 1 s")


def test_evaluation_windows_do_not_overlap(clip):
    starts = [window.start for window in evaluation_windows([clip])]
    assert starts == list(range(0, len(clip) - 10, 11))


def test_a_pair_is_told_in_its_past_frame(clip):
    window = evaluation_windows([clip])[2]
    for pair in (0, 7):
        frame = window.start + pair
        past, current = (clip.state.map(lambda x, f=f: x[f]) for f in (frame, frame + 1))
        own = CanonicalFrame.of(past)
        torch.testing.assert_close(
            window.past.map(lambda x, p=pair: x[p]).to_vector(), own.world_to_canonical(past).to_vector()
        )
        torch.testing.assert_close(
            window.current.map(lambda x, p=pair: x[p]).to_vector(), own.world_to_canonical(current).to_vector()
        )


def test_too_short_motion_has_no_windows(clip):
    cut = {"state": clip.state.map(lambda x: x[:10]), "contacts": clip.contacts[:10], "keypoints": clip.keypoints[:10]}
    short = replace(clip, **cut)
    assert evaluation_windows([short]) == []


def test_a_clip_much_shorter_than_a_window_has_none(clip):
    cut_to_three = {
        "state": clip.state.map(lambda x: x[:3]),
        "contacts": clip.contacts[:3],
        "keypoints": clip.keypoints[:3],
    }
    assert evaluation_windows([replace(clip, **cut_to_three)]) == []


def test_objects_that_a_clip_is_not_read_from_are_not_opened(tmp_path):
    """Released stageii files hold a dictionary of marker names."""
    extra = {"markers_latent_vids": np.array({"a": 1}, dtype=object)}
    np.savez(tmp_path / "t_stageii.npz", **synthetic_clip(seconds=2.0), **extra)
    assert len(read_amass(tmp_path / "t_stageii.npz").poses) == 240
