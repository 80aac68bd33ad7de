"""The study: the same training in several precisions, from the same weights on the same batches with the same noise."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from ..body import BodyModel
from ..errors import FileError, SettingError
from ..io.files import write_whole
from ..io.run_tables import STUDY_PLAN, RunCurves, epochs_finished, read_runs, study_run_name
from ..precision.presets import PrecisionName
from ..training.distributed import Team
from ..training.loop import Trainer
from ..training.settings import TrainSettings
from ..training.split import Split
from ..training.task import MotionTask


@dataclass(frozen=True)
class StudySettings:
    """What to compare, and for how long; the defaults are the study's, in three seeds."""

    precisions: tuple[PrecisionName, ...] = ("fp32", "fp16")  # the first is the reference
    width: int = 4  # factor on every hidden size
    epochs: int = 8
    batch_size: int = 8  # windows a step, of each process
    steps_per_epoch: int | None = None  # default: as many as show as many windows as the training clips hold
    seeds: int = 3  # runs of each precision, seeds 0, 1, ...

    def __post_init__(self) -> None:
        if len(set(self.precisions)) != len(self.precisions) or len(self.precisions) < 2:
            raise SettingError(f"precisions {' '.join(self.precisions)}: expected two or more, none twice.")
        if self.seeds < 1:
            raise SettingError(f"seeds {self.seeds}: expected a whole number from 1.")

    def runs(self) -> dict[str, TrainSettings]:
        """The settings of each run by the name of its folder, a seed after the other."""
        base = TrainSettings(
            width=self.width, epochs=self.epochs, batch_size=self.batch_size, steps_per_epoch=self.steps_per_epoch
        )
        return {
            study_run_name(precision, seed): replace(base, precision=precision, seed=seed)
            for seed in range(self.seeds)
            for precision in self.precisions
        }


def run_study(
    settings: StudySettings, split: Split, bodies: Mapping[str, BodyModel], out: Path, team: Team, console: Console
) -> RunCurves:
    """Run the trainings that are not finished, and read the curves of all of them.

    The precisions of a seed take turns, an epoch each, so that a machine that slows down is seen in all of their times.
    FP16's gradient scale begins where it settles: while it is sought, updates are skipped, after which a run no longer
    follows the others batch by batch, and another order of first batches moves the curves more than a precision does.
    Called again after a stop, it continues where it was. Raises SettingError for a folder with another study.
    """
    plan = {**asdict(settings), "motion": split.fingerprint, "processes": team.size}
    runs = settings.runs()
    _require_same_plan(out / STUDY_PLAN, plan)
    if team.is_main:
        write_whole(out / STUDY_PLAN, json.dumps(plan, indent=1).encode())
    for seed in range(settings.seeds):
        trainers = [
            Trainer(MotionTask(run, split, bodies, team), out / name, console, f"run {number} of {len(runs)}, {name}: ")
            for number, (name, run) in enumerate(runs.items(), 1)
            if run.seed == seed and epochs_finished(out / name) < run.epochs
        ]
        for trainer in trainers:
            if not trainer.resumed:
                trainer.task.step.settle_gradient_scale()
        for epoch in range(settings.epochs):
            for trainer in trainers:
                if trainer.position.epoch == epoch:
                    trainer.run(until=epoch + 1)
    return read_study(settings, out)


def read_study(settings: StudySettings, out: Path) -> RunCurves:
    """The curves of a study whose runs are finished."""
    folders: dict[str, list[Path]] = {
        name: [out / study_run_name(name, seed) for seed in range(settings.seeds)] for name in settings.precisions
    }
    return read_runs(folders, settings.epochs)


def _require_same_plan(path: Path, plan: Mapping[str, object]) -> None:
    """Raise SettingError naming each difference from the study that a folder holds."""
    if not path.is_file():
        return
    try:
        existing = json.loads(path.read_text())
        differences = [
            f"{name} {existing.get(name)}, not {wanted}"
            for name, wanted in json.loads(json.dumps(plan)).items()
            if existing.get(name) != wanted
        ]
    except (ValueError, AttributeError) as error:
        raise FileError(f"{path}: damaged ({error}); remove it, or use another --out.") from None
    if differences:
        raise SettingError(
            f"{path.parent} holds a study with {'; '.join(differences)}; give its settings to go on, or another --out."
        )
