"""A .bvh is read as it is meant, however it is written; what is wrong in one is named in one sentence."""

import gzip
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from humor.data.bvh.posing import pose_joints
from humor.data.bvh.reading import BvhMotion, read_bvh, without_rest_pose
from humor.errors import FileError, HumorError, MotionError
from tests.support.damaged_text import damaged

SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Left Leg
  {
    OFFSET 0 -4.0e-1 0
    CHANNELS 1 Xrotation
    End Site
    {
      OFFSET 0 -0.5 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0083333
1 2 3 10 20 30 40
4 5 6 -10 -20 -30 -40
"""


def read(folder: Path, text: str | bytes, name: str = "a.bvh") -> BvhMotion:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return read_bvh(folder / name)


def test_joints_and_numbers_are_read_and_posed(tmp_path: Path) -> None:
    motion = read(tmp_path, SMALL)
    assert motion.names == ("Hips", "Left Leg", "Left Leg end")
    assert (motion.parents, motion.is_end) == ((-1, 0, 1), (False, False, True))
    np.testing.assert_array_equal(motion.offsets, [[1, 2, 3], [0, -0.4, 0], [0, -0.5, 0]])
    assert (len(motion), motion.fps) == (2, 120.0)
    posed = pose_joints(motion, range(3))
    hips = Rotation.from_euler("ZXY", [10, 20, 30], degrees=True).as_matrix()  # about its own axes, z first
    leg = hips @ Rotation.from_euler("x", 40, degrees=True).as_matrix()
    np.testing.assert_allclose(posed.rotations[2][0], leg, atol=1e-12)
    np.testing.assert_allclose(posed.places[2][0], [1, 2, 3] + hips @ [0, -0.4, 0] + leg @ [0, -0.5, 0], atol=1e-12)


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("  ", "\t").replace(" ", "\t").replace("Frame\tTime", "Frame Time"),
        lambda text: text.replace("\n{", " {").replace("MOTION", "motion ").replace("Frames:", "Frames :\t"),
        lambda text: text.replace("ROOT", "Root").replace("Xrotation", "XROTATION").replace("End Site", "end site"),
        lambda text: "\ufeff" + text + "\n\n\x1a",
        lambda text: text.replace("1 2 3 10 20 30 40\n", "1 2 3 10\n 20 30 40\n").replace("-40\n", "-40"),
    ],
)
def test_the_way_of_writing_does_not_matter(tmp_path: Path, written: Callable[[str], str]) -> None:
    plain, other = read(tmp_path, SMALL), read(tmp_path, written(SMALL), "b.bvh")
    packed = read(tmp_path, gzip.compress(SMALL.encode()), "c.bvh.gz")
    for motion in (other, packed):
        assert (motion.names, motion.parents, motion.fps) == (plain.names, plain.parents, plain.fps)
        assert [[c.lower() for c in own] for own in motion.channels] == [
            [c.lower() for c in own] for own in plain.channels
        ]
        np.testing.assert_array_equal(motion.values, plain.values)


def test_channels_may_come_in_any_order(tmp_path: Path) -> None:
    text = SMALL.replace(
        "Xposition Yposition Zposition Zrotation Xrotation Yrotation",
        "Yrotation Zposition Xrotation Yposition Zrotation Xposition",
    )
    posed = pose_joints(read(tmp_path, text), [0])
    np.testing.assert_array_equal(posed.places[0][0], [30, 10, 2])
    turn = Rotation.from_euler("YXZ", [1, 3, 20], degrees=True).as_matrix()
    np.testing.assert_allclose(posed.rotations[0][0], turn, atol=1e-12)


@pytest.mark.parametrize(
    ("numbers", "place"), [("0 -0.4 0", -0.4), ("0 -0.7 0", -0.7), ("0 0 0", -0.4), ("0 0.01 0", -0.39)]
)
def test_positions_of_a_joint_hold_its_offset_or_are_added_to_it(tmp_path: Path, numbers: str, place: float) -> None:
    text = SMALL.replace("CHANNELS 1 Xrotation", "CHANNELS 4 Xposition Yposition Zposition Xrotation")
    text = text.replace("30 40", f"30 {numbers} 40").replace("-30 -40", f"-30 {numbers} -40")
    np.testing.assert_allclose(read(tmp_path, text).places(1), [[0, place, 0]] * 2)


@pytest.mark.parametrize(
    ("time", "rate"),
    [
        ("0.0083333", 120), (".00833333", 120), ("0.0083", 120), ("0.008", 120), ("0.0333333", 30), ("0.033", 30),
        ("0.033367", 30 / 1.001), ("0.04", 25), ("0.0416667", 24), ("0.017", 60), ("0.01", 100), ("0.0125", 1 / 0.0125),
        ("1.6666666e-02", 60), ("0.0035", 1 / 0.0035), ("0.5", 2),
    ],
)  # fmt: skip
def test_a_frame_time_of_few_digits_stands_for_a_usual_rate(tmp_path: Path, time: str, rate: float) -> None:
    assert read(tmp_path, SMALL.replace("0.0083333", time)).fps == pytest.approx(rate, rel=1e-6)


def still_then_moving(first: float, second: float) -> BvhMotion:
    channels = tuple(("Zrotation", "Xrotation", "Yrotation") for _ in range(4))
    values = np.linspace(second, second + 9, 8)[:, None] + np.linspace(0, 1, 12)
    values[0] = first
    parents, names = (-1, 0, 1, 2), ("a", "b", "c", "d")
    return BvhMotion("a.bvh", names, parents, (False,) * 4, np.zeros((4, 3)), channels, values, 30.0)


@pytest.mark.parametrize(
    ("first", "second", "left_out"), [(0, 20, True), (0, -0.5, False), (15, 20, False), (1, 40, False)]
)
def test_a_rest_pose_before_the_motion_is_left_out_and_a_motion_from_one_is_not(
    first: float, second: float, left_out: bool
) -> None:
    motion = still_then_moving(first, second)
    rest, found = without_rest_pose(motion)
    assert found == left_out
    np.testing.assert_array_equal(rest.values, motion.values[1:] if left_out else motion.values)


MISTAKES = [
    ("HIERARCHY", "SKELETON", 'a.bvh: begins with "SKELETON"; expected "HIERARCHY" of a .bvh, get a whole copy of it.'),
    ("MOTION", "", 'a.bvh: no "MOTION" after a hierarchy of joints; expected a .bvh, get a whole copy of it.'),
    ("Frames: 2", "2", 'a.bvh: no "Frames:" and "Frame Time:" after "MOTION"; get a whole copy of it.'),
    ("Frames: 2", "Frames: two", 'a.bvh: "Frames:" is "two"; expected how many frames follow, correct it.'),
    ("Frames: 2", "Frames: 3",
     "a.bvh: 14 numbers; expected 3 frames of 7 each, as its head says, get a whole copy of it."),
    ("Frames: 2", "Frames: 999999999",
     "a.bvh: 14 numbers; expected 999999999 frames of 7 each, as its head says, get a whole copy of it."),
    ("0.0083333", "0,0083333",
     'a.bvh: "Frame Time:" is "0,0083333"; expected seconds, 0.001 to 1, write it with a point.'),
    ("0.0083333", "120", 'a.bvh: "Frame Time:" is "120"; expected seconds, 0.001 to 1, correct it.'),
    ("0.0083333", "nan", 'a.bvh: "Frame Time:" is "nan"; expected seconds, 0.001 to 1, correct it.'),
    ("30 40", "30 4O", 'a.bvh: line 1 of the frames: "4O"; expected a number, get a whole copy of it.'),
    ("-30 -40", "-30 -40,5", 'a.bvh: line 2 of the frames: "-40,5"; expected a number, write numbers with points.'),
    ("-30 -40", "-30 1e7", "a.bvh: frame 2: a number that is not finite or over 1e+06; cut those frames out."),
    ("-30 -40", "-30 nan", "a.bvh: frame 2: a number that is not finite or over 1e+06; cut those frames out."),
    ("OFFSET 1 2 3", "OFFSET 1 2",
     'a.bvh: joint "Hips": OFFSET "1 2 CHANNELS"; expected three numbers up to 1e+06, correct it.'),
    ("OFFSET 1 2 3", "OFFSET 1,0 2 3", 'a.bvh: joint "Hips": OFFSET "1,0 2 3" has decimal commas; write numbers with '
     "points."),
    ("OFFSET 1 2 3", "", 'a.bvh: joint "Hips": no OFFSET; get a whole copy of it.'),
    ("CHANNELS 1 Xrotation", "CHANNELS 2 Xrotation Xrotation",
     'a.bvh: joint "Left Leg": CHANNELS "2 Xrotation Xrotation"; expected how many, up to 6, and their names, as '
     "Xposition or Zrotation, each at most once, correct it."),
    ("CHANNELS 1 Xrotation", "CHANNELS 1 Wrotation",
     'a.bvh: joint "Left Leg": CHANNELS "1 Wrotation"; expected how many, up to 6, and their names, as Xposition or '
     "Zrotation, each at most once, correct it."),
    ("JOINT Left Leg", "ROOT Left Leg",
     'a.bvh: joint "Hips": "ROOT" out of place; expected one ROOT with all joints in it.'),
    ("ROOT Hips", "JOINT Hips", 'a.bvh: hierarchy: "JOINT" out of place; expected one ROOT with all joints in it.'),
    ("}\nMOTION", "MOTION", "a.bvh: the hierarchy ends early; get a whole copy of it."),
    ("}\nMOTION", "}\n}\nMOTION", 'a.bvh: hierarchy: "}" out of place; get a whole copy of it.'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert SMALL.count(old) >= 1
    with pytest.raises((FileError, MotionError), match=f"^{re.escape(message)}$"):
        read(tmp_path, SMALL.replace(old, new, 1))


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = SMALL.replace("End Site", "JOINT x\n{\nOFFSET 0 0 0\n" * 1100 + "End Site").replace(
        "}\nMOTION", "}\n" * 1101 + "MOTION"
    )
    with pytest.raises(FileError, match=r"^a.bvh: more than 1024 joints; expected one person's skeleton, remove it.$"):
        read(tmp_path, many)
    monkeypatch.setattr("humor.data.bvh.reading.MAX_MIB", 1)
    with pytest.raises(FileError, match=r"^a.bvh.gz: more than 1 MiB of text, cut it in two.$"):
        read(tmp_path, gzip.compress(SMALL.encode() + b" " * 2**22), "a.bvh.gz")


def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    draw = random.Random(0)
    messages, was_read = [], 0
    for _ in range(600):
        try:
            motion = read(tmp_path, damaged(draw, SMALL.encode()))
        except HumorError as error:
            messages.append(str(error))
        else:
            posed = pose_joints(motion, range(len(motion.names)))
            assert all(np.isfinite(place).all() for place in posed.places.values())
            was_read += 1
    assert all("\n" not in message and message.endswith(".") for message in messages)
    assert (was_read > 10, len(messages) > 300) == (True, True)
