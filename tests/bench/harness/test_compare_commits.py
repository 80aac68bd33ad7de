"""`pytest bench --against REF` from the command line to the exit code: it fails closed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bench.harness.quantities import duration, percentage, seconds_of
from tests.support import pytest_process
from tests.support.git_repository import COUNTED_TIME, TINY, Repository

NAME = "bench_tiny.py::bench_place[study]"
# Far from what a busy machine does to a time: half as slow again is no change, fifty times is.
COARSE = ["--slower-than", "90%", "--error-rate", "20%", "--budget", "60s"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.slow_down()
    repository.commit("slow", tag="slow")
    repository.restore()
    return repository


@pytest.fixture
def repository(shared):
    yield shared
    shared.restore()


def against(repository, ref, *arguments):
    return repository.pytest("bench", "--against", ref, *arguments)


def check_refused(result, reason):
    assert result.returncode == 4, result.stdout + result.stderr
    assert reason in result.stdout + result.stderr


def test_unchanged_code_passes_where_it_is_measured(repository, tmp_path):
    options = ["-p", "counted_time", "--measure-all", "--verdicts", str(tmp_path / "v.json")]
    result = against(repository, "HEAD", *COARSE, *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"passes   {NAME}" in result.stdout
    assert repository.git("status", "--porcelain") == ""

    content = json.loads((tmp_path / "v.json").read_text())
    assert (content["kind"], content["exit"], content["verdict"], content["reason"]) == ("verdicts", 0, "passes", "")
    commit = repository.git("rev-parse", "HEAD")
    source = content["versions"]["base"]["source"]
    assert content["versions"] == {
        "base": {"ref": "HEAD", "commit": commit, "source": source},
        "head": {"ref": "working tree", "commit": commit, "dirty": False, "source": source},
    }
    settings = {"slower_than": 0.9, "error_rate": 0.2, "budget": 60.0, "threads": 1, "isolate": False}
    settings |= {"measure_all": True, "allow_missing": False, "allow_unclear": False}
    assert content["settings"] == settings
    lists = ("controls", "untouched", "not_run", "only_base", "only_head", "failed", "skipped")
    assert [content[name] for name in lists] == [[]] * len(lists)
    assert all(isinstance(sentence, str) for sentence in content["warnings"])  # of what disturbed the machine
    assert content["seconds"] > 0
    check_case(content, "passes")
    assert content["cases"][0]["cycles"] is None


def check_case(content, verdict):
    (case,) = content["cases"]
    assert (case["case"], case["verdict"]) == (NAME, verdict)
    assert case["pairs"] == sum(map(len, case["log_ratios"])) >= 3 * len(case["log_ratios"])
    assert case["low"] < case["change"] < case["high"]
    assert case["base_ms"] > 0
    assert case["head_ms"] > 0
    if verdict == "passes":
        assert case["change"] < case["upper_bound"] < 0.9


def test_a_slow_change_is_slower_and_its_opposite_faster(repository, tmp_path):
    repository.slow_down()  # not committed
    result = against(repository, "HEAD", *COARSE, "--verdicts", str(tmp_path / "v.json"))
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"slower   {NAME}" in result.stdout
    content = json.loads((tmp_path / "v.json").read_text())
    assert (content["exit"], content["verdict"]) == (1, "slower")
    assert content["versions"]["head"]["dirty"] is True
    check_case(content, "slower")
    repository.restore()
    back = against(repository, "slow", *COARSE)
    assert back.returncode == 0, back.stdout + back.stderr
    assert f"faster   {NAME}" in back.stdout


LONG_CALLS = (
    COUNTED_TIME
    + """

import os

from bench.harness.timing import pairing

pairing.LONG_CALL = 0.0  # so that every call that never waits counts for long


def noted(timed, calls):
    with open("processes", "a") as file:
        print(os.getpid(), os.getppid(), file=file)
    return seconds(timed, calls)


