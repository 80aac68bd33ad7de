"""The commands that make motion with a trained network: sample and reconstruct."""

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
from jaxtyping import Float
from torch import Tensor

from ..body import BodyModel
from ..data.amass import RawClip, write_amass
from ..data.loading import load_bodies_and_store, require_bodies
from ..data.processing import TARGET_FPS
from ..errors import MotionError, SettingError
from ..io.files import create_folder
from ..model import HumorModel
from ..motion import generation
from ..motion.generation import Network, clip_of, draw_starts, joint_error, joints_of, motion_name, posed_joints
from ..motion.metrics import PELVIS, TOES, find_standing, sliding_speeds
from ..motion.page import write_page
from ..precision.cpu_half_emulation import emulate_half_on_cpu
from ..precision.presets import PrecisionName
from ..state import MotionState
from ..training.distributed import process_group
from ..training.progress import progress_bar
from .terminal import console, print_table

STANDING_AFTER = (1, 2, 5, 10)  # seconds
ROLLOUT_BATCH = 16  # a step of so many takes hardly longer than a step of one


@dataclass(frozen=True)
class NetworkSettings:
    """The options of every command that uses a trained motion model."""

    checkpoint: Path  # weights of the network: a run's best.pt, or the released ones
    out: Path  # folder to write to
    precision: PrecisionName = "fp32"  # number format of the network
    device: str | None = None  # cpu, cuda or cuda:N; cuda if there is one
    body_model: Path | None = (
        None  # folder of SMPL+H or SMPL files of the genders that the motion has; mannequins if left out
    )

    def network(self) -> Network:
        """Load the network to its device. Raises CheckpointError and SettingError."""
        with process_group(self.device) as team:
            return Network(HumorModel.load(self.checkpoint), self.precision, team.device)


@dataclass(frozen=True)
class MotionSettings(NetworkSettings):
    """The options of every command that makes motion."""

    mesh: bool = False  # also put the mesh of a --body-model into the page; mind its licence before you share the page


MotionOptions = Annotated[MotionSettings, tyro.conf.arg(name="")]


@dataclass
class OutputFolder:
    """A folder of clips: each is written when it is made, and at the end, even of a failure, a page that plays them."""

    settings: MotionSettings
    bodies: Mapping[str, BodyModel]
    title: str
    written: int = 0
    shown: list[RawClip] = field(default_factory=list)

    def __enter__(self) -> "OutputFolder":
        create_folder(self.settings.out)  # so that a folder that cannot be written fails before the work
        return self

    def write(self, name: str, state: MotionState, betas: np.ndarray, gender: str) -> RawClip | None:
        """Write a motion (frames, ...) and add it to the page; None, and a message, for one that is not finite."""
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
def sample(
    settings: MotionOptions,
    data: Path | None = None,
    seconds: float = 10.0,
    num: int = 16,
    seed: int = 0,
    smpl_joint_inputs: bool | None = None,
) -> None:
    """Generate motion: OUT/000_... .npz and so on, in AMASS's format, and OUT/motion.html, which plays it.

    Args:
        settings: the network to use and the folder to write to.
        data: motion store that `humor process` built, to draw the first frames from; a synthetic gait if left out.
        seconds: length of each motion, 30 frames a second.
        num: number of motions.
        seed: of the first frames and of the latents.
        smpl_joint_inputs: feed the posed body's joints back, as HuMoR-Qual; if left out, as the checkpoint was trained,
            which the released ones do not say.
    """
    frames, network = _frames(seconds), settings.network()
    bodies, store = load_bodies_and_store(settings.body_model, data)
    starts = draw_starts(store, num, seed)
    require_bodies(bodies, (store.clips[at.clip].gender for at in starts), settings.body_model)
    generator = torch.Generator(network.device).manual_seed(seed)
    sampled: list[Tensor] = []
    with OutputFolder(settings, bodies, "Samples") as output:
        with progress_bar("sampling") as advance:
            for first in range(0, num, ROLLOUT_BATCH):
                chosen = starts[first : first + ROLLOUT_BATCH]
                initial = [store.states(at.clip).map(itemgetter(at.frame)) for at in chosen]
                posed = posed_joints(network, smpl_joint_inputs, bodies, store, [at.clip for at in chosen])
                states = generation.sample(network, MotionState.stack(initial, 0), frames - 1, generator, posed)
                for row, at in enumerate(chosen):
                    info = store.clips[at.clip]
                    name = motion_name(first + row, info.name, at.frame)
                    clip = output.write(name, states.map(itemgetter(row)), store.betas[at.clip], info.gender)
                    if clip is not None:
                        sampled.append(joints_of(clip, bodies[info.gender]))
                    advance(num)
        if not sampled:
            raise MotionError(f"none of {num} samples stayed finite for {seconds:g} s; train the network longer.")
        _print_standing(torch.stack(sampled), num)


