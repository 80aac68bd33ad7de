"""What does a whole training step cost; with our loss and with the published one? The sum of the study's Table 2."""

import pytest
import torch

from humor import HumorLoss, HumorModel, Precision
from humor.optimizer import Adamax
from humor.training import TrainStep

from .cases import TRAIN
from .recipe import RecipeLoss

SETTLED_SCALE = 1024.0  # of float16's gradients


@pytest.mark.parametrize("implementation", ["ours", "published"])
@pytest.mark.parametrize("case", TRAIN.items(), ids=TRAIN.keys())
def bench_train_step(case, implementation, precision, execution, device, run_setup, make_batch, measure):
    _, size = case
    torch.manual_seed(0)
    batch = make_batch(size.windows)
    noise = torch.randn(size.windows, 10, 48, device=device)
    loss = HumorLoss(run_setup.bodies) if implementation == "ours" else RecipeLoss(run_setup.body_arrays)
    loss = loss.to(device)

    def step_of(execution):
        model = HumorModel(size.width).to(device)
        step = TrainStep(model, loss, Adamax(model.parameters()), Precision(precision), execution=execution)
        if step.scaler.is_enabled():  # past the overflows that training begins with, which leave updates out
            step.scaler.load_state_dict({**step.scaler.state_dict(), "scale": SETTLED_SCALE})
        return lambda: step(batch, 50, noise)

    group = f"train step, {size.windows} windows, width {size.width}"
    info = {"width": size.width, "precision": precision, "execution": execution}
    eager = None if execution == "eager" else step_of("eager")
    measure(step_of(execution), group, eager, rows=size.rows, **info)