TimedCall.seconds = noted
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="calls are forked on Linux alone")
def test_long_calls_are_measured_in_forks_and_their_verdict_is_the_same(repository, tmp_path):
    repository.slow_down()
    repository.write("long_calls.py", LONG_CALLS)
    result = against(repository, "HEAD", *COARSE, "-p", "long_calls", "--verdicts", str(tmp_path / "v.json"))
    assert result.returncode == 1, result.stdout + result.stderr
    (case,) = json.loads((tmp_path / "v.json").read_text())["cases"]
    assert (case["verdict"], round(case["change"], 9)) == ("slower", 49.0)
    processes = {tuple(line.split()) for line in (repository.folder / "processes").read_text().splitlines()}
    assert len({parent for _, parent in processes}) == 1
    assert len(processes) >= 2 * 3  # two for each round


FAKE_GPU = """
from bench.harness.environment.nvml import ClockReading
from bench.harness.modes import compare_commits
from bench.harness.timing.gpu_clock import GpuClock

readings = iter([ClockReading(1600.0, ("heat",))])
compare_commits.gpu_clock = lambda device, seconds: GpuClock(lambda: next(readings, ClockReading(1980.0)), seconds)
"""


@pytest.mark.slow
def test_on_a_gpu_a_run_knows_cycles_and_pauses_where_heat_slows_it(repository, tmp_path):
    """With the readings of a clock that is not there, on a CPU."""
    repository.slow_down()
    repository.write("fake_gpu.py", FAKE_GPU)
    result = against(repository, "HEAD", *COARSE, "-p", "fake_gpu", "--verdicts", str(tmp_path / "v.json"))
    assert result.returncode == 1, result.stdout + result.stderr
    assert "warning: paused 0.1s, as heat slowed the GPU; lock lower clocks." in result.stdout
    content = json.loads((tmp_path / "v.json").read_text())
    check_case(content, "slower")
    cycles = content["cases"][0]["cycles"]
    assert 0 < cycles["low"] < cycles["change"] < cycles["high"]