@emulate_half_on_cpu()
def reconstruct(
    settings: MotionOptions,
    data: Path | None = None,
    seconds: float = 10.0,
    num: int = 16,
    smpl_joint_inputs: bool | None = None,
) -> None:
    """Encode and decode clips (the posterior's mean), write the reconstructions, and print their errors.

    Args:
        settings: the network to use and the folder to write to.
        data: motion store that `humor process` built; a synthetic gait if left out.
        seconds: length to reconstruct, from the start of each clip.
        num: number of clips, the first of the store.
        smpl_joint_inputs: feed the posed body's joints back, as HuMoR-Qual; if left out, as the checkpoint was trained,
            which the released ones do not say.
    """
    frames, network = _frames(seconds), settings.network()
    bodies, store = load_bodies_and_store(settings.body_model, data)
    require_bodies(bodies, (clip.gender for clip in store.clips[:num]), settings.body_model)
    rows: list[tuple[str, int, float, float]] = []
    with (
        OutputFolder(settings, bodies, "Each clip, and its reconstruction") as output,
        progress_bar("reconstructing") as advance,
    ):
        for number, info in enumerate(store.clips[:num]):
            truth = store.states(number).map(itemgetter(slice(frames)))
            betas, body = store.betas[number], bodies[info.gender]
            true_clip = clip_of(info.name, truth, betas, info.gender)
            posed = posed_joints(network, smpl_joint_inputs, bodies, store, [number])
            rolled_out, stepped = generation.reconstruct(network, truth, posed)
            clip = output.write(motion_name(number, info.name), rolled_out, betas, info.gender)
            if clip is not None:
                output.shown.insert(-1, true_clip)
                joints = joints_of(true_clip, body)
                step = joint_error(joints_of(clip_of("", stepped, betas, info.gender), body)[1:], joints[1:])
                rows.append((info.name, len(joints), step, joint_error(joints_of(clip, body), joints)))
            advance(min(num, len(store)))
    _print_errors(rows)


def _print_standing(joints: Float[Tensor, "N T 22 3"], count: int) -> None:
    """How many of `count` samples still stand after some seconds, of those that began standing, and how they move.

    What slides are toes on the floor; it and the lower toe's height are means since the row before.
    """
    standing = find_standing(joints)
    begun = int(standing[:, 0].sum()) + count - len(joints)  # those that did not stay finite have fallen
    stood = standing[standing[:, 0]].cummin(1).values
    fps, length = int(TARGET_FPS), joints.shape[1]
    ends: dict[float, int] = {after: min(after * fps, length - 1) for after in STANDING_AFTER if after * fps <= length}
    ends = ends or {round(length / fps, 2): length - 1}
    rows = []
    for (after, last), first in zip(ends.items(), [0, *ends.values()], strict=False):
        part = joints[:, first : last + 1]
        moved = torch.linalg.vector_norm(part[:, -1, PELVIS, :2] - joints[:, 0, PELVIS, :2], dim=-1).mean()
        slide, toe = 100 * sliding_speeds(part).mean(), 100 * part[..., TOES, 2].amin(-1).mean()
        share = 100 * int(stood[:, last].sum()) / max(begun, 1)
        rows.append((f"{after:g} s", f"{share:.0f} %", *(f"{float(x):.1f}" for x in (slide, moved, toe))))
    columns = ("until", "still stand", "toes slide, cm/s", "moved, m", "lower toe at, cm")
    print_table(f"{count} samples, {begun} of which begin standing", columns, rows)


def _frames(seconds: float) -> int:
    if not (math.isfinite(seconds) and round(seconds * TARGET_FPS) >= 2):
        raise SettingError(f"seconds {seconds:g}: expected two frames or more, {2 / TARGET_FPS:.2g} s.")
    return round(seconds * TARGET_FPS)


def _print_errors(rows: list[tuple[str, int, float, float]]) -> None:
    """A row for each clip, and their mean by frames."""
    if not rows:
        raise MotionError("no clip could be reconstructed; train the network longer.")
    frames = [row[1] for row in rows]
    means = [float(np.average([row[k] for row in rows], weights=frames)) for k in (2, 3)]
    columns = ("clip", "frames", "one step from the truth", "from its reconstruction")
    cells = [
        (name, count, *(f"{error:.1f}" for error in errors))
        for name, count, *errors in [*rows, ("all", sum(frames), *means)]
    ]
    print_table("Mean joint error, mm", columns, cells, left=("clip",))
