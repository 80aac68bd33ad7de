"""Progress bars of training and of long commands."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A bar with the loss, windows a second and the share of time spent waiting for data."""

    def __init__(self, console: Console, label: str, total: int, done: int, shown: bool) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not shown,
        )
        self.label = label
        self.task = self.bar.add_task(label, total=total, completed=done, status="")

    def __enter__(self) -> "TrainingProgress":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, epoch: int, steps: int, windows: int, loss: float, seconds: Mapping[str, float]) -> None:
        """Move on by some steps of so many windows together, whose phases took these seconds."""
        text = f"loss {loss:.4g}, {speed(windows, seconds)}"
        self.bar.update(self.task, advance=steps, description=f"{self.label}epoch {epoch}", status=text)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error. Yields a function that moves it on by one of the given total."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda total: bar.update(task, total=total, advance=1)


def speed(windows: int, seconds: Mapping[str, float]) -> str:
    """Windows a second and the share of time spent waiting for data, as text."""
    whole = sum(seconds.values())
    if not whole:
        return "speed unknown"
    return f"{windows / whole:.3g} windows/s, {100 * seconds.get('wait', 0.0) / whole:.0f} % waiting for data"
