"""A large batch in portions, one after the other, so that only the activations of one are kept.

The loss is a mean over rows: so are its gradients, and what is told of portions says what would be told of the whole.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.windows import WindowBatch

Terms = Mapping[str, Float[Tensor, ""]]

# Windows in a portion. The network keeps about 0.13 MB a row for the backward pass, and on top comes what the heap
# cannot hand out again. Fifty are as fast as two hundred (3 % faster), 25 are 6 % slower. Other devices are to be
# filled.
_MOST_WINDOWS = {"cpu": 50}


def portions(
    batch: WindowBatch, noise: Float[Tensor, "B 10 48"] | None
) -> Iterator[tuple[WindowBatch, Float[Tensor, "b 10 48"] | None]]:
    """A batch and its noise in as few portions as may be, of about as many windows each; a small batch as it is."""
    most = _MOST_WINDOWS.get(batch.contacts.device.type, len(batch))
    if len(batch) <= most:
        yield batch, noise
        return
    count = -(-len(batch) // most)
    for portion in range(count):
        windows = slice(portion * len(batch) // count, (portion + 1) * len(batch) // count)
        yield batch.select(windows), None if noise is None else noise[windows]


def joined(
    found: Sequence[tuple[WindowBatch, Float[Tensor, ""], Terms]],  # each portion, its loss and its terms
) -> tuple[Float[Tensor, ""], Terms]:
    """The loss and the terms of the whole batch."""
    batches, totals, terms = zip(*found, strict=True)
    if len(found) == 1:
        return totals[0], terms[0]
    windows = [totals[0].new_tensor(len(batch)) for batch in batches]
    counts = {  # of what a term is the mean of, where that is not rows
        "contacts_pos_acc": [batch.contacts.sum() for batch in batches],
        "contacts_neg_acc": [(1 - batch.contacts).sum() for batch in batches],
    }
    whole = {name: _mean([own[name] for own in terms], counts.get(name, windows)) for name in terms[0]}
    return _mean(totals, windows), whole


def _mean(values: Sequence[Tensor], counts: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The mean of means of so many; one of none is not a number and does not count."""
    weights = torch.stack(list(counts))
    return torch.where(weights > 0, torch.stack(list(values)) * weights, 0.0).sum() / weights.sum()
