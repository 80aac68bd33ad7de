"""What a run works on, as the command line chose it: device, bodies, motion."""

import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

# humor is imported late throughout: the tests must be able to import it first, with its shapes checked.
if TYPE_CHECKING:
    import torch

    from humor import BodyModel
    from humor.data import Clip, MotionStore, WindowBatch


class Workload:
    """The device, bodies and clips of a run, each made once and when first asked for."""

    def __init__(self, option: Callable[[str], Any]) -> None:  # what the command line says, by the option's name
        self.device = choose_device(option("--device"), option("--require-cuda"))
        self._body_folder: Path | None = option("--body-model")
        self._motion: Path | None = option("--motion")
        self._supplied = checked_supplies(option("--fps"), option("--gender"), option("--up"))
        self.passed_over: list[str] = []  # motion files that could not be used, a sentence each
        self.body_name = str(self._body_folder or "mannequin")
        self.motion_name = str(self._motion or "synthetic gait")
        if self._body_folder or self._motion:
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
        from humor.body import BodyModel, find_bodies, read_body
        from humor.errors import SettingError
        from humor.mannequin import mannequin_arrays
        from humor.skeleton import GENDERS, SMPLH

        if self._body_folder is None:
            return {gender: mannequin_arrays(gender) for gender in GENDERS}
        arrays = {gender: read_body(file) for gender, file in find_bodies(self._body_folder).items()}
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


def choose_device(name: str | None, require_cuda: bool) -> "torch.device":
    """The device of a name, or the best one there is. Raises SettingError where it is not there."""
    import torch

    from humor.errors import SettingError

    if require_cuda and not torch.cuda.is_available():
        raise SettingError("--require-cuda: there is no CUDA device here; run on a machine that has one.")
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(f'--device "{name}" is no device; give cpu, cuda or cuda:0.') from None
    if device.type not in ("cpu", "cuda"):
        raise SettingError(f'--device "{name}" is not supported; give cpu, cuda or cuda:0.')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(f'--device "{name}": there are {torch.cuda.device_count()} CUDA devices here; give cpu.')
    if require_cuda and device.type != "cuda":
        raise SettingError(f'--require-cuda and --device "{name}" exclude each other; leave one out.')
    if device.index is not None:
        torch.cuda.set_device(device)  # what a clock waits for is the current device
    return device


def checked_supplies(fps: float | None, gender: str | None, up: str) -> dict[str, Any]:
    """What the command line says of motion files that do not say it themselves. Raises SettingError."""
    from humor.body import require_gender
    from humor.errors import SettingError

    if fps is not None and not 0 < fps <= 10_000:
        raise SettingError(f"--fps {fps:g}; give frames a second, above 0 and up to 10000.")
    if up not in ("y", "z"):
        raise SettingError(f'--up "{up}" is neither y nor z.')
    return {"fps": fps, "gender": None if gender is None else require_gender(gender), "up": up}


_WORKLOAD = pytest.StashKey[Workload]()


def workload_of(config: pytest.Config) -> Workload:
    """The run's workload; a mistake in an option ends the run with its sentence."""
    from humor import HumorError
    from humor.training.execution import require_execution

    if _WORKLOAD not in config.stash:
        try:
            config.stash[_WORKLOAD] = Workload(config.getoption)
            require_execution(config.getoption("--execution"), config.stash[_WORKLOAD].device)
        except HumorError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[_WORKLOAD]
