"""The studies' commands explain their options, and keep complete rounds when they are stopped."""

import importlib
import re
from pathlib import Path

import pytest

from bench import studies
from bench.studies.command import complete_rounds

FILES = sorted(file.stem for file in Path(studies.__file__).parent.glob("*.py"))
COMMANDS = [name for name in FILES if name not in ("__init__", "command")]


def rounds_until(stop):
    """A measurement that is interrupted in one of its rounds."""
    numbers = iter(range(stop + 1))

    def measure_round():
        number = next(numbers)
        if number == stop:
            raise KeyboardInterrupt
        return number

    return measure_round


def test_all_rounds_are_measured():
    assert complete_rounds(rounds_until(9), 3) == [0, 1, 2]


def test_ctrl_c_keeps_complete_rounds(capsys):
    assert complete_rounds(rounds_until(2), 5) == [0, 1]
    assert capsys.readouterr().err == "stopped after 2 of 5 rounds.\n"


def test_ctrl_c_in_the_first_round_ends_the_command():
    with pytest.raises(SystemExit) as end:
        complete_rounds(rounds_until(0), 5)
    assert str(end.value) == "stopped before a round was complete: nothing to show."


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_the_command_and_every_option(name, monkeypatch, capsys):
    module = importlib.import_module(f"bench.studies.{name}")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 0
    usage, _, options = capsys.readouterr().out.partition("options:\n")
    assert usage.startswith(f"usage: python -m bench.studies.{name} ")
    assert module.__doc__.partition("\n")[0] in usage
    for option in re.split(r"\n  (?=-)", options.strip("\n")):
        assert re.search(r"\s{2,}\w.*$", option.strip(), re.DOTALL), option
