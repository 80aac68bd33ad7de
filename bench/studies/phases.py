"""Where does a training step's time go, phase by phase, with the published loss and with ours?

`python -m bench.studies.phases --windows 8 200 --rounds 20` alternates the two in one process and prints the study's
Table 2 for this machine: the median of each phase, and the median of the rounds' ratios with their middle half.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import get_args

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from humor import BodyModel, HumorLoss, HumorModel, Precision
from humor.data import MotionStore, WindowBatch, WindowSampler, synthetic_motion
from humor.kinematics import KINEMATICS
from humor.mannequin import mannequin_arrays
from humor.mesh_loss import MESH_LOSSES
from humor.skeleton import AMASS_GENDERS
from humor.training.optimizer import Adamax, GpuUpdate
from humor.training.phase_timer import STEP_PHASES
from humor.training.step import TrainStep

from ..harness.environment.devices import choose_device
from ..harness.timing.clock import cpu_timer, device_timer
from ..published_loss import PublishedLoss
from .command import StudyParser, complete_rounds

OPTIMIZERS = {"published": torch.optim.Adamax}  # default: ours
COLUMNS = (*STEP_PHASES, "loss alone", "step")  # "loss alone": forward and backward of the loss, without the network


def main() -> None:
    """Measure and print a table for each batch size."""
    parser = StudyParser("phases", __doc__)
    parser.add_argument("--windows", type=int, nargs="+", default=[8, 200], help="windows in a batch")
    parser.add_argument("--rounds", type=int, default=20, help="steps of each loss")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="PyTorch threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--ours", nargs="+", choices=MESH_LOSSES, default=["fused"], help="mesh losses of HumorLoss")
    parser.add_argument("--kinematics", choices=KINEMATICS, default="operators", help="how HumorLoss places joints")
    parser.add_argument("--one-gender", action="store_true", help="only windows of men")
    parser.add_argument("--gpu-update", choices=get_args(GpuUpdate), default="foreach", help="our Adamax on a GPU")
    parser.add_argument("--without-published", action="store_true", help="only our loss")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for windows in options.windows:
        rounds = measure(windows, options)
        report(windows, rounds)
        if len(rounds) < options.rounds:
            break


def measure(windows: int, options: argparse.Namespace) -> list[dict[str, list[float]]]:
    """Rounds in which each implementation takes a step, one after the other: seconds of each column."""
    device = choose_device(options.device, require_cuda=False)
    arrays = {gender: mannequin_arrays(gender) for gender in AMASS_GENDERS}
    bodies = {gender: BodyModel(arrays[gender]) for gender in AMASS_GENDERS}
    clips = [clip for clip in synthetic_motion(bodies) if clip.gender == "male" or not options.one_gender]
    store = MotionStore.in_memory(clips)
    batch = WindowSampler(store, windows, seed=0).batch(0, 0)
    losses = {} if options.without_published else {"published": PublishedLoss(arrays)}
    losses |= {name: HumorLoss(bodies, mesh=name, kinematics=options.kinematics) for name in options.ours}
    ours = partial(Adamax, gpu_update=options.gpu_update)
    steps = {name: train_step(loss.to(device), OPTIMIZERS.get(name, ours)) for name, loss in losses.items()}

    def measure_round() -> dict[str, list[float]]:
        return {name: time_phases(step, batch) for name, step in steps.items()}

    measure_round()  # warms up
    return complete_rounds(measure_round, options.rounds, f"{windows} windows")


def train_step(loss: HumorLoss, optimizer: Callable[..., torch.optim.Optimizer]) -> TrainStep:
    """The step of a loss, with the same network for each."""
    torch.manual_seed(0)
    model = HumorModel().to(next(loss.buffers()).device)
    return TrainStep(model, loss, optimizer(model.parameters(), lr=1e-4), Precision("fp32"))


def time_phases(step: TrainStep, batch: WindowBatch) -> list[float]:
    """Seconds of each phase of one step, of the loss alone, and of the phases together."""
    clock = cpu_timer if step.device.type == "cpu" else device_timer
    seconds: list[float] = []

    @contextmanager
    def timed() -> Iterator[None]:
        start = clock()
        yield
        seconds.append(clock() - start)

    with timed():
        ready = step.prepare(batch)
    with timed():
        out = step.sample(ready)
    with timed():
        total, _ = step.compute_loss(out, ready, 50)
    with timed():
        step.backward(total)
    with timed():
        step.optimize()
    alone = loss_alone(step, ready)
    with timed():
        alone()
    return [*seconds, sum(seconds[: len(STEP_PHASES)])]


def loss_alone(step: TrainStep, batch: WindowBatch) -> Callable[[], None]:
    """A call of the loss forward and backward, which ends at the network's outputs."""
    with torch.no_grad():
        out = step.model(batch.past, batch.current)
    out.state.map(lambda x: x.requires_grad_())
    out.contacts.requires_grad_()
    return lambda: step.compute_loss(out, batch, 50)[0].backward()


def report(windows: int, rounds: list[dict[str, list[float]]]) -> None:
    """Print a batch size's table."""
    times = {name: 1000 * np.array([each[name] for each in rounds]) for name in rounds[0]}
    title = f"{windows} windows, ms, {len(rounds)} rounds, {torch.get_num_threads()} threads"
    table = Table(title=title, title_justify="left")
    for column in ("", *COLUMNS):
        table.add_column(column, justify="right")
    for name, measured in times.items():
        table.add_row(name, *(f"{value:.1f}" for value in np.median(measured, 0)))
    for name, measured in times.items():
        if name != "published" and "published" in times:
            low, middle, high = np.quantile(times["published"] / np.maximum(measured, 1e-6), [0.25, 0.5, 0.75], axis=0)
            cells = zip(low, middle, high, strict=True)
            table.add_row(f"published / {name}", *(f"{m:.1f}x\n{a:.1f} to {b:.1f}" for a, m, b in cells))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
