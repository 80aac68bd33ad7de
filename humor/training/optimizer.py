"""Adamax and AdamW that skip a step where a gradient is not finite, without waiting for the device."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from .execution import device_type_of
from .fused_adamax import finite_operator, update_operator

GpuUpdate = Literal["foreach", "triton"]


class Adamax(torch.optim.Adamax):
    """torch's Adamax, where a step with a gradient that is not finite changes neither weights nor state.

    `taken` is a tensor on the device: 1 after a step and 0 after a skipped one. A gradient scaler passes `found_inf`
    and `grad_scale`, as to torch's fused optimizers, and then does not wait for the device either. `step` may overwrite
    `.grad`.
    """

    _step_supports_amp_scaling = True  # what torch.amp.GradScaler looks for

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        gpu_update: GpuUpdate = "foreach",  # "triton": one pass over memory, faster in CUDA graphs
    ) -> None:
        weights, self.gpu_update = list(params), gpu_update
        super().__init__(weights, lr, betas, eps, capturable=any(weight.is_cuda for weight in weights))
        self.taken: Tensor | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, whichever device it was saved on."""
        here = {"capturable": self.defaults["capturable"]}  # whether the step count is on the device
        super().load_state_dict({**state_dict, "param_groups": [{**g, **here} for g in state_dict["param_groups"]]})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the weights by their gradients, or skip the update where one is not finite."""
        assert closure is None, "a closure's loss would have to be read"
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        found, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        finite = _all_finite(gradients) if found is None else found.reshape(()) == 0
        taken, inverse = finite.float(), None if scale is None else scale.reshape(()).reciprocal()
        on_gpu = device_type_of(finite) == "cuda"
        if on_gpu and self.gpu_update == "triton":
            for group in self.param_groups:
                self._update_group_by_triton(group, finite, torch.ones_like(taken) if inverse is None else inverse)
        elif on_gpu:
            self._update_branchless(gradients, finite, inverse)
        elif finite:
            for group in self.param_groups:
                self._update_group(group, 1.0 if inverse is None else float(inverse))
        self.taken = taken

    def _update_group(self, group: dict[str, Any], scale: float) -> None:
        weights, gradients, averages, norms, steps = lists = [list[Tensor]() for _ in range(5)]
        self._init_group(group, *lists)
        if weights:
            beta1, beta2 = group["betas"]
            torch._foreach_add_(steps, 1)
            rates = [group["lr"] / (1 - beta1 ** step.item()) for step in steps]
            update_operator(weights, gradients, averages, norms, rates, beta1, beta2, group["eps"], scale)

    def _update_group_by_triton(self, group: dict[str, Any], finite: Tensor, scale: Tensor) -> None:
        from .triton_adamax import update_weights

        weights, gradients, averages, norms, steps = self._lists_of(group, finite)
        if weights:
            (beta1, beta2), taken = group["betas"], finite.float()
            rate = group["lr"] / (1 - beta1 ** steps[0])  # every weight has the same step count
            update_weights(weights, gradients, averages, norms, taken, scale, rate, beta1, beta2, group["eps"])

    def _update_branchless(self, gradients: list[Tensor], finite: Tensor, inverse: Tensor | None) -> None:
        """Update with the flag as a factor."""
        if inverse is not None:
            torch._foreach_mul_(gradients, inverse)
        # Zero times NaN is NaN, but not the product of their bits as integers, which also takes one launch for all.
        torch._foreach_mul_([gradient.view(torch.int32) for gradient in gradients], finite.int())
        for group in self.param_groups:
            weights, _, averages, norms, steps = self._lists_of(group, finite)
            if weights:
                self._update_group_branchless(group, weights, averages, norms, steps, finite)

    def _lists_of(self, group: dict[str, Any], finite: Tensor) -> list[list[Tensor]]:
        """A group's weights that have gradients, these, averages, norms and steps, this one counted if it is taken."""
        weights = [weight for weight in group["params"] if weight.grad is not None]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {
                    "step": torch.zeros_like(finite, dtype=torch.float32),
                    "exp_avg": torch.zeros_like(weight),
                    # Not zero, by which a skipped update would divide; after a first step it makes no difference.
                    "exp_inf": torch.full_like(weight, group["eps"]),
                }
        states = [[self.state[weight][name] for weight in weights] for name in ("exp_avg", "exp_inf", "step")]
        if weights:
            torch._foreach_add_(states[-1], [finite.float()] * len(weights))  # one tensor would be read as a number
        return [weights, [weight.grad for weight in weights if weight.grad is not None], *states]

    def _update_group_branchless(
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        averages: list[Tensor],
        norms: list[Tensor],
        steps: list[Tensor],
        finite: Tensor,
    ) -> None:
        beta1, beta2 = group["betas"]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        torch._foreach_mul_(averages, torch.where(finite, beta1, 1.0))
        torch._foreach_add_(averages, gradients, alpha=1 - beta1)
        torch._foreach_mul_(norms, torch.where(finite, beta2, 1.0))
        torch._foreach_abs_(gradients)
        torch._foreach_add_(gradients, group["eps"])  # the least value of a norm, so that cleared gradients change none
        torch._foreach_maximum_(norms, gradients)
        # Every weight has the same step count. Divided by infinity, a skipped update is zero.
        factor = torch.where(finite, (beta1 ** steps[0] - 1) / group["lr"], float("inf"))
        torch._foreach_addcdiv_(weights, averages, torch._foreach_mul(norms, factor))


def _all_finite(gradients: list[Tensor]) -> Tensor:
    if not gradients or device_type_of(gradients[0]) == "cuda":
        return get_total_norm(gradients).isfinite()
    return finite_operator(gradients)


class AdamW(torch.optim.AdamW):
    """torch's fused AdamW, where a step with a gradient that is not finite changes neither weights nor state.

    `taken`, `found_inf` and `grad_scale` are as in `Adamax`. `step` may overwrite `.grad`.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-4, weight_decay: float = 0.1) -> None:
        super().__init__(list(params), lr, weight_decay=weight_decay, fused=True)
        self.taken: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the weights by their gradients, or skip the update where one is not finite."""
        assert closure is None, "a closure's loss would have to be read"
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        given: Tensor | None = getattr(self, "found_inf", None)
        self.found_inf = (~get_total_norm(gradients).isfinite()).float() if given is None else given
        super().step()  # torch's kernels read `found_inf` on the device
        self.taken = (self.found_inf.reshape(()) == 0).float()
        if given is None:
            del self.found_inf
