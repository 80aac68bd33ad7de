"""`pytest bench --compare-precisions`: a precision pays where it is faster, lower and right; faults are caught."""

import json
import signal
import subprocess
from dataclasses import replace
from functools import cache
from itertools import takewhile

import pytest

from bench.harness.case import BenchmarkId
from bench.harness.modes.compare_precisions import answer_of, work_of
from bench.harness.stats.accuracy import worst_deviation
from bench.harness.stats.precision_verdict import (
    name_without_precision,
)
from bench.harness.versions.loaded_version import LoadedVersion
from bench.project import BOUNDS, PROJECT
from humor import Precision
from humor.training.step import TrainStep
from tests.support import pytest_process
from tests.support.git_repository import Repository

KINEMATICS = "humor/kinematics.py"
HALF = '''"""One multiply in a precision."""

import pytest
import torch

from humor import Precision, kinematics

from .cases import Cost, Linear

CASES = {"small": Linear(64, 64, cost=Cost.TINY)}


@pytest.mark.parametrize("case", CASES.items(), ids=CASES.keys())
def bench_half(case, precision, device, dtype, measure):
    torch.manual_seed(0)
    factors = [torch.randn(64, 64).to(dtype) for _ in range(2)]

    def total():
        with Precision(precision).autocast_scope(device):
            return kinematics.work(*factors)

    measure(total, "tiny", answer=lambda: {"loss": total()})
'''
NAME = "bench_tiny.py::bench_half[bf16-small]"
COARSE = ["--slower-than", "90%", "--error-rate", "20%", "--max-time", "0", "--device", "cpu"]


def work(result):
    """The function that the benchmark calls, which takes the place of an earlier one."""
    return f"\n\ndef work(a, b):\n    return {result}\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.write("bench/bench_tiny.py", HALF)
    repository.append(KINEMATICS, work("(a @ b).to(a.dtype).square().sum()"))
    repository.git("add", "-A")
    repository.git("commit", "-q", "-m", "half")
    repository.git("tag", "-f", "whole")
    return repository


@pytest.fixture
def compare(shared, tmp_path):
    def run(*arguments):
        file = tmp_path / "precisions.json"
        written = ["--compare-precisions", "--compare-precisions-json", str(file)]
        result = shared.pytest("bench", *written, "-k", "bench_half and bf16-small", *COARSE, *arguments)
        return result, json.loads(file.read_text()) if file.exists() else None

    yield run
    shared.restore()


def test_a_sound_precision_is_judged_by_its_time(compare):
    result, content = compare()
    assert result.returncode == 0, result.stdout + result.stderr
    (case,) = content["cases"]
    assert (case["case"], case["precision"], content["kind"]) == (
        name_without_precision(NAME, "bf16"),
        "bf16",
        "precisions",
    )
    assert case["verdict"] in ("pays", "does not pay", "unclear")
    assert 0 < case["error"] < case["bound"] == 4 * 2.0**-8
    assert case["low"] < case["speedup"] < case["high"]
    assert case["seconds"] > 0
    assert content["machine"].keys() == {"name", "device", "torch", "threads", "when"}
    (line,) = (line for line in result.stdout.splitlines() if NAME in line)
    assert line.startswith(case["verdict"])
    assert line.endswith(case["reason"])


IN_HALF = 'torch.is_autocast_enabled("cpu")'
FAULTS = {
    "silently single": (
        """
def _without(device, *given, **named):
    return _autocast(device, enabled=False)


_autocast, torch.autocast = torch.autocast, _without
""",
        "not really half",
    ),
    "two percent off": (work(f"(a @ b).square().sum() * (1.02 if {IN_HALF} else 1)"), "wrong"),
    "fast, not finite": (
        work(f'(a[:1] @ b).sum() * float("nan") if {IN_HALF} else (a @ b).square().sum()'),
        "wrong",
    ),
}


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        pytest.param(*fault, id=name, marks=[] if name == "two percent off" else pytest.mark.slow)
        for name, fault in FAULTS.items()
    ],
)
def test_a_planted_fault_is_caught(shared, compare, fault, word):
    shared.append(KINEMATICS, fault)
    result, content = compare()
    assert result.returncode == 1, result.stdout + result.stderr
    (case,) = content["cases"]
    assert case["verdict"] == word
    if word == "not really half":
        assert case["reason"] == "no multiply ran in anything lower than float32, of 524 kFLOP"
        assert case["speedup"] is None
    elif case["error"] is None:
        assert case["reason"] == "loss: not all numbers are finite"
    else:
        assert case["error"] == pytest.approx(0.02, abs=4 * 2.0**-8)


@pytest.mark.slow
def test_nothing_measured_and_a_failing_case_are_refused(shared, compare):
    result, content = compare("-k", "no_such_case")
    assert (result.returncode, content) == (4, None)
    assert "refused: nothing was measured; choose cases with a precision." in result.stdout
    shared.append(KINEMATICS, work("1 / 0"))
    result, content = compare()
    assert (result.returncode, content) == (4, None)
    assert "refused: a case failed, as shown above." in result.stdout


