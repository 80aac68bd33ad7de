"""Minimise a value by L-BFGS, with gradients that may pass through float16."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

HISTORY = 50  # of L-BFGS
NOT_FINITE = 1e12  # the value that stands for one that is not finite


class ScaledObjective:
    """A value and its gradient with respect to some leaves.

    float16 holds no gradient beyond 65504, and energies are large at first. With `scaled`, a gradient that overflows is
    computed again from the value times a smaller power of two, and divided by it. Every `PATIENCE` evaluations the
    factor grows again, to 1 at most, because small gradients underflow. `run` turns the call that computes value and
    gradient into another one, for example one that replays a recording.
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
        self._scale, self._evaluations = 1.0, 0
        self._scale_tensor = torch.ones((), device=leaves[0].device)  # which a recording reads
        self._compute = run(self._value_and_gradients)

    def evaluate(self) -> Float[Tensor, ""]:
        """Compute the value, and put its gradient into the leaves.

        Returns infinity, without a gradient, where either is not finite.
        """
        self._evaluations += 1
        if self._evaluations % self.PATIENCE == 0:
            self._rescale(min(self._scale * self.STEP, 1.0))
        while True:
            value, gradients, is_finite = self._compute()
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
        self._scale_tensor.fill_(scale)

    def _value_and_gradients(self) -> tuple[Tensor, tuple[Tensor | None, ...], Tensor]:
        """The value, its gradients, and whether all of them are finite, as one value to wait for."""
        value = self._value()
        gradients = torch.autograd.grad(value * self._scale_tensor, self._leaves, allow_unused=True)
        parts = [value.detach(), *(gradient for gradient in gradients if gradient is not None)]
        return parts[0], gradients, torch.stack([x.isfinite().all() for x in parts]).all()


def minimise(
    variables: Mapping[str, Tensor],
    value: Callable[[], Float[Tensor, ""]],
    iterations: int,
    on_step: Callable[[float], None],
    scaled: bool = False,
) -> float:
    """Minimise a value by L-BFGS, and leave the variables where it was lowest; returns the lowest value.

    A value that is not finite counts as a very large one. `on_step` is called with the value of each evaluation.
    """
    leaves = [x.requires_grad_() for x in variables.values()]
    solver = torch.optim.LBFGS(leaves, max_iter=iterations, history_size=HISTORY, line_search_fn="strong_wolfe")
    objective = ScaledObjective(leaves, value, scaled)
    best, best_variables = math.inf, [x.detach().clone() for x in leaves]

    def closure() -> Tensor:
        nonlocal best, best_variables
        current = objective.evaluate()
        if not current.isfinite():
            return torch.full_like(current, NOT_FINITE)
        if current.item() < best:
            best, best_variables = current.item(), [x.detach().clone() for x in leaves]
        on_step(current.item())
        return current

    solver.step(closure)
    with torch.no_grad():
        for leaf, lowest in zip(leaves, best_variables, strict=True):
            leaf.copy_(lowest)
    return best
