"""A value brought down by L-BFGS, through gradients that may pass through float16."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

HISTORY = 50  # of L-BFGS
FAR_UP = 1e12  # what is not finite counts as


class Slope:
    """A value and its gradient in some leaves.

    float16 holds no gradient beyond 65504, and energies are large at first. With `scaled`, what overflows is computed
    again of the value times a smaller power of two, which is taken out of the gradient; every `PATIENCE` times it grows
    back, to 1 at most, since what is too small is lost. `run` makes the call that computes both into one that is run
    otherwise: recorded, say.
    """

    SMALLEST, STEP, PATIENCE = 2.0**-32, 16.0, 20

    def __init__(
        self,
        leaves: Sequence[Tensor],
        value: Callable[[], Float[Tensor, ""]],
        scaled: bool = False,
        run: Callable[[Callable[[], Any]], Callable[[], Any]] = lambda call: call,
    ) -> None:
        self._leaves, self._value = leaves, value
        self._smallest = self.SMALLEST if scaled else 1.0
        self._scale, self._taken = 1.0, 0
        self._scale_there = torch.ones((), device=leaves[0].device)  # where a recording reads it
        self._both = run(self._value_and_gradients)

    def take(self) -> Float[Tensor, ""]:
        """The value; its gradient is in the leaves. Infinity, and no gradient, where either is not finite."""
        self._taken += 1
        if self._taken % self.PATIENCE == 0:
            self._rescale(min(self._scale * self.STEP, 1.0))
        while True:
            value, gradients, is_finite = self._both()
            if is_finite:
                for leaf, gradient in zip(self._leaves, gradients, strict=True):
                    leaf.grad = None if gradient is None else gradient / self._scale
                return value
            if self._scale <= self._smallest or not value.isfinite():
                for leaf in self._leaves:
                    leaf.grad = None
                return torch.full_like(value, math.inf)
            self._rescale(self._scale / self.STEP)

    def _rescale(self, scale: float) -> None:
        self._scale = scale
        self._scale_there.fill_(scale)

    def _value_and_gradients(self) -> tuple[Tensor, tuple[Tensor | None, ...], Tensor]:
        """And whether all of them are finite, as one value to wait for."""
        value = self._value()
        gradients = torch.autograd.grad(value * self._scale_there, self._leaves, allow_unused=True)
        found = [value.detach(), *(gradient for gradient in gradients if gradient is not None)]
        return found[0], gradients, torch.stack([x.isfinite().all() for x in found]).all()


def minimise(
    variables: Mapping[str, Tensor],
    value: Callable[[], Float[Tensor, ""]],
    iterations: int,
    on_step: Callable[[float], None],
    scaled: bool = False,
) -> float:
    """Bring a value down by L-BFGS, leaving the variables where it was lowest; what is not finite counts as far up."""
    leaves = [x.requires_grad_() for x in variables.values()]
    solver = torch.optim.LBFGS(leaves, max_iter=iterations, history_size=HISTORY, line_search_fn="strong_wolfe")
    slope = Slope(leaves, value, scaled)
    best, kept = math.inf, [x.detach().clone() for x in leaves]

    def closure() -> Tensor:
        nonlocal best, kept
        found = slope.take()
        if not found.isfinite():
            return torch.full_like(found, FAR_UP)
        if found.item() < best:
            best, kept = found.item(), [x.detach().clone() for x in leaves]
        on_step(found.item())
        return found

    solver.step(closure)
    with torch.no_grad():
        for leaf, lowest in zip(leaves, kept, strict=True):
            leaf.copy_(lowest)
    return best
