"""How many frames of motion a second does the network generate? Each step needs the one before it."""

import pytest
import torch

from humor import HumorModel, Precision
from humor.training.execution import apply_execution_to_parts

from .cases import ROLLOUT


@pytest.mark.parametrize("case", ROLLOUT.items(), ids=ROLLOUT.keys())
def bench_rollout(case, precision, execution, device, dtype, make_batch, measure):
    _, size = case
    initial = make_batch(size.motions).past.map(lambda x: x[:, 0].to(device, dtype))
    chosen = Precision(precision)

    def make_rollout(execution):
        torch.manual_seed(0)
        model = HumorModel(size.width).to(device, dtype)
        half_weights = chosen.half_weights(model)
        parts = (model.prior_net, model.decoder)
        roll = apply_execution_to_parts(lambda: model.rollout(initial, size.steps), parts, execution, device)

        @torch.no_grad()
        def roll_in_precision():
            with chosen.autocast_scope(device), half_weights.active():
                return roll()

        return roll_in_precision

    def answer():  # of the first frame: later, rounding errors grow at the rate of the motion, not of the format
        torch.manual_seed(0)
        model = HumorModel(size.width).to(device, dtype)
        with torch.no_grad(), chosen.autocast_scope(device), chosen.half_weights(model).active():
            out = model.rollout(initial, size.steps, use_mean=True)  # float64 would draw other numbers
        return {"network": out.state.map(lambda x: x[:, 0]), "only finite": out}

    group = f"rollout, {size} of {size.steps} frames"
    info = {"width": size.width, "precision": precision, "execution": execution}
    eager = None if execution == "eager" else make_rollout("eager")
    measure(make_rollout(execution), group, eager, answer, rows=size.motions, frames=size.motions * size.steps, **info)
