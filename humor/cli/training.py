"""The commands that run training steps: train, study and profile."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..body import BodyModel
from ..data.loading import load_bodies_and_store
from ..errors import SettingError
from ..io.files import make_folder
from ..lifting.cameras import NoiseName
from ..precision.cpu_half_emulation import emulate_half_on_cpu
from ..study.interleaved_profile import ProfileSettings
from ..study.trainings import StudySettings, run_study
from ..training.distributed import joined
from ..training.settings import TrainSettings
from ..training.split import Split, split_clips

console = Console(highlight=False, soft_wrap=True)


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
    from ..lifting.training import LiftingSettings, LiftingTrainer
    from ..training.loop import Trainer

    # A compiled step asks its compiler for half precision.
    emulation = emulate_half_on_cpu() if settings.execution == "eager" else nullcontext()
    with joined(device) as team, emulation:
        split, bodies = _motion_and_bodies(data, subsets, body_model, team.leads)
        if model == "humor":
            Trainer(settings, split, bodies, out, team, console).run()
        else:
            lifting = LiftingSettings(**vars(settings), model=model, frames=frames, noise=noise)
            LiftingTrainer(lifting, split, out, team, console).run()


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
    from ..study.tables import time_table, write_report

    with joined(device) as team:
        split, bodies = _motion_and_bodies(data, subsets, body_model, team.leads)
        result = run_study(settings, split, bodies, out, team, console)
        if team.leads:
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
    from ..study.profile import Profile, measure_profile
    from ..study.profile_tables import headline, profile_tables, write_profile

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


def _motion_and_bodies(
    data: Path | None, subsets: Sequence[str], body_model: Path | None, told: bool
) -> tuple[Split, dict[str, BodyModel]]:
    bodies, store = load_bodies_and_store(body_model, data)
    split = split_clips(store, subsets)
    if told:
        console.print(f"{data or 'synthetic gait'}: {split.rule}", markup=False)
    return split, bodies


@contextmanager
def _progress_of_parts() -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error; what it yields names the part under way and the share of it that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda part, share: bar.update(task, description=part, completed=share)
