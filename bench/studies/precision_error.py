"""How far are the loss and the gradients of a training step in each precision from float32's?

`python -m bench.studies.precision_error` takes the same steps from the same weights in each precision, on the same
batches with the same noise, and prints the differences from float32, relative and in units of the format's roundoff.
fp64 shows the effect of float32's roundings. fp8 is emulated in all layers of at least `--smallest` inputs and outputs
that are multiples of 16; on a GPU it has those from 2048 on, of which a network of width 1 has none.
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
from torch import Tensor, nn

from humor import BodyModel, HumorLoss, HumorModel, Precision
from humor.data import MotionStore, WindowBatch, WindowSampler, load_bodies_and_store
from humor.precision.cpu_half_emulation import emulate_half_on_cpu
from humor.precision.fp8 import MULTIPLE, Float8Layers, emulated_layer, float8_layers
from humor.precision.presets import PRESETS
from humor.training.optimizer import Adamax
from humor.training.settings import TrainSettings
from humor.training.step import TrainStep

from .command import StudyParser

EXACT, REFERENCE, EMULATED = "fp64", "fp32", "fp8"
ON_CPU = [
    name
    for name in PRESETS
    if Precision(name).supports("cpu") and not PRESETS[name].keep_half_weights and name != REFERENCE
]
CHOICES = [EXACT, *ON_CPU, EMULATED]
EPOCH = 50  # from which all terms of the loss have their full weight


@dataclass
class StepResults:
    """The loss before each step and after the last, and the gradients of the first step as one vector."""

    losses: list[float]
    gradients: Tensor


class EmulatedFloat8(Precision):
    """fp8 on any device, in layers of other sizes than the preset's."""

    def __init__(self, smallest: int) -> None:
        super().__init__(EMULATED)
        self.smallest = smallest

    def half_weights(self, network: nn.Module) -> Float8Layers:
        """The network's layers from `smallest` inputs and outputs on, emulated."""
        return Float8Layers(network, emulated_layer, self.smallest)


@emulate_half_on_cpu()
def main(arguments: Sequence[str] | None = None) -> None:
    """Take the steps and print the table."""
    parser = make_error_parser("precision_error", __doc__)
    parser.add_argument("--steps", type=int, default=20, help="of training")
    parser.add_argument("--batch", type=int, default=8, help="windows a step")
    options = parser.parse_args(arguments)
    if options.steps < 0 or options.batch < 1:
        parser.error("--steps is a whole number from 0, --batch from 1.")
    model, bodies, store = load_inputs(options)
    loss, sampler = HumorLoss(bodies), WindowSampler(store, options.batch, options.seed)
    batches = [sampler.batch(0, number) for number in range(options.steps + 1)]
    noise = torch.randn(len(batches), options.batch, 10, 48, generator=torch.Generator().manual_seed(options.seed))

    run = partial(run_steps, model=model, loss=loss, batches=batches, noise=noise, smallest=options.smallest)
    reference = run(REFERENCE)
    layers = len(float8_layers(model, options.smallest))
    title = f"relative difference from fp32, width {model.width}, {options.batch} windows; fp8 in {layers} layers"
    table = Table(title=title, title_justify="left")
    last = f"loss after {options.steps} steps"
    for column in ("", "loss, first step", "in roundings", last, "gradient", "in roundings"):
        table.add_column(column, justify="right" if column else "left")
    for name in options.precisions:
        table.add_row(name, *error_cells(run(name), reference, roundoff_of(name)))
    console = Console(width=120)
    console.print(table)
    console.print(
        f"fp32's loss: {reference.losses[0]:.6f} at first, {reference.losses[-1]:.6f} after {options.steps} steps"
    )


def run_steps(
    name: str, model: HumorModel, loss: HumorLoss, batches: Sequence[WindowBatch], noise: Tensor, smallest: int
) -> StepResults:
    """Take steps in a precision, one fewer than there are batches: only the loss of the last batch is computed."""
    step, dtype = make_step(name, copy.deepcopy(model), loss, smallest), dtype_of(name)
    results = StepResults([], torch.empty(0))
    for number, batch in enumerate(batches):
        if number:
            step.optimize()
        ready = batch.to("cpu", dtype)
        total, _ = step.compute_loss(step.sample(ready, noise[number].to(dtype)), ready, EPOCH)
        results.losses.append(total.item())
        if number == 0 or number + 1 < len(batches):
            step.backward(total)
        if number == 0:
            gradients = torch.cat([weight.grad.flatten() for weight in step.model.parameters()])  # type: ignore[union-attr]
            results.gradients = gradients / step.scaler.get_scale()
    return results


def error_cells(results: StepResults, reference: StepResults, roundoff: float) -> list[str]:
    """A precision's row: relative errors of losses and gradients, and those in units of its roundoff."""
    first, last = (abs(results.losses[at] / reference.losses[at] - 1) for at in (0, -1))
    difference = torch.linalg.vector_norm(results.gradients - reference.gradients)
    gradient = (difference / torch.linalg.vector_norm(reference.gradients)).item()
    return [f"{first:.1e}", f"{first / roundoff:.2g}", f"{last:.1e}", f"{gradient:.1e}", f"{gradient / roundoff:.2g}"]


def make_step(name: str, model: HumorModel, loss: HumorLoss, smallest: int) -> TrainStep:
    """A training step in a precision, with float16's gradient scale settled."""
    model, loss = model.to(dtype_of(name)), loss.to(dtype_of(name))
    optimizer = Adamax(model.parameters(), lr=TrainSettings().learning_rate)
    step = TrainStep(model, loss, optimizer, make_precision(name, smallest))
    step.settle_gradient_scale()
    return step


def make_precision(name: str, smallest: int) -> Precision:
    """The precision of a name; float64 needs no other than float32."""
    return EmulatedFloat8(smallest) if name == EMULATED else Precision(REFERENCE if name == EXACT else name)


def dtype_of(name: str) -> torch.dtype:
    """The dtype of weights, batches and of everything that is not multiplied in a lower one."""
    return torch.float64 if name == EXACT else torch.float32


def roundoff_of(name: str) -> float:
    """The unit roundoff of a precision; for float64, by comparison, float32's."""
    return Precision(REFERENCE if name == EXACT else name).unit_roundoff


def make_error_parser(study: str, doc: str | None) -> argparse.ArgumentParser:
    """The options that this command and `bench.studies.rollout_error` share."""
    parser = StudyParser(study, doc)
    parser.add_argument("--checkpoint", type=Path, help="a trained network; without one, fresh weights")
    parser.add_argument("--width", type=int, default=1, help="of the network with fresh weights")
    parser.add_argument("--data", type=Path, help="folder that humor process built; without one, a synthetic gait")
    parser.add_argument("--precisions", nargs="+", choices=CHOICES, default=CHOICES, help="beside fp32")
    parser.add_argument(
        "--smallest",
        type=int,
        metavar="N",
        default=MULTIPLE,
        help="inputs and outputs of the smallest fp8 layer",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, windows and noise")
    return parser


def load_inputs(options: argparse.Namespace) -> tuple[HumorModel, dict[str, BodyModel], MotionStore]:
    """The network, the bodies and the motion."""
    torch.manual_seed(options.seed)
    model = HumorModel.load(options.checkpoint) if options.checkpoint else HumorModel(options.width)
    return model, *load_bodies_and_store(store_folder=options.data, synthetic_clips=3)


if __name__ == "__main__":
    main()
