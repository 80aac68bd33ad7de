"""The command that fits motion to observations."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from ..body import BodyModel
from ..data.loading import load_bodies, require_bodies
from ..data.processing import TARGET_FPS
from ..data.store import MotionStore
from ..errors import FileError, SettingError
from ..io.files import whole_file, write_whole
from ..motion.fit_result import FitResult, estimate_floor, stand_on_floor
from ..motion.fit_stages import Stage, default_stages, make_published_stages
from ..motion.fitting import fit as fit_motion
from ..motion.generation import Network, joint_error
from ..motion.motion_priors import MotionPriors
from ..motion.observation_files import VideoSettings, read_observations
from ..motion.observations import Observations
from ..precision.cpu_half_emulation import emulate_half_on_cpu
from .motion import MotionOptions, OutputFolder
from .terminal import console, print_table

PAGE_STAGES = ("pose", "motion")


@dataclass(frozen=True)
class StageError:
    """How far the joints of a stage are from what was observed and, where it is known, from the truth."""

    observed: float | None  # root mean square, standard deviations; None where no joint is observed
    truth_mm: float | None = None  # mean over all joints
    seen_mm: float | None = None  # mean over those observed
    hidden_mm: float | None = None  # mean over the others


@emulate_half_on_cpu()
def fit(
    settings: MotionOptions,
    observations: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH...")],
    stages: Literal["default", "published"] = "default",
    gender: Literal["female", "male", "neutral"] | None = None,
    focal: float | None = None,
    centre: tuple[float, float] | None = None,
    fps: float | None = None,
    data: Path | None = None,
) -> None:
    """Fit motion to noisy or missing observations: OUT/motion.npz, in AMASS's format, and OUT/motion.html plays it.

    OUT/pose.npz is the stage before the motion prior, OUT/fit.npz has contacts (frames, 9: probabilities) and the floor
    (tilt about x and y, radians, and height, metres), OUT/fit.json the errors of each stage. Of several files, each has
    a folder of its own in OUT, and those that are there are left as they are. Where the camera's place is unknown, the
    motion is written over a level floor at z = 0, and the floor is that of a world whose origin is the camera, which
    looks along y.

    Args:
        settings: the network to use and the folder to write to.
        observations: .npz files with one or several of joints3d (T,22,3), keypoints3d (T,43,3) and points3d (T,P,3),
            metres, NaN where missing, and joints2d (T,22,3), pixels and confidence, with camera (fx, fy, cx, cy) and,
            where they are known, rotation (3,3) and translation (3), world to camera; z up. They may hold noise,
            gender, fps, and truth (T,22,3) to compare with. Or folders of OpenPose's .json files (BODY_25).
        stages: the stages and weights: ours, or the published ones, whose last stage is a rollout, and slow.
        gender: of the body; that of the file, or neutral, if left out.
        focal: focal length in pixels, of OpenPose's folders.
        centre: of the image in pixels; the middle of all keypoints if left out.
        fps: frames a second, where the file does not say or is wrong; other rates than 30 are resampled.
        data: motion store that `humor process` built, to learn from which poses and first states are likely; poses near
            rest if left out.
    """
    files = _find_inputs(observations)
    network, bodies = settings.network(), load_bodies(settings.body_model)
    priors = None if data is None else _fit_priors(data)
    for path, name in files.items():
        out = settings.out if len(files) == 1 else settings.out / name
        if len(files) > 1 and (out / "fit.json").is_file():
            console.print(f"{out}: is there already", markup=False)
            continue
        observed = read_observations(path, VideoSettings(focal, centre, fps))
        if gender is not None:
            observed = replace(observed, gender=gender)
        require_bodies(bodies, [observed.gender], settings.body_model)
        if observed.given_fps != TARGET_FPS:
            console.print(f"{path}: {observed.given_fps:g} frames a second, resampled to {TARGET_FPS}.", markup=False)
        learned = priors is not None
        make = default_stages if stages == "default" else make_published_stages
        table = make(observed, learned)
        with OutputFolder(replace(settings, out=out), bodies, "Fitted stage by stage") as output:
            results = _fit_one(network, bodies[observed.gender], observed, table, name, output, priors)
        write_results(out, observed, results)


def _fit_priors(store: Path) -> MotionPriors:
    priors = MotionPriors.fit(MotionStore.open(store))
    poses, first = (len(each.means) for each in (priors.poses, priors.first_states))
    text = (
        f"{store}: mixtures of {poses} normals over poses and {first} over first states, from {priors.frames} frames."
    )
    console.print(text, markup=False)
    return priors


def _fit_one(
    network: Network,
    body: BodyModel,
    observed: Observations,
    stages: Mapping[str, Stage],
    name: str,
    output: OutputFolder,
    priors: MotionPriors | None,
) -> dict[str, FitResult]:
    """Fit one motion; each stage is written when it is there, so that an interrupted fit leaves the stages before."""
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed} evaluations"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("fitting", total=None)

        def note(stage: str, energy: float) -> None:
            bar.update(task, advance=1, description=f"{name}: {stage}: energy {energy:.5g}")

        def write(stage: str, result: FitResult) -> None:
            if stage not in PAGE_STAGES:
                return
            if not observed.floor_known:
                floor = estimate_floor(result) if result.contacts is None else result.floor
                result = stand_on_floor(body, result, floor)
            output.write(stage, result.state(), result.betas.cpu().numpy(), observed.gender)

        return fit_motion(network, body, observed, stages, note, write, priors)


def _find_inputs(paths: tuple[Path, ...]) -> dict[Path, str]:
    """Every file and folder to fit, with a name of its own. Raises FileError and SettingError."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not any(path.glob("*.json")):
            inside = sorted(
                each for each in path.iterdir() if each.suffix == ".npz" or (each.is_dir() and any(each.glob("*.json")))
            )
            if not inside:
                raise FileError(f"{path}: neither .npz files nor OpenPose's .json files; expected observations.")
            found += inside
        else:
            found.append(path)
    if not found:
        raise SettingError("no observations; give files or folders.")
    names = [path.stem if path.suffix == ".npz" else path.resolve().name for path in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingError(f"two observations are called {twice}; rename one, since each has a folder of its name.")
    return dict(zip(found, names, strict=True))


def write_results(out: Path, observed: Observations, results: dict[str, FitResult]) -> None:
    """Write contacts, floor and errors, and print the errors."""
    last = results["motion"]
    arrays = {"floor": last.floor.cpu().numpy()}
    if last.contacts is not None:
        arrays["contacts"] = last.contacts.cpu().numpy().astype(np.float32)
    with whole_file(out / "fit.npz") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    errors = {stage: _compute_error(observed, result) for stage, result in results.items()}
    report = {"kind": "fit", "stages": {stage: vars(error) for stage, error in errors.items()}}
    write_whole(out / "fit.json", json.dumps(report, indent=1).encode())
    _print_errors(observed, errors)


@torch.no_grad()
def _compute_error(observed: Observations, result: FitResult) -> StageError:
    joints, part = result.joints.cpu(), next((part for part in observed.parts if part.kind == "joints"), None)
    away = None
    if part is not None:
        away = float(part.residuals(joints)[part.confidence > 0].square().mean().sqrt())
    if observed.truth is None:
        return StageError(away)
    seen = observed.seen > 0
    of = {"seen": seen, "hidden": ~seen}
    found = {name: joint_error(joints[at], observed.truth[at]) if at.any() else None for name, at in of.items()}
    return StageError(away, joint_error(joints, observed.truth), found["seen"], found["hidden"])


def _print_errors(observed: Observations, errors: dict[str, StageError]) -> None:
    """A row for the observations where they are in space, and one for each stage."""
    columns = ["", "from the observations, standard deviations", "from the truth, mm", "observed joints", "the others"]
    rows = []
    there = observed.confidence > 0
    if observed.truth is not None and observed.kind == "joints" and observed.camera is None:
        error = joint_error(observed.joints[there], observed.truth[there])
        rows.append(["observed", "0.00", f"{error:.1f}", f"{error:.1f}", ""])
    for stage, of in errors.items():
        distances = (of.truth_mm, of.seen_mm, of.hidden_mm)
        rows.append(
            [
                stage,
                "" if of.observed is None else f"{of.observed:.2f}",
                *("" if x is None else f"{x:.1f}" for x in distances),
            ]
        )
    count = 2 if observed.truth is None else len(columns)
    print_table("Joints", columns[:count], [row[:count] for row in rows])
