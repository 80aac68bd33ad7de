"""Weights kept in half give the numbers of weights cast for every pass, and no pass casts them."""

from typing import get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from humor import HumorLoss, HumorModel, Precision
from humor.precision.presets import PRESETS, PrecisionName
from humor.training.distributed import Team
from humor.training.optimizer import Adamax
from humor.training.step import TrainStep
from tests.support import golden_values as golden

CASTING = {"bf16-weights": "bf16", "fp16-weights": "fp16"}
WEIGHT_SIZE = 48 * 216  # fewer numbers than any matrix of the network has, more than a window's tensors


class Casts(TorchDispatchMode):
    """Counts numbers that were cast from one dtype to another, in tensors of a weight's size."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = [x.dtype for x in tree_leaves(args) if isinstance(x, torch.Tensor)]
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_, torch.ops.aten._foreach_copy_):
            sizes = [x.numel() for x in tree_leaves(args[0]) if x.numel() >= WEIGHT_SIZE]
            dtypes = {*before, *(x.dtype for x in tree_leaves(out) if isinstance(x, torch.Tensor))}
            self.numbers += sum(sizes) if len(dtypes) > 1 else 0
        return out


@pytest.fixture(scope="module")
def loss():
    return HumorLoss(golden.bodies())


def step_of(precision, loss):
    torch.manual_seed(0)
    model = HumorModel()
    step = TrainStep(model, loss, Adamax(model.parameters()), Precision(precision))
    if step.scaler.is_enabled():
        step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)  # one that takes the first step
    return step


def weights_of(step):
    return torch.cat([weight.detach().flatten() for weight in step.model.parameters()])


def matrices(step):
    return sum(weight.numel() for weight in step.model.parameters() if weight.numel() >= WEIGHT_SIZE)


def test_every_preset_has_its_name_among_the_settings():
    assert get_args(PrecisionName) == tuple(PRESETS)


@pytest.mark.parametrize("precision", CASTING)
@pytest.mark.parametrize("truth", [None, (False,) * 9], ids=["truth", "own"])
def test_steps_are_to_the_bit_those_of_weights_cast_for_every_pass(precision, truth, loss, make_batch):
    batch, noise = make_batch(2), torch.randn(2, 10, 48, generator=torch.Generator().manual_seed(0))
    found, expected = (step_of(name, loss) for name in (precision, CASTING[precision]))
    for _ in range(2):
        totals = [step(batch, 50, noise, truth)[0] for step in (found, expected)]
        assert torch.equal(*totals)
    assert torch.equal(weights_of(found), weights_of(expected))
    assert found.optimizer.taken == 1


@pytest.mark.parametrize("precision", CASTING)
def test_no_pass_casts_a_weight(precision, loss, make_batch):
    """Only the end of the step does: gradients to the masters' dtype, and the masters to half, once each."""
    step, batch = step_of(precision, loss), make_batch(1)
    casting = step_of(CASTING[precision], loss)
    counts = {}
    for each in (step, casting):
        with Casts() as passes:
            each.backward(each.compute_loss(each.sample(batch), batch, 50)[0])
        with Casts() as end:
            each.optimize()
        counts[each] = (passes.numbers, end.numbers)
    assert counts[step] == (
        0,
        2 * sum(half.numel() for half in step.half_weights.halves if half.numel() >= WEIGHT_SIZE),
    )
    assert counts[casting] == (2 * matrices(casting), 0)


def test_a_loaded_checkpoint_reaches_the_half_weights(loss, make_batch):
    batch, noise = make_batch(1), torch.zeros(1, 10, 48)
    step, other = step_of("bf16-weights", loss), HumorModel()
    step.model.load_state_dict(other.state_dict())
    found, _ = step.evaluate(batch, 50, noise)
    fresh = TrainStep(other, loss, Adamax(other.parameters()), Precision("bf16-weights"))
    assert torch.equal(found, fresh.evaluate(batch, 50, noise)[0])


def test_the_network_has_its_own_weights_outside_of_a_pass(loss, make_batch):
    step = step_of("bf16-weights", loss)
    names = list(step.model.state_dict())
    step(make_batch(1), 0)
    assert list(step.model.state_dict()) == names
    assert {weight.dtype for weight in step.model.parameters()} == {torch.float32}
    first = step.model.decoder.net[0]
    master = first.weight
    with pytest.raises(RuntimeError), step.half_weights.active():
        first(torch.ones(1, 3))  # of another width
    assert first.weight is master


def test_gradients_are_averaged_over_processes_before_the_update(loss, make_batch, monkeypatch):
    """As if another process had the same batch with thrice the gradient."""
    batch, noise = make_batch(1), torch.zeros(1, 10, 48)
    alone, one_of_two = step_of("bf16-weights", loss), step_of("bf16-weights", loss)
    seen = []

    class Sent:
        def wait(self):
            pass

    def all_reduce(value, async_op):
        seen.append(value.clone())
        value.mul_(4)
        return Sent()

    monkeypatch.setattr("humor.training.distributed.dist.all_reduce", all_reduce)
    one_of_two.average = Team(0, 2, torch.device("cpu")).average
    for step in (alone, one_of_two):
        step.backward(step.compute_loss(step.sample(batch, noise), batch, 50)[0])
        step.optimize()
    assert len(seen) == len(list(alone.model.parameters()))
    averages = [
        torch.cat([step.optimizer.state[weight]["exp_avg"].flatten() for weight in step.model.parameters()])
        for step in (alone, one_of_two)
    ]
    torch.testing.assert_close(averages[1], 2 * averages[0])
