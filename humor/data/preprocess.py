"""Process a tree of motion files into a store: a processed file for each clip, written by several processes.

Each processed file is written whole and records its source and settings, so that a killed run can be resumed.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..body import BodyModel, require_gender
from ..errors import FileError, HumorError, MotionError, SettingError
from ..io.files import remove_unfinished, whole_file, write_whole
from ..io.untrusted_arrays import read_npz
from .amass import RAW_ARRAYS, RawClip, find_motion_files, with_corrected_rate
from .clip_files import PROCESSED_ARRAYS, clip_from_arrays, is_processed, read_processed, write_processed
from .loading import load_bodies
from .processing import Clip, Dropped, process_or_drop
from .splits import exclusion_reason, subset_of, tree_root
from .store import FIELDS, FORMAT, FRAMES_FILE, INDEX_FILE, VERSION, ClipInfo, MotionStore, frame_data_of
from .worker_pool import require_workers, run_jobs

CLIPS_FOLDER = "clips"  # in the store's folder: processed files with the names of their sources
_RULES = 2  # version of the processing rules; after a change of it every file is processed again
_MADE_FROM = "made_from"  # the array of a processed file that records its source and settings


@dataclass(frozen=True)
class ClipDefaults:
    """Frame rate, gender and up axis of files that do not contain them. Raises SettingError for impossible values."""

    fps: float | int | None = None
    gender: str | None = None
    up: str = "z"

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 10_000:
            raise SettingError(f"--fps {self.fps:g}; expected frames a second, above 0 and up to 10000.")
        if self.gender is not None:
            require_gender(self.gender)
        if self.up not in ("y", "z"):
            raise SettingError(f'up "{self.up}" is neither y nor z.')


@dataclass(frozen=True)
class Job:
    """A file to process."""

    source: Path
    name: str  # of the clip: its path in the tree, without the suffix
    target: Path
    defaults: ClipDefaults
    bodies: str  # the folder that the bodies are from, or "mannequin"


@dataclass(frozen=True)
class FileOutcome:
    """How the processing of a file ended."""

    name: str
    kind: str  # "kept", "dropped", "left out" or "not readable"
    reason: str  # why it was not kept
    seconds: float = 0.0  # of motion that was kept

    @property
    def cause(self) -> str:
        """The reason without the clip's name and numbers, by which outcomes are counted."""
        if self.kind == "not readable":
            return "named above"
        return self.reason.rpartition(", ")[2]


def process_tree(
    raw: Path,
    out: Path,
    body_folder: Path | None = None,
    defaults: ClipDefaults | None = None,
    workers: int = 1,
    on_file: Callable[[FileOutcome, int], None] | None = None,
) -> list[FileOutcome]:
    """Process an AMASS tree, or one file, into OUT/clips; call `on_file(outcome, total)` after each, in any order.

    A file that cannot be used becomes an outcome, and the rest go on; one that was processed before, from the same
    source with the same settings, is kept. Raises FileError where there is no motion or nothing can be written,
    SettingError for a wrong setting.
    """
    require_workers(workers)
    problems: list[str] = []
    jobs = find_jobs(raw, out, body_folder, defaults or ClipDefaults(), problems.append)
    bodies = load_bodies(body_folder)  # here too for several workers, so that a mistake is reported once
    remove_unfinished(out)
    outcomes = [FileOutcome(problem.partition(": ")[0], "not readable", problem) for problem in problems]
    load = partial(load_bodies, body_folder) if workers > 1 else lambda: bodies
    for outcome in run_jobs(process_file, jobs, load, workers):
        outcomes.append(outcome)
        if on_file is not None:
            on_file(outcome, len(jobs))
    return sorted(outcomes, key=lambda outcome: outcome.name)


def find_jobs(
    raw: Path,
    out: Path,
    body_folder: Path | None,
    defaults: ClipDefaults,
    on_problem: Callable[[str], None] = lambda problem: None,
) -> list[Job]:
    """Every motion file of a tree, or the one file, with its clip's name and target.

    What cannot be searched is reported to `on_problem`. Raises FileError for no file.
    """
    if not raw.exists():
        raise FileError(f"{raw}: no such file or folder; check the path.")
    # Not resolved: a link's name says the subset, whatever the name of the folder that it leads to.
    raw, clips = Path(os.path.abspath(raw)), (out / CLIPS_FOLDER).resolve()
    files, problems = ([raw], []) if raw.is_file() else find_motion_files(raw)
    root = tree_root(raw)
    names = {
        file: file.relative_to(root).as_posix().removesuffix(".npz")
        for file in files
        if clips not in file.resolve().parents
    }
    if not names:
        raise FileError(problems[0] if problems else f"{raw}: no AMASS .npz files in this folder; name another.")
    for problem in problems:
        on_problem(problem)
    bodies = "mannequin" if body_folder is None else str(body_folder.resolve())
    return [Job(file, name, clips / f"{name}.npz", defaults, bodies) for file, name in names.items()]


