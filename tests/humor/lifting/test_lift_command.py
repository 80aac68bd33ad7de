"""`humor lift` takes 2D joints of a video as they come, and `humor evaluate lifting` measures on held-out motion."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from humor.cli.app import main
from humor.errors import CheckpointError, MotionError, SettingError
from humor.io.openpose import BODY_25_NAMES
from humor.lifting import PoseFormer, PoseFormerV2
from humor.lifting.cameras import JOINT_NAMES, PARENTS, mirror
from humor.lifting.detections import read_detections
from humor.lifting.evaluation import LiftingErrors, LiftingEvaluationSettings, evaluate_lifting
from humor.lifting.inference import Lifter, load_network
from humor.lifting.metrics import METRICS
from tests.support import golden_values as golden

SIZE = (1920, 1080)
CPU = torch.device("cpu")


def pixels(frames=12, seed=0):
    """A body in the middle of the image that moves to the right, joints in Human3.6M's order."""
    body = np.random.default_rng(seed).uniform((760, 340), (1160, 740), (17, 2))
    return body + 5 * np.arange(frames)[:, None, None] * [1, 0]


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A released checkpoint of PoseFormer for 9 frames."""
    file = tmp_path_factory.mktemp("lifting") / "released.bin"
    weights = golden.released_lifting_weights((9,), 0)
    torch.save({"model_pos": {f"module.{name}": weight for name, weight in weights.items()}, "epoch": 3}, file)
    return file


def test_points_are_halves_of_the_width_from_the_middle(tmp_path):
    seen = read_detections(saved(tmp_path / "a.npz", joints2d=pixels(), image_size=SIZE, fps=25))
    np.testing.assert_allclose(seen.points, (pixels() - [960, 540]) / 960, atol=1e-6)
    assert seen.detected.all()
    assert (seen.fps, seen.names) == (25, [])
    other = read_detections(tmp_path / "a.npz", (960, 540), 50.0)
    np.testing.assert_allclose(other.points, (pixels() - [480, 270]) / 480, atol=1e-6)
    assert other.fps == 50


def test_missing_joints_are_interpolated_over_time(tmp_path):
    joints = np.concatenate([pixels(), np.ones((12, 17, 1))], -1)
    joints[4:7, 3] = np.nan
    joints[:2, 5, 2] = 0
    joints[8] = 0  # a frame without a person
    seen = read_detections(saved(tmp_path / "a.npz", joints2d=joints), SIZE)
    expected = pixels()
    expected[:2, 5] = expected[2, 5]  # the nearest, at an end
    np.testing.assert_allclose(seen.points, (expected - [960, 540]) / 960, atol=1e-6)
    missing = np.zeros((12, 17), bool)
    missing[4:7, 3] = missing[:2, 5] = missing[8] = True
    np.testing.assert_array_equal(seen.detected, ~missing)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"joints2d": pixels()}, "does not say how large the images are; give --image-size, e.g. 1920 1080."),
        ({"fps": 30}, '"joints2d" is missing; expected numbers (frames, 17, 2) in pixels'),
        ({"joints2d": pixels()[:, :16]}, '"joints2d" is float64 (12, 16, 2); expected numbers'),
        ({"joints2d": np.array("walk")}, '"joints2d" is <U4 (); expected numbers'),
        ({"joints2d": pixels() / 2000, "image_size": SIZE}, "in images of 1920 x 1080; expected pixels."),
        ({"joints2d": pixels() * 100, "image_size": SIZE}, "in images of 1920 x 1080; expected pixels."),
        ({"joints2d": pixels(), "image_size": (1920,)}, '"image_size" is int64 (1,); expected 2 numbers.'),
        ({"joints2d": pixels(), "image_size": SIZE, "fps": 0}, "images of 1920 x 1080 at 0 frames a second"),
        ({"joints2d": pixels(0), "image_size": SIZE}, "no joint is detected in any frame; check the detections."),
        (
            {"joints2d": np.where(np.arange(17)[:, None] == 3, np.nan, pixels()), "image_size": SIZE},
            "right_ankle not detected in any of 12 frames; the networks need every joint.",
        ),
    ],
)
def test_detections_that_cannot_be_lifted_are_refused(tmp_path, arrays, sentence):
    with pytest.raises(MotionError) as error:
        read_detections(saved(tmp_path / "a.npz", **arrays))
    assert str(error.value).startswith(f"{tmp_path}/a.npz: ")
    assert sentence in str(error.value)


@pytest.mark.parametrize("sizes", [(9,), (81, 9, 27)])
def test_a_checkpoint_says_which_network_it_is_of(tmp_path, sizes):
    weights = golden.released_lifting_weights(sizes, 0)
    torch.save({"model_pos": weights}, tmp_path / "released.bin")
    network = load_network(tmp_path / "released.bin")
    assert isinstance(network, PoseFormer if len(sizes) == 1 else PoseFormerV2)
    assert network.frames == sizes[0]
    assert not network.training


def test_the_frames_of_poseformer_v2_are_the_users_the_runs_or_the_released_ones(tmp_path, checkpoint):
    network, file = PoseFormerV2(45, 3, 3), tmp_path / "best.pt"
    torch.save({"model": network.state_dict(), "settings": {"frames": 45}}, file)
    assert load_network(file).frames == 45
    torch.save({"model": network.state_dict()}, file)
    assert [load_network(file, frames).frames for frames in (None, 63)] == [27, 63]
    with pytest.raises(SettingError, match=f"frames 27: the network of {checkpoint} sees 9; leave it out"):
        load_network(checkpoint, 27)
    torch.save({"model": {"weight": torch.zeros(3)}}, file)
    with pytest.raises(CheckpointError, match="not the weights of PoseFormer or PoseFormerV2"):
        load_network(file)
    for tokens, sentence in {10**9: "frame_position larger than in any network", 10**5: "not the weights of"}.items():
        torch.save({"model": {"frame_position": torch.zeros(1).expand(1, tokens, 544)}}, file)
        with pytest.raises(CheckpointError, match=sentence):
            load_network(file)


def body25_of(joints):
    """BODY_25's keypoints of joints that have a neck, ears between neck and crown, and no toes."""
    named = dict(zip(JOINT_NAMES, joints, strict=True))
    named["left_ear"] = named["right_ear"] = named["neck"] + (named["crown"] - named["neck"]) / 1.75
    return [number for name in BODY_25_NAMES for number in ([*named[name], 0.9] if name in named else [0.0, 0.0, 0.0])]


