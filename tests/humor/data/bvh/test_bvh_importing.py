"""A folder of .bvh files becomes AMASS files, whatever lies in it, and goes on where it was stopped."""

import csv
import gzip
import random
import re
from pathlib import Path

import numpy as np
import pytest

from humor.body import BodyModel
from humor.cli.app import main
from humor.data.amass import read_amass
from humor.data.bvh.importing import import_bvh, read_joint_names
from humor.data.importing import ImportSummary
from humor.errors import FileError, SettingError
from tests.support.bvh_files import FAMILIES, walking, write_bvh
from tests.support.damaged_text import damaged


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.mannequin("neutral")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """A short walk in three families."""
    world = walking(12)
    return {name: write_bvh(FAMILIES[name], world) for name in ("lafan1", "mixamo", "blender")}


@pytest.fixture
def folder(tmp_path: Path, texts: dict[str, str]) -> Path:
    """Walks in three families, and files that are none."""
    source = tmp_path / "takes"
    (source / "deeper").mkdir(parents=True)
    (source / "a.bvh").write_text(texts["lafan1"])
    (source / "deeper" / "a.BVH").write_text(texts["mixamo"])
    (source / "b.bvh.gz").write_bytes(gzip.compress(texts["blender"].encode()))
    (source / "b.bvh").write_text(texts["lafan1"].replace("LeftLeg", "Tail"))
    (source / "c.bvh").write_text("no motion")
    (source / "notes.txt").write_text("nothing")
    return source


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_becomes_amass_files_and_bad_ones_are_named(folder: Path, tmp_path: Path, body: BodyModel) -> None:
    seen = []
    summary = import_bvh(folder, tmp_path / "out", body, lambda clip, total: seen.append((clip.source.name, total)))
    # A second motion of a name gets a number, though the first could not be read.
    assert files_below(tmp_path / "out") == [
        "takes/a_poses.npz", "takes/b_2_poses.npz", "takes/deeper/a_poses.npz",
    ]  # fmt: skip
    assert seen == [(name, 5) for name in ("a.bvh", "b.bvh", "b.bvh.gz", "c.bvh", "a.BVH")]
    assert [clip.note.partition(";")[0] for clip in summary.left_out] == [
        "b.bvh: which joint is the left_knee cannot be told",
        'c.bvh: no "MOTION" after a hierarchy of joints',
    ]
    assert [clip.layout for clip in summary.imported] == ["cm, y up, 30/s", "m, z up, 30/s", "cm, y up, 30/s"]
    clip = read_amass(tmp_path / "out" / "takes" / "a_poses.npz")
    assert (clip.poses.shape, clip.gender, clip.fps) == ((12, 156), "neutral", 30.0)


def modified(summary: ImportSummary) -> list[int]:
    return [clip.path.stat().st_mtime_ns for clip in summary.imported if clip.path is not None]


def test_a_second_run_keeps_what_is_there_and_redoes_what_changed(
    folder: Path, tmp_path: Path, body: BodyModel, texts: dict[str, str]
) -> None:
    out = tmp_path / "out"
    first = import_bvh(folder, out, body)
    assert import_bvh(folder, out, body) == first
    times = modified(first)
    path = first.imported[0].path
    assert path is not None
    path.write_bytes(path.read_bytes()[:-9])  # damaged: made again
    (out / "takes" / ".x.unfinished").write_bytes(b"of a killed run")
    again = import_bvh(folder, out, body)
    assert again == first
    assert [now == before for now, before in zip(modified(again), times, strict=True)] == [False, True, True]
    assert not (out / "takes" / ".x.unfinished").exists()
    (folder / "a.bvh").write_text(texts["blender"] + "\n")
    changed = import_bvh(folder, out, body)
    assert [clip.layout for clip in changed.imported] == ["m, z up, 30/s"] * 2 + ["cm, y up, 30/s"]
    (folder / "a.bvh").write_text("no motion any more")
    assert len(import_bvh(folder, out, body).imported) == 2
    assert not path.exists()  # what it was made from is gone


def test_other_settings_are_imported_again(folder: Path, tmp_path: Path, body: BodyModel) -> None:
    times = modified(import_bvh(folder, tmp_path / "out", body))
    other = import_bvh(folder, tmp_path / "out", body, unit="in", joints={"left_knee": "LeftLeg"})
    assert [clip.layout for clip in other.imported] == ["in, y up, 30/s"]  # the others have no LeftLeg
    assert modified(other)[0] not in times


