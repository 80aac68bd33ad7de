"""A tree of motion becomes a store, whatever lies in the tree and whenever the run is killed."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from humor.cli.app import main
from humor.data import MotionStore, load_clips
from humor.data.clip_files import read_processed
from humor.data.preprocess import ClipDefaults, build_store, find_jobs, process_tree
from humor.data.synthetic.walker import synthetic_clip
from humor.errors import FileError, HumorError, MotionError
from tests.support import golden_values as golden
from tests.support.cmu_files import made_up_amc, made_up_asf, random_frames

ROOT = Path(__file__).parents[3]


def save(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def walk():
    return synthetic_clip(seconds=2.5)


@pytest.fixture
def tree(tmp_path, walk):
    """A clip of each fate."""
    raw = tmp_path / "raw"
    save(raw / "CMU/01/01_01_poses.npz", walk)
    save(raw / "KIT/3/kick_poses.npz", synthetic_clip(seed=1, seconds=3.0, gender="female"))
    save(raw / "KIT/3/short_poses.npz", synthetic_clip(seconds=1.0))
    save(raw / "KIT/3/shape.npz", {"betas": np.zeros(16)})
    save(raw / "KIT/3/nothing_stageii.npz", {"betas": np.zeros(16)})
    save(raw / "BioMotionLab_NTroje/rub001/0017_normal_walk1_poses.npz", walk)
    save(raw / "HDM05/dg/HDM_dg_07-01_03_120_poses.npz", walk)
    (raw / "KIT/3/bad_poses.npz").write_bytes(b"PK\x03\x04 but no archive")
    save(raw / "SFU/1/published.npz", golden.processed_arrays("a120"))
    return raw


def fates(outcomes):
    return {outcome.name: (outcome.kind, outcome.reason) for outcome in outcomes}


def test_every_file_of_a_tree_has_its_fate(tree, tmp_path):
    told = []
    outcomes = process_tree(tree, tmp_path / "out", on_file=lambda outcome, total: told.append((outcome.name, total)))
    assert fates(outcomes) == {
        "CMU/01/01_01_poses": ("kept", ""),
        "KIT/3/kick_poses": ("kept", ""),
        "SFU/1/published": ("kept", ""),
        "KIT/3/short_poses": ("dropped", "0.80 s after trimming, under 1 s"),
        "KIT/3/nothing_stageii": ("left out", "holds a shape, no motion"),
        "BioMotionLab_NTroje/rub001/0017_normal_walk1_poses": ("left out", "walks on a treadmill"),
        "HDM05/dg/HDM_dg_07-01_03_120_poses": ("left out", "skates"),
        "KIT/3/bad_poses": (
            "not readable",
            f"{tree}/KIT/3/bad_poses.npz: not an .npz archive (damaged, or another format under that name); "
            "export it again.",
        ),
    }
    assert sorted(told) == [(outcome.name, 8) for outcome in outcomes]
    store, problems = build_store(tmp_path / "out")
    assert problems == []
    assert [(clip.name, clip.gender, clip.subset) for clip in store.clips] == [
        ("CMU/01/01_01_poses", "neutral", "CMU"),
        ("KIT/3/kick_poses", "female", "KIT"),
        ("SFU/1/published", "male", "SFU"),
    ]
    assert [clip.frames for clip in store.clips] == [59, 71, 95]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_several_workers_make_the_same_store(tree, tmp_path):
    for workers in (1, 2):
        outcomes = process_tree(tree, tmp_path / f"{workers}", workers=workers)
        build_store(tmp_path / f"{workers}")
        assert len(outcomes) == 8
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert set(one) == set(two)
    assert one[Path("index.json")] == two[Path("index.json")]
    frames = [np.frombuffer(files[Path("frames.f32")], np.float32) for files in (one, two)]
    np.testing.assert_allclose(*frames, atol=2e-3, rtol=0)  # accelerations aside, threads add in another order


def killed_in_the_middle(raw, out, at_least):
    """Run humor process and kill it once some clips are there."""
    command = [sys.executable, "-m", "humor", "process", raw, "--out", out, "--workers", "1"]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.rglob("*_poses.npz"))) < at_least and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()


def test_a_killed_run_goes_on_to_the_same_store(tmp_path, walk):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for number in range(15):
        save(raw / f"CMU/{number:02}_poses.npz", {**walk, "trans": walk["trans"] + 0.01 * number})
    killed_in_the_middle(raw, out, 3)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*_poses.npz")}
    assert 3 <= len(before) < 15
    with pytest.raises(FileError, match="no finished motion store"):
        MotionStore.open(out)
    (out / "clips/CMU/.00_poses.npz.x.unfinished").write_bytes(b"half")
    half = sorted(before)[1]
    half.write_bytes(half.read_bytes()[:-100])  # as no run leaves it

    for folder in (out, tmp_path / "whole"):
        process_tree(raw, folder)
        build_store(folder)
    assert contents(out) == contents(tmp_path / "whole")
    untouched = [path for path, written in before.items() if path.stat().st_mtime_ns == written]
    assert len(untouched) == len(before) - 1


def test_a_store_whose_building_was_killed_is_not_opened(tree, tmp_path, monkeypatch):
    out = tmp_path / "out"
    process_tree(tree, out)
    build_store(out)
    (tree / "KIT/3/kick_poses.npz").unlink()
    monkeypatch.setattr("humor.data.preprocess.write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build_store(out)
    with pytest.raises(FileError) as error:
        MotionStore.open(out)
    assert str(error.value) == f"{out}: no finished motion store (no index.json); build one with humor process."


def test_other_settings_and_other_sources_are_processed_again(tmp_path, walk):
    raw, out = tmp_path / "raw", tmp_path / "out"
    source, target = raw / "CMU/1_poses.npz", out / "clips/CMU/1_poses.npz"
    save(source, {key: value for key, value in walk.items() if key != "gender"})

    def written(**supplied):
        process_tree(raw, out, defaults=ClipDefaults(**supplied))
        return target.stat().st_mtime_ns

    first = written(gender="male")
    assert written(gender="male") == first
    second = written(gender="female")
    assert second != first
    assert read_processed(target).gender == "female"
    save(source, {**walk, "gender": "neutral", "betas": np.ones(16)})
    assert written(gender="female") != second
    assert read_processed(target).gender == "neutral"
    save(source, synthetic_clip(seconds=1.0))
    process_tree(raw, out)
    assert not target.exists()


def test_one_subset_alone_keeps_its_name(tmp_path, walk):
    save(tmp_path / "raw/BMLrub/1/0000_treadmill_slow_poses.npz", walk)
    save(tmp_path / "raw/BMLrub/1/0001_jump_poses.npz", walk)
    outcomes = process_tree(tmp_path / "raw/BMLrub", tmp_path / "out")
    assert {outcome.name: outcome.kind for outcome in outcomes} == {
        "BMLrub/1/0000_treadmill_slow_poses": "left out",
        "BMLrub/1/0001_jump_poses": "kept",
    }


def test_what_was_written_is_not_taken_for_a_source(tmp_path, walk):
    save(tmp_path / "CMU/1_poses.npz", walk)
    for _ in range(2):
        assert len(process_tree(tmp_path, tmp_path)) == 1


def test_a_rate_is_mended_by_the_path_of_the_file(tmp_path, walk):
    save(tmp_path / "raw/BMLhandball/1_poses.npz", walk)
    save(tmp_path / "raw/KIT/1_poses.npz", walk)
    process_tree(tmp_path / "raw", tmp_path / "out")
    store, _ = build_store(tmp_path / "out")
    assert [clip.frames for clip in store.clips] == [29, 59]


def test_linked_folders_are_searched_once_by_their_names_in_the_tree(tmp_path, walk):
    save(tmp_path / "elsewhere/01/a_poses.npz", walk)
    save(tmp_path / "raw/KIT/1/b_poses.npz", walk)
    for link, target in {"CMU": "../elsewhere", "KIT/loop": "..", "KIT/1/self": "self", "SFU": "../gone"}.items():
        (tmp_path / "raw" / link).symlink_to(target, target_is_directory=True)
    problems: list[str] = []
    jobs = find_jobs(tmp_path / "raw", tmp_path / "out", None, ClipDefaults(), problems.append)
    assert [job.name for job in jobs] == ["CMU/01/a_poses", "KIT/1/b_poses"]
    assert problems == [
        f"{tmp_path}/raw/KIT/1/self: a link to self, which is not there; mend or remove the link.",
        f"{tmp_path}/raw/SFU: a link to ../gone, which is not there; mend or remove the link.",
    ]
    (linked,) = find_jobs(tmp_path / "raw/CMU", tmp_path / "out", None, ClipDefaults())
    assert linked.name == "CMU/01/a_poses"


def test_a_folder_that_leads_nowhere_is_named_and_the_rest_goes_on(tmp_path):
    save(tmp_path / "raw/KIT/1_poses.npz", golden.processed_arrays("a120"))
    (tmp_path / "raw/CMU").symlink_to(tmp_path / "gone")
    text = f"{tmp_path}/raw/CMU: a link to {tmp_path}/gone, which is not there; mend or remove the link."
    outcomes = fates(process_tree(tmp_path / "raw", tmp_path / "out"))
    assert outcomes == {f"{tmp_path}/raw/CMU": ("not readable", text), "KIT/1_poses": ("kept", "")}
    (tmp_path / "raw/KIT/1_poses.npz").unlink()
    assert told(lambda: process_tree(tmp_path / "raw", tmp_path / "out")) == text
    heard = []
    assert told(lambda: load_clips(tmp_path / "raw", {}, on_problem=heard.append)) == text


def test_motion_in_linked_folders_is_loaded(tmp_path, walk):
    save(tmp_path / "elsewhere/a_poses.npz", walk)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/CMU").symlink_to(tmp_path / "elsewhere")
    (clip,) = load_clips(tmp_path / "raw", {"neutral": golden.body("neutral")})
    assert clip.name == "CMU/a_poses.npz"


# --- one sentence --------------------------------------------------------------------------------------------------


def told(call, kind=HumorError):
    with pytest.raises(kind) as error:
        call()
    return str(error.value)


def test_settings_and_folders_that_cannot_be(tmp_path):
    (tmp_path / "raw").mkdir()
    out = tmp_path / "out"
    assert told(lambda: process_tree(tmp_path / "no", out)) == f"{tmp_path}/no: no such file or folder; check the path."
    assert told(lambda: process_tree(tmp_path / "raw", out)) == (
        f"{tmp_path}/raw: no AMASS .npz files in this folder; name another."
    )
    assert told(lambda: process_tree(tmp_path / "raw", out, workers=0)) == "--workers 0; give 1 or more."
    assert told(lambda: process_tree(tmp_path / "raw", out, defaults=ClipDefaults(fps=0))) == (
        "--fps 0; expected frames a second, above 0 and up to 10000."
    )
    assert told(lambda: ClipDefaults(up="x")) == 'up "x" is neither y nor z.'


def test_a_mistake_in_the_bodies_is_told_once_and_before_the_work(tree, tmp_path):
    text = told(lambda: process_tree(tree, tmp_path / "out", tmp_path / "bodies", workers=2))
    assert text == f"{tmp_path}/bodies: no male body; expected male/model.npz or SMPLH_MALE.npz."
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path, walk):
    raw, out = tmp_path / "raw", tmp_path / "out"
    save(raw / "CMU/1_poses.npz", walk)
    process_tree(raw, out)
    with no_room(10_000):
        assert told(lambda: build_store(out), FileError) == (
            f"{out}/frames.f32: cannot be written (File too large); check --out and its free space."
        )
        assert told(lambda: process_tree(raw, tmp_path / "other"), FileError) == (
            f"{tmp_path}/other/clips/CMU/1_poses.npz: cannot be written (File too large); "
            "check --out and its free space."
        )
    assert [path.name for path in out.iterdir()] == ["clips"]
    assert contents(tmp_path / "other") == {}


class no_room:  # noqa: N801
    """Files may not grow over so many bytes: what a full disk does, without filling one."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def test_a_folder_that_nothing_can_be_written_to(tmp_path, walk):
    save(tmp_path / "raw/CMU/1_poses.npz", walk)
    (tmp_path / "out").write_text("a file")
    text = told(lambda: process_tree(tmp_path / "raw", tmp_path / "out"))
    assert text == (
        f"{tmp_path}/out/clips/CMU/1_poses.npz: cannot be written (Not a directory); check --out and its free space."
    )