def test_lift_writes_joints_and_a_page_for_an_npz_and_an_openpose_folder(tmp_path, checkpoint, capsys):
    joints = pixels(20)
    joints[:, JOINT_NAMES.index("spine2")] = (joints[:, 0] + joints[:, 8]) / 2
    joints[:, JOINT_NAMES.index("head")] = joints[:, 8] + (joints[:, 10] - joints[:, 8]) * 0.8 / 1.75
    saved(tmp_path / "seen.npz", joints2d=joints, image_size=SIZE)
    for frame, each in enumerate(joints):
        text = json.dumps({"people": [{"pose_keypoints_2d": body25_of(each)}] if frame != 7 else []})
        (tmp_path / "openpose" / f"v_{frame:012d}_keypoints.json").parent.mkdir(exist_ok=True)
        (tmp_path / "openpose" / f"v_{frame:012d}_keypoints.json").write_text(text)
    common = ("--checkpoint", str(checkpoint), "--image-size", "1920", "1080", "--device", "cpu")
    lifted = {}
    for name in ("seen.npz", "openpose"):
        main(["lift", *common, "--joints2d", str(tmp_path / name), "--out", str(tmp_path / "out" / name)])
        with np.load(tmp_path / "out" / name / "joints3d.npz") as file:
            lifted[name] = dict(file)
        assert "lifted.html" in capsys.readouterr().out
        assert (tmp_path / "out" / name / "lifted.html").stat().st_size > 20_000
    np.testing.assert_allclose(lifted["openpose"]["joints3d"], lifted["seen.npz"]["joints3d"], atol=1e-4)
    assert lifted["openpose"]["detected"].sum(1).tolist() == [17 if frame != 7 else 0 for frame in range(20)]
    assert lifted["openpose"]["files"][3] == "v_000000000003_keypoints.json"
    assert tuple(lifted["seen.npz"]["names"]) == JOINT_NAMES
    points = read_detections(tmp_path / "seen.npz").points
    expected = Lifter(load_network(checkpoint), "fp32", CPU).lift_clip(points, True)
    np.testing.assert_allclose(lifted["seen.npz"]["joints3d"], expected, atol=1e-6)


