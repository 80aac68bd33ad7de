"""When does half precision pay for one linear layer? The study's Figures 3 and 4."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from humor import Precision

from .cases import DIRECTIONS, LINEAR


def linear(size, rows, precision, device, dtype=torch.float32) -> tuple[Callable, Callable, Callable]:
    """Three calls of a layer: its forward pass, forward and backward, and the products of both as an answer."""
    torch.manual_seed(0)
    layer = nn.Linear(size, size).to(device, dtype)
    inputs = torch.randn(rows, size, device=device).to(dtype)
    chosen = Precision(precision)
    half_weights = chosen.half_weights(layer)

    def forward():
        with chosen.autocast_scope(device), half_weights.active():
            return layer(inputs).sum()

    def forward_and_backward():
        layer.zero_grad(set_to_none=True)
        total = forward()
        with chosen.tf32_scope(device):
            total.backward()
        half_weights.move_gradients_to_masters()

    def products():  # a sum of all outputs would lose most of its digits in every format
        forward_and_backward()
        with chosen.autocast_scope(device), half_weights.active():
            product = layer(inputs)
        return {"product": [product, *(weight.grad for weight in layer.parameters())]}

    return forward, forward_and_backward, products


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", LINEAR.items(), ids=LINEAR.keys())
def bench_linear(case, direction, precision, device, dtype, measure):
    name, size = case
    forward, both, products = linear(size.size, size.rows, precision, device, dtype)
    call = forward if direction == "forward" else both
    group = f"linear {name}, {size.rows} rows, {direction}"
    measure(call, group, answer=products, rows=size.rows, precision=precision)
