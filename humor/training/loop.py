"""The training loop: epochs, validation, logs and checkpoints, so that a run killed at any moment goes on unchanged."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from torch import Tensor, nn

from ..body import BodyModel
from ..data.batches import BatchLoader
from ..data.windows import FRAMES
from ..losses import HumorLoss
from ..model import HumorModel
from ..precision.presets import Precision
from .distributed import Team, TeamSampler
from .execution import require_execution
from .log import COLUMNS, TERMS, Row, RunLog, rounded
from .micro_batches import Terms
from .optimizer import Adamax
from .phase_timer import PHASES, PhaseClock
from .progress import TrainingProgress, speed
from .run_folder import Position, Run, RunIdentity, StopRequest
from .seeded_noise import fed_truth, training_noise, validation_noise
from .settings import TrainSettings
from .split import Split
from .step import Average, TrainStep

Network = TypeVar("Network", bound=nn.Module)


class Trainer:
    """Trains a network on a split's clips in a folder, from the start or from where the folder's run was left."""

    columns = COLUMNS
    terms: tuple[str, ...] = TERMS  # of the loss, that steps.csv tells

    def __init__(
        self,
        settings: TrainSettings,
        split: Split,
        bodies: Mapping[str, BodyModel],
        out: Path,
        team: Team,
        console: Console,
        label: str = "",  # before what the progress bar says
    ) -> None:
        self.settings, self.split, self.team, self.console, self.label = settings, split, team, console, label
        windows = int((split.train.frames // FRAMES).sum())
        self.windows = settings.batch_size * team.size  # a step, of all processes together
        self.steps = settings.steps_per_epoch or max(1, windows // self.windows)
        self.run_files = Run(out, RunIdentity.of(settings, split, self.steps, self.windows))
        saved = self.run_files.read()  # before anything is built
        self.clock, self.bodies = PhaseClock(team.device), bodies
        self.optimizer, self.step = self._built()
        self.sampler = TeamSampler(split.train, settings.batch_size, settings.seed, settings.by, team)
        self.loader = self._loader()
        self.position = Position()
        self.resumed = saved is not None
        if saved is not None:
            self.position = self.run_files.restore(saved, self.step)
        self._losses: list[float] = []  # of the epoch under way
        self._pending: list[Tensor] = []  # rows of steps.csv that are still on the device
        self._seconds: Counter[str] = Counter()  # of the epoch under way
        self._timed = 0  # steps of it that they are of

    def run(self) -> None:
        """Train until the last epoch. An interruption saves, says how to go on, and ends in KeyboardInterrupt."""
        position, settings = self.position, self.settings
        if position.epoch >= settings.epochs:
            return self._say(f"{self.run_files.out}: this run has its {position.epoch} epochs; raise --epochs to go on")
        if self.resumed:
            self._say(f"{self.run_files.out}: going on from epoch {position.epoch}, step {position.step}")
        done, total = position.epoch * self.steps + position.step, settings.epochs * self.steps
        with ExitStack() as stack:
            log = RunLog(self.run_files, done, self.columns) if self.team.leads else None
            self.log = stack.enter_context(closing(log)) if log is not None else None
            self._losses = self.log.losses_of(position.epoch) if self.log is not None else []
            self.bar = stack.enter_context(
                TrainingProgress(self.console, self.label, total, done, self.team.leads and self.console.is_terminal)
            )
            self.stop = stack.enter_context(StopRequest())
            if not self.resumed:
                self._save()  # so that a disk that is too small, or another run's settings, are told at once
            while position.epoch < settings.epochs:
                self._train_epoch()
                self._end_epoch()

    def _train_epoch(self) -> None:
        settings, position = self.settings, self.position
        before, share = (settings.truth_share_at(epoch) for epoch in (position.epoch - 1, position.epoch))
        if position.step == 0 and before > 0 == share:
            position.best = math.inf  # as in the published code: the loss rises when the truth is taken away
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(position.epoch)
        with closing(self.loader.epoch(position.epoch, position.step)) as batches:
            self.clock.enter("wait")
            for batch in batches:
                total, terms = self._take(batch)
                self.clock.enter("wait")
                assert self.optimizer.taken is not None
                told = [total, *(terms[name].detach() for name in self.terms), self.optimizer.taken]
                self._pending.append(torch.stack(told))
                position.step += 1
                self._after_step()
        self.clock.stop()

    def _after_step(self) -> None:
        """Read losses, save, stop: whatever is due."""
        settings, position = self.settings, self.position
        last = position.step == self.steps
        due = last or position.step % settings.log_every == 0
        if due or (self.team.size == 1 and self.stop.asked):
            if self.team.any(self.stop.asked):  # all processes stop after the same step
                self._read_losses()
                if not last:
                    self._save()
                    self._stop()
            elif due:
                self._read_losses()
        if not last and position.step % settings.save_every == 0:
            self._read_losses()
            self._save()

    def _read_losses(self) -> None:
        """Bring the losses of the last steps to the host and write them down; the one place that waits for them."""
        if not self._pending:
            return
        rows = (self.team.total(torch.stack(self._pending).double()) / self.team.size).cpu()
        self._pending.clear()
        seconds = self.clock.read()
        self._seconds.update(seconds)
        self._timed += len(rows)
        first = self.position.step - len(rows)
        told = [(self.position.epoch, first + index, *map(rounded, row)) for index, row in enumerate(rows.tolist())]
        self._losses += [row[2] for row in told]
        self._count_left_out([row for row in told if not row[-1]])
        if self.log is not None:
            self.log.steps(told, self.position.epoch * self.steps + self.position.step, self.windows, seconds)
        self.bar.told(self.position.epoch, len(rows), self.windows * len(rows), told[-1][2], seconds)

    def _count_left_out(self, rows: list[Row]) -> None:
        """Tell batches with a loss or gradient that is not finite from overflows of float16, which find its scale."""
        bad = [row for row in rows if not (self.step.scaler.is_enabled() and math.isfinite(row[2]))]
        self.position.overflows += len(rows) - len(bad)
        self.position.left_out += len(bad)
        if bad:
            epoch, index, loss = bad[0][:3]
            what = "gradient" if math.isfinite(loss) else "loss"
            others = f" and {len(bad) - 1} after it" if len(bad) > 1 else ""
            self._say(
                f"epoch {epoch}, step {index}: the {what} is not finite; batch left out{others} "
                f"({self.position.left_out} so far)"
            )

    def _end_epoch(self) -> None:
        """Validate, write down, and save."""
        settings, position = self.settings, self.position
        epoch, train = position.epoch, _mean_of_finite(self._losses)
        validation, score = math.nan, train
        more = dict.fromkeys(self.columns["epochs.csv"][len(COLUMNS["epochs.csv"]) :], math.nan)
        if self.split.validation is not None and (epoch % settings.validate_every == 0 or epoch + 1 == settings.epochs):
            validation, score, more = self._validate(epoch)
        elif self.split.validation is not None:
            score = math.inf
        better = score < position.best  # never where it is not a number
        position.best = score if better else position.best
        if self.log is not None:
            rates = (settings.learning_rate_at(epoch), settings.truth_share_at(epoch))
            row = (epoch, *rates, train, validation, score, *more.values())
            self.log.times((epoch, self._timed, *(self._seconds[name] for name in PHASES)))
            self.log.epoch(row, (epoch + 1) * self.steps)
        self._say(
            f"{self.label}epoch {epoch}: train {train:.5g}, validation {validation:.5g}, "
            + "".join(f"{name} {value:.5g}, " for name, value in more.items())
            + f"{speed(self.windows * self._timed, self._seconds)}"
            + (f", {position.overflows} overflows of float16 so far" if position.overflows else "")
        )
        position.epoch, position.step = epoch + 1, 0
        self._losses, self._timed = [], 0
        self._seconds.clear()
        if self.team.leads and better:
            self.run_files.save_best(self.step, position)
        self._save()
        if self.team.any(self.stop.asked) and position.epoch < settings.epochs:
            self._stop()

    def _built(self) -> tuple[Adamax, Any]:  # any step: only _take and _validate call it
        return _built(self.settings, self.bodies, self.team, self.clock)

    def _loader(self) -> BatchLoader[Any]:
        return BatchLoader(self.sampler.batch, self.steps, self.team.device)

    def _take(self, batch: Any) -> tuple[Tensor, Terms]:
        """Take the step of a batch that the loader gave: the loss before it and its terms."""
        epoch, index = self.position.epoch, self.position.step
        key = (self.settings.seed, epoch, index)
        noise = self._on_device(training_noise(*key, self.windows)[self.team.rank :: self.team.size])
        total, terms = self.step(batch, epoch, noise, fed_truth(*key, self.settings.truth_share_at(epoch)))
        return total, terms

    def _validate(self, epoch: int) -> tuple[float, float, dict[str, float]]:
        """The mean loss over the validation windows; the same with the whole KL weight, by which epochs compare; and
        what more an epoch tells, by the column."""
        assert self.split.validation is not None
        share, weights = self.settings.truth_share_at(epoch), self.step.loss.weights
        sums = torch.zeros(3, dtype=torch.float64, device=self.team.device)
        for index, batch in enumerate(self.split.validation.evaluation_batches(self.windows)):
            if index % self.team.size != self.team.rank:
                continue
            noise = self._on_device(validation_noise(self.settings.seed, index, len(batch)))
            total, terms = self.step.evaluate(batch, epoch, noise, fed_truth(self.settings.seed, epoch, index, share))
            score = terms["reconstr_weighted_loss"] + weights.kl * terms["kl_loss"]
            sums += len(batch) * torch.stack([total, score, torch.ones_like(total)])
        total, score, count = self.team.total(sums).tolist()
        return rounded(total / count), rounded(score / count), {}

    def _save(self) -> None:
        if self.log is not None:
            self.run_files.save_last(self.step, self.position, self.log.sync())

    def _stop(self) -> None:
        self._say(
            f"{self.run_files.out}: saved at epoch {self.position.epoch}, step {self.position.step}; "
            "run the same command to go on"
        )
        raise KeyboardInterrupt

    def _say(self, text: str) -> None:
        if self.team.leads:
            self.console.print(text, markup=False)

    def _on_device(self, noise: Tensor) -> Tensor:
        if self.team.device.type == "cuda":
            noise = noise.contiguous().pin_memory()  # a copy from other memory would wait for the device
        return noise.to(self.team.device, non_blocking=True)


def _built(
    settings: TrainSettings, bodies: Mapping[str, BodyModel], team: Team, clock: PhaseClock
) -> tuple[Adamax, TrainStep]:
    """A step of a network with the seed's first weights, drawn on the CPU: the same on every device."""
    precision = checked_precision(settings, team)
    model = first_weights(lambda: HumorModel(settings.width), settings, team)
    loss = HumorLoss(bodies).to(team.device)
    optimizer = Adamax(model.parameters(), lr=settings.learning_rate)
    network, average = shared(model, precision, team)
    step = TrainStep(model, loss, optimizer, precision, network, clock, average, settings.execution)
    return optimizer, step


def checked_precision(settings: TrainSettings, team: Team) -> Precision:
    """The settings' precision. Raises SettingError where the device or the processes cannot do what they ask."""
    precision = Precision(settings.precision)
    precision.require(team.device)
    require_execution(settings.execution, team.device, team.size)
    return precision


def first_weights(network: Callable[[], Network], settings: TrainSettings, team: Team) -> Network:
    """A network with the seed's first weights, drawn on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return network().to(team.device)


def shared(model: nn.Module, precision: Precision, team: Team) -> tuple[nn.Module, Average | None]:
    """A network as the processes share it, and what averages its gradients where that does not."""
    # DistributedDataParallel would not see the gradients of half weights.
    return (model, team.average) if precision.preset.keep_half_weights else (team.share(model), None)


def _mean_of_finite(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return rounded(math.fsum(finite) / len(finite)) if finite else math.nan
