"""Gradient accumulation: a large batch in micro-batches, so that the activations of only one are kept.

The loss is a mean over the batch: so are its gradients, and the losses of micro-batches combine to the whole one's.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.windows import WindowBatch
from .execution import device_type_of

Terms = Mapping[str, Float[Tensor, ""]]

# Windows of a micro-batch by device type. On a CPU the network keeps about 0.13 MB a transition for the backward pass,
# and memory that the heap cannot return adds to it. Fifty are as fast as two hundred (3 % faster), 25 are 6 % slower.
# On other devices larger batches are faster.
MICRO_BATCH_SIZES = {"cpu": 50}


def split_micro_batches(
    batch: WindowBatch, noise: Float[Tensor, "B 10 48"] | None, size: int | None = None
) -> Iterator[tuple[WindowBatch, Float[Tensor, "b 10 48"] | None]]:
    """Split a batch and its noise into as few micro-batches of at most `size` windows as possible, of similar sizes.

    The default size is that of the batch's device type.
    """
    most = size or MICRO_BATCH_SIZES.get(device_type_of(batch.contacts), len(batch))
    if len(batch) <= most:
        yield batch, noise
        return
    count = -(-len(batch) // most)
    for index in range(count):
        windows = slice(index * len(batch) // count, (index + 1) * len(batch) // count)
        yield batch.select(windows), None if noise is None else noise[windows]


def combine_losses(
    results: Sequence[tuple[WindowBatch, Float[Tensor, ""], Terms]],  # each micro-batch, its loss and its terms
) -> tuple[Float[Tensor, ""], Terms]:
    """The loss and the terms of the whole batch, from those of its micro-batches."""
    batches, totals, terms = zip(*results, strict=True)
    if len(results) == 1:
        return totals[0], terms[0]
    windows = [totals[0].new_tensor(len(batch)) for batch in batches]
    counts = {  # what a term is the mean over, where that is not the transitions
        "contacts_pos_acc": [batch.contacts.sum() for batch in batches],
        "contacts_neg_acc": [(1 - batch.contacts).sum() for batch in batches],
    }
    whole = {name: _weighted_mean([each[name] for each in terms], counts.get(name, windows)) for name in terms[0]}
    return _weighted_mean(totals, windows), whole


def _weighted_mean(values: Sequence[Tensor], counts: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The mean of means over so many elements each; one over no element is NaN and does not count."""
    weights = torch.stack(list(counts))
    return torch.where(weights > 0, torch.stack(list(values)) * weights, 0.0).sum() / weights.sum()
