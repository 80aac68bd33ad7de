"""The commands that use a lifting network: lift and evaluate lifting."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from ..data.loading import load_bodies_and_store
from ..io.files import create_folder, write_whole
from ..lifting.cameras import JOINT_NAMES, PARENTS
from ..lifting.detections import Detections, read_detections
from ..lifting.evaluation import LiftingErrors, LiftingEvaluationSettings, evaluate_lifting
from ..lifting.inference import Lifter, load_network
from ..lifting.metrics import METRICS
from ..motion.evaluation import clips_to_evaluate
from ..motion.page import write_joints_page
from ..precision.cpu_half_emulation import emulate_half_on_cpu
from ..precision.presets import PrecisionName
from ..training.distributed import process_group
from ..training.progress import progress_bar
from .terminal import console, print_table, table_csv


@emulate_half_on_cpu()
def lift(
    checkpoint: Path,
    joints2d: Path,
    out: Path,
    image_size: tuple[int, int] | None = None,
    fps: float | None = None,
    frames: int | None = None,
    flips: bool = True,
    precision: PrecisionName = "fp32",
    device: str | None = None,
) -> None:
    """Lift a video's 2D joints to 3D: OUT/joints3d.npz, metres from the pelvis, and OUT/lifted.html, which plays them.

    Joints that were not detected are interpolated over time.

    Args:
        checkpoint: weights of PoseFormer or PoseFormerV2: a run's best.pt, or released ones.
        joints2d: an .npz with "joints2d" (frames, 17, 2) in pixels or (frames, 17, 3) with confidences, in Human3.6M's
            order; or OpenPose's folder of JSON files (BODY_25).
        out: folder to write to.
        image_size: width and height of the images, pixels; the .npz's "image_size" if left out.
        fps: frames a second; the .npz's "fps", or 30, if left out. Networks trained here know 30, released ones 50.
        frames: that PoseFormerV2 sees at once, which no weight says; the run's, or the released ones', if left out.
        flips: take the mean of what the network sees in the video and in its mirror image.
        precision: number format of the network.
        device: cpu, cuda or cuda:N; cuda if there is one.
    """
    network, seen = load_network(checkpoint, frames), read_detections(joints2d, image_size, fps)
    create_folder(out)
    with process_group(device) as team, progress_bar("lifting") as advance:
        joints = Lifter(network, precision, team.device).lift_clip(seen.points, flips, advance)
    _write_joints(out / "joints3d.npz", joints, seen)
    # In the page z is up, y away from the camera, and the lowest joint on the floor.
    world = joints[..., [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])
    world[..., 2] -= world[..., 2].min()
    write_joints_page(out / "lifted.html", joints2d.name, world.numpy(), PARENTS, seen.fps, "Lifted joints")
    missing = float((~seen.detected).float().mean())
    console.print(
        f"lifted {len(joints)} frames ({100 * missing:.1f} % of joints interpolated); "
        f"wrote joints3d.npz and lifted.html to {out}",
        markup=False,
    )


def _write_joints(path: Path, joints: torch.Tensor, seen: Detections) -> None:
    """Write joints, which of them were detected, and the names of joints and of the frames' files."""
    content = io.BytesIO()
    np.savez(
        content,
        joints3d=joints.numpy(),
        detected=seen.detected.numpy(),
        fps=np.array(seen.fps),
        names=np.array(JOINT_NAMES),
        files=np.array(seen.names, dtype=str),
    )
    write_whole(path, content.getvalue())


@emulate_half_on_cpu()
def evaluate_lifting_network(
    checkpoint: Path,
    out: Path,
    data: Path | None = None,
    settings: Annotated[LiftingEvaluationSettings, tyro.conf.arg(name="")] = LiftingEvaluationSettings(),  # noqa: B008  frozen
    frames: int | None = None,
    device: str | None = None,
) -> None:
    """Measure PoseFormer or PoseFormerV2 on held-out motion that still cameras see: four errors; OUT/lifting.csv.

    One that is stopped shows and writes what it has measured.

    Args:
        checkpoint: weights of the network: a run's best.pt, or released ones.
        out: folder to write to.
        data: motion store that `humor process` built; a synthetic gait, which has no test subset, if left out.
        settings: what to measure.
        frames: that PoseFormerV2 sees at once, which no weight says; the run's, or the released ones', if left out.
        device: cpu, cuda or cuda:N; cuda if there is one.
    """
    store = clips_to_evaluate(load_bodies_and_store(None, data)[1], settings.split)
    with process_group(device) as team:
        lifters = {name: Lifter(load_network(checkpoint, frames), name, team.device) for name in settings.precisions}
    create_folder(out)
    errors = LiftingErrors()
    try:
        with progress_bar("evaluating") as advance:
            evaluate_lifting(lifters, store, settings, errors, advance)
    finally:
        rows = errors.rows()
        if rows:
            _print_errors(rows)
            write_whole(out / "lifting.csv", table_csv(rows))
            console.print(f"wrote {out}/lifting.csv", markup=False)


def _print_errors(rows: Sequence[dict[str, str | float]]) -> None:
    names = ("subset", "precision", "noise", "flips")
    cells = [
        (*(row[name] for name in names), f"{row['frames']:.0f}", *(f"{row[name]:.1f}" for name in METRICS))
        for row in rows
    ]
    print_table("Mean joint errors, mm; MPJVE mm a frame", (*names, "frames", *METRICS), cells, left=names)
