"""The commands that make motion ready for training: import and process."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..body import BodyModel
from ..data.bvh.importing import import_bvh, read_joint_names
from ..data.cmu.importing import import_cmu
from ..data.importing import ImportedClip, ImportSummary, write_table
from ..data.preprocess import ClipDefaults, FileOutcome, build_store, process_tree
from ..data.store import MotionStore
from ..errors import MotionError, SettingError
from ..io.body_files import find_bodies
from ..training.progress import progress_bar
from .terminal import console, print_table


def import_motion(
    kind: Annotated[Literal["cmu", "bvh"], tyro.conf.Positional],
    source: Annotated[Path, tyro.conf.Positional],
    out: Path,
    workers: int = os.cpu_count() or 1,
    fps: float | None = None,
    unit: Literal["m", "cm", "mm", "in", "cmu"] | None = None,
    up: Literal["y", "z"] | None = None,
    joints: Path | None = None,
    body_model: Path | None = None,
    subset: str | None = None,
) -> None:
    """Turn a folder of captured motion into AMASS-format .npz: OUT/CMU/01/01_01_poses.npz, and so on.

    The same command given again continues a run that was stopped. OUT/import.csv says what became of each file.

    Args:
        kind: the format of the files: "cmu" for .asf and .amc with the bones of CMU's skeletons, as HDM05's have; "bvh"
            for .bvh of any humanoid skeleton.
        source: the folder to read, with its sub-folders, which are kept.
        out: folder to write to.
        workers: number of processes.
        fps: of cmu: frames a second of files that do not state it; 120 if left out.
        unit: of bvh: the unit of length, where the body's height does not tell it; cmu is that of CMU's own files.
        up: of bvh: the axis that points up, where the motion does not tell it.
        joints: of bvh: a file with lines such as left_knee = "LeftShin", for joints that cannot be told by their names.
        body_model: folder of SMPL+H or SMPL files, whose neutral body is fitted; a mannequin if left out.
        subset: the subset of AMASS that the motion belongs to; if left out, the name of a .bvh's folder, and of cmu by
            the files' names: MPI_HDM05 where they begin with HDM_, else CMU.
    """
    _require_options_of(kind, {"fps": fps}, {"unit": unit, "up": up, "joints": joints})
    if body_model is None:
        body = BodyModel.mannequin("neutral")
    else:
        body = BodyModel.load(find_bodies(body_model, wanted=("neutral",))["neutral"])
    names = None if joints is None else read_joint_names(joints)
    with progress_bar("importing") as advance:

        def on_clip(_: ImportedClip, total: int) -> None:
            advance(total)

        if kind == "cmu":
            summary = import_cmu(source, out, body, fps, on_clip, subset, workers)
        else:
            summary = import_bvh(
                source, out, body, on_clip, subset=subset, unit=unit, up=up, joints=names, workers=workers
            )
    write_table(out / "import.csv", summary)
    _print_imported(source, out, summary)


def _require_options_of(kind: str, cmu: Mapping[str, object], bvh: Mapping[str, object]) -> None:
    """Raise SettingError for an option of the other format."""
    for option, value in (bvh if kind == "cmu" else cmu).items():
        if value is not None:
            raise SettingError(f"--{option} is not for {kind}, whose files say it; leave it out.")


def _print_imported(source: Path, out: Path, summary: ImportSummary) -> None:
    """What was left out and why, how the rest was read, and what was written. Raises MotionError for nothing."""
    for clip in summary.clips:
        if clip.note:
            console.print(f"{'left out' if clip.path is None else 'note'}: {clip.note}", markup=False)
    counts = Counter(clip.layout for clip in summary.imported if clip.layout)
    for layout, count in counts.most_common():
        console.print(f"read as {layout}: {count} files", markup=False)
    minutes = sum(clip.frames / clip.fps for clip in summary.imported) / 60
    rows = [("imported", len(summary.imported), f"{minutes:.1f}"), ("left out", len(summary.left_out), "0.0")]
    print_table("Motion", ("", "clips", "minutes"), rows)
    if not summary.imported:
        raise MotionError(
            f"{source}: none of {len(summary.clips)} motions could be imported; mend what is named above."
        )
    subsets = Counter(clip.path.relative_to(out).parts[0] for clip in summary.imported if clip.path is not None)
    console.print(f"wrote to {out}: {_counts(subsets)}", markup=False)


def process(
    raw: Annotated[Path, tyro.conf.Positional],
    out: Path,
    workers: int = os.cpu_count() or 1,
    body_model: Path | None = None,
    fps: float | None = None,
    gender: Literal["male", "female", "neutral"] | None = None,
    up: Literal["z", "y"] = "z",
) -> None:
    """Process motion for training: an AMASS tree, imported CMU motion, or already processed HuMoR files.

    The same command given again continues a run that was stopped.

    Args:
        raw: a folder of .npz files, or one file.
        out: folder to write to: a processed file for each clip in OUT/clips, and the store that training reads.
        workers: number of processes.
        body_model: folder of SMPL+H or SMPL files of the genders that the motion has; mannequins if left out.
        fps: frames a second of files that do not state it.
        gender: body of files that name no gender.
        up: the axis that points up in the files.
    """
    with progress_bar("processing") as advance:
        outcomes = process_tree(
            raw, out, body_model, ClipDefaults(fps, gender, up), workers, lambda _, total: advance(total)
        )
    for problem in (outcome.reason for outcome in outcomes if outcome.kind == "not readable"):
        console.print(f"not readable: {problem}", markup=False)
    _print_outcomes(outcomes)
    if not any(outcome.kind == "kept" for outcome in outcomes):
        raise MotionError(f"{raw}: none of {len(outcomes)} files was kept; the table says why.")
    with progress_bar("building the store") as advance:
        store, problems = build_store(out, lambda _, total: advance(total))
    for problem in problems:
        console.print(f"left out of the store: {problem}", markup=False)
    console.print(_store_line(out, store), markup=False)


def _print_outcomes(outcomes: Sequence[FileOutcome]) -> None:
    """A row for what was kept, and one for each reason why a file was not."""
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    counts = Counter((outcome.kind, outcome.cause) for outcome in outcomes)
    kept = counts.pop(("kept", ""), 0)
    rows = [(kind, why, count, "") for (kind, why), count in sorted(counts.items())]
    print_table(
        "Files", ("", "why", "files", "minutes"), [("kept", "", kept, f"{minutes:.1f}"), *rows], left=("", "why")
    )


def _store_line(out: Path, store: MotionStore) -> str:
    subsets = Counter(clip.subset for clip in store.clips)
    return f"store {out}: {len(store)} clips, {store.frames.sum()} frames ({_counts(subsets)})"


def _counts(subsets: Mapping[str, int]) -> str:
    return ", ".join(f"{subset or 'no subset'} {count}" for subset, count in sorted(subsets.items()))
