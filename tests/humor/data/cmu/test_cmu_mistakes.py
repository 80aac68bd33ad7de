"""What is wrong in a CMU file is named in one sentence."""

import gzip
import re
from pathlib import Path

import pytest

from humor.data.cmu.amc import read_amc
from humor.data.cmu.asf import read_asf
from humor.errors import FileError, HumorError, MotionError
from tests.support.cmu_files import (
    made_up_amc,
    made_up_asf,
    read_made_up,
)

SKELETON_MISTAKES = [
    (":hierarchy", ":tree", '77.asf: no ":hierarchy" section; expected a skeleton (.asf), get a whole copy of it.'),
    ("length 0.5", "length 0", "77.asf: line 6: length unit 0; expected 0.45 (CMU) or 1 (inches), correct it."),
    ("angle deg", "angle turns", '77.asf: line 7: angle unit "turns"; expected "deg" or "rad", correct it.'),
    ("TX TY TZ", "TX TX TZ",
     '77.asf: line 11: root order "TX TX TZ RX RY RZ"; expected TX TY TZ RX RY RZ, correct it.'),
    ("name head", "name root", '77.asf: line 75: a second bone named "root"; every bone needs its own, correct it.'),
    ("name head", "title head", "77.asf: line 75: a bone without a name; every bone needs its own, correct it."),
    ("length 8\n", "length nan\n", '77.asf: bone "lfemur": length: "nan"; expected 1 finite number, correct it.'),
    ("length 8\n", "length 800\n",
     '77.asf: bone "lfemur": length 40.6 m along a direction of length 1; expected 0 to 10 m along a unit vector, '
     "correct it."),
    ("direction 0.25 -0.97 0", "direction 0 0 0",
     '77.asf: bone "lfemur": length 0.406 m along a direction of length 0; expected 0 to 10 m along a unit vector, '
     "correct it."),
    ("axis 0 0 15 XYZ", "axis 0 0 15 XXZ",
     '77.asf: bone "lfemur": axis order "XXZ"; expected three angles and XYZ or the like, correct it.'),
    ("dof rx\n", "dof rx tx\n", '77.asf: bone "ltibia": dof "rxtx"; expected rx ry rz, each at most once, correct it.'),
    ("lowerback upperback", "lowerback lowerback",
     '77.asf: line 273: bone "lowerback" has two parents; expected one, correct it.'),
    ("lowerback upperback", "lowerback tail", '77.asf: line 273: bone "tail" is not in ":bonedata"; correct it.'),
    ("root lhipjoint", "root",
     '77.asf: bone "lfemur" does not hang from the root in ":hierarchy"; correct it.'),
    ("end\n:hierarchy", ":hierarchy", '77.asf: ":bonedata" ends early or is empty; get a whole copy of it.'),
    ("length 0.5", "scale 2", '77.asf: line 6: "scale" in ":units"; expected one of mass, length, angle, correct or '
     "remove the line."),
    ("axis XYZ\n position", "shift 1 2 3\n position",
     '77.asf: line 12: "shift" in ":root"; expected one of order, axis, position, orientation, correct or remove the '
     "line."),
    ("id 1\n", "offset 1 2 3\n",
     '77.asf: line 17: "offset" in ":bonedata"; expected one of id, name, direction, length, axis, dof, limits, '
     "bodymass, cofmass, correct or remove the line."),
    ("direction 0.25 -0.97 0", "direction 0,25 -0,97 0",
     '77.asf: bone "lfemur": direction: "0,25 -0,97 0" has decimal commas; write numbers with points.'),
    ("begin\n id 1\n", "begin\nbegin\n id 1\n",
     '77.asf: line 17: "begin" out of place; expected "begin" ... "end", correct it.'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), SKELETON_MISTAKES)
def test_a_mistake_in_a_skeleton_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = made_up_asf()
    assert old in text
    (tmp_path / "77.asf").write_text(text.replace(old, new, 1))
    with pytest.raises(FileError) as caught:
        read_asf(tmp_path / "77.asf")
    assert str(caught.value) == message