@pytest.mark.slow
def test_several_processes_write_the_same(folder: Path, tmp_path: Path, body: BodyModel) -> None:
    one = import_bvh(folder, tmp_path / "one", body)
    two = import_bvh(folder, tmp_path / "two", body, workers=2)
    assert [clip.note for clip in two.clips] == [clip.note for clip in one.clips]
    for ours, theirs in zip(one.imported, two.imported, strict=True):
        assert ours.path is not None
        assert theirs.path is not None
        assert ours.path.read_bytes() == theirs.path.read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unit": "ell"}, '--unit "ell"; expected one of m, cm, mm, in, cmu.'),
        ({"up": "x"}, '--up "x"; expected y or z.'),
        ({"subset": "../a"}, '--subset "../a"; expected the name of a folder, e.g. MPI_HDM05.'),
        ({"workers": 0}, "--workers 0; give 1 or more."),
    ],
)
def test_a_setting_that_is_none_is_refused(
    tmp_path: Path, body: BodyModel, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        import_bvh(tmp_path, tmp_path / "out", body, **settings)  # type: ignore[arg-type]


def test_folders_without_motions_are_refused(tmp_path: Path, body: BodyModel) -> None:
    for folder, message in (
        (tmp_path, f"{tmp_path}: no .bvh or .bvh.gz file in it; name another folder."),
        (tmp_path / "x", f"{tmp_path / 'x'}: not a folder; expected .bvh files in it, check the name."),
    ):
        with pytest.raises(FileError, match=f"^{re.escape(message)}$"):
            import_bvh(folder, tmp_path / "out", body)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("left_knee: LeftShin", "not a file of joints ("),
        ('tail = "Tail"', "tail = 'Tail'; expected one of head, left_knee, "),
        ("left_knee = 3", "left_knee = 3; expected one of head, left_knee, "),
    ],
)  # fmt: skip
def test_a_file_of_joints_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "joints.toml"
    path.write_text(text)
    with pytest.raises(FileError) as caught:
        read_joint_names(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_the_command_says_how_files_were_read_and_what_became_of_each(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "joints.toml").write_text('left_knee = "Tail"\n')
    out = tmp_path / "raw"
    command = ["import", "bvh", str(folder), "--out", str(out), "--workers", "1", "--subset", "Ours"]
    main([*command, "--joints", str(tmp_path / "joints.toml")])
    shown = capsys.readouterr().out
    assert "read as cm, y up, 30/s: 1 files\n" in shown
    assert "left out: c.bvh: no " in shown
    assert f"wrote to {out}: Ours 1\n" in shown
    with (out / "import.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert (rows[f"{folder}/b.bvh"]["became"], rows[f"{folder}/b.bvh"]["frames"]) == ("Ours/b_poses.npz", "12")
    assert (rows[f"{folder}/c.bvh"]["became"], rows[f"{folder}/c.bvh"]["note"][:10]) == ("left out", "c.bvh: no ")
    assert len(rows) == 5
    with pytest.raises(SystemExit):
        main([*command, "--fps", "60"])
    assert capsys.readouterr().err == "humor: --fps is not for bvh, whose files say it; leave it out.\n"


def test_damaged_files_are_imported_or_refused_and_nothing_else(
    tmp_path: Path, body: BodyModel, texts: dict[str, str]
) -> None:
    draw = random.Random(1)
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(200):
        text = texts[draw.choice(list(texts))].encode()
        head = text.index(b"MOTION") + 60
        cut = head if number % 2 else len(text)  # half of the damage is to the hierarchy, which is small
        (source / f"{number}.bvh").write_bytes(damaged(draw, text[:cut]) + text[cut:])
    summary = import_bvh(source, out, body)
    assert len(summary.clips) == 200
    assert all("\n" not in clip.note and clip.note.endswith(".") for clip in summary.left_out)
    assert (len(summary.imported) > 10, len(summary.left_out) > 100) == (True, True)
    for clip in summary.imported:
        assert clip.path is not None
        with np.load(clip.path) as arrays:
            assert all(np.isfinite(arrays[key]).all() for key in ("poses", "trans", "betas"))
    assert {path.parent for path in tmp_path.rglob("*.npz")} == {out / "in"}
