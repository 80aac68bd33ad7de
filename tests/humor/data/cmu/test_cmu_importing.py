"""A folder of CMU's files becomes AMASS files, whatever lies in it."""

import gzip
import math
import random
import re
from pathlib import Path

import numpy as np
import pytest

from humor.body import BodyModel
from humor.data.amass import read_amass
from humor.data.cmu.importing import find_clips, import_cmu
from humor.errors import FileError, SettingError
from tests.support.cmu_files import (
    made_up_amc,
    made_up_asf,
    random_frames,
    read_made_up,
)
from tests.support.damaged_text import damaged


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.mannequin("neutral")


def test_a_folder_becomes_amass_files_and_bad_ones_are_named(tmp_path: Path, body: BodyModel) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    read_made_up(source, random_frames(5, 4))
    (source / "77_01.amc.gz").write_bytes(gzip.compress((source / "77_01.amc").read_bytes()))
    (source / "77_02.amc").write_text(made_up_amc(random_frames(6, 2)).replace("lfemur", "ltail"))
    (source / "deeper").mkdir()
    (source / "deeper" / "77_..sly name.amc").write_text(made_up_amc(random_frames(7, 4)))
    (source / "deeper" / "88_01.amc").write_text(made_up_amc(random_frames(7, 4)))
    seen = []
    summary = import_cmu(
        source, out, body, fps=60.0, on_clip=lambda clip, total: seen.append((clip.source.name, total))
    )
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "CMU/77/77_01_poses.npz", "CMU/deeper/77_..sly name_poses.npz",
    ]  # fmt: skip
    assert [name for name, _ in seen] == ["77_01.amc", "77_01.amc.gz", "77_02.amc", "77_..sly name.amc", "88_01.amc"]
    assert {total for _, total in seen} == {5}
    assert len(summary.imported) == 2
    assert [clip.note for clip in summary.left_out] == [
        "77_01.amc.gz: the same clip as 77_01.amc, which was taken; remove one of them.",
        '77_02.amc: first frame: "ltail" is no bone of 77.asf (or a number is missing); pair the motion with its own '
        "skeleton.",
        "88_01.amc: no skeleton 88.asf in the folder; put it beside the motion.",
    ]
    clip = read_amass(out / "CMU" / "77" / "77_01_poses.npz")
    assert (clip.poses.shape, clip.trans.shape, clip.betas.shape) == ((4, 156), (4, 3), (16,))
    assert (clip.gender, clip.fps) == ("neutral", 60.0)
    assert not clip.poses[:, 66:].any()


def test_importing_twice_gives_the_same_bytes(tmp_path: Path, body: BodyModel) -> None:
    read_made_up(tmp_path / "in", random_frames(5, 3))
    (path,) = [clip.path for clip in import_cmu(tmp_path / "in", tmp_path / "out", body).imported]
    assert path is not None
    first = path.read_bytes()
    import_cmu(tmp_path / "in", tmp_path / "out", body)
    assert path.read_bytes() == first


def lay_out(folder: Path, names: str) -> None:
    """Empty files of these names."""
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("files", "pairs"),
    [
        ("02.asf 02_01.amc", ["02.asf CMU/02/02_01"]),
        ("02/02.asf 02/02_01.amc", ["02/02.asf CMU/02/02_01"]),
        ("ab_mm.asf ab_tr.asf ab_mm_squat_001.amc ab_tr_squat_002.AMC",
         ["ab_mm.asf CMU/ab_mm/ab_mm_squat_001", "ab_tr.asf CMU/ab_tr/ab_tr_squat_002"]),
        ("HDM_bd.asf HDM_b.asf hdm_bd_run_001_120.amc", ["HDM_bd.asf MPI_HDM05/HDM_bd/hdm_bd_run_001_120"]),
        ("01.asf 011.asf 011_02.amc 01_02.amc", ["011.asf CMU/011/011_02", "01.asf CMU/01/01_02"]),
        ("a/01.asf a/02.asf a/011_02.amc", ["- CMU/a/011_02"]),
        ("rest.asf walk.amc", ["rest.asf CMU/rest/walk"]),
        ("a/mm.asf b/mm.asf b/mm_1.amc b/c/mm_2.amc", ["b/mm.asf CMU/b/c/mm_2", "b/mm.asf CMU/b/mm_1"]),
        ("x/walk.asf x/walk.amc y/walk.asf y/walk.amc", ["x/walk.asf CMU/x/walk", "y/walk.asf CMU/y/walk"]),
        ("数据.asf 数据_跑.amc 数据_走.amc", ["数据.asf CMU/数据/数据_走", "数据.asf CMU/数据/数据_跑"]),
        ("...asf ..._a%b.amc", ["...asf CMU/%2E./%2E.._a%25b"]),
    ],
)  # fmt: skip
def test_a_motion_has_the_skeleton_and_the_place_that_its_name_and_folders_say(
    tmp_path: Path, files: str, pairs: list[str]
) -> None:
    lay_out(tmp_path, files)
    found = [
        f"{clip.skeleton.relative_to(tmp_path) if clip.skeleton else '-'} {clip.target}"
        for clip in find_clips(tmp_path)
    ]
    assert sorted(found) == sorted(f"{pair}_poses.npz" for pair in pairs)


def test_linked_folders_are_imported_and_broken_links_named(tmp_path: Path, body: BodyModel) -> None:
    read_made_up(tmp_path / "elsewhere", random_frames(5, 3))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "77").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "gone").symlink_to(tmp_path / "nowhere")
    summary = import_cmu(tmp_path / "in", tmp_path / "out", body)
    assert [str(clip.path) for clip in summary.imported] == [f"{tmp_path}/out/CMU/77/77_01_poses.npz"]
    assert [clip.note for clip in summary.left_out] == [
        f"{tmp_path}/in/gone: a link to {tmp_path}/nowhere, which is not there; mend or remove the link."
    ]


