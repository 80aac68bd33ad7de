"""The `humor` command: each sub-command is one function, its arguments are its help."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from ..body import BodyModel, find_bodies
from ..data.cmu.importing import FPS, import_cmu
from ..data.preprocess import ClipDefaults, FileOutcome, build_store, process_tree
from ..data.store import MotionStore
from ..errors import HumorError, MotionError, SettingError
from ..mannequin import write_mannequins
from ..mannequin.drawing import draw_mannequins
from ..training.progress import counted
from .motion import fit, reconstruct, sample
from .training import profile, study, train

app = tyro.extras.SubcommandApp()
console = Console(highlight=False, soft_wrap=True)


@app.command
def mannequin(out: Annotated[Path, tyro.conf.Positional], picture: Path | None = None) -> None:
    """Write the procedural body of each gender in SMPL+H format: OUT/male/model.npz, and so on.

    Args:
        out: folder to write to.
        picture: also draw the three bodies, and the neutral one in a few poses, to this PNG file.
    """
    if picture is not None and picture.suffix.lower() != ".png":
        raise SettingError(f"{picture}: pictures are .png files; give another name.")
    for file in write_mannequins(out):
        console.print(f"wrote {file}", markup=False)
    if picture is not None:
        console.print(f"drew {draw_mannequins(picture)}", markup=False)


@app.command(name="import")
def import_motion(
    kind: Annotated[Literal["cmu"], tyro.conf.Positional],
    source: Annotated[Path, tyro.conf.Positional],
    out: Path,
    fps: float = FPS,
    body_model: Path | None = None,
) -> None:
    """Turn a folder of CMU's .asf and .amc files into AMASS-format .npz: OUT/CMU/01/01_01_poses.npz, and so on.

    Args:
        kind: what the folder holds.
        source: the folder; its sub-folders count too.
        out: folder to write to.
        fps: frames a second of the files, which do not say it.
        body_model: folder of SMPL+H files, whose neutral body is fitted; a mannequin if it is left out.
    """
    body = BodyModel.mannequin("neutral") if body_model is None else BodyModel.load(find_bodies(body_model)["neutral"])
    with counted("importing") as advance:
        summary = import_cmu(source, out, body, fps, lambda _, total: advance(total))
    for clip in summary.left_out:
        console.print(f"left out: {clip.note}", markup=False)
    frames = sum(clip.frames for clip in summary.imported)
    rows = [("imported", len(summary.imported), frames / fps), ("left out", len(summary.left_out), 0.0)]
    _print_table("CMU motion", ("", "clips", "minutes"), [(what, count, f"{s / 60:.1f}") for what, count, s in rows])
    if not summary.imported:
        raise MotionError(
            f"{source}: none of {len(summary.clips)} motions could be imported; mend what is named above."
        )


@app.command
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

    A run that was stopped goes on where it was when the same command is given again.

    Args:
        raw: a folder of .npz files, or one file.
        out: folder to write to: a processed file for each clip in OUT/clips, and the store that training reads.
        workers: processes at work.
        body_model: folder of SMPL+H files of all genders; a mannequin if it is left out.
        fps: frames a second of files that do not say it.
        gender: body of files that name none.
        up: the axis that points up in the files.
    """
    with counted("processing") as advance:
        outcomes = process_tree(
            raw, out, body_model, ClipDefaults(fps, gender, up), workers, lambda _, total: advance(total)
        )
    for problem in (outcome.reason for outcome in outcomes if outcome.kind == "not readable"):
        console.print(f"not readable: {problem}", markup=False)
    _print_outcomes(outcomes)
    if not any(outcome.kind == "kept" for outcome in outcomes):
        raise MotionError(f"{raw}: none of {len(outcomes)} files was kept; the table says why.")
    with counted("building the store") as advance:
        store, problems = build_store(out, lambda _, total: advance(total))
    for problem in problems:
        console.print(f"left out of the store: {problem}", markup=False)
    console.print(_store_line(out, store), markup=False)


@app.command
def report(inputs: Annotated[tuple[Path, ...], tyro.conf.Positional], out: Path = Path("report.html")) -> None:
    """Put measurements, verdicts, predictions and training runs on one page: a file of HTML that needs no network.

    Args:
        inputs: JSON of `humor profile` and of `pytest bench` (--benchmark-json, --verdicts and the like), in any order,
            several saved runs for their history; folders of `humor train` and `humor study`.
        out: file to write.
    """
    from ..report import read_document, write_page

    write_page([read_document(path) for path in inputs], out)
    console.print(f"wrote {out}", markup=False)


app.command(train)
app.command(study)
app.command(profile)
app.command(sample)
app.command(reconstruct)
app.command(fit)


def _print_outcomes(outcomes: Sequence[FileOutcome]) -> None:
    """A row for what was kept, and one for each reason why a file was not."""
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    counts = Counter((outcome.kind, outcome.cause) for outcome in outcomes)
    kept = counts.pop(("kept", ""), 0)
    rows = [(kind, why, count, "") for (kind, why), count in sorted(counts.items())]
    _print_table("Files", ("", "why", "files", "minutes"), [("kept", "", kept, f"{minutes:.1f}"), *rows])


def _store_line(out: Path, store: MotionStore) -> str:
    subsets = Counter(clip.subset for clip in store.clips)
    named = ", ".join(f"{subset or 'no subset'} {count}" for subset, count in sorted(subsets.items()))
    return f"store {out}: {len(store)} clips, {store.frames.sum()} frames ({named})"


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in ("clips", "files", "minutes") else "left")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table, markup=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; a mistake of the user's is one sentence on standard error and exit code 1."""
    try:
        app.cli(prog="humor", description="HuMoR's motion model, its loss and its data.", args=arguments)
    except HumorError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"humor: {error}", markup=False)
        sys.exit(1)
    except OSError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"humor: {error}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("humor: interrupted; what was written is whole.", markup=False)
        sys.exit(130)
