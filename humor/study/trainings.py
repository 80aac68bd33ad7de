"""The study: the same training in several precisions, from the same weights on the same batches with the same noise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from ..body import BodyModel
from ..errors import FileError, SettingError
from ..io.files import write_whole
from ..precision.presets import PrecisionName
from ..training.distributed import Team
from ..training.log import read_table
from ..training.loop import Trainer
from ..training.phase_timer import PHASES
from ..training.settings import TrainSettings
from ..training.split import Split

PLAN = "study.json"


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
            run_name(precision, seed): replace(base, precision=precision, seed=seed)
            for seed in range(self.seeds)
            for precision in self.precisions
        }


@dataclass(frozen=True, eq=False)
class StudyResult:
    """Curves of each precision, (seeds, epochs), and mean seconds of an epoch by phase."""

    precisions: tuple[str, ...]
    train: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray]
    seconds: Mapping[str, Mapping[str, float]]

    def network_share(self, precision: str) -> float:
        """What a network that takes no time would save of an epoch, 0 to 1: Amdahl's bound."""
        seconds = self.seconds[precision]
        whole = sum(seconds.values())
        return (seconds["sample"] + seconds["network backward"]) / whole if whole else float("nan")


def run_study(
    settings: StudySettings, split: Split, bodies: Mapping[str, BodyModel], out: Path, team: Team, console: Console
) -> StudyResult:
    """Train what has not been trained yet and read all of it back. Stopped, it goes on run by run, and within a run."""
    plan = {**asdict(settings), "motion": split.fingerprint, "processes": team.size}
    runs = settings.runs()
    _require_same_plan(out / PLAN, plan)
    if team.leads:
        write_whole(out / PLAN, json.dumps(plan, indent=1).encode())
    for number, (name, run) in enumerate(runs.items(), 1):
        if not _finished(out / name, run.epochs):
            label = f"run {number} of {len(runs)}, {name}: "
            Trainer(run, split, bodies, out / name, team, console, label).run()
    return read_study(settings, out)


def read_study(settings: StudySettings, out: Path) -> StudyResult:
    """The result of a study whose runs are finished."""
    seeds = range(settings.seeds)
    return read_runs(
        {name: [out / run_name(name, seed) for seed in seeds] for name in settings.precisions}, settings.epochs
    )


def read_runs(runs: Mapping[str, Sequence[Path]], epochs: int | None = None) -> StudyResult:
    """Curves and times of the folders of each precision, over so many epochs, or over those that all of them have."""
    tables = {name: [read_table(folder / "epochs.csv") for folder in folders] for name, folders in runs.items()}
    epochs = epochs or min(len(table["epoch"]) for seeds in tables.values() for table in seeds)
    train, validation = (
        {name: np.array([table[curve][:epochs] for table in seeds]) for name, seeds in tables.items()}
        for curve in ("train_loss", "validation_loss")
    )
    seconds = {name: _seconds([folder / "times.csv" for folder in folders]) for name, folders in runs.items()}
    return StudyResult(tuple(runs), train, validation, seconds)


def run_name(precision: str, seed: int) -> str:
    """The folder of a run."""
    return f"{precision}-seed{seed}"


def _seconds(tables: list[Path]) -> dict[str, float]:
    """Mean seconds by phase over the epochs that were timed whole, a run's first left out where it has others."""
    rows = []
    for path in tables:
        table = read_table(path)
        whole = max(table["steps"], default=0.0)
        numbers = [at for at, steps in enumerate(table["steps"]) if steps == whole]
        rows += [[table[phase][at] for phase in PHASES] for at in numbers[1:] or numbers]
    return dict(zip(PHASES, np.mean(rows, 0).tolist(), strict=True))


def _finished(folder: Path, epochs: int) -> bool:
    table = folder / "epochs.csv"
    return table.is_file() and len(read_table(table)["epoch"]) >= epochs


def _require_same_plan(path: Path, plan: Mapping[str, object]) -> None:
    """Raise SettingError naming each difference from the study that a folder holds."""
    if not path.is_file():
        return
    try:
        found = json.loads(path.read_text())
        differences = [
            f"{name} {found.get(name)}, not {wanted}"
            for name, wanted in json.loads(json.dumps(plan)).items()
            if found.get(name) != wanted
        ]
    except (ValueError, AttributeError) as error:
        raise FileError(f"{path}: damaged ({error}); remove it, or use another --out.") from None
    if differences:
        raise SettingError(
            f"{path.parent} holds a study with {'; '.join(differences)}; give its settings to go on, or another --out."
        )
