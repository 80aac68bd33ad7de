"""When does half precision pay for one linear layer? The study's Figures 3 and 4."""

import pytest
import torch
from torch import nn

from humor import Precision

from .cases import DIRECTIONS, LINEAR


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", LINEAR.items(), ids=LINEAR.keys())
def bench_linear(case, direction, precision, device, measure):
    name, size = case
    torch.manual_seed(0)
    layer = nn.Linear(size.size, size.size).to(device)
    rows = torch.randn(size.rows, size.size, device=device)
    chosen = Precision(precision)
    copies = chosen.copies(layer)

    def forward():
        with chosen.forward(device), copies.lent():
            return layer(rows).sum()

    def forward_and_backward():
        total = forward()
        with chosen.multiplies(device):
            total.backward()
        copies.pass_gradients_on()
        layer.zero_grad(set_to_none=True)

    call = forward if direction == "forward" else forward_and_backward
    measure(call, f"linear {name}, {size.rows} rows, {direction}", rows=size.rows, precision=precision)
