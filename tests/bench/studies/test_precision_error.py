"""Errors of precisions are of the same steps and the same motions, in the units that are printed."""

import copy
import math

import pytest
import torch

from bench.studies import precision_error, rollout_error
from bench.studies.precision_error import StepResults, error_cells, make_precision, make_step
from bench.studies.rollout_error import draw_latents, error_bound, median_errors, roll_out
from humor import HumorLoss, HumorModel, MotionState
from humor.precision.fp8 import Float8Layers
from tests.support import golden_values as golden
from tests.support.random_states import random_state


@pytest.fixture
def model():
    return golden.filled_model(1, 0.02)


def rows_of(text):
    """The cells of printed tables, by the first."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    return {name: [float(cell) if cell else None for cell in cells] for name, *cells in rows}


def test_a_difference_is_relative_and_in_roundings():
    reference = StepResults([2.0, 4.0, 1.0], torch.tensor([3.0, 4.0]))
    found = StepResults([2.02, 9.0, 0.8], torch.tensor([3.0, 4.5]))
    assert error_cells(found, reference, 2.0**-4) == ["1.0e-02", "0.16", "2.0e-01", "1.0e-01", "1.6"]


def test_lower_precisions_are_further_off(capsys):
    precision_error.main(["--steps", "0", "--batch", "1", "--precisions", "fp8", "bf16", "fp64"])
    rows = rows_of(capsys.readouterr().out)
    fp8, bf16, fp64 = (cells[3] for cells in rows.values())
    assert list(rows) == ["fp8", "bf16", "fp64"]
    assert 0 < 10 * fp64 < bf16 < fp8 < 1


def test_the_first_gradients_are_unscaled_and_the_steps_are_taken(monkeypatch, capsys):
    """Of float32 beside itself: the same losses, a whole gradient, and weights that have moved."""
    steps = []

    def watched(name, *given):
        steps.append(make_step("fp32", *given))
        return steps[-1]

    monkeypatch.setattr(precision_error, "make_step", watched)
    precision_error.main(["--steps", "2", "--batch", "1", "--precisions", "fp16"])
    out = capsys.readouterr().out
    assert rows_of(out) == {"fp16": [0.0] * 5}
    one, other = ([*step.model.parameters()] for step in steps)
    torch.manual_seed(0)
    assert not torch.equal(one[0], next(HumorModel().parameters()))
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    assert "after 2 steps" in out


def test_float8_is_emulated_in_layers_of_the_sizes_given(model):
    precision = make_precision("fp8", 16)
    assert precision.autocast("cpu").fast_dtype == torch.bfloat16
    assert isinstance(precision.half_weights(model), Float8Layers)
    assert isinstance(make_step("fp8", copy.deepcopy(model), HumorLoss({}), 16).half_weights, Float8Layers)
    assert make_precision("fp64", 16).name == "fp32"
    assert make_step("fp64", copy.deepcopy(model), HumorLoss({}), 16).model.decoder.net[0].weight.dtype == torch.float64


def test_an_error_is_the_median_motions_mean_distance_in_millimetres():
    reference = random_state((3, 60))
    shift = torch.zeros(3, 60, 3, dtype=reference.trans.dtype)
    shift[:, 29, 0] = torch.tensor([0.003, 9.0, 0.001])
    shift[0, 59], shift[1, 59] = torch.tensor([0.0, 0.3, 0.4]), torch.tensor([9.0, 0.0, 0.0])
    moved = {"trans": reference.trans + shift, "joints": reference.joints + shift.unsqueeze(2)}
    found = median_errors(MotionState(**{**vars(reference), **moved}), reference, [30, 60])
    torch.testing.assert_close(found[0], torch.tensor([3.0, 500.0], dtype=found.dtype))
    torch.testing.assert_close(found[1], torch.zeros(2, dtype=found.dtype), atol=1e-9, rtol=0)
    bent = reference.joints.clone()
    bent[:, 59, 5] += torch.tensor([0.0, 0.0, 0.022])
    found = median_errors(MotionState(**{**vars(reference), "joints": bent}), reference, [30, 60])
    torch.testing.assert_close(found[1], torch.tensor([0.0, 1.0], dtype=found.dtype))


def test_the_bound_is_float32s_error_in_the_formats_roundoff():
    found = error_bound("bf16", torch.tensor([[1.0, 2.0], [3.0, 4.0]]), (1, 4))
    expected = torch.tensor([[1.0, 2.0 * 2], [3.0, 4.0 * 2]]) * 2**16 * 30**0.5
    torch.testing.assert_close(found, expected)


def test_drawn_latents_give_the_motion_again(model):
    initial, again = random_state((3,), dtype=torch.float32), torch.Generator().manual_seed(4)
    latents = draw_latents(model, initial, 5, 4)
    with torch.no_grad():
        expected = model.rollout(initial, 5, generator=again).state
    torch.testing.assert_close(roll_out("fp32", model, initial, 5, latents, 16).to_vector(), expected.to_vector())
    exact = roll_out("fp64", model, initial, 5, latents, 16)
    assert exact.trans.dtype == torch.float64
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert not model.decoder._forward_pre_hooks


def test_errors_are_printed_for_both_ways_to_choose_latents(capsys):
    rollout_error.main(["--motions", "1", "--seconds", "1", "--precisions", "bf16"])
    out = capsys.readouterr().out
    by_mean, _, by_latents = out.partition("given latents")
    assert list(rows_of(by_mean)) == ["fp64", "bf16"]
    rows = rows_of(by_latents)
    assert list(rows) == ["fp64", "bf16", "other latents"]
    assert 0 < rows["fp64"][0] < rows["bf16"][0] < rows["other latents"][0]
    assert rows["bf16"][2] == pytest.approx(
        max(rows["bf16"][at] / rows["fp64"][at] for at in (0, 1)) / 2**16 / math.sqrt(30), rel=0.02
    )


@pytest.mark.parametrize(
    ("command", "wrong", "said"),
    [
        (precision_error, ["--batch", "0"], "--steps is a whole number from 0, --batch from 1."),
        (rollout_error, ["--seconds", "0"], "--motions and --seconds are whole numbers from 1."),
    ],
)
def test_numbers_that_cannot_be_are_refused(command, wrong, said, capsys):
    with pytest.raises(SystemExit):
        command.main(wrong)
    assert said in capsys.readouterr().err
