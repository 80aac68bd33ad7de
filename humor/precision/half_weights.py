"""Copies of a network's weights in half precision, so that no pass through it casts them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightCopies:
    """A copy in half of what each linear layer of a network multiplies by. Without a format there are none.

    The network's own weights, the masters, stay as they are: the optimizer changes them and checkpoints hold them. Make
    the copies when the network is on its device. Whatever changed the masters, copies are never lent stale.
    """

    def __init__(self, network: nn.Module, half: torch.dtype | None) -> None:
        layers = [part for part in network.modules() if isinstance(part, nn.Linear)] if half is not None else []
        self._places = [(layer, name) for layer in layers for name, _ in layer.named_parameters(recurse=False)]
        self.masters = [layer.get_parameter(name) for layer, name in self._places]
        self.copies = [nn.Parameter(master.detach().to(half), master.requires_grad) for master in self.masters]
        self._gradients = [torch.empty_like(master) for master in self.masters]  # room, used again for every step
        self._copied = self._versions()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, the layers multiply by the copies, and it is the copies that a backward pass gives gradients."""
        if self._copied != self._versions():  # a checkpoint was loaded, say
            self.refresh()
        self._put(self.copies)
        try:
            yield
        finally:
            self._put(self.masters)

    @torch.no_grad()
    def pass_gradients_on(self) -> None:
        """Move the copies' gradients to the masters, where an optimizer looks, in the masters' format."""
        rows = zip(self.masters, self.copies, self._gradients, strict=True)
        told = [(master, copy, room, copy.grad) for master, copy, room in rows if copy.grad is not None]
        if told:
            torch._foreach_copy_([room for _, _, room, _ in told], [gradient for *_, gradient in told])
        for master, copy, room, _ in told:
            master.grad, copy.grad = room, None

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the masters again: the one cast that a step makes of them."""
        if self.copies:
            torch._foreach_copy_([*self.copies], [*self.masters])
        self._copied = self._versions()

    def _put(self, weights: list[nn.Parameter]) -> None:
        for (layer, name), weight in zip(self._places, weights, strict=True):
            layer._parameters[name] = weight

    def _versions(self) -> list[int]:
        """How often each master was written to."""
        return [master._version for master in self.masters]
