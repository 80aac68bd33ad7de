"""Import motion in Acclaim's format: a folder of .asf and .amc files becomes AMASS-format .npz files.

The skeletons must have the bones of CMU's, as those of HDM05 have.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...body import BodyModel
from ...errors import FileError, SettingError
from ...io.files import find_files
from ..importing import (
    ENDING,
    ImportedClip,
    ImportJob,
    ImportSummary,
    SourceClip,
    free_target,
    import_jobs,
    require_subset,
    safe_name,
    without_ending,
)
from ..worker_pool import require_workers
from .amc import read_amc
from .asf import read_asf, read_lines

FPS = 120.0  # of a file that does not say its rate: CMU's usual one, and HDM05's
# The subset of AMASS by how a database begins the names of its files; CMU's are numbers.
SUBSETS = {"HDM_": "MPI_HDM05"}
DEFAULT_SUBSET = "CMU"
_SKELETONS, _MOTIONS = (".asf", ".asf.gz"), (".amc", ".amc.gz")


@dataclass(frozen=True)
class CmuClip:
    """A motion file of a database, its skeleton, and where its .npz goes below the output folder."""

    motion: Path
    skeleton: Path | None  # None where none was found
    target: Path  # relative, e.g. CMU/01/01_01_poses.npz


def import_cmu(
    source: Path,
    out: Path,
    body: BodyModel,
    fps: float | None = None,
    on_clip: Callable[[ImportedClip, int], None] | None = None,
    subset: str | None = None,
    workers: int = 1,
) -> ImportSummary:
    """Write every motion under a folder as OUT/<subset>/<folders>/<clip>_poses.npz; `on_clip(clip, total)` after each.

    `fps` is of files that do not say their rate, 120 if left out; the subset is that of the files' names if left out.
    The betas are those of the given body. A file that cannot be read is noted and the rest go on. Raises FileError
    where the folder holds no motion or nothing can be written, SettingError for a frame rate or a subset that is none.
    """
    source, out = Path(source), Path(out)
    if fps is not None and not (math.isfinite(fps) and 1 <= fps <= 1000):
        raise SettingError(f"--fps {fps:g}; expected frames a second between 1 and 1000, CMU's usual rate is 120.")
    require_subset(subset)
    require_workers(workers)
    problems: list[str] = []
    jobs: list[ImportJob] = []
    taken: dict[Path, CmuClip] = {}
    for clip in find_clips(source, subset, problems.append):
        twin = taken.get(clip.target)
        refused = ""
        if twin is not None and _is_copy(clip, twin):
            name = twin.motion.relative_to(source)
            refused = f"{clip.motion.name}: the same clip as {name}, which was taken; remove one of them."
        else:
            clip = replace(clip, target=free_target(clip.target, taken))
            taken[clip.target] = clip
        skeletons = () if clip.skeleton is None else (clip.skeleton,)
        read = partial(read_cmu, clip.motion, clip.skeleton, fps)
        jobs.append(ImportJob(clip.motion, out / clip.target, read, skeletons, f"fps {fps}", refused))
    return import_jobs(jobs, out, body, workers, on_clip, problems)


def read_cmu(motion: Path, skeleton: Path | None, fps: float | None = None) -> SourceClip:
    """Read one motion and its skeleton. Raises FileError and MotionError as `read_asf` and `read_amc` do."""
    if skeleton is None:
        raise FileError(f"{motion.name}: no skeleton {_wanted(motion)}; put it beside the motion.")
    bones = read_asf(skeleton)
    read = read_amc(motion, bones)
    rate = read.fps or fps or FPS
    note = ""
    if fps is not None and fps != rate:
        note = f"{motion.name}: says {rate:g} frames a second, which was taken, not --fps {fps:g}."
    return SourceClip(bones, read, rate, note)


def find_clips(
    source: Path, subset: str | None = None, on_problem: Callable[[str], None] = lambda problem: None
) -> list[CmuClip]:
    """Every .amc (or .amc.gz) below a folder, with its skeleton and its place below the output folder.

    The folders that a motion lies in are kept; one that lies in none gets a folder with its skeleton's name, as AMASS
    has them. What cannot be searched is reported to `on_problem`. Raises FileError where there is no motion.
    """
    if not source.is_dir():
        raise FileError(f"{source}: not a folder; expected CMU's .asf and .amc files in it, check the name.")
    # Plain files come before their .gz twins, so that of two the plain one is taken.
    files, problems = find_files(source)
    motions = sorted(
        (p for p in files if without_ending(p, _MOTIONS)), key=lambda p: (p.parent, without_ending(p, _MOTIONS), p.name)
    )
    for problem in problems:
        on_problem(problem)
    if not motions:
        raise FileError(f"{source}: no .amc or .amc.gz file in it; expected CMU's motions beside their .asf skeletons.")
    skeletons = [path for path in files if without_ending(path, _SKELETONS)]
    clips = []
    for motion in motions:
        stem, folders = without_ending(motion, _MOTIONS), motion.parent.relative_to(source).parts
        skeleton = _skeleton_for(motion, stem, skeletons)
        if not folders:
            folders = (without_ending(skeleton, _SKELETONS) if skeleton else stem.split("_")[0],)
        named = [name for start, name in SUBSETS.items() if stem.upper().startswith(start)]
        place = (subset or (named or [DEFAULT_SUBSET])[0], *map(safe_name, folders), f"{safe_name(stem)}{ENDING}")
        clips.append(CmuClip(motion, skeleton, Path(*place)))
    return clips


def _skeleton_for(motion: Path, stem: str, skeletons: Iterable[Path]) -> Path | None:
    """The skeleton whose name is the longest beginning of the clip's, in its own folder first, then in the nearest.

    Else it is its folder's only one.
    """

    def rank(path: Path) -> tuple[bool, int, int, Path]:
        common = len(set(path.parents) & set(motion.parents))
        return path.parent != motion.parent, -len(without_ending(path, _SKELETONS)), -common, path

    named = [path for path in skeletons if _begins(stem.casefold(), without_ending(path, _SKELETONS).casefold())]
    beside = [path for path in skeletons if path.parent == motion.parent]
    if named:
        return min(named, key=rank)
    return beside[0] if len(beside) == 1 else None


def _begins(name: str, start: str) -> bool:
    """Whether a name begins with another as a whole: 01_02 with 01, 011_02 not."""
    last, after = start[-1], name[len(start) : len(start) + 1]
    in_the_middle = (last.isdigit() and after.isdigit()) or (last.isalpha() and after.isalpha())
    return name.startswith(start) and not in_the_middle


def _wanted(motion: Path) -> str:
    """Which skeleton is missing, as far as the motion's name tells: CMU's 01_02 needs 01.asf."""
    of_cmu = re.fullmatch(r"(\d+)_\d+", without_ending(motion, _MOTIONS))
    return f"{of_cmu[1]}.asf in the folder" if of_cmu else "(.asf) whose name is the beginning of its own"


def _is_copy(clip: CmuClip, other: CmuClip) -> bool:
    """Whether two clips are one: the same text and the same skeleton, packed or not."""
    try:
        if read_lines(clip.motion) != read_lines(other.motion):
            return False
        if clip.skeleton is None or other.skeleton is None or clip.skeleton == other.skeleton:
            return clip.skeleton == other.skeleton
        return read_lines(clip.skeleton) == read_lines(other.skeleton)
    except FileError:
        return False  # the damaged one is named when it is read
