"""A training step leaves out what is not finite, and its schedule is the published one."""

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch

from humor import HumorLoss, HumorModel, Precision
from humor.losses import LossWeights
from humor.state import CanonicalFrame, MotionState
from humor.training.optimizer import Adamax
from humor.training.phase_timer import PhaseTimer
from humor.training.seeded_noise import draw_teacher_forcing, training_noise, validation_noise
from humor.training.settings import TrainSettings
from humor.training.step import TrainStep, unroll
from tests.support import golden_values as golden


def test_the_learning_rate_is_halved_at_three_epochs():
    settings = TrainSettings()
    found = {epoch: settings.learning_rate_at(epoch) for epoch in (0, 10, 15, 20, 49, 50, 79, 80, 139, 140, 199)}
    assert found == {
        0: 1e-4, 10: 1e-4, 15: 1e-4, 20: 1e-4, 49: 1e-4, 50: 5e-5, 79: 5e-5, 80: 2.5e-5, 139: 2.5e-5,
        140: 1.25e-5, 199: 1.25e-5,
    }  # fmt: skip


def test_the_truth_is_fed_until_epoch_10_and_ever_less_until_20():
    settings = TrainSettings()
    found = {epoch: settings.teacher_forcing_rate_at(epoch) for epoch in (0, 9, 10, 15, 19, 20, 49, 140)}
    assert found == pytest.approx({0: 1, 9: 1, 10: 1, 15: 0.5, 19: 0.1, 20: 0, 49: 0, 140: 0}, abs=1e-12)
    assert [settings.teacher_forcing_rate_at(epoch) for epoch in (10, 15, 20)] == [1, 0.5, 0]


def test_the_kl_weight_rises_until_epoch_50():
    weights = LossWeights()
    found = {epoch: weights.kl_ramp(epoch) for epoch in (0, 10, 15, 20, 49, 50, 80, 140)}
    assert found == {0: 0, 10: 0.2, 15: 0.3, 20: 0.4, 49: 0.98, 50: 1, 80: 1, 140: 1}


def test_an_epoch_may_start_without_scheduled_sampling_in_between():
    settings = TrainSettings(scheduled_sampling_start=5, scheduled_sampling_end=5)
    assert [settings.teacher_forcing_rate_at(epoch) for epoch in (4, 5, 6)] == [1, 0, 0]


def test_inputs_are_drawn_by_their_share_and_by_nothing_else():
    assert draw_teacher_forcing(0, 9, 3, 1.0) is None
    assert draw_teacher_forcing(0, 20, 3, 0.0) == (False,) * 9
    drawn = [draw_teacher_forcing(0, 15, index, 0.5) for index in range(200)]
    assert sum(map(sum, drawn)) / 1800 == pytest.approx(0.5, abs=0.05)
    assert drawn[7] == draw_teacher_forcing(0, 15, 7, 0.5)
    assert len(set(drawn)) > 100


def test_noise_is_another_for_every_step_and_the_same_for_the_same():
    draws = [training_noise(*key, 4) for key in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))]
    draws.append(validation_noise(0, 0, 4))
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])
    assert torch.equal(draws[1], training_noise(0, 0, 1, 4))


@pytest.fixture(scope="module")
def loss():
    return HumorLoss(golden.bodies())


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return HumorModel()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_batch_with_a_loss_that_is_no_number_is_skipped(precision, loss, make_batch):
    torch.manual_seed(0)
    model = HumorModel()
    step = TrainStep(model, loss, Adamax(model.parameters()), Precision(precision))
    batch = make_batch(1)
    batch.contacts[0, 0, 0] = math.nan  # the gradients of most weights would be finite
    before = [p.clone() for p in model.parameters()]
    total, _ = step(batch, 0, training_noise(0, 0, 0, 1))
    assert total.isnan()
    assert step.optimizer.taken == 0
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def a_step(step, batch, noise, truth):
    """What a step says, and the gradients that it makes."""
    kept = []
    step.optimize = lambda: kept.extend(p.grad for p in step.model.parameters())
    step.model.zero_grad(set_to_none=True)
    return *step(batch, 20, noise, truth), kept


OWN = (False,) * 9


@pytest.mark.parametrize(
    ("truth", "untouched"),
    [(None, 0), (None, 4), (None, 7), (OWN, 4)],
    ids=["contacts", "a part without contacts", "no contacts", "own input"],
)
def test_a_batch_in_micro_batches_is_the_batch_at_once(truth, untouched, make_batch):
    torch.manual_seed(0)
    batch, noise = make_batch(7).to("cpu", torch.float64), training_noise(0, 20, 0, 7).double()
    batch.contacts[:untouched] = 0
    model, loss = HumorModel().double(), copy.deepcopy(HumorLoss(golden.bodies())).double()
    step = TrainStep(model, loss, Adamax(model.parameters()), Precision("fp32"))
    expected = a_step(step, batch, noise, truth)
    transitions = []
    hook = model.encoder.register_forward_pre_hook(lambda _, inputs: transitions.append(len(inputs[0])))
    step.micro_batch_size = 3
    found = a_step(step, batch, noise, truth)
    hook.remove()
    assert list(dict.fromkeys(transitions)) == ([20, 30] if truth is None else [2, 3])  # 7 windows: 2, 2 and 3
    assert list(found[1]) == list(expected[1])
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10, equal_nan=True)


