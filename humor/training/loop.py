"""The training loop: epochs, validation, logs and checkpoints, so that a run killed at any moment can be resumed."""

import math
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from ..data.batches import BatchLoader
from ..data.windows import FRAMES
from ..errors import SettingError
from .checkpoint_exchange import begin_from
from .log import Row, RunLog, rounded, table_columns
from .phase_timer import PHASES, PhaseTimer
from .progress import TrainingProgress, speed
from .run_folder import Position, RunFolder, RunIdentity, StopRequest
from .task import TrainingTask, Validation


class Trainer:
    """Trains a task's network in a folder, from the start or from the last checkpoint of the folder's run.

    Raises SettingError for the folder of a run with other settings and for what the device cannot do, CheckpointError
    for a folder that holds no such run.
    """

    def __init__(
        self,
        task: TrainingTask,
        out: Path,
        console: Console,
        label: str = "",  # before what the progress bar says
    ) -> None:
        self.task, self.settings, self.team, self.console, self.label = task, task.settings, task.team, console, label
        self.columns = table_columns(task.loss_terms, task.validation_columns)
        windows = int((task.split.train.frames // FRAMES).sum())
        self.steps = task.settings.steps_per_epoch or max(1, windows // task.windows)
        self.folder = RunFolder(out, RunIdentity.of(task.settings, task.split, self.steps, task.windows))
        saved = self.folder.read()  # before anything is built
        self.timer = PhaseTimer(self.team.device)
        task.build(self.timer)
        self.loader = BatchLoader(task.draw_batch, self.steps, self.team.device)
        self.position = Position()
        self.resumed = saved is not None
        self.beginning = ""  # what an --init-from gave
        if saved is not None:
            self.position = self.folder.restore(saved, task.step)
        elif self.settings.init_from is not None:
            self.position.epoch, self.beginning = begin_from(self.settings.init_from, task.step)
            if self.position.epoch >= self.settings.epochs:
                raise SettingError(
                    f"{self.settings.init_from}: its training had {self.position.epoch} epochs; give --epochs above "
                    f"that, e.g. --epochs {self.position.epoch + 10}."
                )
        self._begun = False
        self._losses: list[float] = []  # of the current epoch
        self._pending: list[Tensor] = []  # rows of steps.csv that are still on the device
        self._seconds: Counter[str] = Counter()  # of the current epoch
        self._timed_steps = 0  # of the current epoch, that `_seconds` is of

    def run(self, until: int | None = None) -> None:
        """Train until the last epoch, or until so many are done, from where a call may go on.

        An interruption saves, says how to go on, and raises KeyboardInterrupt.
        """
        position, settings = self.position, self.settings
        until = settings.epochs if until is None else until
        if position.epoch >= settings.epochs:
            return self._say(f"{self.folder.out}: this run has its {position.epoch} epochs; raise --epochs to go on")
        begins, self._begun = not self._begun, True
        if begins and self.resumed:
            self._say(f"{self.folder.out}: going on from epoch {position.epoch}, step {position.step}")
        elif begins and self.beginning:
            self._say(f"{self.folder.out}: {self.beginning}")
        done, total = position.epoch * self.steps + position.step, settings.epochs * self.steps
        with ExitStack() as stack:
            log = RunLog(self.folder, done, self.columns) if self.team.is_main else None
            self.log = stack.enter_context(closing(log)) if log is not None else None
            self._losses = self.log.losses_of(position.epoch) if self.log is not None else []
            self.bar = stack.enter_context(
                TrainingProgress(self.console, self.label, total, done, self.team.is_main and self.console.is_terminal)
            )
            self.stop = stack.enter_context(StopRequest())
            if begins and not self.resumed:
                self._save()  # to report a disk that is too small at once
            while position.epoch < until:
                self._train_epoch()
                self._end_epoch()

    def _train_epoch(self) -> None:
        settings, position = self.settings, self.position
        before, rate = (settings.teacher_forcing_rate_at(epoch) for epoch in (position.epoch - 1, position.epoch))
        if position.step == 0 and before > 0 == rate:
            position.best = math.inf  # as in the published code: the loss rises without teacher forcing
        for group in self.task.step.optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(position.epoch)
        with closing(self.loader.epoch(position.epoch, position.step)) as batches:
            self.timer.enter("wait")
            for batch in batches:
                total, terms = self.task.take_step(batch, position.epoch, position.step)
                self.timer.enter("wait")
                losses = [total, *(terms[name].detach() for name in self.task.loss_terms)]
                self._pending.append(torch.stack([*losses, self.task.step.optimizer.taken]))
                position.step += 1
                self._after_step()
        self.timer.stop()

    def _after_step(self) -> None:
        """Read losses, save or stop, where it is due."""
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
        """Copy the losses of the last steps to the host and log them; nothing else waits for them."""
        if not self._pending:
            return
        rows = (self.team.total(torch.stack(self._pending).double()) / self.team.size).cpu()
        self._pending.clear()
        seconds = self.timer.read()
        self._seconds.update(seconds)
        self._timed_steps += len(rows)
        first = self.position.step - len(rows)
        logged = [(self.position.epoch, first + index, *map(rounded, row)) for index, row in enumerate(rows.tolist())]
        self._losses += [row[2] for row in logged]
        self._count_skipped([row for row in logged if not row[-1]])
        if self.log is not None:
            self.log.steps(logged, self.position.epoch * self.steps + self.position.step, self.task.windows, seconds)
        self.bar.advance(self.position.epoch, len(rows), self.task.windows * len(rows), logged[-1][2], seconds)

    def _count_skipped(self, rows: list[Row]) -> None:
        """Count skipped updates: overflows of float16, by which its scale is found, and bad batches, with a message."""
        bad = [row for row in rows if not (self.task.step.scaler.is_enabled() and math.isfinite(row[2]))]
        self.position.overflows += len(rows) - len(bad)
        self.position.skipped += len(bad)
        if bad:
            epoch, index, loss = bad[0][:3]
            what = "gradient" if math.isfinite(loss) else "loss"
            others = f" and {len(bad) - 1} after it" if len(bad) > 1 else ""
            self._say(
                f"epoch {epoch}, step {index}: the {what} is not finite; batch skipped{others} "
                f"({self.position.skipped} so far)"
            )

    def _end_epoch(self) -> None:
        """Validate, log and save."""
        settings, position = self.settings, self.position
        epoch, train = position.epoch, _mean_of_finite(self._losses)
        validation, score = None, train
        if self.task.split.validation is not None:
            due = epoch % settings.validate_every == 0 or epoch + 1 == settings.epochs
            validation = self.task.validate(epoch) if due else None
            score = math.inf if validation is None else validation.score
        better = score < position.best  # never where it is not a number
        position.best = score if better else position.best
        self._log_epoch(train, validation, score)
        position.epoch, position.step = epoch + 1, 0
        self._losses, self._timed_steps = [], 0
        self._seconds.clear()
        if self.team.is_main and better:
            self.folder.save_best(self.task.step, position)
        self._save()
        if self.team.any(self.stop.asked) and position.epoch < settings.epochs:
            self._stop()

    def _log_epoch(self, train: float, validation: Validation | None, score: float) -> None:
        """Add an epoch to the tables and say how it went."""
        epoch, overflows = self.position.epoch, self.position.overflows
        if self.log is not None:
            rates = (self.settings.learning_rate_at(epoch), self.settings.teacher_forcing_rate_at(epoch))
            found = validation or Validation(math.nan, score, dict.fromkeys(self.task.validation_columns, math.nan))
            self.log.times((epoch, self._timed_steps, *(self._seconds[name] for name in PHASES)))
            row = (epoch, *rates, train, found.loss, score, *found.extra.values())
            self.log.epoch(row, (epoch + 1) * self.steps)
        losses = {"train": train} | ({} if validation is None else {"validation": validation.loss, **validation.extra})
        self._say(
            f"{self.label}epoch {epoch}: "
            + "".join(f"{name} {value:.5g}, " for name, value in losses.items())
            + speed(self.task.windows * self._timed_steps, self._seconds)
            + (f", {overflows} overflows of float16 so far" if overflows else "")
        )

    def _save(self) -> None:
        if self.log is not None:
            self.folder.save_last(self.task.step, self.position, self.log.sync())

    def _stop(self) -> None:
        self._say(
            f"{self.folder.out}: saved at epoch {self.position.epoch}, step {self.position.step}; "
            "run the same command to go on"
        )
        raise KeyboardInterrupt

    def _say(self, text: str) -> None:
        if self.team.is_main:
            self.console.print(text, markup=False)


def _mean_of_finite(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return rounded(math.fsum(finite) / len(finite)) if finite else math.nan
