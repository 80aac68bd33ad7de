"""Processed clips from a file, a folder, or nothing at all."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ..body import BodyModel
from ..errors import FileError, HumorError, MotionError
from .amass import RawClip, is_motion_file, read_amass
from .processing import Clip, Dropped, process_or_drop
from .synthetic.walker import synthetic_clips


def load_clips(
    path: str | Path,
    bodies: Mapping[str, BodyModel],
    fps: float | None = None,
    gender: str | None = None,
    up: str = "z",
    on_problem: Callable[[str], None] = lambda problem: None,
) -> list[Clip]:
    """Read and process an AMASS `.npz`, or every one in a folder; the settings supply what a file lacks.

    In a folder, files that cannot be used are passed over as long as one can, and told to `on_problem`. Raises
    FileError or MotionError with the reason otherwise.
    """
    path = Path(path)
    if not path.is_dir():
        return [_load(path, str(path), bodies, fps, gender, up)]
    files = sorted(file for file in path.rglob("*.npz") if is_motion_file(file))
    if not files:
        raise FileError(f"{path}: no AMASS .npz files in this folder; name another.")
    clips, problems = [], []
    for file in files:
        try:
            clips.append(_load(file, str(file.relative_to(path)), bodies, fps, gender, up))
        except HumorError as problem:
            problems.append(str(problem))
            on_problem(str(problem))
    if not clips:
        raise MotionError(f"{path}: none of {len(files)} files can be used; the first: {problems[0]}")
    return clips


def synthetic_motion(bodies: Mapping[str, BodyModel], count: int = 3, seed: int = 0) -> list[Clip]:
    """The embedded motion, processed: people who walk, turn and stop."""
    clips = [
        process_or_drop(RawClip.of(raw, f"synthetic {number}"), bodies)
        for number, raw in enumerate(synthetic_clips(count, seed))
    ]
    return [clip for clip in clips if isinstance(clip, Clip)]


def _load(
    file: Path, name: str, bodies: Mapping[str, BodyModel], fps: float | None, gender: str | None, up: str
) -> Clip:
    outcome = process_or_drop(read_amass(file, fps, gender, up, name), bodies)
    if isinstance(outcome, Dropped):
        raise MotionError(f"{name}: the processing rules drop it ({outcome.reason}); give another clip.")
    return outcome
