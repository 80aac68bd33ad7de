"""The commands that make motion with a trained network: sample, reconstruct and fit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from ..body import BodyModel
from ..data.amass import RawClip, write_amass
from ..data.loading import load_bodies, load_bodies_and_store
from ..data.processing import TARGET_FPS
from ..errors import MotionError, SettingError
from ..model import HumorModel
from ..motion import generation
from ..motion.fitting import fit as fit_motion
from ..motion.generation import Network, clip_of, draw_starts, joint_error, joints_of, motion_name
from ..motion.observations import Observations, read_observations
from ..motion.page import write_page
from ..precision.cpu_half_emulation import emulate_half_on_cpu
from ..precision.presets import PrecisionName
from ..state import MotionState
from ..training.distributed import joined
from ..training.progress import counted

console = Console(highlight=False, soft_wrap=True)
TOGETHER = 16  # rollouts at once: a step of so many takes hardly longer than one


@dataclass(frozen=True)
class MotionSettings:
    """What every command that makes motion is told."""

    checkpoint: Path  # network, ours (run/best.pt) or a released one
    out: Path  # folder to write to
    precision: PrecisionName = "fp32"  # number format of the network
    device: str | None = None  # cpu, cuda or cuda:N; cuda if there is one
    body_model: Path | None = None  # folder of SMPL+H files of all genders; a mannequin if it is left out
    mesh: bool = False  # the mesh of a --body-model in the page, too; mind its licence before you pass the page on

    def network(self) -> Network:
        """The network, on its device."""
        with joined(self.device) as team:
            return Network(HumorModel.load(self.checkpoint), self.precision, team.device)


Given = Annotated[MotionSettings, tyro.conf.arg(name="")]


@dataclass
class Output:
    """A folder of clips: each is written when it is made and, whatever ends the work, a page that plays them."""

    settings: MotionSettings
    bodies: Mapping[str, BodyModel]
    title: str
    written: int = 0
    shown: list[RawClip] = field(default_factory=list)

    def __enter__(self) -> "Output":
        return self

    def keep(self, name: str, state: MotionState, betas: np.ndarray, gender: str) -> RawClip | None:
        """Write a motion (frames, ...) and show it; None, and a word about it, for one that is not finite."""
        try:
            clip = clip_of(name, state, betas, gender)
        except MotionError as error:
            console.print(f"left out: {error}", markup=False)
            return None
        write_amass(self.settings.out / f"{name}.npz", clip)
        self.written += 1
        self.shown.append(clip)
        return clip

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.shown:
            return
        meshes = self.settings.mesh or self.settings.body_model is None
        page = write_page(self.settings.out / "motion.html", self.shown, self.bodies, meshes, self.title)
        console.print(
            f"wrote {self.written} clips and {page} ({page.stat().st_size / 1e6:.2f} MB) to {self.settings.out}",
            markup=False,
        )


@emulate_half_on_cpu()
def sample(settings: Given, data: Path | None = None, seconds: float = 10.0, num: int = 16, seed: int = 0) -> None:
    """Generate motion: OUT/000_... .npz and so on, in AMASS's format, and OUT/motion.html, which plays it.

    Args:
        settings: with what, and where to.
        data: store that `humor process` built, whose frames are begun at; a synthetic gait if it is left out.
        seconds: length of each, 30 frames a second.
        num: how many.
        seed: of the frames begun at and of the latents.
    """
    frames, network = _frames(seconds), settings.network()
    bodies, store = load_bodies_and_store(settings.body_model, data)
    starts = draw_starts(store, num, seed)
    generator = torch.Generator(network.device).manual_seed(seed)
    with Output(settings, bodies, "Samples") as output:
        with counted("sampling") as advance:
            for first in range(0, num, TOGETHER):
                chosen = starts[first : first + TOGETHER]
                initial = [store.states(at.clip).map(itemgetter(at.frame)) for at in chosen]
                states = generation.sample(network, MotionState.stack(initial, 0), frames - 1, generator)
                for row, at in enumerate(chosen):
                    info = store.clips[at.clip]
                    name = motion_name(first + row, info.name, at.frame)
                    output.keep(name, states.map(itemgetter(row)), store.betas[at.clip], info.gender)
                    advance(num)
        if not output.written:
            raise MotionError(f"none of {num} samples stayed finite for {seconds:g} s; train the network longer.")


@emulate_half_on_cpu()
def reconstruct(settings: Given, data: Path | None = None, seconds: float = 10.0, num: int = 16) -> None:
    """Encode and decode clips (the posterior's mean), write what comes out, and say how far it is off.

    Args:
        settings: with what, and where to.
        data: store that `humor process` built; a synthetic gait if it is left out.
        seconds: how much of each clip, from its beginning.
        num: how many clips, the store's first.
    """
    frames, network = _frames(seconds), settings.network()
    bodies, store = load_bodies_and_store(settings.body_model, data)
    rows: list[tuple[str, int, float, float]] = []
    with Output(settings, bodies, "Each clip, and its reconstruction") as output, counted("reconstructing") as advance:
        for number, info in enumerate(store.clips[:num]):
            truth = store.states(number).map(itemgetter(slice(frames)))
            betas, body = store.betas[number], bodies[info.gender]
            true = clip_of(info.name, truth, betas, info.gender)
            own, single = generation.reconstruct(network, truth)
            clip = output.keep(motion_name(number, info.name), own, betas, info.gender)
            if clip is not None:
                output.shown.insert(-1, true)
                joints = joints_of(true, body)
                step = joint_error(joints_of(clip_of("", single, betas, info.gender), body)[1:], joints[1:])
                rows.append((info.name, len(joints), step, joint_error(joints_of(clip, body), joints)))
            advance(min(num, len(store)))
    _print_errors(rows)


@emulate_half_on_cpu()
def fit(settings: Given, observations: Path) -> None:
    """Fit motion to noisy or missing joints: OUT/motion.npz, and OUT/pose.npz from before the network had its say.

    Args:
        settings: with what, and where to.
        observations: .npz with joints3d (T,22,3), metres, NaN where missing; or joints2d (T,22,3), pixels and
            confidence, with camera (fx, fy, cx, cy), rotation (3,3) and translation (3), world to camera. 30 frames a
            second, z up. It may hold noise (metres or pixels), gender, and truth (T,22,3) to compare with.
    """
    observed, network = read_observations(observations), settings.network()
    bodies = load_bodies(settings.body_model)
    task: list[TaskID] = []

    def on_step(stage: str, energy: float) -> None:
        bar.update(task[0], advance=1, description=f"{stage}: energy {energy:.5g}")

    columns = (TextColumn("{task.description}"), TextColumn("{task.completed} evaluations"), TimeElapsedColumn())
    with Output(settings, bodies, "Fitted stage by stage") as output:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task.append(bar.add_task("fitting", total=None))
            found = fit_motion(network, bodies[observed.gender], observed, on_step=on_step)
        for stage in ("pose", "motion"):
            output.keep(stage, found[stage].state(), found[stage].betas.cpu().numpy(), observed.gender)
    _print_fit(observed, {stage: fitted.joints.cpu() for stage, fitted in found.items()})


def _print_fit(observed: Observations, stages: Mapping[str, Tensor]) -> None:
    """How far what each stage found is from what was seen and, where it is known, from the truth."""
    table = Table(title="Joints", title_justify="left")
    columns = ["from what was seen, standard deviations", "from the truth, mm", "of joints not seen, mm"]
    for column in ["", *columns[: 1 if observed.truth is None else 3]]:
        table.add_column(column, justify="right" if column else "left")
    there = observed.trust > 0
    if observed.truth is not None and observed.camera is None:
        table.add_row("seen", "0.00", f"{joint_error(observed.seen[there], observed.truth[there]):.1f}", "")
    for stage, joints in stages.items():
        row = [f"{float(observed.residuals(joints)[there].square().mean().sqrt()):.2f}"]
        if observed.truth is not None:
            hidden = "" if there.all() else f"{joint_error(joints[~there], observed.truth[~there]):.1f}"
            row += [f"{joint_error(joints, observed.truth):.1f}", hidden]
        table.add_row(stage, *row)
    console.print(table, markup=False)


def _frames(seconds: float) -> int:
    if not (math.isfinite(seconds) and round(seconds * TARGET_FPS) >= 2):
        raise SettingError(f"seconds {seconds:g}: expected two frames or more, {2 / TARGET_FPS:.2g} s.")
    return round(seconds * TARGET_FPS)


def _print_errors(rows: list[tuple[str, int, float, float]]) -> None:
    if not rows:
        raise MotionError("no clip could be reconstructed; train the network longer.")
    table = Table(title="Mean joint error, mm", title_justify="left")
    table.add_column("clip")
    for column in ("frames", "one step from the truth", "going on from its own"):
        table.add_column(column, justify="right")
    frames = [row[1] for row in rows]
    means = (float(np.average([row[k] for row in rows], weights=frames)) for k in (2, 3))
    for name, count, *errors in [*rows, ("all", sum(frames), *means)]:
        table.add_row(str(name), str(count), *(f"{error:.1f}" for error in errors))
    console.print(table, markup=False)
