"""What does lifting 2D joints to 3D cost, by number of frames? PoseFormer and PoseFormerV2, side by side."""

import pytest
import torch

from humor import Precision
from humor.data import MotionStore, WindowSampler
from humor.lifting import NETWORKS, NOISES, LiftingBatch, LiftingWindows
from humor.lifting.metrics import MILLIMETRES, mpjpe
from humor.lifting.networks import build_network
from humor.lifting.training import LiftingStep
from humor.training.optimizer import Adamax

from .cases import LIFTING, LIFTING_STEP

pytestmark = pytest.mark.benchmark(max_time=0.2)  # seconds a case: there are many


def step_and_batch(network, size, precision, workload, device, dtype):
    """A training step of a network, and a batch for it."""
    store = MotionStore.in_memory(workload.clips)
    torch.manual_seed(0)
    model = build_network(network, size.frames).to(device, dtype)
    step = LiftingStep(model, Adamax(model.parameters()), Precision(precision))
    windows = WindowSampler(store, size.windows, seed=0).draw(0, 0)
    batch = LiftingWindows(store, size.frames).batch(*windows, NOISES["noisy"], (0,))
    return step, LiftingBatch(batch.points.to(device, dtype), batch.joints.to(device, dtype))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", LIFTING.items(), ids=LIFTING.keys())
def bench_lifting(case, network, precision, device, dtype, workload, measure):
    _, size = case
    step, batch = step_and_batch(network, size, precision, workload, device, dtype)

    def lift():
        return step.lift(batch)

    measure(lift, f"lifting, {size}", None, lambda: {"transformers": lift()}, joints=size.joints, precision=precision)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", LIFTING_STEP.items(), ids=LIFTING_STEP.keys())
def bench_lifting_step(case, network, precision, device, dtype, workload, measure):
    _, size = case
    step, batch = step_and_batch(network, size, precision, workload, device, dtype)
    step.settle_gradient_scale()

    def loss_and_gradients():
        with step.precision.autocast_scope(step.device), step.half_weights.active():
            predicted = step.network(batch.points)
        total = mpjpe(predicted, batch.joints) / MILLIMETRES
        step.backward(total)
        step.half_weights.move_gradients_to_masters()
        gradients = torch.cat([weight.grad.flatten() for weight in step.model.parameters()])
        return {"loss": total, "gradients": gradients / step.scaler.get_scale()}

    info = {"joints": size.joints, "precision": precision}
    measure(lambda: step(batch), f"lifting, train step, {size}", None, loss_and_gradients, **info)
