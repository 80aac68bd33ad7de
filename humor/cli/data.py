"""The commands that make motion ready for training: import and process."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..body import BodyModel
from ..data.cmu.importing import import_cmu
from ..data.preprocess import ClipDefaults, FileOutcome, build_store, process_tree
from ..data.store import MotionStore
from ..errors import MotionError
from ..io.body_files import find_bodies
from ..training.progress import progress_bar
from .terminal import console, print_table


def import_motion(
    kind: Annotated[Literal["cmu"], tyro.conf.Positional],
    source: Annotated[Path, tyro.conf.Positional],
    out: Path,
    fps: float | None = None,
    body_model: Path | None = None,
    subset: str | None = None,
) -> None:
    """Turn a folder of .asf and .amc files into AMASS-format .npz: OUT/CMU/01/01_01_poses.npz, and so on.

    Takes every database whose skeletons have the bones of CMU's, as HDM05's have.

    Args:
        kind: the format of the files: .asf and .amc, as of CMU.
        source: the folder to read, with its sub-folders, which are kept.
        out: folder to write to.
        fps: frames a second of files that do not state it; 120 if left out.
        body_model: folder of SMPL+H or SMPL files, whose neutral body is fitted; a mannequin if left out.
        subset: the subset of AMASS that the motion belongs to; by the files' names if left out: MPI_HDM05 where they
            begin with HDM_, else CMU.
    """
    if body_model is None:
        body = BodyModel.mannequin("neutral")
    else:
        body = BodyModel.load(find_bodies(body_model, wanted=("neutral",))["neutral"])
    with progress_bar("importing") as advance:
        summary = import_cmu(source, out, body, fps, lambda _, total: advance(total), subset)
    for clip in summary.clips:
        if clip.note:
            console.print(f"{'left out' if clip.path is None else 'note'}: {clip.note}", markup=False)
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
