"""OpenPose's folders are read as one person's keypoints in every frame, and what is in them is not trusted."""

import json

import numpy as np
import pytest

from humor.errors import HumorError
from humor.io.openpose import BODY_25_NAMES, MOST_PEOPLE, body25_to_h36m, read_openpose
from humor.lifting.cameras import JOINT_NAMES, MIRRORED_JOINTS

ANKLES_HIDDEN = [BODY_25_NAMES.index(name) for name in ("left_ankle", "right_ankle")]


def walker(frames, start, speed, seed=0):
    """Keypoints of a body about 350 pixels tall that moves to the side."""
    random = np.random.default_rng(seed)
    body = random.uniform(0, 1, (25, 2)) * [120, 350]
    moved = body + np.arange(frames)[:, None, None] * [speed, 0] + start + random.normal(0, 2, (frames, 25, 2))
    return np.concatenate([moved, random.uniform(0.4, 0.99, (frames, 25, 1))], -1)


def write_frames(folder, people, name="video_{:012d}_keypoints.json", numbers=None):
    """Write a file for each frame: `people` has a list of poses for each."""
    folder.mkdir(exist_ok=True)
    for number, poses in zip(numbers or range(len(people)), people, strict=True):
        persons = [{"person_id": [-1], "pose_keypoints_2d": pose.ravel().tolist()} for pose in poses]
        (folder / name.format(number)).write_text(json.dumps({"version": 1.3, "people": persons}))
    return folder


def test_a_person_is_read_frame_by_frame_with_zeros_where_missing(tmp_path):
    poses = walker(8, (500, 300), 5)
    poses[:, ANKLES_HIDDEN] = 0
    people = [[pose] for pose in poses]
    people[2] = []  # nobody is seen
    numbers = [3, 4, 5, 6, 9, 10, 11, 12]  # two frames have no file
    found = read_openpose(write_frames(tmp_path, people, numbers=numbers))
    assert found.keypoints.dtype == np.float64
    expected = np.zeros((10, 25, 3))
    expected[np.array(numbers) - 3] = poses
    expected[2] = 0
    np.testing.assert_array_equal(found.keypoints, expected)
    assert found.names[0] == "video_000000000003_keypoints.json"
    assert [place for place, name in enumerate(found.names) if not name] == [4, 5]


@pytest.mark.parametrize("seed", range(3))
def test_the_person_who_is_detected_most_is_followed_through_crossings_gaps_and_others(tmp_path, seed):
    random, frames = np.random.default_rng(seed), 60
    main, other = walker(frames, (200, 300), 10, seed), walker(frames, (900, 320), -12, seed + 10)
    main[:, ANKLES_HIDDEN] = 0
    hidden = set(random.choice(frames - 2, 8, replace=False) + 1) | {30, 31, 32}
    people = []
    for frame in range(frames):
        seen = [main[frame]] if frame not in hidden else []
        seen += [other[frame]] if 15 <= frame < 50 else []
        seen += [walker(1, random.uniform(0, 2000, 2), 0, frame)[0]] if frame % 7 == 0 else []  # a false detection
        people.append([seen[place] for place in random.permutation(len(seen))])
    found = read_openpose(write_frames(tmp_path, people)).keypoints
    main[sorted(hidden)] = 0
    np.testing.assert_array_equal(found, main)


def test_people_of_whom_only_hands_are_seen_are_no_people(tmp_path):
    folder = write_frames(tmp_path, [[pose] for pose in walker(3, (0, 0), 1)])
    (folder / "video_000000000001_keypoints.json").write_text(
        '{"people": [{"pose_keypoints_2d": [], "hand_left_keypoints_2d": [1, 2, 1]}, {}]}'
    )
    found = read_openpose(folder).keypoints
    assert (found[1] == 0).all()
    assert (found[[0, 2], :, 2] > 0).all()


def test_what_is_not_a_number_is_missing_and_other_files_are_left(tmp_path):
    poses = walker(2, (0, 0), 1)
    folder = write_frames(tmp_path, [[pose] for pose in poses])
    numbers = [float("nan"), 1.0, 1.0, 5.0, 6.0, 1.04, *poses[0, 2:].ravel()]
    (folder / "video_000000000000_keypoints.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": numbers}]}))
    (folder / "settings.json").write_text("{}")
    (folder / "notes.txt").write_text("walks")
    found = read_openpose(folder).keypoints
    assert found[0, :3].tolist() == [[0, 0, 0], [5, 6, 1], poses[0, 2].tolist()]
    assert len(found) == 2


