"""What the commands of the studies share: a parser, and rounds that Ctrl-C ends early."""

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

Round = TypeVar("Round")


class StudyParser(argparse.ArgumentParser):
    """The parser of a study's command: its description is the docstring's first line, and help shows defaults."""

    def __init__(self, study: str, doc: str | None) -> None:
        super().__init__(f"python -m bench.studies.{study}", description=(doc or "").partition("\n")[0])

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """As argparse's; numbers are called N."""
        default = settings.get("default", [])
        if default not in (None, [], argparse.SUPPRESS):
            shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else default
            settings["help"] += f" (default: {shown})"
        if settings.get("type") in (int, float):
            settings["metavar"] = "N"
        return super().add_argument(*names, **settings)


def complete_rounds(measure_round: Callable[[], Round], count: int, title: str = "rounds") -> list[Round]:
    """Measure rounds, with a progress bar on a terminal. Ctrl-C returns the complete ones, or exits without any."""
    console, rounds = Console(stderr=True), list[Round]()
    try:
        for _ in track(range(count), title, console=console, disable=not console.is_terminal):
            rounds.append(measure_round())
    except KeyboardInterrupt:
        if not rounds:
            raise SystemExit("stopped before a round was complete: nothing to show.") from None
        console.print(f"stopped after {len(rounds)} of {count} rounds.")
    return rounds
