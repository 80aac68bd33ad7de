"""Float8 multiplies for large linear layers: torchao's on a GPU that has the format, emulated anywhere else.

A tensor is scaled so that its largest magnitude is the format's, rounded to 8 bits, and multiplied; sums are float32.
The formats are e4m3 for weights and activations, and e5m2, which has the wider range, for gradients. Sources:
Micikevicius et al., FP8 Formats for Deep Learning, 2022; torchao's recipe "tensorwise".
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from .half_weights import HalfWeights

ACTIVATIONS, GRADIENTS = torch.float8_e4m3fn, torch.float8_e5m2
MULTIPLE = 16  # the kernels want both sides of a layer to be multiples of it
SMALLEST = 2048  # sides of the smallest layer that is converted; `float8_layers` says why
_SMALLEST_AMAX = 1e-12  # keeps the scale of a tensor of zeros finite, as in torchao
LayerForward = Callable[[Tensor], Tensor]


def float8_layers(network: nn.Module, smallest: int = SMALLEST) -> dict[str, nn.Linear]:
    """The layers to multiply in float8, by name: no side below `smallest`, and both sides multiples of 16.

    Where 2048 comes from: on M rows, a layer of K inputs and N outputs does 6MNK operations forward and backward. An
    H100 does 1e15 a second in bfloat16 and twice that in float8, so float8 saves 3e-15 MNK s. Scaling and rounding are
    done again for each product: activations and gradients are read twice and written once in each direction, 10 bytes
    a number, M(N+K) numbers, at 3.35e12 bytes a second. Saving more than that needs NK/(N+K) above 1000, whatever M
    is; two sides of 2048 have it. Casting the weights comes on top, and is paid back from about 1200 rows on.
    """

    def is_large(layer: nn.Linear) -> bool:
        sides = layer.in_features, layer.out_features
        return min(sides) >= smallest and not any(side % MULTIPLE for side in sides)

    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear) and is_large(part)}


class Float8Layers(HalfWeights):
    """A network's large layers, which multiply in float8 inside `active`. No weight is copied: masters are rounded."""

    def __init__(
        self, network: nn.Module, convert: Callable[[nn.Linear], LayerForward], smallest: int = SMALLEST
    ) -> None:
        super().__init__(network, None)
        self._layers = [(layer, convert(layer)) for layer in float8_layers(network, smallest).values()]

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, the large layers multiply in float8."""
        for layer, forward in self._layers:
            layer.__dict__["forward"] = forward
        try:
            yield
        finally:
            for layer, _ in self._layers:
                del layer.__dict__["forward"]


def torchao_layer(layer: nn.Linear) -> LayerForward:
    """torchao's forward pass of a layer, on the layer's own weights; it pads rows to what its kernels want."""
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    converted = convert_to_float8_training(layer, config=Float8LinearConfig(pad_inner_dim=True))
    return converted.forward


def emulated_layer(layer: nn.Linear) -> LayerForward:
    """The same roundings on any device: to float8 and back, then a product in float32, returned in autocast's dtype.

    The weight's gradient is the product of the rounded inputs and the rounded gradient; the bias's is not rounded.
    """

    def forward(inputs: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        device = inputs.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
        with torch.autocast(device, enabled=False):
            activations, weight = inputs.to(dtype).float(), layer.weight.float()
            product = linear(
                _Rounding.apply(activations, ACTIVATIONS, None), _Rounding.apply(weight, ACTIVATIONS, None)
            )
            output = _Rounding.apply(product, None, GRADIENTS).to(dtype)
            return output if layer.bias is None else output + layer.bias.to(dtype)

    return forward


def round_to_float8(x: Float[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """A float32 tensor to a float8 dtype and back, scaled by its largest magnitude; nothing overflows."""
    largest = torch.finfo(dtype).max
    scale = (largest / x.abs().amax().double().clamp(min=_SMALLEST_AMAX)).float()
    return (x * scale).clamp(-largest, largest).to(dtype).float() / scale


class _Rounding(torch.autograd.Function):
    """The identity, rounded to one dtype in the forward pass and to another in the backward pass; None: not rounded."""

    @staticmethod
    def forward(ctx, x, forward_dtype, backward_dtype):  # type: ignore[no-untyped-def]
        ctx.dtype = backward_dtype
        return x.view_as(x) if forward_dtype is None else round_to_float8(x, forward_dtype)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient if ctx.dtype is None else round_to_float8(gradient, ctx.dtype), None, None
