"""What does lifting 2D joints to 3D cost as more frames are seen? PoseFormer and PoseFormerV2, side by side."""

import pytest
import torch

from humor import Precision
from humor.data import MotionStore, WindowSampler
from humor.lifting import NETWORKS, NOISES, LiftingMotion
from humor.lifting.training import LiftingStep
from humor.optimizer import Adamax

from .bench_train_step import SETTLED_SCALE
from .cases import LIFTING, LIFTING_STEP

pytestmark = pytest.mark.benchmark(max_time=0.2)  # seconds a case: they are many


@pytest.fixture
def lifting_step(run_setup, device):
    """A function (network, size, precision) that makes a training step and its batch."""
    store = MotionStore.in_memory(run_setup.clips)

    def make(network, size, precision):
        torch.manual_seed(0)
        model = NETWORKS[network](size.frames).to(device)
        step = LiftingStep(model, Adamax(model.parameters()), Precision(precision))
        windows = WindowSampler(store, size.windows, seed=0).draw(0, 0)
        return step, LiftingMotion(store, size.frames).batch(*windows, NOISES["noisy"], (0,)).to(device)

    return make


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", LIFTING.items(), ids=LIFTING.keys())
def bench_lifting(case, network, precision, lifting_step, measure):
    _, size = case
    step, batch = lifting_step(network, size, precision)
    measure(lambda: step.lift(batch), f"lifting, {size}", rows=size.rows, precision=precision)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", LIFTING_STEP.items(), ids=LIFTING_STEP.keys())
def bench_lifting_step(case, network, precision, lifting_step, measure):
    _, size = case
    step, batch = lifting_step(network, size, precision)
    if step.scaler.is_enabled():  # past the overflows that training begins with, which leave updates out
        step.scaler.load_state_dict({**step.scaler.state_dict(), "scale": SETTLED_SCALE})
    measure(lambda: step(batch), f"lifting, train step, {size}", rows=size.rows, precision=precision)
