"""What a run cannot do is refused before anything is collected, in one sentence; no crash has a verdict's exit code."""

import importlib.util
import re
import warnings

import pytest

from bench.harness.modes import refusals
from tests.support.pytest_process import run_here

SLOW = pytest.mark.slow
TESTS = "tests/bench/harness/test_verdict.py"
MODES = (
    "--against HEAD", "--benchmark-compare", "--counts", "--accept-counts", "--compare-precisions", "--self-test",
    "--calibrate 2", "--predict t4",
)  # fmt: skip
LIGHT = ["bench", "-k", "bench_linear and 1024-forward and fp32 and not backward and not wide", "-q"]
SOON = ["--benchmark-max-time=0.05", "--trials=1", "--max-time=0", "--slower-than=90%", "--error-rate=20%"]


def refused(*arguments, plugins=()):
    """The sentence that a command line is refused with."""
    result = run_here(*arguments, "-k", "none", plugins=plugins)  # were it not refused, nothing is run
    assert result.returncode == 4, result.stdout + result.stderr
    return result.stderr.strip().removeprefix("ERROR: ")


def options_with_a_value():
    """The options of the suite, of the harness and of pytest-benchmark, as `--help` lists them."""
    groups = re.split(r"\n(?=\S.*:\n)", run_here("bench", "--help").stdout)
    ours = [group for group in groups if "bench" in group.partition("\n")[0]]
    return re.findall(r"^  (--[a-z-]+)[= ](?:\[?[A-Z{])", "\n".join(ours), re.MULTILINE)


def test_every_option_refuses_an_empty_value():
    options = options_with_a_value()
    assert {"--against", "--verdicts", "--motion", "--report", "--benchmark-compare", "--predict"} <= set(options)
    assert len(options) > 45
    for harmless in ("--benchmark-netrc", "--benchmark-warmup"):  # pytest-benchmark has a meaning for it
        options.remove(harmless)
    codes = {option: run_here("bench", "--collect-only", "-k", "none", f"{option}=").returncode for option in options}
    taken = {option: code for option, code in codes.items() if code != 4}
    assert taken == {}


@pytest.mark.parametrize("option", ["--against", "--benchmark-compare", "--predict", "--verdicts", "--slower-than"])
def test_an_empty_value_is_not_a_missing_option(option):
    assert refused("bench", f"{option}=") == f"{option} is empty; give it a value, or leave it out."


@pytest.mark.parametrize("option", ["--report-with", "--against"])
def test_an_empty_argument_is_an_empty_value(option):
    assert refused("bench", option, "") == f"{option} is empty; give it a value, or leave it out."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threads=0"], "--threads 0: give one at least, say, 2."),
        (["--trials=0", "--self-test"], "--trials 0: give one at least, say, 10."),
        (["--calibrate=0"], "--calibrate 0: give the number of runs, such as 8."),
        (["--max-time=nan"], "--max-time nan: give seconds, say, --max-time 30."),
        (["--slower-than=much"], '"much" is no share between 0 and 100 %; give, say, 3%.'),
        (
            ["--benchmark-compare-fail=median:5%"],
            "--benchmark-compare-fail is of a comparison; add --benchmark-compare.",
        ),
        (["--verdicts=v.json"], "--verdicts is of a comparison; add --against REF."),
        (["--shard=1/2", "--counts"], "--shard is of a comparison; add --against REF."),
    ],
)
def test_a_number_that_means_nothing_and_an_option_that_nothing_reads_are_refused(arguments, sentence):
    assert refused("bench", *arguments) == sentence


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("paths", [[], [TESTS]], ids=["no path", "tests"])
def test_a_mode_of_benchmarks_says_so_where_it_is_asked_of_tests(mode, paths):
    flag = mode.partition(" ")[0]
    assert refused(*mode.split(), *(["-q", *paths])) == (f"{flag} is for benchmarks alone; run pytest bench {flag} ...")


def test_tests_that_are_only_found_when_they_are_collected_are_refused_too():
    sentence = "--counts is for benchmarks alone; run pytest bench --counts ..."
    others = [f"--ignore={folder}" for folder in ("bench", "tests/humor", "tests/bench")]
    assert refused("--counts", ".", *others) == sentence


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("--benchmark-compare", "bench"),
        ("--benchmark-compare", "bench/bench_linear.py"),
        ("--benchmark-histogram", "bench"),
    ],
)
def test_an_option_that_took_the_path_for_its_value_says_so(option, path):
    assert refused(option, path) == (
        f'{option} takes "{path}" for its value, which it need not have; put the path before it: pytest {path} {option}'
    )


@pytest.mark.parametrize("mode", [*MODES, "--benchmark-autosave", "--benchmark-json=times.json"])
def test_what_measures_in_one_process_refuses_several(mode):
    flag = re.split("[ =]", mode)[0]
    sentence = f"{flag} is refused with -n, of pytest-xdist, as it measures in this process alone; leave out -n."
    assert refused("bench", "-n", "2", *mode.split()) == sentence


