"""Errors of a lifting network on motion that it was not trained on, seen by one still camera at a time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..data.store import MotionStore
from ..errors import SettingError
from ..motion.evaluation import SplitName
from ..precision.presets import PrecisionName
from ..training.seeded_noise import generator
from .cameras import NOISES, NoiseName, add_detector_noise, draw_cameras, mirror, smpl_to_h36m_joints
from .inference import Lifter
from .metrics import METRICS

SHOT = 120  # frames that one camera sees; it has all of them in view
Key = tuple[str, str, str, str]  # subset, precision, noise, and whether what is lifted is the mean both ways


@dataclass(frozen=True)
class LiftingEvaluationSettings:
    """What to measure. Raises SettingError for impossible values."""

    split: SplitName = "test"  # the clips: the published test subsets, those that training validates on, or all
    clips: int | None = None  # of each subset, spread over all of its clips; default: all
    precisions: tuple[PrecisionName, ...] = ("fp32", "bf16", "fp16")  # number formats of the network
    noises: tuple[NoiseName, ...] = ("clean", "noisy")  # of the 2D joints
    seed: int = 0  # of the cameras and of the noise

    def __post_init__(self) -> None:
        for name, least in {"clips": 1, "seed": 0}.items():
            number = getattr(self, name)
            if number is not None and number < least:
                raise SettingError(f"{name} {number}: expected a whole number from {least}.")
        for name in ("precisions", "noises"):
            if not getattr(self, name):
                raise SettingError(f"{name}: none; name one or more.")


@dataclass
class LiftingErrors:
    """Sums of errors and of the frames that they are of, by subset, precision, noise and flips."""

    sums: dict[Key, dict[str, float]] = field(default_factory=dict)

    def add(self, key: Key, predicted: Float[Tensor, "frames 17 3"], target: Float[Tensor, "frames 17 3"]) -> None:
        """Add the errors of a shot. Velocities are of one frame less."""
        sums = self.sums.setdefault(key, dict.fromkeys(("frames", "steps", *METRICS), 0.0))
        counts = {"frames": len(target), "steps": len(target) - 1}
        for name, count in counts.items():
            sums[name] += count
        for name, metric in METRICS.items():
            count = counts["steps" if name == "MPJVE" else "frames"]
            sums[name] += count * float(metric(predicted, target)) if count else 0.0

    def rows(self) -> list[dict[str, str | float]]:
        """Mean errors, millimetres, a row for each key, and for several subsets their mean, each counting the same."""
        means = {key: _mean(sums) for key, sums in self.sums.items()}
        subsets = list(dict.fromkeys(subset for subset, *_ in means))
        if len(subsets) > 1:
            for key in list(dict.fromkeys(key[1:] for key in means)):
                each = [means[subset, *key] for subset in subsets if (subset, *key) in means]
                whole = {name: sum(mean[name] for mean in each) / len(each) for name in METRICS}
                means["mean of subsets", *key] = {"frames": sum(mean["frames"] for mean in each), **whole}
        names = ("subset", "precision", "noise", "flips")
        return [{**dict(zip(names, key, strict=True)), **mean} for key, mean in means.items()]


def evaluate_lifting(
    lifters: Mapping[PrecisionName, Lifter],
    store: MotionStore,
    settings: LiftingEvaluationSettings,
    errors: LiftingErrors,
    on_shot: Callable[[int], None] = lambda total: None,  # called after each of so many
) -> None:
    """Lift every frame of a store's clips, shot by shot, and add the errors with and without flips."""
    shots = list(_shots(store, settings.clips))
    for clip, frames in shots:
        joints = smpl_to_h36m_joints(store.joints(np.array([clip]), frames[None]))
        camera = draw_cameras(joints, generator((settings.seed, clip, int(frames[0]))))
        seen = camera.world_to_camera(joints)
        target, exact = (seen - seen[:, :, :1])[0], camera.project(seen)
        for noise in settings.noises:
            random = generator((settings.seed, clip, int(frames[0]), list(NOISES).index(noise)))
            points = add_detector_noise(exact, NOISES[noise], random)[0]
            for precision, lifter in lifters.items():
                one_way = lifter.lift_clip(points, False)
                other = mirror(lifter.lift_clip(mirror(points), False))
                subset = store.clips[clip].subset or "no subset"
                errors.add((subset, precision, noise, "no"), one_way, target)
                errors.add((subset, precision, noise, "yes"), (one_way + other) / 2, target)
        on_shot(len(shots))


def _shots(store: MotionStore, most: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of each shot, by the number of its clip."""
    by_subset: dict[str, list[int]] = {}
    for number, clip in enumerate(store.clips):
        by_subset.setdefault(clip.subset, []).append(number)
    for numbers in by_subset.values():
        count = min(most or len(numbers), len(numbers))
        for number in (numbers[index * len(numbers) // count] for index in range(count)):
            frames = int(store.frames[number])
            for part in np.array_split(np.arange(frames), -(-frames // SHOT)):
                yield number, part


def _mean(sums: Mapping[str, float]) -> dict[str, float]:
    counts = {name: max(sums["steps" if name == "MPJVE" else "frames"], 1.0) for name in METRICS}
    return {"frames": sums["frames"], **{name: sums[name] / counts[name] for name in METRICS}}
