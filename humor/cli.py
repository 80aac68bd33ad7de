"""The `humor` command: each sub-command is one function, its arguments are its help."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .body import BodyModel, find_bodies
from .data.building import Outcome, Supplied, build_store, load_bodies, process_tree
from .data.cmu import FPS, import_cmu
from .data.loading import synthetic_motion
from .data.store import MotionStore
from .drawing import draw_mannequins
from .errors import HumorError, MotionError, SettingError
from .files import make_folder
from .held_out import Split, split_clips
from .lifting.cameras import NoiseName
from .mannequin import write_mannequins
from .motion_commands import fit, reconstruct, sample
from .progress import counted
from .settings import TrainSettings
from .study import StudySettings, run_study
from .turns import ProfileSettings

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
            raw, out, body_model, Supplied(fps, gender, up), workers, lambda _, total: advance(total)
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
def train(
    out: Path,
    data: Path | None = None,
    model: Literal["humor", "poseformer", "poseformer-v2"] = "humor",
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = TrainSettings(),  # noqa: B008  frozen
    frames: int = 81,
    noise: NoiseName = "noisy",
    subsets: tuple[str, ...] = (),
    body_model: Path | None = None,
    device: str | None = None,
) -> None:
    """Train a network; `torchrun --nproc-per-node N -m humor train ...` trains on N devices.

    A run that was stopped, however it was, goes on where it was when the same command is given again.

    Args:
        out: folder of the run: checkpoints (last.pt, best.pt), steps.csv, epochs.csv, times.csv, tensorboard.
        data: store that `humor process` built; a synthetic gait if it is left out.
        model: the motion model, or a network that lifts 2D joints, seen by random cameras, to 3D.
        settings: how to train.
        frames: that a lifting network sees; an odd number.
        noise: of the 2D joints that a lifting network is trained on.
        subsets: train on these alone, e.g. CMU, the study's; those of the published split if they are left out.
        body_model: folder of SMPL+H files of all genders; a mannequin if it is left out.
        device: cpu, cuda or cuda:N; cuda if there is one.
    """
    from .distributed import joined
    from .lifting.training import LiftingSettings, LiftingTrainer
    from .trainer import Trainer

    with joined(device) as team:
        split, bodies = _motion_and_bodies(data, subsets, body_model, team.leads)
        if model == "humor":
            Trainer(settings, split, bodies, out, team, console).run()
        else:
            lifting = LiftingSettings(**vars(settings), model=model, frames=frames, noise=noise)
            LiftingTrainer(lifting, split, out, team, console).run()


@app.command
def study(
    out: Path,
    data: Path | None = None,
    settings: Annotated[StudySettings, tyro.conf.arg(name="")] = StudySettings(),  # noqa: B008  frozen
    subsets: tuple[str, ...] = (),
    body_model: Path | None = None,
    device: str | None = None,
) -> None:
    """Train in several precisions from the same weights on the same batches, and compare time and curves.

    A study that was stopped goes on where it was when the same command is given again.

    Args:
        out: folder of the study: a folder for each run, table.md, curves.csv, curves.svg.
        data: store that `humor process` built; a synthetic gait if it is left out.
        settings: what to compare.
        subsets: train on these alone, e.g. CMU, the study's; those of the published split if they are left out.
        body_model: folder of SMPL+H files of all genders; a mannequin if it is left out.
        device: cpu, cuda or cuda:N; cuda if there is one.
    """
    from .distributed import joined
    from .study_report import time_table, write_report

    with joined(device) as team:
        split, bodies = _motion_and_bodies(data, subsets, body_model, team.leads)
        result = run_study(settings, split, bodies, out, team, console)
        if team.leads:
            verdicts = write_report(result, out)
            console.print(time_table(result), *verdicts, f"wrote {out}/table.md, curves.csv, curves.svg", sep="\n")


@app.command
def profile(
    out: Path | None = None,
    data: Path | None = None,
    settings: Annotated[ProfileSettings, tyro.conf.arg(name="")] = ProfileSettings(),  # noqa: B008  frozen
    body_model: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Show where a training step's time goes here: the study's Tables 2 and 3, precisions in turns.

    Stopped, it shows and writes what it has.

    Args:
        out: folder for profile.json, and for trace.json.gz: some steps at the first width, for ui.perfetto.dev.
        data: store that `humor process` built; a synthetic gait if it is left out.
        settings: what to measure.
        body_model: folder of SMPL+H files of all genders; a mannequin if it is left out.
        device: cpu, cuda or cuda:N; cuda if there is one.
        threads: PyTorch's threads; its own choice if it is left out.
    """
    from .distributed import joined
    from .profile_report import headline, profile_tables, write_profile
    from .profiling import Profile, measure_profile

    if threads is not None and threads < 1:
        raise SettingError(f"threads {threads}: expected a whole number from 1.")
    torch.set_num_threads(threads or torch.get_num_threads())
    if out is not None:
        make_folder(out)  # so that one that cannot be written is told at once
    with joined(device) as team:
        found = Profile(settings, team.device)
        split, bodies = _motion_and_bodies(data, (), body_model, team.leads)
        try:
            with _progress_of_parts() as told:
                measure_profile(found, split.train, bodies, out and out / "trace.json.gz", told)
        finally:
            document = found.document()
            if document["runs"]:
                page = Console(width=None if console.is_terminal else 160, highlight=False)
                page.print(headline(document), *profile_tables(document), sep="\n")
            if document["runs"] and out is not None:
                write_profile(document, out)
                console.print(f"wrote {out}/profile.json", markup=False)


@app.command
def report(inputs: Annotated[tuple[Path, ...], tyro.conf.Positional], out: Path = Path("report.html")) -> None:
    """Put measurements, verdicts, predictions and training runs on one page: a file of HTML that needs no network.

    Args:
        inputs: JSON of `humor profile` and of `pytest bench` (--benchmark-json, --verdicts and the like), in any order,
            several saved runs for their history; folders of `humor train` and `humor study`.
        out: file to write.
    """
    from .report import read_document, write_page

    write_page([read_document(path) for path in inputs], out)
    console.print(f"wrote {out}", markup=False)


app.command(sample)
app.command(reconstruct)
app.command(fit)


def _motion_and_bodies(
    data: Path | None, subsets: Sequence[str], body_model: Path | None, told: bool
) -> tuple[Split, dict[str, BodyModel]]:
    bodies = load_bodies(body_model)
    store = MotionStore.open(data) if data else MotionStore.in_memory(synthetic_motion(bodies, count=20))
    split = split_clips(store, subsets)
    if told:
        console.print(f"{data or 'synthetic gait'}: {split.rule}", markup=False)
    return split, bodies


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
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


@contextmanager
def _progress_of_parts() -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error; what it yields names the part under way and the share of it that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda part, share: bar.update(task, description=part, completed=share)


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