MOTION_MISTAKES = [
    ("lfemur 0.0", "lfemur", FileError,
     '77_01.amc: first frame: "0.0" is no bone of 77.asf (or a number is missing); pair the motion with its own '
     "skeleton."),
    ("rtibia 0.0\n", "", FileError,
     '77_01.amc: first frame: no bone "rtibia", which 77.asf has; pair the motion with its own skeleton.'),
    ("rtibia 0.0\n", "ltibia 0.0\n", FileError,
     '77_01.amc: first frame: "ltibia" appears twice; pair the motion with its own skeleton.'),
    ("rtibia 0.0", "rtibia nan", MotionError,
     '77_01.amc: bone "rtibia" has a number that is not finite; get a whole copy of it.'),
    ("rtibia 0.0", "rtibia 1e9", MotionError,
     "77_01.amc: an angle over 36000 degrees or a root over 1000 m away; expected a person's motion in the units of "
     "its skeleton, get a whole copy of it."),
    ("rtibia 0.0", "rtibia zero", FileError,
     '77_01.amc: bone "rtibia" has a word among its numbers; get a whole copy of it.'),
    ("rtibia 0.0", "rtibia 0,0", FileError, "77_01.amc: numbers have decimal commas; write them with points."),
    (":DEGREES", ":DEGREES\n:TURNS", FileError,
     '77_01.amc: keyword ":TURNS" is unknown; remove its line if the numbers do not depend on it.'),
    (":DEGREES", ":SAMPLES-PER-SECOND fast", FileError,
     '77_01.amc: ":SAMPLES-PER-SECOND" is "fast"; expected a number between 1 and 1000, correct it.'),
    (":DEGREES", ":SAMPLES-PER-SECOND 0", FileError,
     '77_01.amc: ":SAMPLES-PER-SECOND" is "0"; expected a number between 1 and 1000, correct it.'),
    ("\n2\n", "\n5\n", FileError, "77_01.amc: frame numbers do not count up by one; get a whole copy of it."),
    (":DEGREES", "x" * 40, FileError,
     '77_01.amc: "xxxxxxxxxxxxxxxxxxxxx..." is neither a number nor a bone; get a whole copy of it.'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "kind", "message"), MOTION_MISTAKES)
def test_a_mistake_in_a_motion_is_named(
    tmp_path: Path, old: str, new: str, kind: type[HumorError], message: str
) -> None:
    skeleton, _ = read_made_up(tmp_path, [{}, {}])
    text = made_up_amc([{}, {}])
    assert old in text
    (tmp_path / "77_01.amc").write_text(text.replace(old, new, 1))
    with pytest.raises(kind) as caught:
        read_amc(tmp_path / "77_01.amc", skeleton)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "77_01.amc: no frames; expected an Acclaim motion (.amc), get a whole copy of it."),
        (made_up_amc([{}, {}]).encode()[:-30], "77_01.amc: ends in the middle of frame 2; get a whole copy of it."),
        ("rtibia 1.0".join(made_up_amc([{}, {}]).rsplit("rradius 0.0", 1)).encode(),
         '77_01.amc: frame 2: "rtibia" where the first frame has "rradius"; expected the same bones in every frame, '
         "get a whole copy of it."),
    ],
)  # fmt: skip
def test_a_cut_motion_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    skeleton, _ = read_made_up(tmp_path, [{}, {}])
    (tmp_path / "77_01.amc").write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_amc(tmp_path / "77_01.amc", skeleton)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("before", "after"), [(b"\xef\xbb\xbf", b""), (b"", b"\x1a"), (b"\xef\xbb\xbf", b"\r\n\x1a\x1a\n")]
)
def test_what_editors_put_around_a_text_is_not_read(tmp_path: Path, before: bytes, after: bytes) -> None:
    (tmp_path / "77.asf").write_bytes(before + made_up_asf().encode() + after)
    (tmp_path / "77_01.amc").write_bytes(before + made_up_amc([{}, {}]).encode() + after)
    assert len(read_amc(tmp_path / "77_01.amc", read_asf(tmp_path / "77.asf"))) == 2


def test_a_text_of_wide_characters_is_named(tmp_path: Path) -> None:
    (tmp_path / "77.asf").write_text(made_up_asf(), "utf-16")
    with pytest.raises(FileError, match=r"^77.asf: is UTF-16 text; save it as plain text \(UTF-8\).$"):
        read_asf(tmp_path / "77.asf")


def test_a_missing_file_and_a_broken_gzip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileError, match=f"^5.asf: no such file in {re.escape(str(tmp_path))}; check the folder's name.$"
    ):
        read_asf(tmp_path / "5.asf")
    (tmp_path / "5.asf.gz").write_bytes(b"nonsense")
    with pytest.raises(
        FileError, match=r"^5.asf.gz: cannot be read \(Not a gzipped file .*\); get a whole copy of it.$"
    ):
        read_asf(tmp_path / "5.asf.gz")


def test_a_gzip_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("humor.data.cmu.asf.MAX_MIB", 1)
    (tmp_path / "5.asf.gz").write_bytes(gzip.compress(b" " * 2**22))
    with pytest.raises(FileError, match=r"^5.asf.gz: more than 1 MiB of text, no CMU file is; remove it.$"):
        read_asf(tmp_path / "5.asf.gz")
