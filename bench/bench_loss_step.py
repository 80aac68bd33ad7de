"""What does the loss cost, forward and backward, ours and the published one? The study's "loss" row, Table 2."""

import pytest
import torch

from humor import HumorLoss, HumorModel, Precision
from humor.model import Transition

from .cases import DIRECTIONS, LOSS
from .published_loss import PublishedLoss


@pytest.mark.parametrize("implementation", ["ours", "published"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", LOSS.items(), ids=LOSS.keys())
def bench_loss_step(case, direction, implementation, precision, device, dtype, workload, make_batch, measure):
    _, size = case
    torch.manual_seed(0)
    batch = make_batch(size.windows).to(device, dtype)
    loss = HumorLoss(workload.bodies) if implementation == "ours" else PublishedLoss(workload.body_arrays)
    loss = loss.to(device, dtype)
    noise = torch.randn(size.windows, 10, 48, device=device).to(dtype)
    with torch.no_grad():
        out = HumorModel().to(device, dtype)(batch.past, batch.current, noise)
    predicted = out.state.map(lambda x: x.requires_grad_())
    out = Transition(predicted, out.contacts.requires_grad_(), out.posterior, out.prior)
    chosen = Precision(precision)

    def forward():
        with chosen.autocast_scope(device):
            return loss(out, batch.current, batch.contacts, batch.betas, batch.gender, epoch=50)[0]

    def forward_and_backward():
        total = forward()
        with chosen.tf32_scope(device):
            total.backward()
        return total

    def answer():
        total = forward_and_backward()
        leaves = [*(getattr(predicted, name) for name in predicted.__dataclass_fields__), out.contacts]
        return {"loss": total, "gradients": torch.cat([leaf.grad.flatten() for leaf in leaves])}

    call = forward if direction == "forward" else forward_and_backward
    group = f"loss step, {size.windows} windows, {direction}"
    measure(call, group, answer=answer, transitions=size.transitions, precision=precision)
