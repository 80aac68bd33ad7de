"""The commands that train a network and hand it on: train and export."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..body import BodyModel
from ..data.loading import load_bodies_and_store, require_bodies
from ..io.checkpoints import save_checkpoint
from ..lifting.cameras import NoiseName
from ..lifting.recipes import RecipeName
from ..precision.cpu_half_emulation import emulate_half_on_cpu
from ..training.distributed import process_group
from ..training.settings import TrainSettings
from ..training.split import Split, split_clips
from .terminal import console


def train(
    out: Path,
    data: Path | None = None,
    model: Literal["humor", "poseformer", "poseformer-v2"] = "humor",
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = TrainSettings(),  # noqa: B008  frozen
    frames: int = 81,
    kept_frames: int | None = None,
    coefficients: int | None = None,
    noise: NoiseName = "noisy",
    recipe: RecipeName = "published",
    subsets: tuple[str, ...] = (),
    body_model: Path | None = None,
    device: str | None = None,
) -> None:
    """Train a network; `torchrun --nproc-per-node N -m humor train ...` trains on N devices.

    The same command given again continues a run that was stopped, however it was stopped.

    Args:
        out: folder of the run: checkpoints (last.pt, best.pt), steps.csv, epochs.csv, times.csv, tensorboard.
        data: motion store that `humor process` built; a synthetic gait if left out.
        model: the motion model, or a network that lifts 2D joints, as random cameras show them, to 3D.
        settings: the schedule of the training.
        frames: number of frames that a lifting network sees at once; odd.
        kept_frames: number of frames in the middle for which PoseFormerV2 has tokens; a ninth of all if left out, as in
            the released networks of 27, 81 and 243 frames.
        coefficients: number of cosine coefficients for which PoseFormerV2 has tokens; a ninth of the frames if left
            out.
        noise: added to the 2D joints that a lifting network is trained on.
        recipe: of a lifting network: the published one (AdamW with weight decay, a learning rate that falls by 1 % an
            epoch, stochastic depth, flips; its batches are 512 windows for poseformer and 1024 for poseformer-v2), or
            the motion model's Adamax without these.
        subsets: train on these subsets only, e.g. CMU as in the study; those of the published split if left out.
        body_model: folder of SMPL+H or SMPL files of the genders that the motion has; mannequins if left out.
        device: cpu, cuda or cuda:N; cuda if there is one.
    """
    from ..lifting.training import LiftingSettings, LiftingTask
    from ..training.loop import Trainer
    from ..training.task import MotionTask

    # A compiled step asks its compiler for half precision.
    emulation = emulate_half_on_cpu() if settings.execution == "eager" else nullcontext()
    with process_group(device) as team, emulation:
        split, bodies = load_split_and_bodies(data, subsets, body_model, not team.is_main)
        if model == "humor":
            Trainer(MotionTask(settings, split, bodies, team), out, console).run()
        else:
            lifting = LiftingSettings(
                **vars(settings),
                model=model,
                frames=frames,
                kept_frames=kept_frames,
                coefficients=coefficients,
                noise=noise,
                recipe=recipe,
            )
            Trainer(LiftingTask(lifting, split, team), out, console).run()


def export(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint of HuMoR as the published code saves its own, whose `load_state` then reads it.

    Args:
        checkpoint: a run's last.pt, which holds the optimizer's state, or best.pt, or any other of width 1.
        out: file to write, e.g. humor.pth.
    """
    from ..training.checkpoint_exchange import published_checkpoint

    content = published_checkpoint(checkpoint)
    save_checkpoint(content, out)
    optimizer = "the optimizer's state" if content["optim"]["state"] else "no optimizer's state, for it has none"
    console.print(f"wrote {out}: the weights of {checkpoint}, epoch {content['epoch']}, and {optimizer}", markup=False)


def load_split_and_bodies(
    data: Path | None, subsets: Sequence[str], body_model: Path | None, quiet: bool = False
) -> tuple[Split, dict[str, BodyModel]]:
    """Load a store, or synthetic gaits where none is given, split for training; prints which unless `quiet`."""
    bodies, store = load_bodies_and_store(body_model, data)
    split = split_clips(store, subsets)
    used = [part for part in (split.train, split.validation) if part is not None]
    require_bodies(bodies, (clip.gender for part in used for clip in part.clips), body_model)
    if not quiet:
        console.print(f"{data or 'synthetic gait'}: {split.rule}", markup=False)
    return split, bodies