def test_one_bad_micro_batch_skips_the_whole_step(loss, make_batch):
    model = HumorModel()
    step = TrainStep(model, loss, Adamax(model.parameters()), Precision("fp32"), micro_batch_size=1)
    batch = make_batch(2)
    batch.contacts[0, 0, 0] = math.nan
    before = [p.clone() for p in model.parameters()]
    total, _ = step(batch, 0, training_noise(0, 0, 0, 2))
    assert total.isnan()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def rolled_by_hand(model, batch, noise, truth, bodies=None):
    """The slow twin: one window after the other, each mapped to the world and told again, as a rollout does.

    With bodies it is HuMoR-Qual's: the next input has the joints of the body that is posed as predicted.
    """
    rows = []
    for window in range(len(batch)):

        def at(state, step, window=window):
            return state.map(lambda x: x[window, step][None])

        world = at(batch.past, 0)
        frame = CanonicalFrame.of(world)
        pivot, local = frame.pivot, frame.world_to_canonical(world)
        steps = []
        for step in range(10):
            out = model(local, at(batch.current, step), noise[window, step][None])
            steps.append(out.state.to_vector()[0])
            fed_back = out.state
            if bodies is not None:
                body, betas = bodies[batch.gender[window]], batch.betas[window, :1]
                fed_back = replace(fed_back, joints=body(fed_back.rotmats, betas, fed_back.trans).joints)
            world = frame.canonical_to_world(fed_back)
            frame = CanonicalFrame.of(world, pivot)
            local = at(batch.past, step + 1) if step < 9 and truth[step] else frame.world_to_canonical(world)
        rows.append(torch.stack(steps))
    return torch.stack(rows)


@pytest.mark.parametrize("truth", [(False,) * 9, (True, False, False) * 3], ids=["own", "mixed"])
def test_unrolling_is_a_rollout_with_the_posterior(truth, model, make_batch):
    batch, noise = make_batch(3), training_noise(0, 20, 0, 3)
    with torch.no_grad():
        found = unroll(model, batch, noise, truth)
        expected = rolled_by_hand(model, batch, noise, truth)
    torch.testing.assert_close(found.state.to_vector(), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("truth", [None, (True,) * 9, (False,) * 9, (True, False, False) * 3])
def test_a_step_feeds_the_posed_joints_back_where_it_is_told_to(truth, model, loss, make_batch):
    batch, noise = make_batch(3), training_noise(0, 20, 0, 3)
    assert len(set(batch.gender)) > 1
    steps = {
        name: TrainStep(model, loss, Adamax(model.parameters()), Precision("fp32"), smpl_joint_inputs=name == "qual")
        for name in ("plain", "qual")
    }
    with torch.no_grad():
        found = {name: step.sample(batch, noise, truth).state.to_vector() for name, step in steps.items()}
        expected = rolled_by_hand(model, batch, noise, truth or (True,) * 9, golden.bodies())
    torch.testing.assert_close(found["qual"], expected, atol=2e-5, rtol=0)
    assert (truth is not None and False in truth) == bool((found["qual"] - found["plain"]).abs().max() > 1e-4)
    totals = {name: step.evaluate(batch, 20, noise, truth)[0] for name, step in steps.items()}
    assert (totals["qual"] != totals["plain"]) == (truth is not None and False in truth)


def test_unrolling_on_the_truth_alone_is_the_whole_pass_at_once(model, make_batch):
    batch, noise = make_batch(2), training_noise(0, 0, 0, 2)
    with torch.no_grad():
        found, expected = unroll(model, batch, noise, (True,) * 9), model(batch.past, batch.current, noise)
    for name in ("posterior", "prior"):
        torch.testing.assert_close(getattr(found, name).mean, getattr(expected, name).mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.state.to_vector(), expected.state.to_vector(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.contacts, expected.contacts, atol=1e-5, rtol=0)


def test_no_gradient_passes_between_the_steps_of_an_unrolled_window(model, make_batch):
    batch, noise = make_batch(1), training_noise(0, 20, 0, 1)
    pasts = []

    class Spy(torch.nn.Module):
        def forward(self, past, current, noise):
            pasts.append(past)
            return model(past, current, noise)

    out = unroll(Spy(), batch, noise, (False,) * 9)
    assert isinstance(out.state, MotionState)
    assert out.state.trans.requires_grad
    assert not any(past.to_vector().requires_grad for past in pasts)


@pytest.mark.parametrize("truth", [None, (False,) * 9], ids=["truth", "own"])
def test_the_timer_divides_a_step_without_a_gap(truth, loss, make_batch):
    ticks = itertools.count()
    timer = PhaseTimer(torch.device("cpu"), now=lambda: float(next(ticks)))
    model = HumorModel()
    step = TrainStep(model, loss, Adamax(model.parameters()), Precision("fp32"), timer=timer)
    timer.enter("wait")
    step(make_batch(1), 0, training_noise(0, 0, 0, 1), truth)
    seconds = timer.read()
    assert list(seconds) == ["wait", "prepare", "sample", "loss", "backward", "network backward", "optimize"]
    assert sum(seconds.values()) == next(ticks) - 1
    assert min(seconds.values()) > 0
    assert set(timer.read()) == {"optimize"}
    timer.stop()
    assert timer.read() == {}