class Moves:
    """Tests run somewhere else, as of a plugin that is not known here."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        return True


@pytest.mark.parametrize("mode", ["--self-test", *(pytest.param(m, marks=SLOW) for m in ("--predict t4", "--counts"))])
def test_cases_that_another_plugin_took_elsewhere_are_no_pass(mode, tmp_path):
    storage = f"--benchmark-storage=file://{tmp_path}"
    result = run_here(*LIGHT, *SOON, storage, *mode.split(), plugins=[Moves()])
    assert result.returncode == 4, result.stdout + result.stderr
    name = "bench/bench_linear.py::bench_linear[fp32-1024-forward]"
    assert f"refused: 1 cases did not run in this process, first {name}; leave out the plugin" in result.stdout


@pytest.mark.parametrize(
    ("option", "file", "reason"),
    [
        ("--benchmark-json", "gone/t.json", "No such file or directory"),
        ("--benchmark-json", "file/t.json", "Not a directory"),
        ("--verdicts --against HEAD", "file/v.json", "Not a directory"),
        ("--compare-precisions-json --compare-precisions", "file/p.json", "Not a directory"),
        ("--predict-to --predict t4", "file/p.json", "Not a directory"),
        ("--roofline-to --predict cpu", "folder", "it is a folder"),
        ("--report", "file/r.html", "Not a directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(option, file, reason, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    flag, *mode = option.split()
    path = tmp_path / file
    sentence = f"{flag} {path}: cannot be written ({reason}); check the path and its free space."
    assert refused("bench", flag, str(path), *mode) == sentence
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("option", ["--benchmark-autosave", "--benchmark-save=mine", "--calibrate=1"])
def test_a_storage_that_cannot_be_written_is_refused_before_anything_is_measured(option, tmp_path):
    (tmp_path / "file").touch()
    said = refused("bench", option, f"--benchmark-storage=file://{tmp_path}/file/runs")
    assert said.startswith(f"{option.partition('=')[0]} {tmp_path}/file/runs/")
    assert said.endswith(": cannot be written (Not a directory); check the path and its free space.")


def test_a_histogram_without_its_package_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(refusals.importlib.util, "find_spec", lambda name: None if name == "pygal" else importlib)
    sentence = "--benchmark-histogram needs pygal, which is not installed; pip install pygal."
    assert refused("bench", "--benchmark-histogram") == sentence
    monkeypatch.setattr(refusals.importlib.util, "find_spec", lambda name: importlib)
    (tmp_path / "file").touch()
    for option in ("--benchmark-histogram", "--benchmark-cprofile-dump"):
        said = refused("bench", f"{option}={tmp_path}/file/drawn")
        assert said.startswith(f"{option} {tmp_path}/file/drawn-name: cannot be written (Not a directory);")


def fails_in(hook):
    """A plugin that raises in a hook."""

    class Fails:
        pass

    def planted():
        raise RuntimeError("planted")

    setattr(Fails, hook, staticmethod(planted))
    return Fails()


@pytest.mark.parametrize("mode", ["", *MODES])
def test_a_crash_at_the_start_has_no_verdict_s_exit_code_in_any_mode(mode, tmp_path):
    storage = f"--benchmark-storage=file://{tmp_path}"
    result = run_here("bench", storage, *mode.split(), plugins=[fails_in("pytest_configure")])
    assert result.returncode == 4
    assert "RuntimeError: planted" in result.stdout + result.stderr
    assert "refused: an error of pytest or of a plugin, shown above, ended the run" in result.stderr


@pytest.mark.parametrize(
    "hook",
    [
        "pytest_sessionfinish",
        *(pytest.param(hook, marks=SLOW) for hook in ("pytest_runtest_logfinish", "pytest_terminal_summary")),
    ],
)
@pytest.mark.parametrize(
    ("mode", "found"),
    [
        ("", "Median"),
        pytest.param("--self-test", "false alarms: ", marks=SLOW),
        pytest.param("--benchmark-compare", "refused: no saved run can", marks=SLOW),
    ],
)
def test_a_crash_after_the_measurement_takes_nothing_with_it(hook, mode, found, tmp_path):
    storage = [f"--benchmark-storage=file://{tmp_path}", "--benchmark-autosave"]
    storage = storage[: 1 if mode == "--self-test" else 2]
    result = run_here(*LIGHT, *SOON, *storage, *mode.split(), plugins=[fails_in(hook)])
    assert result.returncode == 4, result.stdout + result.stderr
    assert "RuntimeError: planted" in result.stdout + result.stderr
    assert result.stdout.count(found) == 1, result.stdout
    # The saved run, or the self-test's outcome; a run that failed becomes no baseline.
    kept = mode == "" or hook != "pytest_runtest_logfinish"
    assert len(list(tmp_path.rglob("*.json"))) == kept


class Warns:
    """A plugin that warns when it is configured, and when a session ends."""

    def pytest_configure(self):
        warnings.warn(pytest.PytestDeprecationWarning("an option is not set"), stacklevel=1)

    pytest_sessionfinish = pytest_configure


def test_what_other_plugins_warn_of_is_shown_and_the_run_goes_on():
    result = run_here(*LIGHT, *SOON, "-p", "cacheprovider", "-o", "cache_dir=/proc/none", plugins=[Warns()])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Median" in result.stdout
    assert result.stdout.count("PytestDeprecationWarning: an option is not set") >= 1
    assert "PytestCacheWarning: could not create cache path" in result.stdout


def test_what_a_test_warns_of_is_an_error():
    with pytest.raises(UserWarning, match="planted"):
        warnings.warn("planted", stacklevel=1)
