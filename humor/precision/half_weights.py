"""Weights kept in half precision beside their float32 masters, so that no forward or backward pass casts them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class HalfWeights:
    """A half-precision copy of every linear layer's parameters; without a dtype there are none.

    The network's own parameters, the masters, stay as they are: the optimizer updates them and checkpoints hold them.
    Create this once the network is on its device. `active` never uses stale copies, whatever wrote to the masters.
    """

    def __init__(self, network: nn.Module, half: torch.dtype | None) -> None:
        layers = [part for part in network.modules() if isinstance(part, nn.Linear)] if half is not None else []
        self._places = [(layer, name) for layer in layers for name, _ in layer.named_parameters(recurse=False)]
        self.masters = [layer.get_parameter(name) for layer, name in self._places]
        self.halves = [nn.Parameter(master.detach().to(half), master.requires_grad) for master in self.masters]
        self._gradients = [torch.zeros_like(master) for master in self.masters]  # buffers, reused in every step
        self._copied = self._versions()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, the layers multiply by the copies, and a backward pass accumulates into the copies' `.grad`."""
        if self._copied != self._versions():  # a checkpoint was loaded, say
            self.refresh()
        self._set_parameters(self.halves)
        try:
            yield
        finally:
            self._set_parameters(self.masters)

    @torch.no_grad()
    def move_gradients_to_masters(self) -> None:
        """Move the copies' gradients to the masters, where an optimizer looks, in the masters' dtype."""
        triples = zip(self.masters, self.halves, self._gradients, strict=True)
        ready = [(master, half, buffer, half.grad) for master, half, buffer in triples if half.grad is not None]
        if ready:
            torch._foreach_copy_([buffer for _, _, buffer, _ in ready], [gradient for *_, gradient in ready])
        for master, half, buffer, _ in ready:
            master.grad, half.grad = buffer, None

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the masters again: the one cast of the weights that a step makes."""
        if self.halves:
            torch._foreach_copy_([*self.halves], [*self.masters])
        self._copied = self._versions()

    def _set_parameters(self, weights: list[nn.Parameter]) -> None:
        for (layer, name), weight in zip(self._places, weights, strict=True):
            layer._parameters[name] = weight

    def _versions(self) -> list[int]:
        """How often each master was written to."""
        return [master._version for master in self.masters]
