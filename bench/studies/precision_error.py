"""How far from float32's are the loss and the gradients of a training step in each precision?

`python -m bench.studies.precision_error` takes the same steps from the same weights in each, on the same batches with
the same noise, and prints differences relative to float32's, and what they are in roundings of the format. fp64 shows
what float32's own roundings do. fp8 is emulated: bf16, but for the layers of at least `--smallest` inputs and
outputs, multiples of 16; the precision itself converts those of 2048 and more, which a network of width 1 has none
of.
"""

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from humor import BodyModel, HumorLoss, HumorModel, Precision
from humor.data import MotionStore, WindowBatch, WindowSampler, load_bodies_and_store
from humor.precision.cpu_half_emulation import emulate_half_on_cpu
from humor.precision.fp8 import MULTIPLE, Float8Layers, emulated_layer, float8_layers
from humor.precision.half_weights import HalfWeights
from humor.precision.presets import PRESETS
from humor.training.optimizer import Adamax
from humor.training.settings import TrainSettings
from humor.training.step import TrainStep

EXACT, REFERENCE, EMULATED = "fp64", "fp32", "fp8"
ON_CPU = [
    name
    for name in PRESETS
    if Precision(name).supports("cpu") and not PRESETS[name].keep_half_weights and name != REFERENCE
]
CHOICES = [EXACT, *ON_CPU, EMULATED]
EPOCH = 50  # from which all terms of the loss have their full weight


@dataclass
class Taken:
    """The losses before each step and after the last, and the gradients of the first, all of them in a row."""

    losses: list[float]
    gradients: Tensor


@emulate_half_on_cpu()
def main(arguments: Sequence[str] | None = None) -> None:
    """Compare and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8, help="windows")
    options = parser.parse_args(arguments)
    if options.steps < 0 or options.batch < 1:
        parser.error("--steps is a whole number from 0, --batch from 1.")
    model, bodies, store = supplies(options)
    loss, sampler = HumorLoss(bodies), WindowSampler(store, options.batch, options.seed)
    batches = [sampler.batch(0, number) for number in range(options.steps + 1)]
    noise = torch.randn(len(batches), options.batch, 10, 48, generator=torch.Generator().manual_seed(options.seed))

    take = partial(taken, model=model, loss=loss, batches=batches, noise=noise, smallest=options.smallest)
    reference = take(REFERENCE)
    layers = len(float8_layers(model, options.smallest))
    title = f"relative difference from fp32, width {model.width}, {options.batch} windows; fp8 in {layers} layers"
    table = Table(title=title, title_justify="left")
    last = f"loss after {options.steps} steps"
    for column in ("", "loss, first step", "in roundings", last, "gradient", "in roundings"):
        table.add_column(column, justify="right" if column else "left")
    for name in options.precisions:
        table.add_row(name, *compared(take(name), reference, unit_of(name)))
    console = Console(width=120)
    console.print(table)
    console.print(
        f"fp32's loss: {reference.losses[0]:.6f} at first, {reference.losses[-1]:.6f} after {options.steps} steps"
    )


def taken(
    name: str, model: HumorModel, loss: HumorLoss, batches: Sequence[WindowBatch], noise: Tensor, smallest: int
) -> Taken:
    """Steps in a precision, one fewer than there are batches: the last tells its loss alone, unless it is the first."""
    step, kind = step_of(name, copy.deepcopy(model), loss, smallest), format_of(name)
    found = Taken([], torch.empty(0))
    for number, batch in enumerate(batches):
        if number:
            step.optimize()
        ready = batch.to("cpu", kind)
        total, _ = step.compare(step.sample(ready, noise[number].to(kind)), ready, EPOCH)
        found.losses.append(total.item())
        if number == 0 or number + 1 < len(batches):
            step.backward(total)
        if number == 0:
            gradients = torch.cat([weight.grad.flatten() for weight in step.model.parameters()])  # type: ignore[union-attr]
            found.gradients = gradients / step.scaler.get_scale()
    return found


def compared(found: Taken, reference: Taken, unit: float) -> list[str]:
    """The cells of a precision."""
    first, last = (abs(found.losses[at] / reference.losses[at] - 1) for at in (0, -1))
    apart = torch.linalg.vector_norm(found.gradients - reference.gradients)
    gradient = (apart / torch.linalg.vector_norm(reference.gradients)).item()
    return [f"{first:.1e}", f"{first / unit:.2g}", f"{last:.1e}", f"{gradient:.1e}", f"{gradient / unit:.2g}"]


def step_of(name: str, model: HumorModel, loss: HumorLoss, smallest: int) -> TrainStep:
    """A training step in a precision, past the overflows that float16 begins with."""
    model, loss = model.to(format_of(name)), loss.to(format_of(name))
    precision, half_weights = in_precision(name, model, smallest)
    step = TrainStep(model, loss, Adamax(model.parameters(), lr=TrainSettings().learning_rate), precision)
    step.half_weights = half_weights
    step.settle_gradient_scale()
    return step


def in_precision(name: str, model: HumorModel, smallest: int) -> tuple[Precision, HalfWeights]:
    """The precision and the half weights (or float8 layers) that a pass through the network runs inside."""
    if name == EMULATED:
        return Precision("bf16"), Float8Layers(model, emulated_layer, smallest)
    precision = Precision(REFERENCE if name == EXACT else name)
    return precision, precision.half_weights(model)


def format_of(name: str) -> torch.dtype:
    """The format of weights and of everything that is not multiplied in a lower one."""
    return torch.float64 if name == EXACT else torch.float32


def unit_of(name: str) -> float:
    """A rounding; float32's for float64, which is free of them."""
    return Precision(REFERENCE if name == EXACT else name).unit_roundoff


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """What this command and `bench.studies.rollout_error` are both told."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, help="a trained network; default: fresh weights")
    parser.add_argument("--width", type=int, default=1, help="of fresh weights")
    parser.add_argument("--data", type=Path, help="store that humor process built; default: a synthetic gait")
    parser.add_argument("--precisions", nargs="+", choices=CHOICES, default=CHOICES)
    parser.add_argument("--smallest", type=int, default=MULTIPLE, help="sides of layers that fp8 converts")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def supplies(options: argparse.Namespace) -> tuple[HumorModel, dict[str, BodyModel], MotionStore]:
    """The network, the bodies and the motion."""
    torch.manual_seed(options.seed)
    model = HumorModel.load(options.checkpoint) if options.checkpoint else HumorModel(options.width)
    return model, *load_bodies_and_store(store_folder=options.data, synthetic_clips=3)


if __name__ == "__main__":
    main()
