"""Multiplies of large layers in float8: torchao's, on a GPU that has the format, or emulated, anywhere.

A tensor is scaled so that its largest number is the format's, rounded to 8 bits, and multiplied; sums are float32. The
formats are e4m3 for weights and activations, and e5m2, which reaches further, for gradients. Sources: Micikevicius et
al., FP8 Formats for Deep Learning, 2022; the recipe "tensorwise" of torchao.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from .half_weights import WeightCopies

ACTIVATIONS, GRADIENTS = torch.float8_e4m3fn, torch.float8_e5m2
MULTIPLE = 16  # that the kernels want inputs and outputs to be of
SMALLEST = 2048  # inputs and outputs of a layer worth converting
_LEAST = 1e-12  # what a tensor of zeros is scaled by, as in torchao
Multiply = Callable[[Tensor], Tensor]  # what a layer does to its inputs


def float8_layers(network: nn.Module, smallest: int = SMALLEST) -> dict[str, nn.Linear]:
    """The layers to multiply in float8, by name: no side below `smallest`, and both multiples of 16.

    Where 2048 comes from: of M rows, a layer of K inputs and N outputs does 6MNK operations forward and backward. An
    H100 does 1e15 a second in bfloat16 and twice that in float8, so 3e-15 MNK s are saved. Scales are found and numbers
    rounded anew for each product: activations and gradients are read twice and written once in each direction, 10 bytes
    a number, M(N+K) numbers, at 3.35e12 bytes a second. Saving more than that wants NK/(N+K) above 1000, however many
    rows there are; two sides of 2048 have it. Weights cost on top, and pay from about 1200 rows on.
    """

    def is_fit(layer: nn.Linear) -> bool:
        sides = layer.in_features, layer.out_features
        return min(sides) >= smallest and not any(side % MULTIPLE for side in sides)

    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear) and is_fit(part)}


class Float8Layers(WeightCopies):
    """A network's large layers, which multiply in float8 inside `lent`. No weight is copied: masters are rounded."""

    def __init__(self, network: nn.Module, convert: Callable[[nn.Linear], Multiply], smallest: int = SMALLEST) -> None:
        super().__init__(network, None)
        self._layers = [(layer, convert(layer)) for layer in float8_layers(network, smallest).values()]

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, the large layers multiply in float8."""
        for layer, multiply in self._layers:
            layer.__dict__["forward"] = multiply
        try:
            yield
        finally:
            for layer, _ in self._layers:
                del layer.__dict__["forward"]


def torchao_layer(layer: nn.Linear) -> Multiply:
    """What torchao makes of a layer, with the layer's own weights; rows are padded to what its kernels want."""
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    converted = convert_to_float8_training(layer, config=Float8LinearConfig(pad_inner_dim=True))
    return converted.forward


def emulated_layer(layer: nn.Linear) -> Multiply:
    """The same roundings on any device: float8 and back, then a product in float32, in autocast's format if it is on.

    The weight's gradient is the product of the rounded inputs and the rounded gradient; the bias's is not rounded.
    """

    def multiply(inputs: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        device = inputs.device.type
        kept = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
        with torch.autocast(device, enabled=False):
            rows, weight = inputs.to(kept).float(), layer.weight.float()
            product = linear(_Rounding.apply(rows, ACTIVATIONS, None), _Rounding.apply(weight, ACTIVATIONS, None))
            told = _Rounding.apply(product, None, GRADIENTS).to(kept)
            return told if layer.bias is None else told + layer.bias.to(kept)

    return multiply


def rounded(x: Float[Tensor, "*shape"], kind: torch.dtype) -> Float[Tensor, "*shape"]:
    """A float32 tensor in a float8 format and back, scaled by its largest number; nothing overflows."""
    most = torch.finfo(kind).max
    scale = (most / x.abs().amax().double().clamp(min=_LEAST)).float()
    return (x * scale).clamp(-most, most).to(kind).float() / scale


class _Rounding(torch.autograd.Function):
    """Rounding to one format forward and to another backward, or to none; else it is the identity in both."""

    @staticmethod
    def forward(ctx, x, forward, backward):  # type: ignore[no-untyped-def]
        ctx.kind = backward
        return x.view_as(x) if forward is None else rounded(x, forward)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient if ctx.kind is None else rounded(gradient, ctx.kind), None, None
