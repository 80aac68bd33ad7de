"""`pytest bench --report`: the page of a session, whose added files are read before anything is measured."""

import json

import pytest

from tests.support import report_documents as made
from tests.support.git_repository import Repository
from tests.support.pytest_process import run_here


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("repository"))


def test_a_session_writes_what_it_measured_and_what_it_was_given(repository, tmp_path):
    (tmp_path / "v.json").write_text(json.dumps(made.verdicts()))
    out = tmp_path / "report.html"
    done = repository.pytest("bench", "--report", str(out), "--report-with", str(tmp_path / "v.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"wrote {out}\n")
    text = out.read_text()
    assert "1 case of one run" in text
    assert "<h3>bench_place</h3>" in text
    assert "main → working tree: 1 slower" in text


@pytest.mark.slow
def test_a_comparison_reports_the_verdicts_that_it_writes_and_not_those_of_before(repository, tmp_path):
    verdicts, out = tmp_path / "v.json", tmp_path / "report.html"
    verdicts.write_text("left over from an older run")
    arguments = (
        "--against",
        "whole",
        "--measure-all",
        "--budget",
        "2s",
        "--allow-unclear",
        "--verdicts",
        str(verdicts),
    )
    done = repository.pytest("bench", *arguments, "--report", str(out))
    assert f"wrote {out}" in done.stdout, done.stdout + done.stderr
    found = json.loads(verdicts.read_text())
    assert f"</strong>: whole → working tree: 1 {found['cases'][0]['verdict']}." in out.read_text()
    assert done.returncode == found["exit"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--report", "r.html", "--report-with", "gone.json"), "gone.json: cannot be read (No such file or directory)"),
        (("--report-with", "v.json"), "--report-with goes with --report FILE, the page to write; give both."),
    ],
)
def test_a_mistake_is_said_before_anything_is_measured(arguments, sentence, tmp_path):
    arguments = [str(tmp_path / each) if each == "r.html" else each for each in arguments]
    done = run_here("bench", *arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert sentence in done.stderr
    assert "bench_" not in done.stdout
    assert not (tmp_path / "r.html").exists()


def test_a_session_that_measured_nothing_has_no_page_and_fails(repository, tmp_path):
    done = repository.pytest("bench", "--benchmark-disable", "--report", str(tmp_path / "r.html"))
    assert done.returncode == 4
    assert "no report: nothing to report in no file; give JSON" in done.stdout
    assert not (tmp_path / "r.html").exists()