STUCK = "\n\ndef bench_stuck(precision, measure):\n    import time\n\n    time.sleep(600)\n"


@pytest.mark.slow
def test_what_was_found_before_sigterm_is_printed_and_written(shared, compare, tmp_path):
    file, suite = tmp_path / "precisions.json", "bench/bench_tiny.py"
    shared.write(suite, HALF + STUCK)
    written = ["--compare-precisions", "--compare-precisions-json", str(file)]
    cases = [f"{suite}::bench_half[bf16-small]", f"{suite}::bench_stuck[bf16]"]
    command = pytest_process.command("-vv", *cases, *written, *COARSE)
    environment = pytest_process.environment(shared.folder, PYTHONUNBUFFERED="1")
    with subprocess.Popen(command, cwd=shared.folder, env=environment, stdout=subprocess.PIPE, text=True) as running:
        before = "".join(takewhile(lambda line: "[ 50%]" not in line, running.stdout))  # of the first case
        assert running.poll() is None, before
        running.send_signal(signal.SIGTERM)
        rest = running.stdout.read()
        assert running.wait(60) == pytest.ExitCode.INTERRUPTED
    (case,) = json.loads(file.read_text())["cases"]
    assert any(NAME in line and line.endswith(case["reason"]) for line in rest.splitlines()), rest


def test_where_to_write_without_anything_to_write_is_a_mistake(shared):
    result = pytest_process.run_here("bench", "--compare-precisions-json", "x.json")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.strip() == (
        "ERROR: --compare-precisions-json says where to write what --compare-precisions finds; add that."
    )


OPTIONS = {"--device": "cpu", "--up": "z", "--execution": "eager"}
OURS = {"implementation": "ours"}
BENCHMARKS = {
    "linear": BenchmarkId("bench_linear", "bench_linear", {"case": "1024", "direction": "forward"}),
    "sampling": BenchmarkId("bench_sampling", "bench_sampling", {"case": "small"}),
    "rollout": BenchmarkId("bench_rollout", "bench_rollout", {"case": "one"}),
    "loss": BenchmarkId("bench_loss_step", "bench_loss_step", OURS | {"case": "small", "direction": "forward"}),
    "train step": BenchmarkId("bench_train_step", "bench_train_step", OURS | {"case": "small"}),
    "fit": BenchmarkId("bench_fit", "bench_fit", {"case": "one"}),
    "lifting": BenchmarkId("bench_lifting", "bench_lifting", {"case": "27", "network": "poseformer"}),
    "lifting v2": BenchmarkId("bench_lifting", "bench_lifting", {"case": "27", "network": "poseformer-v2"}),
    "lifting step": BenchmarkId("bench_lifting", "bench_lifting_step", {"case": "27", "network": "poseformer-v2"}),
    "bodies": BenchmarkId("bench_kinematics", "bench_kinematics", OURS | {"case": "study", "output": "joints"}),
}  # fmt: skip


@cache
def answer(name, precision, dtype):
    return answer_of(LoadedVersion(PROJECT, OPTIONS, dtype=dtype).build(in_precision(name, precision)))


def in_precision(name, precision):
    return replace(BENCHMARKS[name], parameters={**BENCHMARKS[name].parameters, "precision": precision})


def deviation(name, precision):
    found = answer.__wrapped__(name, precision, "float32")
    return worst_deviation(found, answer(name, "fp32", "float64"), BOUNDS, Precision(precision).unit_roundoff)


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("precision", [pytest.param("bf16", marks=pytest.mark.slow), "fp16-weights"])
def test_every_kind_of_benchmark_answers_as_its_format_allows(name, precision):
    found = deviation(name, precision)
    assert not found.wrong, str(found)


def test_a_training_loss_that_is_two_percent_off_is_wrong(monkeypatch):
    compute_loss = TrainStep.compute_loss

    def off(step, *arguments):
        total, terms = compute_loss(step, *arguments)
        return total * (1.0 if step.precision.name == "fp32" else 1.02), terms

    monkeypatch.setattr(TrainStep, "compute_loss", off)
    found = deviation("train step", "bf16")
    assert (found.wrong, found.kind) == (True, "loss")


def test_the_multiplies_of_a_network_are_counted_by_their_format():
    work = {}
    for precision in ("fp32", "bf16", "bf16-weights"):
        work[precision] = work_of(LoadedVersion(PROJECT, OPTIONS).build(in_precision("sampling", precision)))
    assert work["fp32"].low_flops == work["fp32"].cast_weights == work["bf16-weights"].cast_weights == 0
    assert work["bf16"].low_flops == work["bf16-weights"].low_flops > 0.99 * work["fp32"].multiply_flops.total()
    assert work["bf16"].cast_weights == pytest.approx(9.7e6, rel=0.01)  # but the norms'
