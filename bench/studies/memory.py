"""How much memory does a training step take, with the published loss and with ours?

`python -m bench.studies.memory --windows 8 200 400` takes a few steps in a process of its own for each, several times
in turns, and prints the most that the process held at once: Python and its libraries, a male and a female body
(0.4 GB together), the network, the optimizer's averages, and what a step keeps.
"""

import argparse
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from humor import BodyModel, HumorLoss
from humor.data import MotionStore, WindowSampler, synthetic_motion
from humor.mannequin import mannequin_arrays
from humor.skeleton import AMASS_GENDERS
from humor.training.optimizer import Adamax

from ..published_loss import PublishedLoss
from .phases import train_step

STEPS = 3  # the optimizer's averages are made in the first
LOSSES = ("published", "ours")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--windows", type=int, nargs="+", default=[8, 200, 400])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=["ours"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    cases = [(loss, windows) for loss in options.losses for windows in options.windows]
    found: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for _ in range(options.rounds):
        for case in cases:
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                found[case].append(alone.submit(peak, *case, options.threads).result())
    table = Table(title=f"most memory of a process, GB, {options.rounds} rounds", title_justify="left")
    for column in ("loss", "windows", "median", "least", "most"):
        table.add_column(column, justify="right")
    for (loss, windows), peaks in found.items():
        table.add_row(loss, str(windows), *(f"{value(peaks):.2f}" for value in (np.median, min, max)))
    Console(width=100).print(table)


def peak(loss: str, windows: int, threads: int) -> float:
    """The most that this process has held, GB, after a few steps on the CPU."""
    torch.set_num_threads(threads)
    bodies = {gender: BodyModel.mannequin(gender) for gender in AMASS_GENDERS}
    store = MotionStore.in_memory(list(synthetic_motion(bodies)))
    batch = WindowSampler(store, windows, seed=0).batch(0, 0)
    arrays = {gender: mannequin_arrays(gender) for gender in AMASS_GENDERS} if loss == "published" else {}
    step = train_step(PublishedLoss(arrays), torch.optim.Adamax) if arrays else train_step(HumorLoss(bodies), Adamax)
    for _ in range(STEPS):
        step(batch, 50)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes in what the system counts in
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main()
