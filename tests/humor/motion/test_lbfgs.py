"""L-BFGS goes round what is not finite, and a gradient that overflows float16 is computed from a smaller value."""

import numpy as np
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from humor.motion.lbfgs import ScaledObjective, minimise


def test_minimising_goes_round_what_is_not_finite():
    x = torch.tensor([3.0, 1.0])
    values = []

    def value():
        return torch.where(x[0] < 0.5, torch.nan, (x - 1).square().sum() + 0.1 * x[0].log())

    lowest = minimise({"x": x}, value, 30, values.append)
    assert lowest == min(values)
    np.testing.assert_allclose(x.detach(), [0.947, 1.0], atol=2e-3)
    assert float(value().detach()) == lowest


def test_a_gradient_beyond_float16s_range_is_taken_of_a_smaller_value():
    x, evaluations = torch.tensor([3.0], requires_grad=True), []

    def value():
        evaluations.append(1)
        through = x.half().float()  # its gradient passes through float16
        return 2.0**20 * through.square().sum()

    objective = ScaledObjective([x], value, scaled=True)
    assert float(objective.evaluate()) == 9 * 2.0**20
    assert x.grad.item() == 6 * 2.0**20
    settled = len(evaluations)
    assert settled > 1
    objective.evaluate()
    assert len(evaluations) == settled + 1
    for _ in range(ScaledObjective.PATIENCE):  # grows back, and is found again
        assert float(objective.evaluate()) == 9 * 2.0**20
        assert x.grad.item() == 6 * 2.0**20
    assert len(evaluations) == settled + 2 + ScaledObjective.PATIENCE
    assert ScaledObjective([x], value).evaluate().isinf()
    assert x.grad is None


def test_a_recorded_gradient_follows_its_scale():
    """As a CUDA graph would be played again, on the same memory: here it is traced once."""
    x = torch.tensor([3.0], requires_grad=True)

    def value():
        return 2.0**20 * x.half().float().square().sum()

    def recorded(call):
        played = make_fx(lambda unused: call())(torch.zeros(()))
        return lambda: played(torch.zeros(()))

    objective = ScaledObjective([x], value, scaled=True, run=recorded)
    for at in (3.0, 5.0):
        with torch.no_grad():
            x.fill_(at)
        assert float(objective.evaluate()) == at**2 * 2.0**20
        assert x.grad.item() == 2 * at * 2.0**20


def test_a_value_that_is_not_finite_is_not_tried_again():
    x, evaluations = torch.tensor([3.0], requires_grad=True), []

    def value():
        evaluations.append(1)
        return x.sum() * torch.inf

    assert ScaledObjective([x], value, scaled=True).evaluate().isinf()
    assert evaluations == [1]
