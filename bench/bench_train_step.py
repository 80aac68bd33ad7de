"""What does a whole training step cost, with our loss and with the published one? The sum of the study's Table 2."""

from collections import defaultdict

import pytest
import torch

from humor import HumorLoss, HumorModel, Precision
from humor.training.optimizer import Adamax
from humor.training.phase_timer import PhaseTimer
from humor.training.step import TrainStep

from .cases import TRAIN
from .published_loss import PublishedLoss

PART_OF_STEP = {
    "prepare": "preparation", "sample": "network", "network backward": "network", "loss": "loss", "backward": "loss",
    "optimize": "optimizer",
}  # fmt: skip


@pytest.mark.parametrize("implementation", ["ours", "published"])
@pytest.mark.parametrize("case", TRAIN.items(), ids=TRAIN.keys())
def bench_train_step(case, implementation, precision, execution, device, dtype, workload, make_batch, measure):
    _, size = case
    torch.manual_seed(0)
    batch = make_batch(size.windows).to("cpu", dtype)
    noise = torch.randn(size.windows, 10, 48, device=device).to(dtype)
    loss = HumorLoss(workload.bodies) if implementation == "ours" else PublishedLoss(workload.body_arrays)
    loss = loss.to(device, dtype)

    def make_step(execution):
        model = HumorModel(size.width).to(device, dtype)
        step = TrainStep(model, loss, Adamax(model.parameters()), Precision(precision), execution=execution)
        step.settle_gradient_scale()
        return step

    def loss_and_gradients():
        ready = step.prepare(batch)
        total, _ = step.compute_loss(step.sample(ready, noise), ready, 50)
        step.backward(total)
        step.half_weights.move_gradients_to_masters()
        gradients = torch.cat([weight.grad.flatten() for weight in step.model.parameters()])
        return {"loss": total, "gradients": gradients / step.scaler.get_scale()}

    def phases():
        step.timer = PhaseTimer(device)
        step(batch, 50, noise)
        seconds: dict[str, float] = defaultdict(float)
        for phase, taken in step.timer.read().items():
            seconds[PART_OF_STEP.get(phase, phase)] += taken
        return seconds

    step, plain = make_step(execution), None if execution == "eager" else make_step("eager")
    group = f"train step, {size.windows} windows, width {size.width}"
    info = {"width": size.width, "precision": precision, "execution": execution}
    eager = None if plain is None else lambda: plain(batch, 50, noise)
    measure(lambda: step(batch, 50, noise), group, eager, loss_and_gradients, phases, rows=size.rows, **info)