def test_two_motions_of_one_name_are_two_and_two_copies_one(tmp_path: Path, body: BodyModel) -> None:
    read_made_up(tmp_path / "in", random_frames(5, 3))
    (tmp_path / "in" / "77").mkdir()
    for name in ("77.asf", "77_01.amc"):
        (tmp_path / "in" / "77" / name).write_bytes((tmp_path / "in" / name).read_bytes())
    (tmp_path / "in" / "77_01.amc.gz").write_bytes(gzip.compress(made_up_amc(random_frames(6, 2)).encode()))
    summary = import_cmu(tmp_path / "in", tmp_path / "out", body)
    assert [(clip.path.name if clip.path else clip.note, clip.frames) for clip in summary.clips] == [
        ("77_01_poses.npz", 3),
        ("77_01_2_poses.npz", 2),
        ("77_01.amc: the same clip as 77_01.amc, which was taken; remove one of them.", 0),
    ]


@pytest.mark.parametrize(
    ("header", "given", "rate", "note"),
    [
        (":DEGREES", None, 120.0, ""),
        (":DEGREES", 50.0, 50.0, ""),
        (":DEGREES\n:SAMPLES-PER-SECOND 60", None, 60.0, ""),
        (":DEGREES\n:samples-per-second\n\n# a\n59.94", 59.94, 59.94, ""),
        (":SAMPLES-PER-SECOND 60\n:DEGREES", 120.0, 60.0,
         "77_01.amc: says 60 frames a second, which was taken, not --fps 120."),
    ],
)  # fmt: skip
def test_a_motion_has_the_rate_that_its_file_says(
    tmp_path: Path, body: BodyModel, header: str, given: float | None, rate: float, note: str
) -> None:
    read_made_up(tmp_path / "in", [{}, {}])
    (tmp_path / "in" / "77_01.amc").write_text(made_up_amc(random_frames(5, 2), header))
    (clip,) = import_cmu(tmp_path / "in", tmp_path / "out", body, given).clips
    assert clip.path is not None
    assert (read_amass(clip.path).fps, clip.fps, clip.note) == (rate, rate, note)


def test_a_subset_that_is_given_is_taken_and_must_be_a_name(tmp_path: Path, body: BodyModel) -> None:
    lay_out(tmp_path, "HDM_bd.asf HDM_bd_1.amc")
    assert str(find_clips(tmp_path, "SFU")[0].target) == "SFU/HDM_bd/HDM_bd_1_poses.npz"
    with pytest.raises(SettingError, match=r'^--subset "../x"; expected the name of a folder, e.g. MPI_HDM05.$'):
        import_cmu(tmp_path, tmp_path / "out", body, subset="../x")


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, body: BodyModel) -> None:
    read_made_up(tmp_path / "in", [{}, {}])
    (tmp_path / "out").touch()
    with pytest.raises(FileError, match=r"/out/CMU/77/77_01_poses.npz: cannot be written \(Not a directory\)"):
        import_cmu(tmp_path / "in", tmp_path / "out", body)


@pytest.mark.parametrize(
    ("fps", "message"),
    [
        (0.0, "--fps 0; expected frames a second between 1 and 1000, CMU's usual rate is 120."),
        (math.nan, "--fps nan; expected frames a second between 1 and 1000, CMU's usual rate is 120."),
    ],
)
def test_a_frame_rate_that_is_none_is_refused(tmp_path: Path, body: BodyModel, fps: float, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        import_cmu(tmp_path, tmp_path, body, fps)


def test_a_folder_without_motions_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path}: no .amc or .amc.gz file in it; expected CMU's motions beside their .asf skeletons."
    with pytest.raises(FileError, match=f"^{re.escape(message)}$"):
        find_clips(tmp_path)
    message = f"{tmp_path / 'x'}: not a folder; expected CMU's .asf and .amc files in it, check the name."
    with pytest.raises(FileError, match=f"^{re.escape(message)}$"):
        find_clips(tmp_path / "x")


def fuzz(folder: Path, body: BodyModel, asf: bytes, amc: bytes, rounds: int, seed: int) -> tuple[int, int]:
    """How many damaged files still imported, and how many were refused with a HumorError."""
    draw = random.Random(seed)
    source, out = folder / "in", folder / "out"
    source.mkdir()
    before = {folder, source, out}
    imported = refused = 0
    for number in range(rounds):
        packed = gzip.compress(amc, 1)
        files = {"77.asf": asf, "77_01.amc": amc, "77_02.amc.gz": packed}
        hit = draw.choice(list(files))
        for name, content in files.items():
            (source / name).write_bytes(damaged(draw, content) if name == hit else content)
        (source / ("77_02.amc.gz" if hit != "77_02.amc.gz" else "77_01.amc")).unlink()
        summary = import_cmu(source, out, body)
        assert len(summary.clips) == 1, number
        imported += len(summary.imported)
        refused += len(summary.left_out)
        assert all("\n" not in clip.note and clip.note.endswith(".") for clip in summary.left_out)
        for clip in summary.imported:
            assert clip.path is not None
            with np.load(clip.path) as arrays:
                assert all(np.isfinite(arrays[key]).all() for key in ("poses", "trans", "betas"))
        for name in files:
            (source / name).unlink(missing_ok=True)
    beside = {path for path in folder.rglob("*") if out not in path.parents} - before
    assert not beside
    return imported, refused


def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path, body: BodyModel) -> None:
    asf, amc = made_up_asf().encode(), made_up_amc(random_frames(3, 6)).encode()
    imported, refused = fuzz(tmp_path, body, asf, amc, rounds=300, seed=0)
    assert imported > 10
    assert refused > 100
