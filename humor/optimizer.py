"""Adamax that leaves a step out where a gradient is not finite, without asking the device whether it is."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm


class Adamax(torch.optim.Optimizer):
    """The update of torch.optim.Adamax. `taken` is 1 after a step and 0 after one left out, on the device and unread.

    A step left out changes nothing: neither weights nor averages nor counts. A gradient scaler tells it through
    `found_inf` and `grad_scale`, as it tells torch's fused optimizers, and then never waits for the device either.
    """

    _step_supports_amp_scaling = True  # what torch.amp.GradScaler looks for

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.taken: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the weights by their gradients, or leave all as it is."""
        assert closure is None, "a closure would have to be read"
        weights = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        found, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        if found is None:
            finite = get_total_norm([p.grad for chosen in weights for p in chosen if p.grad is not None]).isfinite()
        else:
            finite = found.reshape(()) == 0
        for group, chosen in zip(self.param_groups, weights, strict=True):
            if chosen:
                self._update(group, chosen, finite, scale)
        self.taken = finite.float()

    def _update(self, group: dict[str, Any], weights: list[Tensor], finite: Tensor, scale: Tensor | None) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {
                    "step": torch.zeros((), device=weight.device),
                    "exp_avg": torch.zeros_like(weight),
                    "exp_inf": torch.zeros_like(weight),
                }
        steps, averages, norms = (
            [self.state[weight][name] for weight in weights] for name in ("step", "exp_avg", "exp_inf")
        )
        beta1, beta2 = group["betas"]
        # Zeros stand in for gradients that are not finite, since zero times NaN is NaN.
        gradients = [torch.where(finite, weight.grad, 0.0) for weight in weights if weight.grad is not None]
        if scale is not None:
            torch._foreach_mul_(gradients, scale.reshape(()).reciprocal())
        taken = finite.float()
        torch._foreach_add_(steps, taken)
        change = torch._foreach_sub(gradients, averages)
        torch._foreach_mul_(change, (1 - beta1) * taken)
        torch._foreach_add_(averages, change)
        torch._foreach_mul_(norms, torch.where(finite, beta2, 1.0))
        torch._foreach_abs_(gradients)
        torch._foreach_add_(gradients, group["eps"] * taken)
        torch._foreach_maximum_(norms, gradients)
        # Until a first step is taken norms are zero; from then on they are at least eps.
        update = torch._foreach_div(averages, torch._foreach_clamp_min(norms, group["eps"]))
        rates = torch.where(finite, group["lr"] / (1 - beta1 ** torch.stack(steps)), 0.0)
        torch._foreach_mul_(update, list(rates.unbind()))
        torch._foreach_sub_(weights, update)
