"""How far from float32's is generated motion when the network computes in another precision?

`python -m bench.studies.rollout_error` rolls out from the same initial states, once with the prior's mean and once with
the same latents, drawn from the prior, and prints the median motion's distance from float32's after 1, 2, 5 and 10 s.
fp64 shows the effect of float32's roundings; "other latents" shows how far apart two motions are that have nothing but
their start in common.

The bound is float32's error, measured from fp64, times the ratio of the unit roundoffs, times the square root of the
number of frames. How much a rounding grows over time depends on the motion, and shows in float32's error; but float32's
roundings differ from step to step and average out, while weights rounded to a lower format are off by the same at every
step.
"""

import copy
from collections.abc import Sequence
from functools import partial
from operator import itemgetter

import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from humor import HumorModel, MotionState
from humor.data.processing import TARGET_FPS
from humor.model import LATENT_SIZE
from humor.motion.generation import draw_starts
from humor.precision.cpu_half_emulation import emulate_half_on_cpu

from .precision_error import EXACT, REFERENCE, dtype_of, load_inputs, make_error_parser, make_precision, roundoff_of

SECONDS = (1, 2, 5, 10)
OTHER = "other latents"
RolloutError = Float[Tensor, "2 times"]  # millimetres: of the root, and of the joints about it


@emulate_half_on_cpu()
def main(arguments: Sequence[str] | None = None) -> None:
    """Roll out and print a table for each way to choose latents."""
    parser = make_error_parser("rollout_error", __doc__)
    parser.add_argument("--motions", type=int, default=16, help="to roll out")
    parser.add_argument(
        "--seconds",
        type=int,
        nargs="+",
        metavar="N",
        default=SECONDS,
        help="of motion after which to compare",
    )
    options = parser.parse_args(arguments)
    if min(options.motions, *options.seconds) < 1:
        parser.error("--motions and --seconds are whole numbers from 1.")
    model, _, store = load_inputs(options)
    starts = draw_starts(store, options.motions, options.seed)
    initial = MotionState.stack([store.states(at.clip).map(itemgetter(at.frame)) for at in starts], 0)
    frames = [TARGET_FPS * seconds for seconds in options.seconds]
    drawn, other = (draw_latents(model, initial, max(frames), options.seed + number) for number in range(2))
    for title, latents in (("the prior's mean", None), ("given latents", drawn)):
        roll = partial(roll_out, model=model, initial=initial, steps=max(frames), smallest=options.smallest)
        rollouts = {
            name: roll(name, latents=latents) for name in dict.fromkeys([REFERENCE, EXACT, *options.precisions])
        }
        if latents is not None:
            rollouts[OTHER] = roll(REFERENCE, latents=other)
        reference = rollouts.pop(REFERENCE)
        found = {name: median_errors(state, reference, frames) for name, state in rollouts.items()}
        Console(width=130).print(error_table(f"{title}, {options.motions} motions", found, options.seconds))


def error_table(title: str, found: dict[str, RolloutError], seconds: Sequence[int]) -> Table:
    """The error of each precision, and how much of the bound it takes at most."""
    table = Table(title=f"mm from fp32, by {title}", title_justify="left")
    table.add_column("")
    for part in ("root", "joints"):
        for at in seconds:
            table.add_column(f"{part} {at} s", justify="right")
    table.add_column("of bound", justify="right")
    for name, error in found.items():
        share = (
            "" if name in (EXACT, OTHER) else f"{(error / error_bound(name, found[EXACT], seconds)).max().item():.2g}"
        )
        table.add_row(name, *(f"{value:.3g}" for value in error.flatten().tolist()), share)
    return table


def error_bound(name: str, float32_error: RolloutError, seconds: Sequence[int]) -> RolloutError:
    """The largest error that a precision should have, given that of float32's roundings."""
    frames = torch.tensor([TARGET_FPS * at for at in seconds])
    return float32_error * roundoff_of(name) / roundoff_of(REFERENCE) * frames.sqrt()


def median_errors(found: MotionState, reference: MotionState, frames: Sequence[int]) -> RolloutError:
    """Distance of the root in the world, and mean distance of the joints relative to the root, after so many frames.

    Both are the median over motions, so that one that diverges does not stand for all.
    """

    def distance(part: str) -> Tensor:
        one, other = (getattr(state, part)[:, [at - 1 for at in frames]].double() for state in (found, reference))
        if part == "joints":
            one, other = one - one[:, :, :1], other - other[:, :, :1]
        apart = torch.linalg.vector_norm(one - other, dim=-1)
        return 1000 * apart.reshape(*apart.shape[:2], -1).mean(2).quantile(0.5, 0)

    return torch.stack([distance("trans"), distance("joints")])


@torch.no_grad()
def roll_out(
    name: str, model: HumorModel, initial: MotionState, steps: int, latents: Tensor | None, smallest: int
) -> MotionState:
    """Roll out in a precision, with the prior's mean where no latents are given."""
    dtype, precision = dtype_of(name), make_precision(name, smallest)
    network = copy.deepcopy(model).to(dtype)
    given = None if latents is None else latents.to(dtype)
    with precision.autocast_scope("cpu"), precision.half_weights(network).active():
        return network.rollout(initial.map(lambda x: x.to(dtype)), steps, given, use_mean=latents is None).state


@torch.no_grad()
def draw_latents(model: HumorModel, initial: MotionState, steps: int, seed: int) -> Float[Tensor, "N steps 48"]:
    """The latents that a rollout in float32 draws from its prior: the end of its decoder's input."""
    drawn: list[Tensor] = []

    def decode(inputs: Tensor) -> Tensor:
        drawn.append(inputs[:, -LATENT_SIZE:])
        return model.decoder(inputs)

    model.rollout(initial, steps, generator=torch.Generator().manual_seed(seed), decoder=decode)
    return torch.stack(drawn, 1)


if __name__ == "__main__":
    main()
