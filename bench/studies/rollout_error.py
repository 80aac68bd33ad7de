"""How far does generated motion drift from float32's when the network computes in another precision?

`python -m bench.studies.rollout_error` rolls out from the same initial states, once by the prior's mean and once by
the same latents, drawn from the prior, and prints the median motion's distance from float32's after 1, 2, 5 and 10 s.
fp64 shows what float32's own roundings do, "other latents" how far apart two motions are that have nothing but their
start in common.

The bound is float32's own drift, from fp64, times the ratio of roundings, times the square root of the frames. What a
rounding grows to in time is the motion's doing, and float32's own drift shows it; but float32's roundings differ from
step to step and average out, while weights rounded to a lower format are off by the same at every step.
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

from .precision_error import EXACT, REFERENCE, format_of, in_precision, parser_of, supplies, unit_of

SECONDS = (1, 2, 5, 10)
OTHER = "other latents"
Drift = Float[Tensor, "2 times"]  # millimetres: of the root, and of the joints about it


@emulate_half_on_cpu()
def main(arguments: Sequence[str] | None = None) -> None:
    """Roll out and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--motions", type=int, default=16)
    parser.add_argument("--seconds", type=int, nargs="+", default=SECONDS, help="after which to look")
    options = parser.parse_args(arguments)
    if min(options.motions, *options.seconds) < 1:
        parser.error("--motions and --seconds are whole numbers from 1.")
    model, _, store = supplies(options)
    starts = draw_starts(store, options.motions, options.seed)
    initial = MotionState.stack([store.states(at.clip).map(itemgetter(at.frame)) for at in starts], 0)
    frames = [TARGET_FPS * seconds for seconds in options.seconds]
    drawn, other = (latents_of(model, initial, max(frames), options.seed + number) for number in range(2))
    for title, latents in (("the prior's mean", None), ("given latents", drawn)):
        roll = partial(rolled, model=model, initial=initial, steps=max(frames), smallest=options.smallest)
        rollouts = {
            name: roll(name, latents=latents) for name in dict.fromkeys([REFERENCE, EXACT, *options.precisions])
        }
        if latents is not None:
            rollouts[OTHER] = roll(REFERENCE, latents=other)
        reference = rollouts.pop(REFERENCE)
        found = {name: drifted(state, reference, frames) for name, state in rollouts.items()}
        Console(width=130).print(table_of(f"{title}, {options.motions} motions", found, options.seconds))


def table_of(title: str, found: dict[str, Drift], seconds: Sequence[int]) -> Table:
    """The drift of each precision, and how much of the bound it takes at most."""
    table = Table(title=f"mm from fp32, by {title}", title_justify="left")
    table.add_column("")
    for part in ("root", "joints"):
        for at in seconds:
            table.add_column(f"{part} {at} s", justify="right")
    table.add_column("of bound", justify="right")
    for name, drift in found.items():
        share = "" if name in (EXACT, OTHER) else f"{(drift / bound(name, found[EXACT], seconds)).max().item():.2g}"
        table.add_row(name, *(f"{value:.3g}" for value in drift.flatten().tolist()), share)
    return table


def bound(name: str, rounding: Drift, seconds: Sequence[int]) -> Drift:
    """The most that a precision may drift, by what float32's roundings do."""
    frames = torch.tensor([TARGET_FPS * at for at in seconds])
    return rounding * unit_of(name) / unit_of(REFERENCE) * frames.sqrt()


def drifted(found: MotionState, reference: MotionState, frames: Sequence[int]) -> Drift:
    """The distance of the root in the world, and the mean one of joints about the root, after so many frames.

    They are the median motion's, so that one that blows up does not stand for all.
    """

    def distance(part: str) -> Tensor:
        one, other = (getattr(state, part)[:, [at - 1 for at in frames]].double() for state in (found, reference))
        if part == "joints":
            one, other = one - one[:, :, :1], other - other[:, :, :1]
        apart = torch.linalg.vector_norm(one - other, dim=-1)
        return 1000 * apart.reshape(*apart.shape[:2], -1).mean(2).quantile(0.5, 0)

    return torch.stack([distance("trans"), distance("joints")])


@torch.no_grad()
def rolled(
    name: str, model: HumorModel, initial: MotionState, steps: int, latents: Tensor | None, smallest: int
) -> MotionState:
    """A rollout in a precision; by the prior's mean where no latents are given."""
    kind, own = format_of(name), copy.deepcopy(model).to(format_of(name))
    precision, half_weights = in_precision(name, own, smallest)
    given = None if latents is None else latents.to(kind)
    with precision.autocast_scope("cpu"), half_weights.active():
        return own.rollout(initial.map(lambda x: x.to(kind)), steps, given, use_mean=latents is None).state


@torch.no_grad()
def latents_of(model: HumorModel, initial: MotionState, steps: int, seed: int) -> Float[Tensor, "N steps 48"]:
    """The latents that a rollout in float32 draws from its prior: the end of its decoder's input."""
    drawn: list[Tensor] = []

    def decode(inputs: Tensor) -> Tensor:
        drawn.append(inputs[:, -LATENT_SIZE:])
        return model.decoder(inputs)

    model.rollout(initial, steps, generator=torch.Generator().manual_seed(seed), decoder=decode)
    return torch.stack(drawn, 1)


if __name__ == "__main__":
    main()
