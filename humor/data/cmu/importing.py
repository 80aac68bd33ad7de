"""Import motion in Acclaim's format: a folder of .asf and .amc files becomes AMASS-format .npz files.

The skeletons must have the bones of CMU's, as those of HDM05 have.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ...body import BodyModel
from ...errors import FileError, HumorError, SettingError
from ...io.files import find_files
from ..amass import RawClip, write_amass
from ..retargeting import RetargetedMotion, retarget
from .amc import read_amc
from .asf import AsfSkeleton, read_asf, read_lines

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


@dataclass(frozen=True)
class ImportedClip:
    """The result of importing one motion file."""

    source: Path
    path: Path | None  # the .npz that was written, or None
    frames: int
    note: str  # what went wrong, why it was left out, or what to know of one that was imported; mostly empty
    fps: float = FPS  # frames a second


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


def import_cmu(
    source: Path,
    out: Path,
    body: BodyModel,
    fps: float | None = None,
    on_clip: Callable[[ImportedClip, int], None] | None = None,
    subset: str | None = None,
) -> ImportSummary:
    """Write every motion under a folder as OUT/<subset>/<folders>/<clip>_poses.npz; `on_clip(clip, total)` after each.

    `fps` is of files that do not say their rate, 120 if left out; the subset is that of the files' names if left out.
    The betas are those of the given body. A file that cannot be read is noted and the rest go on; files that are there
    already are replaced. Raises FileError where the folder holds no motion or nothing can be written, SettingError for
    a frame rate or a subset that is none.
    """
    source, out = Path(source), Path(out)
    if fps is not None and not (math.isfinite(fps) and 1 <= fps <= 1000):
        raise SettingError(f"--fps {fps:g}; expected frames a second between 1 and 1000, CMU's usual rate is 120.")
    if subset is not None and subset != _safe(Path(subset).name):
        raise SettingError(f'--subset "{subset}"; expected the name of a folder, e.g. MPI_HDM05.')
    problems: list[str] = []
    clips = find_clips(source, subset, problems.append)
    done = [ImportedClip(Path(problem.partition(": ")[0]), None, 0, problem) for problem in problems]
    skeletons: dict[Path, AsfSkeleton | HumorError] = {}
    taken: dict[Path, CmuClip] = {}
    for clip in clips:
        twin = taken.get(clip.target)
        if twin is not None and _is_copy(clip, twin):
            name = twin.motion.relative_to(source)
            note = f"{clip.motion.name}: the same clip as {name}, which was taken; remove one of them."
            result = ImportedClip(clip.motion, None, 0, note)
        else:
            clip = replace(clip, target=_free(clip.target, taken))
            taken[clip.target] = clip
            result = _import_or_note(clip, out, body, fps, skeletons)
        done.append(result)
        if on_clip is not None:
            on_clip(result, len(clips))
    return ImportSummary(tuple(done))


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
    motions = sorted((p for p in files if _stem(p, _MOTIONS)), key=lambda p: (p.parent, _stem(p, _MOTIONS), p.name))
    for problem in problems:
        on_problem(problem)
    if not motions:
        raise FileError(f"{source}: no .amc or .amc.gz file in it; expected CMU's motions beside their .asf skeletons.")
    skeletons = [path for path in files if _stem(path, _SKELETONS)]
    clips = []
    for motion in motions:
        stem, folders = _stem(motion, _MOTIONS), motion.parent.relative_to(source).parts
        skeleton = _skeleton_for(motion, stem, skeletons)
        if not folders:
            folders = (_stem(skeleton, _SKELETONS) if skeleton else stem.split("_")[0],)
        named = [name for start, name in SUBSETS.items() if stem.upper().startswith(start)]
        place = (subset or (named or [DEFAULT_SUBSET])[0], *map(_safe, folders), f"{_safe(stem)}_poses.npz")
        clips.append(CmuClip(motion, skeleton, Path(*place)))
    return clips


def import_clip(motion: Path, skeleton: AsfSkeleton, path: Path, body: BodyModel, fps: float | None = None) -> int:
    """Read, retarget and write one motion in AMASS's format; its number of frames. Nothing half-written is left."""
    clip, rate, _ = _retargeted(motion, skeleton, body, fps)
    _write(path, clip, rate)
    return len(clip.poses)


def _import_or_note(
    clip: CmuClip, out: Path, body: BodyModel, fps: float | None, skeletons: dict[Path, AsfSkeleton | HumorError]
) -> ImportedClip:
    """Import one clip; what cannot be used becomes a note. A skeleton is read once. Raises FileError for no room."""
    try:
        if clip.skeleton is None:
            raise FileError(f"{clip.motion.name}: no skeleton {_wanted(clip.motion)}; put it beside the motion.")
        if clip.skeleton not in skeletons:
            try:
                skeletons[clip.skeleton] = read_asf(clip.skeleton)
            except HumorError as error:
                skeletons[clip.skeleton] = error
        skeleton = skeletons[clip.skeleton]
        if isinstance(skeleton, HumorError):
            raise skeleton
        motion, rate, note = _retargeted(clip.motion, skeleton, body, fps)
    except HumorError as error:
        return ImportedClip(clip.motion, None, 0, str(error))
    path = out / clip.target
    _write(path, motion, rate)
    return ImportedClip(clip.motion, path, len(motion.poses), note, rate)


def _retargeted(
    motion: Path, skeleton: AsfSkeleton, body: BodyModel, fps: float | None
) -> tuple[RetargetedMotion, float, str]:
    """A motion on the body, its frames a second, and a sentence where the file says another rate than was given."""
    read = read_amc(motion, skeleton)
    rate = read.fps or fps or FPS
    note = ""
    if fps is not None and fps != rate:
        note = f"{motion.name}: says {rate:g} frames a second, which was taken, not --fps {fps:g}."
    return retarget(skeleton, read, body, rate), rate, note


def _write(path: Path, clip: RetargetedMotion, fps: float) -> None:
    write_amass(path, RawClip(path.stem, clip.poses, clip.trans, clip.betas, "neutral", float(fps)))


def _skeleton_for(motion: Path, stem: str, skeletons: Iterable[Path]) -> Path | None:
    """The skeleton whose name is the longest beginning of the clip's, in its own folder first, then in the nearest.

    Else it is its folder's only one.
    """

    def rank(path: Path) -> tuple[bool, int, int, Path]:
        common = len(set(path.parents) & set(motion.parents))
        return path.parent != motion.parent, -len(_stem(path, _SKELETONS)), -common, path

    named = [path for path in skeletons if _begins(stem.casefold(), _stem(path, _SKELETONS).casefold())]
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
    of_cmu = re.fullmatch(r"(\d+)_\d+", _stem(motion, _MOTIONS))
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


def _free(target: Path, taken: Iterable[Path]) -> Path:
    """The target, or a numbered one beside it where another motion has its name."""
    free, number = target, 1
    while free in taken:
        number += 1
        free = target.with_name(f"{target.name.removesuffix('_poses.npz')}_{number}_poses.npz")
    return free


def _stem(path: Path, endings: tuple[str, ...]) -> str:
    """The file's name without one of the endings; empty where it has none of them."""
    for ending in endings:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return ""


def _safe(name: str) -> str:
    """A file's name that cannot leave its folder, hide, or break a line; different names stay different."""
    return re.sub(r"^\.|[\x00-\x1f\x7f%\ud800-\udfff]", lambda found: f"%{ord(found[0]):02X}", name)
