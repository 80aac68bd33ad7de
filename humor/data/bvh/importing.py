"""Import a folder of Biovision files (.bvh) as AMASS-format .npz files."""

import json
import tomllib
from collections.abc import Callable, Mapping
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
    free_target,
    import_jobs,
    require_subset,
    safe_name,
    without_ending,
)
from ..text_files import read_text
from ..worker_pool import require_workers
from .joints import MAPPABLE
from .source import UNITS, read_source

_MOTIONS = (".bvh", ".bvh.gz")


def import_bvh(
    source: Path,
    out: Path,
    body: BodyModel,
    on_clip: Callable[[ImportedClip, int], None] | None = None,
    *,
    subset: str | None = None,
    unit: str | None = None,
    up: str | None = None,
    joints: Mapping[str, str] | None = None,
    workers: int = 1,
) -> ImportSummary:
    """Write every motion under a folder as OUT/<subset>/<folders>/<clip>_poses.npz; `on_clip(clip, total)` after each.

    The subset is the folder's name if left out; unit, up axis and joints are told by each file, see `read_source`. The
    betas are those of the given body. A file that cannot be used is noted and the rest go on. Raises FileError where
    the folder holds no motion or nothing can be written, SettingError for a setting that is none.
    """
    source, out = Path(source), Path(out)
    require_subset(subset)
    require_workers(workers)
    if unit is not None and unit not in UNITS:
        raise SettingError(f'--unit "{unit}"; expected one of {", ".join(UNITS)}.')
    if up not in (None, "y", "z"):
        raise SettingError(f'--up "{up}"; expected y or z.')
    if not source.is_dir():
        raise FileError(f"{source}: not a folder; expected .bvh files in it, check the name.")
    files, problems = find_files(source)
    motions = sorted(path for path in files if without_ending(path, _MOTIONS))
    if not motions:
        raise FileError(f"{source}: no .bvh or .bvh.gz file in it; name another folder.")
    settings = json.dumps({"unit": unit, "up": up, "joints": dict(joints or {})})
    subset = subset or safe_name(source.resolve().name) or "BVH"
    taken: set[Path] = set()
    jobs = []
    for motion in motions:
        folders = map(safe_name, motion.parent.relative_to(source).parts)
        target = Path(subset, *folders, safe_name(without_ending(motion, _MOTIONS)) + ENDING)
        target = free_target(target, taken)
        taken.add(target)
        jobs.append(ImportJob(motion, out / target, partial(read_source, motion, unit, up, joints), (), settings))
    return import_jobs(jobs, out, body, workers, on_clip, problems)


def read_joint_names(path: Path) -> dict[str, str]:
    """Read a TOML file that maps SMPL's names of joints to a skeleton's: left_knee = "LeftShin", and so on.

    Raises FileError for a damaged file and for a name that is none of SMPL's that can be mapped.
    """
    try:
        table = tomllib.loads(read_text(Path(path), 1, "expected a few lines; remove it").decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(
            f'{path}: not a file of joints ({error}); expected lines such as left_knee = "LeftShin".'
        ) from None
    for name, theirs in table.items():
        if name not in MAPPABLE or not isinstance(theirs, str):
            raise FileError(
                f"{path}: {name} = {theirs!r:.40}; expected one of {', '.join(MAPPABLE)} and the name of a joint in "
                "quotes."
            )
    return table