def process_file(job: Job, bodies: Mapping[str, BodyModel]) -> FileOutcome:
    """Write one clip's processed file, unless it is there; a source that cannot be used becomes the outcome.

    Raises FileError where the file cannot be written.
    """
    made_from = _made_from(job)
    clip = _processed_before(job.target, made_from)
    if clip is None:
        result = _process(job, bodies)
        if isinstance(result, FileOutcome):
            job.target.unlink(missing_ok=True)  # of a run with other settings
            return result
        clip = result
        write_processed(job.target, clip, **{_MADE_FROM: np.array(made_from)})
    return FileOutcome(job.name, "kept", "", len(clip) / clip.fps)


def build_store(folder: Path, on_clip: Callable[[int, int], None] | None = None) -> tuple[MotionStore, list[str]]:
    """Build the store of every processed file in FOLDER/clips; also returns a sentence for each unreadable one.

    The old index is removed first and the new one written last: frames without their index are no store. Calls
    `on_clip(done, total)` after each file. Raises MotionError where there is no clip, FileError where writing fails.
    """
    root = folder / CLIPS_FOLDER
    paths, problems = find_motion_files(root)
    (folder / INDEX_FILE).unlink(missing_ok=True)
    clips, first = [], 0
    with whole_file(folder / FRAMES_FILE) as file:
        for done, path in enumerate(paths, 1):
            name = path.relative_to(root).as_posix().removesuffix(".npz")
            try:
                clip = read_processed(path, name)
            except HumorError as problem:
                problems.append(str(problem))
            else:
                file.write(frame_data_of(clip).tobytes())
                info = ClipInfo(name, clip.gender, clip.fps, first, len(clip), subset_of(name))
                clips.append(asdict(info) | {"betas": clip.betas.tolist()})
                first += len(clip)
            if on_clip is not None:
                on_clip(done, len(paths))
        if not clips:
            raise MotionError(f"{folder}: no clip was kept, so there is no store; process other motion.")
    index = {"format": FORMAT, "version": VERSION, "fields": FIELDS, "frames": first, "clips": clips}
    write_whole(folder / INDEX_FILE, json.dumps(index).encode())
    return MotionStore.open(folder), problems


def _process(job: Job, bodies: Mapping[str, BodyModel]) -> Clip | FileOutcome:
    reason = exclusion_reason(job.name)
    if reason is not None:
        return FileOutcome(job.name, "left out", reason)
    try:
        arrays = read_npz(job.source, {*RAW_ARRAYS, *PROCESSED_ARRAYS})
        if is_processed(arrays):
            return clip_from_arrays(arrays, job.name)
        if job.name.endswith("_stageii") and "pose_body" not in arrays:
            return FileOutcome(job.name, "left out", "holds a shape, no motion")
        raw = RawClip.from_arrays(with_corrected_rate(arrays, job.name), job.name, **asdict(job.defaults))
        result = process_or_drop(raw, bodies)
    except HumorError as error:
        return FileOutcome(job.name, "not readable", str(error))
    except MemoryError:
        return FileOutcome(job.name, "not readable", f"{job.name}: too long for this machine's memory; cut it in two.")
    return FileOutcome(job.name, "dropped", result.reason) if isinstance(result, Dropped) else result


def _made_from(job: Job) -> str:
    """A text of everything that a processed file depends on; where it changes, the source is processed again."""
    try:
        status = job.source.stat()
        source = [str(job.source), status.st_size, status.st_mtime_ns]
    except OSError:
        source = []  # gone since it was listed: reading it will fail
    return json.dumps({"rules": _RULES, "source": source, "body": job.bodies, **asdict(job.defaults)})


def _processed_before(path: Path, made_from: str) -> Clip | None:
    """The clip of a processed file, if it is whole and made from the same source and settings."""
    if not path.is_file():
        return None
    try:
        arrays = read_npz(path, (*PROCESSED_ARRAYS, _MADE_FROM))
        return clip_from_arrays(arrays, "") if arrays.get(_MADE_FROM, np.array("")).item() == made_from else None
    except (HumorError, ValueError):
        return None
