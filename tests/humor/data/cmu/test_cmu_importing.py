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
        "CMU/77/77_01_poses.npz", "CMU/77/77_sly_name_poses.npz",
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


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Bytes flipped, cut out, swapped or repeated."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        if not data:
            break
        a, b = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
        span = draw.randrange(1, 40)
        kind = draw.randrange(5)
        if kind == 0:
            data[a] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[a : a + span]
        elif kind == 2:
            data[a : a + span], data[b : b + span] = data[b : b + span], data[a : a + span]
        elif kind == 3:
            data[a:a] = data[b : b + span]
        else:
            data[a] = draw.choice(b"0123456789-.e \n#:x\xff")
    return bytes(data[: draw.randrange(len(data) + 1)] if draw.random() < 0.05 else data)


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
