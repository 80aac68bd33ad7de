"""How many frames of motion a second does the network generate? A step waits for the one before it."""

import pytest
import torch

from humor import HumorModel, Precision

from .cases import ROLLOUT


@pytest.mark.parametrize("case", ROLLOUT.items(), ids=ROLLOUT.keys())
def bench_rollout(case, precision, device, make_batch, measure):
    _, size = case
    torch.manual_seed(0)
    model = HumorModel(size.width).to(device)
    initial = make_batch(size.motions).past.map(lambda x: x[:, 0].to(device))
    chosen = Precision(precision)
    copies = chosen.copies(model)

    @torch.no_grad()
    def roll():
        with chosen.forward(device), copies.lent():
            return model.rollout(initial, size.steps)

    group = f"rollout, {size.motions} motions of {size.steps} frames"
    measure(roll, group, rows=size.rows, frames=size.motions * size.steps, width=size.width, precision=precision)
