"""What a run works on, as the command line chose it: device, bodies, motion."""

import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from .harness.quantities import file_path

# humor is imported late throughout: the tests must be able to import it first, with its shapes checked.
if TYPE_CHECKING:
    import torch

    from humor import BodyModel
    from humor.data import Clip, MotionStore, WindowBatch


OPTIONS = ("--body-model", "--motion", "--fps", "--gender", "--up", "--execution")  # that a workload is made of


def add_options(parser: pytest.Parser) -> None:
    """Add OPTIONS to the command line."""
    group = parser.getgroup("humor-bench", "humor-bench: bodies and motion")
    group.addoption(
        "--body-model", type=file_path, metavar="DIR", help="SMPL+H files, male and female (default: a mannequin)"
    )
    group.addoption(
        "--motion", type=file_path, metavar="PATH", help="AMASS .npz file or folder (default: a synthetic gait)"
    )
    group.addoption("--fps", type=float, help="frame rate of motion files that hold none")
    group.addoption("--gender", help="male, female or neutral, for motion files that hold none")
    group.addoption("--up", default="z", help="y or z: the axis that points up in the motion files (default: z)")
    group.addoption(
        "--execution",
        default="eager",
        choices=["eager", "compile", "cuda-graph"],
        help="how train step, sampling, rollout and fit run (default: eager)",
    )


class Workload:
    """The device, bodies and clips of a run, each made once and when first asked for."""

    def __init__(self, option: Callable[[str], Any], device: "torch.device") -> None:
        self.device, self.execution = device, option("--execution")
        self._body_folder, self._motion = (
            None if (given := option(name)) is None else Path(given) for name in ("--body-model", "--motion")
        )
        self._supplied = checked_supplies(option("--fps"), option("--gender"), option("--up"))
        self.passed_over: list[str] = []  # motion files that could not be used, a sentence each
        self.body_name = str(self._body_folder or "mannequin")
        self.motion_name = str(self._motion or "synthetic gait")
        if self._body_folder is not None or self._motion is not None:
            self.check()

    def check(self) -> None:
        """Raise HumorError for what the user gave and cannot be used, before anything runs."""
        from humor.data import evaluation_windows
        from humor.errors import SettingError

        if not evaluation_windows(self.clips):
            raise SettingError(f"{self.motion_name}: no clip has the 11 frames of a window; give longer motion.")

    @cached_property
    def body_arrays(self) -> "dict[str, dict[str, np.ndarray[Any, Any]]]":
        """The arrays of each gender's body file."""
        from humor.body import BodyModel, read_body
        from humor.errors import SettingError
        from humor.io.body_files import find_bodies
        from humor.mannequin import mannequin_arrays
        from humor.skeleton import AMASS_GENDERS, GENDERS, SMPLH

        if self._body_folder is None:
            return {gender: mannequin_arrays(gender) for gender in GENDERS}
        arrays = {
            gender: read_body(file) for gender, file in find_bodies(self._body_folder, wanted=AMASS_GENDERS).items()
        }
        for gender, body in arrays.items():
            BodyModel(body, f"--body-model: {gender} body")  # says what is wrong with it
            if len(body["J_regressor"]) != len(SMPLH):
                raise SettingError(
                    f"--body-model: the {gender} body is SMPL, but benchmarks compare with smplx's SMPL+H; give that."
                )
        return arrays

    @cached_property
    def bodies(self) -> "dict[str, BodyModel]":
        """A body for each gender, on the CPU."""
        from humor import BodyModel

        return {gender: BodyModel(arrays, f"{gender} body") for gender, arrays in self.body_arrays.items()}

    @cached_property
    def clips(self) -> "list[Clip]":
        """The processed motion."""
        from humor.data import load_clips, synthetic_motion

        if self._motion is None:
            return synthetic_motion(self.bodies)
        return load_clips(self._motion, self.bodies, **self._supplied, on_problem=self.passed_over.append)

    @cached_property
    def suits_published_loss(self) -> bool:
        """Whether the published loss has a body for every gender of the motion, as it has for the default motion."""
        from humor.skeleton import AMASS_GENDERS

        return self._motion is None or {clip.gender for clip in self.clips} <= set(AMASS_GENDERS)

    def make_batch(self, windows: int, seed: int = 0) -> "WindowBatch":
        """A batch of windows drawn from the motion."""
        from humor.data import WindowSampler

        return WindowSampler(self._store, windows, seed).batch(0, 0)

    @cached_property
    def _store(self) -> "MotionStore":
        from humor.data import MotionStore

        return MotionStore.in_memory(self.clips)

    @cached_property
    def stored_motion(self) -> Path:
        """A folder with the motion as a store, and a processed file for each clip beside it."""
        from humor.data.clip_files import write_processed
        from humor.data.preprocess import CLIPS_FOLDER, build_store

        self._folder = tempfile.TemporaryDirectory(prefix="humor-bench-")  # as long as this object
        folder = Path(self._folder.name)
        for number, clip in enumerate(self.clips):
            write_processed(folder / CLIPS_FOLDER / f"{number:05}.npz", clip)
        build_store(folder)
        return folder


def checked_supplies(fps: float | None, gender: str | None, up: str) -> dict[str, Any]:
    """What the command line says of motion files that do not say it themselves. Raises SettingError."""
    from humor.body import require_gender
    from humor.errors import SettingError

    if fps is not None and not 0 < fps <= 10_000:
        raise SettingError(f"--fps {fps:g}; give frames a second, above 0 and up to 10000.")
    if up not in ("y", "z"):
        raise SettingError(f'--up "{up}" is neither y nor z.')
    return {"fps": fps, "gender": None if gender is None else require_gender(gender), "up": up}


def make_workload(option: Callable[[str], Any], device: "torch.device") -> Workload:
    """The workload that the options ask for. Raises UsageError for a mistake in one of them."""
    from humor import HumorError
    from humor.training.execution import require_execution

    try:
        require_execution(option("--execution"), device)
        return Workload(option, device)
    except HumorError as error:
        raise pytest.UsageError(str(error)) from error
