"""Import captured motion: each file is read, retargeted and written as an AMASS-format .npz.

What is common to all formats. A format's importer says which files there are, and how one is read.
"""

import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..body import BodyModel
from ..errors import HumorError, SettingError
from ..io.files import remove_unfinished, write_whole
from ..io.untrusted_arrays import read_npz
from ..skeleton import NUM_BETAS
from .amass import RawClip, write_amass
from .retargeting import retarget
from .source_motion import SourceMotion, SourceSkeleton
from .worker_pool import run_jobs

_RULES = 1  # version of retargeting; after a change of it every file is imported again
_MADE_FROM = "made_from"  # the array of an imported file that records its source, its settings and what was said of it
ENDING = "_poses.npz"


@dataclass(frozen=True, eq=False)
class SourceClip:
    """A captured motion as it was read."""

    skeleton: SourceSkeleton
    motion: SourceMotion
    fps: float
    note: str = ""  # what a user should know of it
    layout: str = ""  # how it was understood, by which files are counted: "cm, y up"


@dataclass(frozen=True)
class ImportJob:
    """A motion file to import."""

    source: Path
    target: Path
    read: Callable[[], SourceClip]  # raises HumorError for a file that cannot be used
    depends_on: tuple[Path, ...] = ()  # other files that are read
    settings: str = ""  # what else the result depends on
    refused: str = ""  # why it is not to be read


@dataclass(frozen=True)
class ImportedClip:
    """The result of importing one motion file."""

    source: Path
    path: Path | None  # the .npz that was written, or None
    frames: int = 0
    note: str = ""  # what went wrong, why it was left out, or what to know of one that was imported; mostly empty
    fps: float = 0.0  # frames a second
    layout: str = ""  # how it was understood


@dataclass(frozen=True)
class ImportSummary:
    """The results of importing a folder, in the order of its clips."""

    clips: tuple[ImportedClip, ...]

    @property
    def imported(self) -> tuple[ImportedClip, ...]:
        """Clips that were written."""
        return tuple(clip for clip in self.clips if clip.path is not None)

    @property
    def left_out(self) -> tuple[ImportedClip, ...]:
        """Clips that were not written, each with its reason."""
        return tuple(clip for clip in self.clips if clip.path is None)


def import_jobs(
    jobs: Sequence[ImportJob],
    out: Path,
    body: BodyModel,
    workers: int = 1,
    on_clip: Callable[[ImportedClip, int], None] | None = None,
    problems: Sequence[str] = (),
) -> ImportSummary:
    """Write every job's motion, in several processes; `on_clip(clip, total)` after each, in any order.

    A file that cannot be used is noted and the rest go on; one that was imported before, from the same source with the
    same settings, is kept. `problems` are sentences about files that could not be searched. Raises FileError where
    nothing can be written.
    """
    remove_unfinished(out)
    done = {}
    for number, clip in run_jobs(_import_numbered, list(enumerate(jobs)), partial(_given, body), workers):
        done[number] = clip
        if on_clip is not None:
            on_clip(clip, len(jobs))
    first = [ImportedClip(Path(problem.partition(": ")[0]), None, note=problem) for problem in problems]
    return ImportSummary((*first, *(done[number] for number in sorted(done))))


def import_clip(job: ImportJob, body: BodyModel) -> ImportedClip:
    """Import one motion file; what cannot be used becomes a note. Raises FileError where nothing can be written."""
    if job.refused:
        return ImportedClip(job.source, None, note=job.refused)
    made_from = _made_from(job, body)
    before = _imported_before(job, made_from)
    if before is not None:
        return before
    try:
        clip = job.read()
        motion = retarget(clip.skeleton, clip.motion, body, clip.fps)
    except HumorError as error:
        job.target.unlink(missing_ok=True)  # of a run with other settings
        return ImportedClip(job.source, None, note=str(error))
    except MemoryError:
        return ImportedClip(
            job.source, None, note=f"{job.source.name}: too long for this machine's memory; cut it in two."
        )
    said = json.dumps([made_from, clip.note, clip.layout])
    raw = RawClip(job.target.stem, motion.poses, motion.trans, motion.betas, "neutral", float(clip.fps))
    write_amass(job.target, raw, **{_MADE_FROM: np.array(said)})
    return ImportedClip(job.source, job.target, len(motion.poses), clip.note, clip.fps, clip.layout)


def write_table(path: Path, summary: ImportSummary) -> None:
    """Write what became of each file as a table of comma-separated values. Raises FileError."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(("file", "became", "frames", "frames_per_second", "read_as", "note"))
    for clip in summary.clips:
        became = "left out" if clip.path is None else clip.path.relative_to(path.parent)
        table.writerow((clip.source, became, clip.frames, f"{clip.fps:g}", clip.layout, clip.note))
    write_whole(path, text.getvalue().encode("utf-8", "backslashreplace"))


def safe_name(name: str) -> str:
    """A file's name that cannot leave its folder, hide, or break a line; different names stay different."""
    return re.sub(r"^\.|[\x00-\x1f\x7f%\ud800-\udfff]", lambda found: f"%{ord(found[0]):02X}", name)


def require_subset(subset: str | None) -> None:
    """Raise SettingError for a subset that is no name of a folder."""
    if subset is not None and subset != safe_name(Path(subset).name):
        raise SettingError(f'--subset "{subset}"; expected the name of a folder, e.g. MPI_HDM05.')


def free_target(target: Path, taken: Container[Path]) -> Path:
    """The target, or a numbered one beside it where another motion has its name."""
    free, number = target, 1
    while free in taken:
        number += 1
        free = target.with_name(f"{target.name.removesuffix(ENDING)}_{number}{ENDING}")
    return free


def without_ending(path: Path, endings: tuple[str, ...]) -> str:
    """The file's name without one of the endings; empty where it has none of them."""
    for ending in endings:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return ""


def _given(body: BodyModel) -> BodyModel:
    return body


def _import_numbered(job: tuple[int, ImportJob], body: BodyModel) -> tuple[int, ImportedClip]:
    return job[0], import_clip(job[1], body)


def _made_from(job: ImportJob, body: BodyModel) -> str:
    """A text of everything that an imported file depends on; where it changes, the source is imported again."""
    sources = []
    for path in (job.source, *job.depends_on):
        try:
            status = path.stat()
            sources.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
        except OSError:
            sources.append([])  # gone since it was listed: reading it will fail
    return json.dumps({"rules": _RULES, "sources": sources, "body": _fingerprint(body), "settings": job.settings})


def _fingerprint(body: BodyModel) -> str:
    """A text that another body does not have, of where its joints are in any shape."""
    joints = body.rest_joints(torch.eye(NUM_BETAS)).detach().cpu().numpy()
    return f"{zlib.crc32(joints.tobytes()):08x}"


def _imported_before(job: ImportJob, made_from: str) -> ImportedClip | None:
    """What was made of a job in an earlier run, if it is whole and of the same source and settings."""
    if not job.target.is_file():
        return None
    try:
        arrays = read_npz(job.target, ("trans", "mocap_framerate", _MADE_FROM))
        before, note, layout = json.loads(arrays[_MADE_FROM].item())
        fps, frames = float(arrays["mocap_framerate"]), len(arrays["trans"])
    except (HumorError, KeyError, ValueError, TypeError):
        return None
    return ImportedClip(job.source, job.target, frames, note, fps, layout) if before == made_from else None
