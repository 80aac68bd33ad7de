"""A whole step, its update too, is one stream of work: no value is read from the device while it is given out."""

import copy

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from humor import BodyModel, HumorLoss, HumorModel, Precision
from humor.data.windows import WindowBatch
from humor.motion.fit_result import FitResult
from humor.motion.fit_stages import STAGES
from humor.motion.fit_terms import energy
from humor.motion.generation import Network
from humor.motion.observations import observe
from humor.motion.prior_problems import transition_problem
from humor.precision.presets import PRESETS
from humor.training.execution import assume_device_type
from humor.training.optimizer import Adamax
from humor.training.step import TrainStep
from tests.support import golden_values as golden
from tests.support.random_states import random_state


class NoReading(TorchDispatchMode):
    """Fails where a value is read from the device, or a constant is sent to it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        names = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::lift_fresh")
        assert func.name() not in names, f"{func.name()} waits for the device"
        return func(*args, **(kwargs or {}))


OWN = (True, False, False) * 3  # inputs that are the truth


@pytest.mark.parametrize(("precision", "truth"), [*((name, None) for name in PRESETS if name != "fp8"), ("fp32", OWN)])
def test_a_step_never_reads_a_value_from_the_device(precision, truth):
    """On fake tensors, whose values cannot be read. (CUDA ones need a PyTorch built for CUDA to be sliced.)"""
    device = "cuda" if torch.backends.cuda.is_built() else "cpu"
    loss = copy.deepcopy(HumorLoss(golden.bodies()))
    with FakeTensorMode(), assume_device_type("cuda"):
        states = [random_state((3, 10), dtype=torch.float32).map(lambda x: x.to(device)) for _ in range(2)]
        contacts, betas = torch.ones(3, 10, 9, device=device), torch.ones(3, 10, 16, device=device)
        batch = WindowBatch(*states, contacts, betas, ["male", "female", "male"])
        with torch.device(device):
            model = HumorModel()
        for part in loss.modules():
            for name, own in part.named_buffers(recurse=False):
                part.register_buffer(name, torch.empty(own.shape, dtype=own.dtype, device=device), persistent=False)
        step = TrainStep(model, loss, Adamax(model.parameters()), Precision(precision))
        for _ in range(2):  # the first makes the optimizer's averages and the scaler's scale
            with NoReading():
                total, _ = step(batch, 50, None, truth)
        assert total.shape == step.optimizer.taken.shape == ()
        assert total.device.type == device


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16-weights"])
def test_the_gradient_of_a_fit_never_reads_a_value_from_the_device(precision):
    body, state = BodyModel.mannequin("neutral"), random_state((2, 4), dtype=torch.float32)
    pose = FitResult(state.rotmats, state.trans, torch.zeros(2, 16), state.joints, torch.zeros(2, 3))
    problem = transition_problem(Network(HumorModel(), precision), body, observe(state.joints, 0.04), pose)
    leaves = [variable.requires_grad_() for variable in problem.variables.values()]
    energy(problem.evaluate(None)[1], STAGES["motion"].weights)  # makes constants, which are kept
    with NoReading():
        value = energy(problem.evaluate(None)[1], STAGES["motion"].weights).sum()
        gradients = torch.autograd.grad(value, leaves)
    assert value.isfinite()
    assert len(gradients) == len(leaves)


@pytest.mark.parametrize("found", [None, 0.0, 1.0])
def test_an_update_never_reads_a_value_from_the_device(found):
    layer = torch.nn.Linear(3, 2)
    optimizer = Adamax(layer.parameters())
    if found is not None:
        optimizer.found_inf, optimizer.grad_scale = torch.tensor(found), torch.tensor(2.0)
    for _ in range(2):
        layer(torch.ones(4, 3)).sum().backward()
        with NoReading(), assume_device_type("cuda"):
            optimizer.step()
        assert optimizer.taken == (found != 1.0)
