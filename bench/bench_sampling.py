"""What does one run of the network cost? The study's "sample" row, Tables 2 and 3."""

from functools import partial

import pytest
import torch

from humor import HumorModel, Precision
from humor.training.execution import apply_execution

from .cases import SAMPLING


@pytest.mark.parametrize("case", SAMPLING.items(), ids=SAMPLING.keys())
def bench_sampling(case, precision, execution, device, dtype, make_batch, measure):
    _, size = case
    torch.manual_seed(0)
    model = HumorModel(size.width).to(device, dtype)
    batch = make_batch(size.windows).to(device, dtype)
    noise = torch.randn(size.windows, 10, 48, device=device).to(dtype)
    chosen = Precision(precision)
    half_weights = chosen.half_weights(model)

    def sample():
        return model(batch.past, batch.current, noise)

    def sample_in_precision(run):
        with chosen.autocast_scope(device), half_weights.active():
            return run()

    group = f"sampling, {size.windows} windows, width {size.width}"
    call = partial(sample_in_precision, apply_execution(sample, execution, device))
    eager = partial(sample_in_precision, sample) if execution != "eager" else None
    info = {"width": size.width, "precision": precision, "execution": execution}
    measure(call, group, eager, lambda: {"network": call()}, rows=size.rows, **info)
