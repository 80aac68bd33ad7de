"""`pytest bench` runs, saves, compares, and refuses in one sentence."""

import json

import numpy as np
import pytest
import torch

from bench.harness.counters.operators import count_work
from bench.harness.environment.devices import DeviceError, choose_device
from humor.data.synthetic.walker import synthetic_clip
from humor.precision import cpu_half_emulation
from tests.support.pytest_process import ROOT, run, run_here

SHARED = ROOT.parent / "shared"
LIGHT = ["-k", "bench_linear and 1024-forward and fp32 and not backward", "--benchmark-max-time=0.05", "-q"]


def test_a_run_is_saved_with_its_work_and_compared(tmp_path):
    storage = f"--benchmark-storage=file://{tmp_path}"
    first = run("bench", *LIGHT, storage, "--benchmark-autosave")
    assert first.returncode == 0, first.stdout
    (saved,) = tmp_path.rglob("*.json")
    content = json.loads(saved.read_text())
    (benchmark,) = content["benchmarks"]
    assert benchmark["group"] == "linear 1024, 80 rows, forward"
    info = benchmark["extra_info"]
    assert (info["precision"], info["device"], info["rows"]) == ("fp32", "cpu", 80)
    assert info["flops"] == 2 * 80 * 1024 * 1024
    assert info["bytes"] >= 4 * (1024 * 1024 + 2 * 80 * 1024)
    assert content["machine_info"]["torch"] == torch.__version__
    second = run("bench", *LIGHT, storage, "--benchmark-compare", CI="")
    assert second.returncode == 0, second.stdout  # untouched, or no verdict where there are changes beside the commit
    assert "(0001_" in second.stdout


@pytest.mark.parametrize(
    ("emulates", "option", "chosen"), [(False, "--threads=1", 4), (True, "--threads=1", 2), (True, "--counts", 4)]
)
def test_a_cpu_without_half_precision_is_spared_large_cases_but_where_they_are_counted(
    emulates, option, chosen, monkeypatch
):
    monkeypatch.setattr(cpu_half_emulation, "needs_emulation", lambda dtype: emulates)
    result = run_here("bench", "-k", "bench_linear and fp16 and not weights", "--collect-only", "-q", option)
    assert result.stdout.count("::bench_linear[fp16-") == chosen, result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--motion", "no.npz"], "no.npz: no such file; check the path."),
        (["--body-model", "nowhere"], "nowhere: no male body; expected male/model.npz or SMPLH_MALE.npz."),
    ],
)
def test_a_wrong_option_is_one_sentence_before_anything_runs(arguments, sentence):
    result = run_here("bench", *LIGHT, *arguments)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.strip() == f"ERROR: {sentence}"
    assert "passed" not in result.stdout


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tpu9000", '--device "tpu9000" is no device; give cpu, cuda or cuda:0.'),
        ("meta", '--device "meta" is not supported; give cpu, cuda or cuda:0.'),
        ("cuda:77", f'--device "cuda:77": there are {torch.cuda.device_count()} CUDA devices here; give cpu.'),
    ],
)
def test_a_device_that_is_not_there_is_refused(name, sentence):
    with pytest.raises(DeviceError) as error:
        choose_device(name, require_cuda=False)
    assert str(error.value) == sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_require_cuda_fails_without_cuda():
    result = run_here("bench", *LIGHT, "--require-cuda")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.strip() == (
        "ERROR: --require-cuda: there is no CUDA device here; run on a machine that has one."
    )


@pytest.mark.slow
def test_a_rollout_tells_its_frames_a_second(tmp_path):
    arguments = ["-k", "bench_rollout and fp32-one", "--benchmark-max-time=0.05", "-q"]
    result = run("bench", *arguments, f"--benchmark-storage=file://{tmp_path}", "--benchmark-autosave")
    assert result.returncode == 0, result.stdout
    (saved,) = tmp_path.rglob("*.json")
    (benchmark,) = json.loads(saved.read_text())["benchmarks"]
    line = f"{benchmark['name']}: {30 / benchmark['stats']['median']:,.0f} frames/s"
    assert benchmark["extra_info"]["frames"] == 30
    assert line in result.stdout.splitlines()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_graphs_without_cuda_are_refused():
    result = run_here("bench", *LIGHT, "--execution", "cuda-graph")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.strip() == "ERROR: execution cuda-graph: needs a CUDA device, not cpu; give eager or compile."


