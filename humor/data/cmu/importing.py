"""Import CMU's motion files: a folder of .asf and .amc files becomes AMASS-format .npz files."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ...body import BodyModel
from ...errors import FileError, HumorError, SettingError
from ..amass import RawClip, write_amass
from ..retargeting import retarget
from .amc import read_amc
from .asf import AsfSkeleton, read_asf

FPS = 120.0  # an .amc does not say its rate; this is the database's usual one
_SKELETONS, _MOTIONS = (".asf", ".asf.gz"), (".amc", ".amc.gz")


@dataclass(frozen=True)
class CmuClip:
    """A motion file of the database, its skeleton, and where its .npz goes below the output folder."""

    motion: Path
    skeleton: Path | None  # None where none was found
    target: Path  # relative, e.g. CMU/01/01_01_poses.npz


@dataclass(frozen=True)
class ImportedClip:
    """The result of importing one motion file."""

    source: Path
    path: Path | None  # the .npz that was written, or None
    frames: int
    note: str  # what went wrong, or why it was left out; empty where it was imported


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
    fps: float = FPS,
    on_clip: Callable[[ImportedClip, int], None] | None = None,
) -> ImportSummary:
    """Write every motion under a folder as OUT/CMU/<subject>/<clip>_poses.npz; `on_clip(clip, total)` after each.

    The betas are those of the given body. A file that cannot be read is noted and the rest go on; files that are there
    already are replaced. Raises FileError where the folder holds no motion, SettingError for a frame rate that is none.
    """
    source, out = Path(source), Path(out)
    if not (math.isfinite(fps) and 1 <= fps <= 1000):
        raise SettingError(f"--fps {fps:g}; expected frames a second between 1 and 1000, CMU's usual rate is 120.")
    clips = find_clips(source)
    skeletons: dict[Path, AsfSkeleton | HumorError] = {}
    taken: dict[Path, Path] = {}
    done = []
    for clip in clips:
        first = taken.setdefault(clip.target, clip.motion)
        if first is not clip.motion:
            twin = first.relative_to(source)
            note = f"{clip.motion.name}: the same clip as {twin}, which was taken; remove one of them."
            result = ImportedClip(clip.motion, None, 0, note)
        else:
            result = _import_or_note(clip, out, body, fps, skeletons)
        done.append(result)
        if on_clip is not None:
            on_clip(result, len(clips))
    return ImportSummary(tuple(done))


def find_clips(source: Path) -> list[CmuClip]:
    """Every .amc (or .amc.gz) below a folder with its skeleton: that of its own name, or of the part before the "_"."""
    if not source.is_dir():
        raise FileError(f"{source}: not a folder; expected CMU's .asf and .amc files in it, check the name.")
    # Plain files come before their .gz twins, so that of two the plain one is taken.
    files = sorted(path for path in source.rglob("*") if path.is_file())
    motions = sorted((p for p in files if _stem(p, _MOTIONS)), key=lambda p: (p.parent, _stem(p, _MOTIONS), p.name))
    if not motions:
        raise FileError(f"{source}: no .amc or .amc.gz file in it; expected CMU's motions beside their .asf skeletons.")
    skeletons = [path for path in files if _stem(path, _SKELETONS)]
    clips = []
    for motion in motions:
        stem = _stem(motion, _MOTIONS)
        skeleton = _skeleton_for(motion, stem, skeletons)
        subject = _stem(skeleton, _SKELETONS) if skeleton and "_" not in stem else stem.split("_")[0]
        clips.append(CmuClip(motion, skeleton, Path("CMU", _safe(subject), f"{_safe(stem)}_poses.npz")))
    return clips


def import_clip(motion: Path, skeleton: AsfSkeleton, path: Path, body: BodyModel, fps: float = FPS) -> int:
    """Read, retarget and write one motion in AMASS's format; its number of frames. Nothing half-written is left."""
    read = read_amc(motion, skeleton)
    clip = retarget(skeleton, read, body, fps)
    write_amass(path, RawClip(path.stem, clip.poses, clip.trans, clip.betas, "neutral", float(fps)))
    return len(read)


def _import_or_note(
    clip: CmuClip, out: Path, body: BodyModel, fps: float, skeletons: dict[Path, AsfSkeleton | HumorError]
) -> ImportedClip:
    """Import one clip; what cannot be used becomes a note. A skeleton is read once."""
    try:
        if clip.skeleton is None:
            wanted = f"{_stem(clip.motion, _MOTIONS).split('_')[0]}.asf"
            raise FileError(f"{clip.motion.name}: no skeleton {wanted} in the folder; put it beside the motion.")
        if clip.skeleton not in skeletons:
            try:
                skeletons[clip.skeleton] = read_asf(clip.skeleton)
            except HumorError as error:
                skeletons[clip.skeleton] = error
        skeleton = skeletons[clip.skeleton]
        if isinstance(skeleton, HumorError):
            raise skeleton
        path = out / clip.target
        return ImportedClip(clip.motion, path, import_clip(clip.motion, skeleton, path, body, fps), "")
    except HumorError as error:
        return ImportedClip(clip.motion, None, 0, str(error))


def _skeleton_for(motion: Path, stem: str, skeletons: Iterable[Path]) -> Path | None:
    """The skeleton of the clip's own name or of its subject's, in its own folder first; else its folder's only one."""
    names = (stem.lower(), stem.split("_")[0].lower())
    named = [path for path in skeletons if _stem(path, _SKELETONS).lower() in names]
    beside = [path for path in skeletons if path.parent == motion.parent]
    named.sort(key=lambda path: (path.parent != motion.parent, _stem(path, _SKELETONS).lower() != names[0], path))
    if named:
        return named[0]
    return beside[0] if len(beside) == 1 else None


def _stem(path: Path, endings: tuple[str, ...]) -> str:
    """The file's name without one of the endings; empty where it has none of them."""
    for ending in endings:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return ""


def _safe(name: str) -> str:
    """A name that cannot leave its folder."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_") or "unnamed"
