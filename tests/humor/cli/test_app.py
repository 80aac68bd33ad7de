"""`humor` shows its help when it is asked for nothing, and every command shows its own."""

import pytest

from humor.cli.app import main

COMMANDS = (
    "mannequin", "import", "process", "train", "export", "study", "profile", "sample", "reconstruct", "fit", "lift",
    "evaluate", "report",
)  # fmt: skip


def output_of(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_without_arguments_the_help_is_shown(capsys):
    code, out, err = output_of(capsys)
    assert (code, err) == (0, "")
    assert out == output_of(capsys, "--help")[1]
    assert [command for command in COMMANDS if f"• {command}" not in out] == []


def test_without_arguments_of_a_process_the_help_is_shown(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["humor"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: humor ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    code, out, err = output_of(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: humor {command} ")
    description = out.split("\n\n")[1]
    assert description.endswith(".")
    assert "--help" in out


def test_a_command_that_does_not_exist_is_an_error(capsys):
    code, out, err = output_of(capsys, "tarin")
    assert (code, out) == (2, "")
    assert "tarin" in err


def test_a_file_that_the_system_refuses_is_a_sentence(monkeypatch, capsys):
    def refused(folder):
        raise PermissionError(13, "Permission denied", "/x/male")

    monkeypatch.setattr("humor.cli.body.write_mannequins", refused)
    code, _, err = output_of(capsys, "mannequin", "/x")
    assert code == 1
    assert err == "humor: /x/male: cannot be read or written (Permission denied); check the path and its permissions.\n"