def test_a_bone_joins_each_joint_to_the_one_before_it():
    named = {JOINT_NAMES[joint]: JOINT_NAMES[parent] for joint, parent in enumerate(PARENTS) if parent >= 0}
    chains = [("pelvis", "spine2", "neck", "head", "crown")]
    chains += [("pelvis", *(f"{side}_{name}" for name in ("hip", "knee", "ankle"))) for side in ("left", "right")]
    chains += [("neck", *(f"{side}_{name}" for name in ("shoulder", "elbow", "wrist"))) for side in ("left", "right")]
    assert named == {lower: upper for chain in chains for upper, lower in pairwise(chain)}


class Oracle:
    """Lifts whatever it is given to joints that were written down beforehand, and counts the frames."""

    def __init__(self, error):
        self.error, self.frames = error, []

    def lift_clip(self, points, flips):
        assert not flips
        self.frames.append(points)
        return torch.zeros(len(points), 17, 3) + self.error


def test_every_frame_of_the_chosen_clips_is_measured_in_shots_of_one_camera(split):
    store = split.train
    first, second = Oracle(torch.tensor([0.0, 0.0, 0.0])), Oracle(torch.tensor([0.1, 0.0, 0.0]))
    errors = LiftingErrors()
    settings = LiftingEvaluationSettings(precisions=("fp32", "fp16"), noises=("clean", "noisy"))
    evaluate_lifting({"fp32": first, "fp16": second}, store, settings, errors)
    rows = {(row["subset"], row["precision"], row["noise"], row["flips"]): row for row in errors.rows()}
    subset = store.clips[0].subset or "no subset"
    assert len(rows) == 8
    frames = int(store.frames.sum())
    assert all(row["frames"] == frames for row in rows.values())
    assert sum(map(len, first.frames)) == 4 * frames  # clean and noisy, as they are and mirrored
    assert torch.equal(mirror(first.frames[0]), first.frames[1])
    zero, moved = rows[subset, "fp32", "clean", "no"], rows[subset, "fp16", "clean", "no"]
    assert moved["MPJPE"] > zero["MPJPE"] > 0
    assert moved["MPJVE"] == pytest.approx(zero["MPJVE"], rel=1e-5)
    both_ways = rows[subset, "fp16", "clean", "yes"]  # 0.1 to the right, and to the left in the mirror
    assert both_ways["MPJPE"] == pytest.approx(zero["MPJPE"], rel=1e-5)
    again = LiftingErrors()
    evaluate_lifting({"fp32": first, "fp16": second}, store, settings, again)
    assert again.rows() == errors.rows()
    few = LiftingErrors()
    evaluate_lifting({"fp32": first}, store, LiftingEvaluationSettings(clips=1), few)
    assert {row["frames"] for row in few.rows()} == {store.frames[0]}


def test_several_subsets_have_a_mean_in_which_each_counts_the_same():
    errors, target = LiftingErrors(), torch.zeros(4, 17, 3)
    errors.add(("A", "fp32", "clean", "no"), target + torch.tensor([0.1, 0.0, 0.0]), target)
    errors.add(("B", "fp32", "clean", "no"), target[:1] + torch.tensor([0.3, 0.0, 0.0]), target[:1])
    *_, mean = errors.rows()
    assert mean["subset"] == "mean of subsets"
    assert mean["MPJPE"] == pytest.approx(200)
    assert mean["frames"] == 5


def test_evaluate_lifting_prints_and_writes_each_error(tmp_path, checkpoint, split, monkeypatch, capsys):
    monkeypatch.setattr("humor.cli.lifting.load_bodies_and_store", lambda *_: ({}, split.train))
    words = ["--checkpoint", str(checkpoint), "--out", str(tmp_path), "--split", "validation", "--device", "cpu"]
    main(["evaluate", "lifting", *words, "--precisions", "fp32", "fp16", "--noises", "clean"])
    with (tmp_path / "lifting.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["precision"], row["flips"]) for row in rows] == [
        (p, f) for p in ("fp32", "fp16") for f in ("no", "yes")
    ]
    assert all(float(row[name]) > 0 for row in rows for name in METRICS)
    assert "P-MPJPE" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", "lifting", *words[:4]])
    assert "no clip of a test subset" in capsys.readouterr().err
