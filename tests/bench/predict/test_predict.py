"""Times on another machine are predicted from counts: bounds that always hold, a fit, and the text."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.harness.counters.operators import Operator, count_operators
from bench.predict.cost_model import (
    TILE,
    Machine,
    as_fp8,
    concordant_pairs,
    device_terms,
    extrapolate,
    fit_host,
    predict,
    tiled_flops,
    with_tf32,
)
from bench.predict.gpus import GPUS, gpu_named
from bench.predict.predictions import PAYS, pays_from, variants
from bench.predict.study_operators import NoLoss, StudyOperators, fake_batch, fake_step, is_fitted
from bench.predict.tables import lines
from humor import HumorModel, Precision
from humor.errors import SettingError
from humor.study.published import PUBLISHED_TIMES
from humor.training.optimizer import Adamax
from humor.training.step import TrainStep
from tests.support.pytest_process import run, run_here

A_GPU = Machine({"fp32": 1e12, "fp16": 8e12, "tf32": 4e12, "fp8": 16e12}, 1e11, 1e-5, 3e-5, units=40)
A_CPU = replace(A_GPU, units=0)
VIEW = Operator()
kernels = st.builds(
    lambda rows, columns, depth, half: multiply(rows, columns, depth, "float16" if half else "float32"),
    *[st.integers(1, 5000)] * 3,
    st.booleans(),
) | st.builds(lambda size: Operator(True, bytes=size), st.integers(0, 10**9))
lists = st.lists(kernels | st.just(VIEW), min_size=1, max_size=20)
machines = st.sampled_from([A_GPU, A_CPU])


def multiply(rows, columns, depth, number_format="float32"):
    size = 2 if number_format == "float16" else 4
    moved = size * (rows * depth + depth * columns + rows * columns)
    return Operator(True, number_format, 2 * rows * columns * depth, moved, (rows, columns))


@given(lists, machines, st.integers(0, 10**9))
def test_more_bytes_are_never_predicted_to_be_faster(operators, machine, more):
    heavier = [replace(each, bytes=each.bytes + more) if each.computes else each for each in operators]
    assert predict(heavier, machine).seconds >= predict(operators, machine).seconds


@given(lists, machines, st.sampled_from(["rates", "bandwidth", "dispatch", "launch"]), st.floats(1, 100))
def test_a_better_machine_is_never_predicted_to_be_slower(operators, machine, which, factor):
    number = getattr(machine, which)
    better = {name: rate * factor for name, rate in number.items()} if which == "rates" else number * factor
    better = number / factor if which in ("dispatch", "launch") else better
    assert predict(operators, replace(machine, **{which: better})).seconds <= predict(operators, machine).seconds


@given(lists, lists)
def test_a_cpu_is_predicted_to_take_the_sum_and_a_gpu_to_overlap(some, others):
    apart = [predict(each, A_CPU).seconds for each in (some, others)]
    assert predict(some + others, A_CPU).seconds == pytest.approx(sum(apart))
    apart = [predict(each, A_GPU).seconds for each in (some, others)]
    assert max(apart) * (1 - 1e-9) <= predict(some + others, A_GPU).seconds <= sum(apart) * (1 + 1e-9)


@given(lists)
def test_neither_clock_is_ahead_of_a_prediction(operators):
    host = sum(A_GPU.launch if each.computes else A_GPU.dispatch for each in operators)
    device = sum(max(device_terms(each, A_GPU).values()) for each in operators if each.computes)
    taken = predict(operators, A_GPU).seconds
    assert max(host, device) * (1 - 1e-9) <= taken <= (host + device) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("operators", "bound"),
    [
        ([VIEW] * 9, "dispatch"),
        ([Operator(True, bytes=8)] * 9, "launch"),
        ([Operator(True, bytes=10**9)], "memory"),
        ([multiply(4096, 4096, 4096)], "compute"),
    ],
)
def test_a_prediction_says_what_bounds_it(operators, bound):
    prediction = predict(operators, A_GPU)
    assert prediction.bound_by == bound
    assert prediction.kernels == sum(each.computes for each in operators)


def test_a_multiply_is_padded_to_tiles_and_to_waves_of_them():
    assert tiled_flops(multiply(TILE, 40 * TILE, 100), 40) == multiply(TILE, 40 * TILE, 100).flops
    assert tiled_flops(multiply(TILE + 1, 40 * TILE, 100), 40) == 2 * multiply(TILE, 40 * TILE, 100).flops
    assert tiled_flops(multiply(TILE, TILE, 100), 40) == 40 * multiply(TILE, TILE, 100).flops
    assert tiled_flops(multiply(TILE, TILE, 100), 0) == multiply(TILE, TILE, 100).flops


@given(lists, machines)
def test_tiles_never_save_work(operators, machine):
    for each in operators:
        assert tiled_flops(each, machine.units) >= each.flops * (1 - 1e-9)


@pytest.mark.parametrize(("dispatch", "launch"), [(4e-6, 9e-6), (2e-5, 5e-5), (3e-5, 1e-5)])
def test_a_fit_recovers_the_host_that_made_the_times(dispatch, launch):
    lists = [
        [VIEW] * 90 + [Operator(True, bytes=8)] * 30,
        [VIEW] * 20 + [multiply(80, 64, 64)] * 70,
        [VIEW, Operator(True, bytes=10**6)] * 50,
    ]
    true = replace(A_GPU, dispatch=dispatch, launch=launch)
    found = fit_host(A_GPU, [(each, predict(each, true).seconds) for each in lists])
    assert (found.dispatch, found.launch) == pytest.approx((dispatch, launch), rel=0.01)
    assert replace(found, dispatch=dispatch, launch=launch) == true


def test_a_row_that_cannot_be_met_hardly_moves_a_fit():
    lists = [[VIEW] * 90 + [Operator(True, bytes=8)] * 30, [VIEW] * 20 + [Operator(True, bytes=8)] * 70]
    rows = [(each, predict(each, A_GPU).seconds) for each in lists]
    found = fit_host(A_GPU, [*rows, *rows, (lists[0], 3 * rows[0][1])])
    assert (found.dispatch, found.launch) == pytest.approx((A_GPU.dispatch, A_GPU.launch), rel=0.05)


def test_tf32_and_fp8_change_multiplies_alone():
    single, half, copy = multiply(4096, 4096, 4096), multiply(4096, 4096, 4096, "float16"), Operator(True, bytes=10**9)
    assert device_terms(single, with_tf32(A_GPU))["compute"] == device_terms(single, A_GPU)["compute"] / 4
    assert device_terms(half, with_tf32(A_GPU)) == device_terms(half, A_GPU)
    (eighth, same, also) = as_fp8([half, copy, single])
    assert device_terms(eighth, A_GPU) == {name: time / 2 for name, time in device_terms(half, A_GPU).items()}
    assert (same, also) == (copy, single)


def test_precisions_that_a_gpu_lacks_are_not_predicted():
    t4, a100 = (GPUS[name].machine(1e-5, 1e-5) for name in ("t4", "a100"))
    assert [name for name, _, _ in variants("bf16-weights", [VIEW], t4)] == []
    assert [name for name, _, _ in variants("fp32", [VIEW], t4)] == ["fp32"]
    assert [name for name, _, _ in variants("fp32", [VIEW], a100)] == ["fp32", "tf32"]


def test_counts_lie_on_a_line_over_the_batch():
    rows = torch.ones(2, 8), torch.ones(4, 8), torch.ones(50, 8)
    layer = torch.nn.Linear(8, 4)
    few, more, many = (count_operators(lambda own=own: layer(own).exp().sum()).records for own in rows)
    assert extrapolate(few, more, 24) == many
    with pytest.raises(ValueError, match="two batches dispatch different operators"):
        extrapolate(few, more[1:], 24)


def test_records_are_the_totals_one_by_one():
    layer = torch.nn.Linear(8, 4)
    counted = count_operators(lambda: layer(torch.ones(3, 8)).relu().sum().backward())
    assert sum(each.flops for each in counted.records) == counted.flops > 0
    assert sum(each.bytes for each in counted.records) == counted.bytes_read + counted.bytes_written
    assert sum(each.computes for each in counted.records) == counted.kernels
    assert len(counted.records) == counted.operators.total()
    assert next(each.result for each in counted.records if each.flops) == (3, 4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_without_numbers_does_what_one_with_numbers_does(precision, make_batch):
    batch, model = make_batch(2), HumorModel()
    step = TrainStep(model, NoLoss(), Adamax(model.parameters()), Precision(precision))
    step.sample(batch)
    with FakeTensorMode() as fake:
        without, shapes = fake_step(1, precision), fake_batch(batch, fake)
        without.sample(shapes)
        found = count_operators(lambda: without.sample(shapes)).records
    true = count_operators(lambda: step.sample(batch)).records
    assert [replace(each, bytes=0) for each in found] == [replace(each, bytes=0) for each in true]
    # Without numbers, group norm keeps its two statistics of 16 groups in half, not in float32.
    less = {a.bytes - b.bytes for a, b in zip(true, found, strict=True)}
    assert less == ({0} if precision == "fp32" else {0, 2 * 16 * 20 * 2})


def test_a_wider_network_without_numbers_takes_no_memory(workload):
    operators = StudyOperators(workload).phase("sample", 16, "fp32")
    weights = sum(weight.numel() for weight in torch.nn.ModuleList([_on_meta(16)]).parameters())
    assert weights > 2e9
    assert sum(each.bytes for each in operators) > 4 * weights


def _on_meta(width):
    with torch.device("meta"):
        return HumorModel(width)


def test_the_study_s_rows_are_all_there_and_float16_is_never_fitted():
    assert {(row.table, row.width, row.phase) for row in PUBLISHED_TIMES} == {
        (2, 1, "prepare"), (2, 1, "sample"), (2, 1, "loss"), (3, 4, "sample"),
    }  # fmt: skip
    assert len(PUBLISHED_TIMES) == 8
    assert {row.precision for row in PUBLISHED_TIMES if is_fitted(row)} == {"fp32"}
    assert sum(row.milliseconds for row in PUBLISHED_TIMES if row.precision == "fp32") == pytest.approx(111.74)
    assert sum(row.milliseconds for row in PUBLISHED_TIMES if row.precision == "fp16") == pytest.approx(119.58)


def test_every_gpu_names_its_sheet_and_is_no_slower_in_half():
    for gpu in GPUS.values():
        assert gpu.sheet
        assert gpu.rates["fp16"] > gpu.rates["fp32"]
        assert gpu.rates.get("bf16", gpu.rates["fp16"]) == gpu.rates["fp16"]


def test_an_unknown_gpu_is_one_sentence_that_names_those_known():
    sentence = 'GPU "v100" has no peaks in bench/predict/gpus.py; give cpu or one of t4, a100, h100, l4, rtx-4090.'
    with pytest.raises(SettingError) as error:
        gpu_named("v100")
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--predict", "v100"],
            'GPU "v100" has no peaks in bench/predict/gpus.py; give cpu or one of t4, a100, h100, l4, ',
        ),
        (["--predict", "t4", "--counts"], "--counts and --predict exclude each other; leave one out."),
        (
            ["--against", "HEAD", "--compare-precisions"],
            "--against and --compare-precisions exclude each",
        ),
        (["--predict", "t4", "--roofline-to", "x"], "--roofline-to is for the machine that is measured; add cpu to "),
        (["--predict", "t4", "--predict-widths", "4,32"], '--predict-widths "4,32"; give whole numbers from 1 to 16'),
        (["--predict-to", "x"], "--predict-to is of a prediction; add --predict t4, say."),
    ],
)
def test_a_wrong_choice_is_one_sentence_before_anything_runs(arguments, sentence):
    result = run_here("bench", "-k", "bench_linear and 1024-forward", *arguments)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.strip().startswith(f"ERROR: {sentence}")


@pytest.mark.parametrize(
    ("speedups", "width"),
    [
        ({1: 0.9, 4: PAYS, 16: 2.0}, 4),
        ({1: 2.0, 4: 1.0, 16: 2.0}, 16),
        ({1: 2.0, 4: 2.0, 16: 1.0}, None),
        ({1: 1.0, 4: 2.0, 16: None}, 4),
        ({16: None}, None),
    ],
)
def test_a_precision_pays_from_the_width_after_which_it_always_does(speedups, width):
    assert pays_from(speedups) == width


def test_pairs_in_the_same_order_are_counted():
    measured = {"fp32": 1.0, "bf16": 2.0, "fp16": 3.0}
    assert concordant_pairs(measured, measured) == (3, 3)
    assert concordant_pairs({"fp32": 3.0, "bf16": 2.0, "fp16": 1.0}, measured) == (0, 3)
    assert concordant_pairs({"fp32": 1.0, "fp16": 0.5}, measured) == (0, 1)


@pytest.mark.slow
def test_this_machine_is_predicted_and_measured_and_its_roofline_written(tmp_path):
    files = {name: tmp_path / f"{name}.json" for name in ("predict", "roofline")}
    arguments = ["-k", "bench_linear and 1024-forward and not backward and not wide", "--benchmark-max-time=0.05"]
    written = ["--predict-to", files["predict"], "--roofline-to", files["roofline"]]
    result = run("bench", *arguments, "--predict", "cpu", *map(str, written))
    assert result.returncode == 0, result.stdout
    prediction, roofline = (json.loads(file.read_text()) for file in files.values())
    assert prediction["kind"] == "prediction"
    assert {row["precision"] for row in prediction["cases"]} >= {"fp32", "bf16", "fp16"}
    assert all(row["predicted"] > 0 and row["measured"] > 0 for row in prediction["cases"])
    assert prediction["order"]["pairs"] == len(prediction["cases"]) * (len(prediction["cases"]) - 1) // 2
    assert roofline["kind"] == "roofline"
    assert roofline["peaks"].keys() == {"fp32", "bf16", "fp16"}
    assert [point["seconds"] for point in roofline["points"]] == [row["measured"] for row in prediction["cases"]]
    assert "predicted and measured order of precisions agree in" in result.stdout


def test_everything_printed_of_a_gpu_says_that_it_is_predicted():
    case = {"case": "bench_x[a]", "precision": "fp32", "predicted": 0.001, "bound_by": "launch"}
    row = {"table": 2, "width": 1, "phase": "loss", "precision": "fp32", "published_ms": 2.0, "predicted_ms": 1.0}
    speedup = {"loss": "ours", "windows": 8, "precision": "fp16", "speedup": {1: 1.5, 16: None}, "pays_from": 1}
    constants = {"rates": {"fp32": 1e12}, "bandwidth": 1e11, "launch": 1e-5, "dispatch": 1e-6}
    known = {"sheet": "a sheet", "achieved": 0.5, "fitted": "numbers"}
    printed = lines(
        {
            "gpu": "t4", "constants": constants | known, "cases": [case], "published": [row | {"fitted": True}],
            "widths": [speedup], "order": {"alike": 1, "pairs": 2, "cases": {"bench_x[a]": (1, 2)}},
        }
    )  # fmt: skip
    blocks = "\n".join(printed).strip().split("\n\n")
    assert len(blocks) == 5
    assert all(block.startswith("predicted") for block in blocks)
    text = "\n".join(printed)
    for said in ("-50 %", "fitted", "no room", "bench_x[a]", "a sheet", "1 of 2 pairs (50 %)", "1.50"):
        assert said in text