GOOD = [[pose] for pose in walker(2, (300, 300), 3)]
REFUSED = {
    # what is wrong       frame 1's text, or what to write instead of it               the sentence
    "an empty file":      ("", "not readable as JSON; write it again, or remove it: the frame is missing."),
    "half a file":        ('{"people": [{"pose_k', "not readable as JSON; write it again"),
    "nested brackets":    ("[" * 100_000, "not readable as JSON; write it again"),
    "no UTF-8":           (b"\xff\xfe\x00{", "not readable as JSON; write it again"),
    "a long file":        (" " * 4_000_001, "4000001 bytes; a frame of OpenPose has at most 4000000."),
    "a list":             ("[]", 'no list "people" of objects; expected OpenPose\'s output (--write_json).'),
    "people by name":     ('{"people": {"a": 1}}', 'no list "people" of objects'),
    "a crowd":            (json.dumps({"people": [{}] * (MOST_PEOPLE + 1)}), "101 people; at most 100 can be"),
    "text":               ('{"people": [{}, {"pose_keypoints_2d": ["1"]}]}', 'person 1: "pose_keypoints_2d" is no'),
    "truth values":       ('{"people": [{"pose_keypoints_2d": [true, 1, 1]}]}', "is no list of numbers"),
    "COCO's keypoints":   (json.dumps({"people": [{"pose_keypoints_2d": [1] * 54}]}),
                           "person 0: 54 numbers (COCO); expected 75: OpenPose's --model_pose BODY_25."),
    "a number too many":  (json.dumps({"people": [{"pose_keypoints_2d": [1] * 76}]}), "76 numbers; expected 75"),
    "infinite pixels":    (json.dumps({"people": [{"pose_keypoints_2d": [1e999] * 75}]}), "a keypoint at inf; expec"),
    "pixels too large":   ('{"people": [{"pose_keypoints_2d": [' + ",".join(["9" * 500] * 75) + "]}]}", "at inf"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_frame_that_is_not_openposes_is_named(tmp_path, case):
    content, sentence = REFUSED[case]
    folder = write_frames(tmp_path, GOOD)
    file = folder / "video_000000000001_keypoints.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(HumorError) as error:
        read_openpose(folder)
    assert str(error.value).startswith(str(file))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ([], "no .json files; expected OpenPose's: one for each frame (--write_json)."),
        (["a_1.json", "a_01.json"], "a_01.json and a_1.json are one frame; remove one."),
        (["a_1.json", "b_2.json"], "frames of 2 videos (a_1.json, b_2.json); put each in a folder of its own."),
        (["a_1.json", "a.json"], "no frame number in its name; expected such as video_000012_keypoints.json."),
        (["a_1.json", "a_200001.json"], "frames 1 to 200001; at most 200000 can be read."),
    ],
)
def test_files_that_are_not_one_videos_frames_are_refused(tmp_path, written, sentence):
    for name in written:
        (tmp_path / name).write_text('{"people": []}')
    with pytest.raises(HumorError) as error:
        read_openpose(tmp_path)
    assert sentence in str(error.value)


def test_no_folder_nobody_and_scaled_keypoints_are_refused(tmp_path):
    file = tmp_path / "one.json"
    file.write_text("{}")
    with pytest.raises(HumorError, match=r"one\.json: is a file; expected a folder with OpenPose's JSON file"):
        read_openpose(file)
    with pytest.raises(HumorError, match="none: no such folder; expected"):
        read_openpose(tmp_path / "none")
    with pytest.raises(HumorError, match="nobody is detected in any of 2 frames"):
        read_openpose(write_frames(tmp_path / "empty", [[], []]))
    scaled = [[pose / [1000, 1000, 1]] for pose in walker(2, (0, 0), 0)]
    with pytest.raises(HumorError, match="keypoints are between -1 and 1; expected pixels"):
        read_openpose(write_frames(tmp_path / "scaled", scaled))


def test_damaged_folders_are_read_or_refused(tmp_path):
    random = np.random.default_rng(0)
    folder = write_frames(tmp_path, [[pose.round(2)] for pose in walker(2, (300, 300), 3)])
    file = folder / "video_000000000000_keypoints.json"
    whole, refused = file.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(len(damaged), size=random.integers(1, 4)):
            damaged[place] = random.choice(list(b'0159.,-e[]{}"nN \xff'))
        file.write_bytes(damaged[: random.choice([len(damaged), random.integers(len(damaged))], p=[0.9, 0.1])])
        try:
            found = read_openpose(folder).keypoints
            assert np.isfinite(found).all()
            assert found.shape == (2, 25, 3)
        except HumorError:
            refused += 1
    assert 30 < refused < 290


def test_the_joints_of_human36m_are_named_ones_or_on_lines_between_them():
    pose = np.random.default_rng(0).uniform(10, 20, (4, 25, 3))
    pose[..., 2] /= 20
    named = dict(zip(BODY_25_NAMES, np.moveaxis(pose, 1, 0), strict=True))
    found = dict(zip(JOINT_NAMES, np.moveaxis(body25_to_h36m(pose), 1, 0), strict=True))
    for name in set(JOINT_NAMES) - {"spine2", "head", "crown"}:
        np.testing.assert_array_equal(found[name], named[name])
    middle = (named["pelvis"][:, :2] + named["neck"][:, :2]) / 2
    np.testing.assert_allclose(found["spine2"][:, :2], middle)
    np.testing.assert_allclose(found["spine2"][:, 2], np.minimum(named["pelvis"], named["neck"])[:, 2])
    ears = (named["left_ear"] + named["right_ear"])[:, :2] / 2
    for name, share in {"head": 0.8, "crown": 1.75}.items():
        np.testing.assert_allclose(found[name][:, :2], (1 - share) * named["neck"][:, :2] + share * ears)


@pytest.mark.parametrize(
    ("hidden", "missing"),
    [
        ((), ()),
        (("left_ear",), ()),  # the other ear
        (("left_ear", "right_ear"), ()),  # the nose
        (("left_ear", "right_ear", "nose"), ("head", "crown")),
        (("pelvis", "neck"), ()),  # from the sides
        (("pelvis", "left_hip"), ("pelvis", "left_hip", "spine2")),
        (("left_wrist",), ("left_wrist",)),
    ],
)
def test_a_joint_is_missing_where_its_keypoints_are(hidden, missing):
    pose = walker(1, (100, 100), 0)[0]
    pose[[BODY_25_NAMES.index(name) for name in hidden]] = 0
    found = body25_to_h36m(pose)
    assert {name for name, joint in zip(JOINT_NAMES, found, strict=True) if not joint.any()} == set(missing)
    mirrored = pose[[BODY_25_NAMES.index(_other_side(name)) for name in BODY_25_NAMES]]
    np.testing.assert_allclose(body25_to_h36m(mirrored)[list(MIRRORED_JOINTS)][1:7], found[1:7])


def _other_side(name):
    return name.replace("left", "?").replace("right", "left").replace("?", "right")
