"""What does a whole training step cost; with our loss and with the published one? The sum of the study's Table 2."""

import pytest
import torch

from humor import HumorLoss, HumorModel, Precision
from humor.training import TrainStep

from .cases import TRAIN
from .recipe import RecipeLoss

SETTLED_SCALE = 1024.0  # of float16's gradients


@pytest.mark.parametrize("implementation", ["ours", "published"])
@pytest.mark.parametrize("case", TRAIN.items(), ids=TRAIN.keys())
def bench_train_step(case, implementation, precision, device, run_setup, make_batch, measure):
    _, size = case
    torch.manual_seed(0)
    batch = make_batch(size.windows)
    noise = torch.randn(size.windows, 10, 48, device=device)
    loss = HumorLoss(run_setup.bodies) if implementation == "ours" else RecipeLoss(run_setup.body_arrays)
    model = HumorModel(size.width).to(device)
    step = TrainStep(model, loss.to(device), torch.optim.Adamax(model.parameters(), lr=1e-4), Precision(precision))
    if step.scaler.is_enabled():  # past the overflows that training begins with, which leave updates out
        step.scaler.load_state_dict({**step.scaler.state_dict(), "scale": SETTLED_SCALE})

    group = f"train step, {size.windows} windows, width {size.width}"
    measure(lambda: step(batch, 50, noise), group, rows=size.rows, width=size.width, precision=precision)