@pytest.mark.slow
def test_processes_of_their_own_see_the_same(repository, tmp_path):
    result = against(
        repository, "slow", *COARSE, "--isolate", "--launches", "3", "--verdicts", str(tmp_path / "v.json")
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"faster   {NAME}" in result.stdout
    content = json.loads((tmp_path / "v.json").read_text())
    assert content["settings"]["isolate"] is True
    check_case(content, "faster")


@pytest.mark.parametrize(("allowed", "code"), [([], 3), pytest.param(["--allow-unclear"], 0, marks=pytest.mark.slow)])
def test_what_stays_unclear_does_not_pass(repository, allowed, code):
    hopeless = ["--slower-than", "0.001%", "--error-rate", "0.001%", "--budget", "1s"]
    result = against(repository, "HEAD", "--measure-all", *hopeless, *allowed)
    assert result.returncode == code, result.stdout + result.stderr
    assert f"unclear  {NAME}" in result.stdout


def test_nothing_selected_is_refused(repository, tmp_path):
    result = against(repository, "HEAD", "-k", "no_such_case", "--verdicts", str(tmp_path / "v.json"))
    check_refused(result, "refused: nothing was measured; choose cases that both versions have.")
    content = json.loads((tmp_path / "v.json").read_text())
    assert (content["exit"], content["verdict"]) == (4, "refused")
    assert content["reason"] == "nothing was measured; choose cases that both versions have."


def test_what_is_no_commit_is_refused(repository):
    result = against(repository, "nowhere")
    check_refused(result, '--against: "nowhere" is no commit of this repository; give a branch, a tag or a commit.')


FAILING = TINY.replace("    measure(", "    raise ZeroDivisionError('planted')\n    measure(")
EXTRA = "\n\ndef bench_extra(measure):\n    measure(kinematics.planted, 'tiny')\n"
PLANTED = "\n\ndef planted() -> None:\n    sum(range(1000))\n"


@pytest.mark.slow
def test_a_failing_case_is_refused(repository):
    repository.write("bench/bench_tiny.py", FAILING)
    check_refused(
        against(repository, "HEAD", "--allow-missing"),
        f"refused: 1 case failed, first {NAME}: ZeroDivisionError: planted",
    )


@pytest.fixture
def other_cases(repository):
    """A working tree with a case that the commit "older" has not, and without one that it has."""
    repository.write("bench/bench_tiny.py", TINY + EXTRA.replace("extra", "gone"))
    repository.commit("a case that is gone by now", tag="older")
    repository.restore()
    repository.write("bench/bench_tiny.py", TINY + EXTRA)
    repository.append("humor/kinematics.py", PLANTED)
    return repository


WHY = "(AttributeError: module 'humor_base.kinematics' has no attribute 'planted')"


@pytest.mark.slow
def test_cases_of_one_version_are_refused(other_cases):
    cases = f"bench_tiny.py::bench_gone, bench_tiny.py::bench_extra {WHY}"
    check_refused(against(other_cases, "older", *COARSE), f"2 cases could not be compared ({cases})")


@pytest.mark.slow
def test_cases_of_one_version_may_be_allowed(other_cases, tmp_path):
    result = against(other_cases, "older", *COARSE, "--allow-missing", "--verdicts", str(tmp_path / "v.json"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "only in the base version: bench_tiny.py::bench_gone\n" in result.stdout
    assert f"only in the head version: bench_tiny.py::bench_extra {WHY}\n" in result.stdout
    content = json.loads((tmp_path / "v.json").read_text())
    assert content["only_base"] == ["bench_tiny.py::bench_gone"]
    assert content["only_head"] == [f"bench_tiny.py::bench_extra {WHY}"]
    assert (content["cases"], content["controls"][0]["case"], content["verdict"]) == ([], NAME, "untouched")


def test_a_mistake_in_an_option_is_refused_in_a_sentence():
    result = pytest_process.run_here("bench", "--against", "HEAD", "--launches", "0")
    assert result.returncode == 4
    assert result.stderr.strip() == "ERROR: --launches 0: give one at least, say, 12."


@pytest.mark.parametrize("text", ["much", "0", "-3%", "100%", "3", "nan%", "", "%"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(pytest.UsageError) as error:
        percentage(text)
    assert str(error.value) == f'"{text}" is no share between 0 and 100 %; give, say, 3%.'


@pytest.mark.parametrize(("text", "share"), [("3%", 0.03), ("0.03", 0.03), ("0.5%", 0.005), ("99%", 0.99)])
def test_a_share_is_percent_or_a_number(text, share):
    assert percentage(text) == pytest.approx(share)


@pytest.mark.parametrize("hook", ["pytest_collection(session)", "pytest_runtest_logfinish(nodeid)"])
def test_an_error_of_pytest_s_own_is_refused(repository, hook):
    """Its exit code would be 3, which means unclear; or 0, if all was measured by then."""
    repository.write("bench/conftest.py", f"def {hook}:\n    raise RuntimeError('planted')\n")
    check_refused(against(repository, "HEAD", *COARSE, "--measure-all"), "RuntimeError: planted")


@pytest.mark.slow
def test_an_error_at_the_very_end_is_refused(repository):
    """Python would end with 1, which means slower."""
    repository.write("bench/conftest.py", "def pytest_sessionfinish(session):\n    raise RuntimeError('planted')\n")
    check_refused(against(repository, "HEAD", *COARSE), "RuntimeError: planted")


def test_verdicts_that_cannot_be_written_are_refused(repository, tmp_path):
    (tmp_path / "file").write_text("")
    result = against(repository, "HEAD", *COARSE, "--verdicts", str(tmp_path / "file" / "v.json"))
    check_refused(result, "v.json")


def children_of(process):
    """Processes started by one, by the kernel's word."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


SLOW = (
    TINY
    + """

def bench_slow(measure):
    import os, pathlib, time

    def call():
        pathlib.Path(os.environ["STARTED"]).touch()
        time.sleep(100)

    measure(call, "tiny")
"""
)


def interrupt(repository, number, folder, ready, *arguments):
    """What `pytest bench --against HEAD` prints and writes where a signal comes when `ready` is true of its process."""
    options = ["--verdicts", str(folder / "v.json"), "--slower-than", "0.001%", "--error-rate", "0.001%", *arguments]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            pytest_process.command("bench", "--against", "HEAD", *options),
            cwd=repository.folder,
            env=pytest_process.environment(repository.folder, STARTED=str(folder / "started")),
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's "&" has it ignored
        ) as running,
    ):
        deadline = time.monotonic() + 120
        while not ready(running.pid):
            assert running.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "it did not begin"
            time.sleep(0.2)
        children = children_of(running.pid)
        running.send_signal(number)
        assert running.wait(60) == pytest.ExitCode.INTERRUPTED
    assert not any(alive(pid) for pid in children)
    return (folder / "log").read_text(), json.loads((folder / "v.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_ctrl_c_and_sigterm_end_it_and_its_processes_without_a_verdict(repository, tmp_path, number):
    endless = ["--measure-all", "--budget", "1000s", "--isolate", "--launches", "1000"]
    log, content = interrupt(repository, number, tmp_path, lambda pid: len(children_of(pid)) > 1, *endless)
    assert (content["verdict"], content["reason"]) == ("refused", "interrupted when 0 of 1 cases were clear")
    assert "refused: interrupted when 0 of 1 cases were clear" in log


@pytest.mark.slow
def test_the_table_so_far_is_printed_where_the_budget_is_interrupted(repository, tmp_path):
    note = "import os\n    with open(os.environ['STARTED'], 'a') as file:\n        file.write('x')\n"
    counted = TINY.replace("    rotmats =", f"    {note}    rotmats =")
    repository.write("bench/bench_tiny.py", counted)
    built, first_pass = tmp_path / "started", 2 + 3 * 2 * 2

    def is_beyond_the_first_pass(pid):
        return built.exists() and built.stat().st_size > first_pass

    options = ["--measure-all", "--budget", "1000s"]
    log, content = interrupt(repository, signal.SIGTERM, tmp_path, is_beyond_the_first_pass, *options)
    assert f"  {NAME}  " in log
    assert [case["case"] for case in content["cases"]] == [NAME]


@pytest.mark.slow
def test_an_interrupted_tracing_keeps_what_it_traced(repository, tmp_path):
    repository.write("bench/bench_tiny.py", SLOW)
    log, content = interrupt(repository, signal.SIGINT, tmp_path, lambda pid: (tmp_path / "started").exists())
    assert content["reason"] == "interrupted before anything was measured"
    assert "refused: interrupted before anything was measured" in log
    kept = [json.loads(file.read_text())["entered"] for file in repository.folder.rglob("traces/*.json")]
    assert [NAME] in [list(entered) for entered in kept]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("90", 90), ("5min", 300), ("1.5 h", 5400), ("0.5min", 30)])
def test_a_time_is_seconds_minutes_or_hours(text, seconds):
    assert seconds_of(text, "--budget") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "min", "-5min", "0", "5 parsecs", "inf", "nan", "5m"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(pytest.UsageError) as error:
        seconds_of(text, "--budget")
    assert str(error.value) == f'--budget "{text}" is no time; give, say, 90s, 5min or 1h.'


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (90.4, "90s"), (300, "5min"), (5000, "83min"), (8000, "2.2h")]
)
def test_a_duration_is_written_as_it_is_read(seconds, text):
    assert duration(seconds) == text
    assert seconds_of(duration(seconds + 1), "--budget") == pytest.approx(seconds + 1, rel=0.1, abs=0.5)