def test_an_execution_reaches_the_benchmarks_that_have_a_choice():
    arguments = ["--execution", "compile", "--quick", "--collect-only", "-q", "-k", "fp32"]
    result = run_here("bench", *arguments)
    assert result.returncode == 0, result.stdout
    functions = {line.partition("[")[0] for line in result.stdout.splitlines() if line.startswith("bench/")}
    assert functions == {
        "bench/bench_fit.py::bench_fit",
        "bench/bench_rollout.py::bench_rollout",
        "bench/bench_sampling.py::bench_sampling",
        "bench/bench_train_step.py::bench_train_step",
    }
    assert "(--execution compile is for train step, sampling, rollout and fit)" in result.stdout
    assert "(the published loss reads values from the device, so that it runs eagerly alone)" in result.stdout


def test_benchmarks_and_tests_are_not_run_together():
    result = run_here("bench", "tests/humor/test_layers.py", "-q")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.startswith("ERROR: run pytest bench and pytest one after the other")


def test_motion_from_a_file_and_a_folder_reaches_the_benchmarks(tmp_path):
    raw = synthetic_clip(seconds=3.0)
    np.savez(tmp_path / "t.npz", poses=raw["poses"], trans=raw["trans"])
    for path in (tmp_path / "t.npz", tmp_path):
        supplied = ["--motion", str(path), "--fps", "120", "--gender", "male"]
        result = run_here("bench", "-k", "kinematics and fp32-study-joints-ours", "--benchmark-disable", *supplied)
        assert result.returncode == 0, result.stdout
        assert f"motion: {path}" in result.stdout


def test_motion_of_a_neutral_body_is_measured_but_never_beside_the_published_loss(tmp_path):
    raw = synthetic_clip(seconds=3.0)
    np.savez(tmp_path / "t.npz", poses=raw["poses"], trans=raw["trans"])
    motion = ["--motion", str(tmp_path / "t.npz"), "--fps", "120"]
    chosen = ["-k", "bench_loss_step and fp32-study and not backward", "--collect-only", "-q"]
    for gender, published in (("neutral", False), ("female", True)):
        result = run_here("bench", *chosen, *motion, "--gender", gender)
        assert result.returncode == 0, result.stdout
        assert "bench_loss_step[fp32-study-forward-ours]" in result.stdout
        assert ("bench_loss_step[fp32-study-forward-published]" in result.stdout) == published
        reason = "the published loss has male and female bodies alone, and the motion has another gender"
        assert (reason in result.stdout) != published


@pytest.mark.skipif(not (SHARED / "motions").is_dir(), reason="no ../shared/motions beside this checkout")
def test_real_motion_of_another_format_reaches_the_benchmarks():
    motion = SHARED / "motions" / "apose_to_catwalk_001.npz"
    supplied = ["--motion", str(motion), "--fps", "30", "--gender", "neutral", "--up", "y"]
    result = run_here("bench", "-k", "kinematics and fp32-study-joints-ours", "--benchmark-disable", *supplied)
    assert result.returncode == 0, result.stdout


def test_counted_work_is_forward_and_backward():
    layer, rows = torch.nn.Linear(8, 4, bias=False), torch.ones(3, 8)
    assert count_work(lambda: layer(rows)).flops == 2 * 3 * 8 * 4
    both = count_work(lambda: layer(rows).sum().backward())
    assert both.flops == 2 * (2 * 3 * 8 * 4)  # the input needs no gradient
    assert count_work(lambda: rows.add(1)).bytes == 2 * 3 * 8 * 4
    assert count_work(lambda: rows.view(24)).bytes == 0
    product = torch.ones(10, 20, 8) @ torch.ones(8, 4)
    assert product.shape == (10, 20, 4)
    assert count_work(lambda: torch.ones(10, 20, 8) @ torch.ones(8, 4)).bytes < 4 * 3 * (
        10 * 20 * 8 + 8 * 4 + 10 * 20 * 4
    )


def test_comparing_with_nothing_is_refused(tmp_path):
    result = run("bench", *LIGHT, f"--benchmark-storage=file://{tmp_path}", "--benchmark-compare")
    assert result.returncode == 4, result.stdout
    assert "Can't compare" in result.stdout + result.stderr
    assert "refused: no saved run can be read" in result.stdout
