"""How much memory does a training step take, with the published loss and with ours?

`python -m bench.studies.memory --windows 8 200 400` takes a few steps in a new process for each, several rounds
of them, and prints the peak memory of the process: Python and its libraries, a male and a female body
(0.4 GB together), the network, the optimizer's averages, and what a step keeps.
"""

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
from .command import StudyParser, complete_rounds
from .phases import train_step

STEPS = 3  # the first allocates the optimizer's averages
LOSSES = ("published", "ours")


def main() -> None:
    """Measure and print."""
    parser = StudyParser("memory", __doc__)
    parser.add_argument(
        "--windows",
        type=int,
        nargs="+",
        metavar="N",
        default=[8, 200, 400],
        help="windows in a batch",
    )
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=["ours"], help="whose steps to take")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each loss and batch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="PyTorch threads")
    options = parser.parse_args()
    cases = [(loss, windows) for loss in options.losses for windows in options.windows]
    rounds = complete_rounds(lambda: [peak_of_process(*case, options.threads) for case in cases], options.rounds)
    table = Table(title=f"peak memory of a process, GB, {len(rounds)} rounds", title_justify="left")
    for column in ("loss", "windows", "median", "least", "most"):
        table.add_column(column, justify="right")
    for (loss, windows), peaks in zip(cases, zip(*rounds, strict=True), strict=True):
        table.add_row(loss, str(windows), *(f"{value(peaks):.2f}" for value in (np.median, min, max)))
    Console(width=100).print(table)


def peak_of_process(loss: str, windows: int, threads: int) -> float:
    """The peak memory of a new process, GB, that takes a few steps on the CPU."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(take_steps, loss, windows, threads).result()


def take_steps(loss: str, windows: int, threads: int) -> float:
    """Take a few steps; the peak memory of this process so far, GB."""
    torch.set_num_threads(threads)
    bodies = {gender: BodyModel.mannequin(gender) for gender in AMASS_GENDERS}
    store = MotionStore.in_memory(list(synthetic_motion(bodies)))
    batch = WindowSampler(store, windows, seed=0).batch(0, 0)
    arrays = {gender: mannequin_arrays(gender) for gender in AMASS_GENDERS} if loss == "published" else {}
    step = train_step(PublishedLoss(arrays), torch.optim.Adamax) if arrays else train_step(HumorLoss(bodies), Adamax)
    for _ in range(STEPS):
        step(batch, 50)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes in the system's unit
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main()
