"""Adamax that leaves a step out where a gradient is not finite, without asking the device whether it is."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm


class Adamax(torch.optim.Adamax):
    """torch's Adamax. `taken` is 1 after a step and 0 after one left out, on the device and unread.

    A step left out changes nothing: neither weights nor averages nor counts. A gradient scaler tells it through
    `found_inf` and `grad_scale`, as it tells torch's fused optimizers, and then never waits for the device either.
    Gradients are used up.
    """

    _step_supports_amp_scaling = True  # what torch.amp.GradScaler looks for

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        weights = list(params)
        super().__init__(weights, lr, betas, eps, capturable=any(weight.is_cuda for weight in weights))
        self.taken: Tensor | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, whichever device it was saved on."""
        here = {"capturable": self.defaults["capturable"]}  # where the count of steps is kept
        super().load_state_dict({**state_dict, "param_groups": [{**g, **here} for g in state_dict["param_groups"]]})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the weights by their gradients, or leave all as it is."""
        assert closure is None, "a closure would have to be read"
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        found, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        finite = get_total_norm(gradients).isfinite() if found is None else found.reshape(()) == 0
        if scale is not None:
            torch._foreach_mul_(gradients, scale.reshape(()).reciprocal())
        self.update(gradients, finite)
        self.taken = finite.float()

    def update(self, gradients: list[Tensor], finite: Tensor) -> None:
        """torch's own update where the flag is at hand: on the CPU, where one weight after the other is fastest."""
        if finite.is_cuda:
            self.update_on_device(gradients, finite)
        elif finite:
            super().step()

    def update_on_device(self, gradients: list[Tensor], finite: Tensor) -> None:
        """The same with the flag as a factor."""
        # Zero times NaN is NaN, but as whole numbers they are bits, and all of them are cleared in one launch.
        torch._foreach_mul_([gradient.view(torch.int32) for gradient in gradients], finite.int())
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._update_group(group, weights, finite)

    def _update_group(self, group: dict[str, Any], weights: list[Tensor], finite: Tensor) -> None:
        (beta1, beta2), taken = group["betas"], finite.float()
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {
                    "step": torch.zeros_like(taken),
                    "exp_avg": torch.zeros_like(weight),
                    # Not zero, which an update left out would divide by; after a first step it makes no difference.
                    "exp_inf": torch.full_like(weight, group["eps"]),
                }
        steps, averages, norms = (
            [self.state[weight][name] for weight in weights] for name in ("step", "exp_avg", "exp_inf")
        )
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        torch._foreach_mul_(averages, torch.where(finite, beta1, 1.0))
        torch._foreach_add_(averages, gradients, alpha=1 - beta1)
        torch._foreach_mul_(norms, torch.where(finite, beta2, 1.0))
        torch._foreach_abs_(gradients)
        torch._foreach_add_(gradients, group["eps"])  # no norm is less, so that zeros change none
        torch._foreach_maximum_(norms, gradients)
        torch._foreach_add_(steps, [taken] * len(steps))  # one tensor alone would be read, to be a number
        # Every weight has taken the same steps. Divided by infinity, an update left out is nothing.
        factor = torch.where(finite, (beta1 ** steps[0] - 1) / group["lr"], float("inf"))
        torch._foreach_addcdiv_(weights, averages, torch._foreach_mul(norms, factor))
