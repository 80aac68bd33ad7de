"""The commands that repeat the study: study and profile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import SettingError
from ..io.files import create_folder
from ..study.interleaved_profile import ProfileSettings
from ..study.precision_trainings import StudySettings, run_study
from ..training.distributed import process_group
from .terminal import console
from .training import load_split_and_bodies


def study(
    out: Path,
    data: Path | None = None,
    settings: Annotated[StudySettings, tyro.conf.arg(name="")] = StudySettings(),  # noqa: B008  frozen
    subsets: tuple[str, ...] = (),
    body_model: Path | None = None,
    device: str | None = None,
) -> None:
    """Train in several precisions from the same weights on the same batches, and compare time and curves.

    The same command given again continues a study that was stopped.

    Args:
        out: folder of the study: a folder for each run, table.md, curves.csv, curves.svg.
        data: motion store that `humor process` built; a synthetic gait if left out.
        settings: the trainings to compare.
        subsets: train on these subsets only, e.g. CMU as in the study; those of the published split if left out.
        body_model: folder of SMPL+H or SMPL files of the genders that the motion has; mannequins if left out.
        device: cpu, cuda or cuda:N; cuda if there is one.
    """
    from ..study.training_tables import time_table, write_report

    with process_group(device) as team:
        split, bodies = load_split_and_bodies(data, subsets, body_model, not team.is_main)
        result = run_study(settings, split, bodies, out, team, console)
        if team.is_main:
            verdicts = write_report(result, out)
            console.print(time_table(result), *verdicts, f"wrote {out}/table.md, curves.csv, curves.svg", sep="\n")


def profile(
    out: Path | None = None,
    data: Path | None = None,
    settings: Annotated[ProfileSettings, tyro.conf.arg(name="")] = ProfileSettings(),  # noqa: B008  frozen
    body_model: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Show where a training step's time goes on this machine: the study's Tables 2 and 3, in alternating precisions.

    A profile that is stopped shows and writes what it has measured.

    Args:
        out: folder for profile.json and for trace.json.gz, some steps at the first width to open at ui.perfetto.dev.
        data: motion store that `humor process` built; a synthetic gait if left out.
        settings: the steps to measure.
        body_model: folder of SMPL+H or SMPL files of the genders that the motion has; mannequins if left out.
        device: cpu, cuda or cuda:N; cuda if there is one.
        threads: number of threads within an operator; PyTorch's choice if left out.
    """
    from ..study.profile_tables import headline, profile_tables, write_profile
    from ..study.step_profile import Profile, measure_profile

    if threads is not None and threads < 1:
        raise SettingError(f"threads {threads}: expected a whole number from 1.")
    torch.set_num_threads(threads or torch.get_num_threads())
    if out is not None:
        create_folder(out)  # so that a folder that cannot be written fails before anything is measured
    with process_group(device) as team:
        measured = Profile(settings, team.device)
        split, bodies = load_split_and_bodies(data, (), body_model, not team.is_main)
        try:
            with _progress_of_parts() as on_progress:
                measure_profile(measured, split.train, bodies, out and out / "trace.json.gz", on_progress)
        finally:
            document = measured.document()
            if document["runs"]:
                page = Console(width=None if console.is_terminal else 160, highlight=False)
                page.print(headline(document), *profile_tables(document), sep="\n")
            if document["runs"] and out is not None:
                write_profile(document, out)
                console.print(f"wrote {out}/profile.json", markup=False)


@contextmanager
def _progress_of_parts() -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error; what it yields names the part under way and the share of it that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda part, share: bar.update(task, description=part, completed=share)
