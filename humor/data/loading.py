"""Load bodies and motion from files, or make stand-ins where no files are given."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..body import BodyModel
from ..errors import FileError, HumorError, MotionError
from ..io.body_files import find_bodies
from ..skeleton import GENDERS
from .amass import RawClip, find_motion_files, read_amass
from .processing import Clip, Dropped, process_or_drop
from .splits import tree_root
from .store import MotionStore
from .synthetic.walker import synthetic_clips


def load_bodies(folder: Path | None = None) -> dict[str, BodyModel]:
    """Load the SMPL+H or SMPL body of each gender that a folder has, or make mannequins where none is given.

    Raises FileError for an unreadable file and for a folder without any.
    """
    if folder is None:
        return {gender: BodyModel.mannequin(gender) for gender in GENDERS}
    return {gender: BodyModel.load(file) for gender, file in find_bodies(folder).items()}


def load_bodies_and_store(
    body_folder: Path | None = None, store_folder: Path | None = None, synthetic_clips: int = 20
) -> tuple[dict[str, BodyModel], MotionStore]:
    """Load bodies, and open a motion store or fill one with synthetic gaits where no folder is given.

    Raises FileError for a missing or damaged file of either.
    """
    bodies = load_bodies(body_folder)
    if store_folder is not None:
        return bodies, MotionStore.open(store_folder)
    return bodies, MotionStore.in_memory(synthetic_motion(bodies, synthetic_clips))


def require_bodies(bodies: Mapping[str, BodyModel], genders: Iterable[str], of: str | Path | None) -> None:
    """Raise FileError where a gender that motion has is not among the bodies of a folder."""
    missing = sorted(set(genders) - set(bodies))
    if missing:
        raise FileError(
            f"{of}: no {missing[0]} body, which the motion needs; put {missing[0]}/model.npz or "
            f"SMPLH_{missing[0].upper()}.npz beside the {' and '.join(sorted(bodies))} one."
        )


def load_clips(
    path: str | Path,
    bodies: Mapping[str, BodyModel],
    fps: float | None = None,
    gender: str | None = None,
    up: str = "z",
    on_problem: Callable[[str], None] = lambda problem: None,
) -> list[Clip]:
    """Read and process an AMASS `.npz`, or every one in a folder; the settings supply what a file lacks.

    In a folder, files that cannot be used are skipped as long as one can be, and reported to `on_problem`. Raises
    FileError or MotionError with the reason otherwise.
    """
    path = Path(path)
    if not path.is_dir():
        return [_load(path, None, bodies, fps, gender, up)]
    folder = Path(os.path.abspath(path))
    files, problems = find_motion_files(folder)
    if not files:
        raise FileError(problems[0] if problems else f"{path}: no AMASS .npz files in this folder; name another.")
    clips, root = [], tree_root(folder)
    for file in files:
        try:
            clips.append(_load(file, str(file.relative_to(root)), bodies, fps, gender, up))
        except HumorError as problem:
            problems.append(str(problem))
    for text in problems:
        on_problem(text)
    if not clips:
        raise MotionError(f"{path}: none of {len(files)} files can be used; the first: {problems[0]}")
    return clips


def synthetic_motion(bodies: Mapping[str, BodyModel], count: int = 3, seed: int = 0) -> list[Clip]:
    """Make processed clips of synthetic gaits: people who walk, turn and stop."""
    clips = [
        process_or_drop(RawClip.from_arrays(raw, f"synthetic {number}"), bodies)
        for number, raw in enumerate(synthetic_clips(count, seed))
    ]
    return [clip for clip in clips if isinstance(clip, Clip)]


def _load(
    file: Path, name: str | None, bodies: Mapping[str, BodyModel], fps: float | None, gender: str | None, up: str
) -> Clip:
    outcome = process_or_drop(read_amass(file, fps, gender, up, name), bodies)
    if isinstance(outcome, Dropped):
        raise MotionError(f"{outcome.name}: the processing rules drop it ({outcome.reason}); give another clip.")
    return outcome
