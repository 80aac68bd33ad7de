"""What does one run of the network cost? The study's "sample" row, Tables 2 and 3."""

import pytest
import torch

from humor import HumorModel, Precision

from .cases import SAMPLING


@pytest.mark.parametrize("case", SAMPLING.items(), ids=SAMPLING.keys())
def bench_sampling(case, precision, device, make_batch, measure):
    _, size = case
    torch.manual_seed(0)
    model = HumorModel(size.width).to(device)
    batch = make_batch(size.windows).to(device)
    noise = torch.randn(size.windows, 10, 48, device=device)
    chosen = Precision(precision)
    copies = chosen.copies(model)

    def sample():
        with chosen.forward(device), copies.lent():
            return model(batch.past, batch.current, noise)

    group = f"sampling, {size.windows} windows, width {size.width}"
    measure(sample, group, rows=size.rows, width=size.width, precision=precision)