def test_a_damaged_processed_file_is_left_out_of_the_store_and_told(tree, tmp_path):
    out = tmp_path / "out"
    process_tree(tree, out)
    (out / "clips/KIT/3/kick_poses.npz").write_bytes(b"x")
    store, problems = build_store(out)
    assert len(store) == 2
    assert problems == [
        f"{out}/clips/KIT/3/kick_poses.npz: not an .npz archive (damaged, or another format under that name); "
        "export it again."
    ]


def test_a_store_of_nothing_is_refused(tmp_path):
    assert told(lambda: build_store(tmp_path), MotionError) == (
        f"{tmp_path}: no clip was kept, so there is no store; process other motion."
    )
    assert list(tmp_path.iterdir()) == []


# --- the commands ----------------------------------------------------------------------------------------------------


def test_the_commands_take_cmu_from_its_own_files_to_a_store(tmp_path, capsys):
    source = tmp_path / "cmu"
    source.mkdir()
    (source / "77.asf").write_text(made_up_asf())
    frames = random_frames(0, 2, 20.0)
    (source / "77_01.amc").write_text(made_up_amc([frames[0]] * 250))
    (source / "sub").mkdir()
    (source / "sub/78_01.amc").write_text("x")
    main(["import", "cmu", str(source), "--out", str(tmp_path / "raw"), "--workers", "1"])
    shown = capsys.readouterr().out
    assert "left out: 78_01.amc: no skeleton 78.asf in the folder; put it beside the motion.\n" in shown
    assert [line.split() for line in shown.splitlines() if "imported" in line] == [
        ["│", "imported", "│", "1", "│", "0.0", "│"]
    ]
    main(["process", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "1"])
    shown = capsys.readouterr().out
    assert f"store {tmp_path}/out: 1 clips, 49 frames (CMU 1)\n" in shown
    assert MotionStore.open(tmp_path / "out").clips[0].name == "CMU/77/77_01_poses"


def test_commands_that_kept_nothing_fail(tmp_path, capsys):
    source = tmp_path / "cmu"
    source.mkdir()
    (source / "78_01.amc").write_text("x")
    with pytest.raises(SystemExit) as end:
        main(["import", "cmu", str(source), "--out", str(tmp_path / "raw"), "--workers", "1"])
    assert end.value.code == 1
    assert capsys.readouterr().err.endswith(
        f"humor: {source}: none of 1 motions could be imported; mend what is named above.\n"
    )
    save(tmp_path / "raw/KIT/1_poses.npz", synthetic_clip(seconds=1.0))
    with pytest.raises(SystemExit) as end:
        main(["process", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "1"])
    assert end.value.code == 1
    assert capsys.readouterr().err.endswith(f"humor: {tmp_path}/raw: none of 1 files was kept; the table says why.\n")
