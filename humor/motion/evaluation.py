"""A network's errors on motion that it was not trained on, as the published code and paper measure them.

- "one step": every transition of the windows of ten from the truth before it, with a sample of the posterior: the terms
  of the loss, contact accuracy, joint errors. What the published `--eval-test` prints, whose "loss" has no KL term.
- "reconstruction": the posterior's means of the true transitions, rolled out from the first state. The published
  `--eval-recon` does so over 60 steps, for a video.
- "samples": several rollouts by the prior from the first state. The published `--eval-sampling` makes videos of 10 s.
- "truth": what the same measures say of the motion itself.

Joints are those of the posed body, never those that the network predicts. Source: the published code of Rempe et al.
2021, and for what is measured of the motion, its evaluation of fits; see `humor.motion.metrics`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..body import BodyModel
from ..data.processing import TARGET_FPS
from ..data.splits import SPLITS, split_of
from ..data.store import MotionStore
from ..errors import MotionError, SettingError
from ..losses import HumorLoss
from ..model import LATENT_SIZE
from ..posed_joints import PosedJoints, replace_joints
from ..rollout import JointInputs
from ..state import CanonicalFrame, MotionState
from ..training.seeded_noise import validation_noise
from ..training.split import split_clips
from .generation import Network, posed_joints, prepend_frame, sample
from .metrics import Means, contact_accuracies, joint_distances, plausibility, sample_measures

SplitName = Literal["test", "validation", "all"]
WINDOWS = 100  # of one step, at once
ROLLOUTS = 512  # at once; more are hardly faster
KINDS = ("truth", "one step", "reconstruction", "samples")


@dataclass(frozen=True)
class EvaluationSettings:
    """What to measure. Raises SettingError for impossible values."""

    split: SplitName = "test"  # the clips: the published test subsets, those that training validates on, or all
    seconds: float = 2.0  # length of reconstructions and samples, 30 frames a second; one begins where the last ended
    samples: int = 50  # rollouts from each first state
    seed: int = 0  # of the posterior's samples and of the prior's
    smpl_joint_inputs: bool | None = None  # feed posed joints back, as HuMoR-Qual; if left out, as trained

    def __post_init__(self) -> None:
        if not 2 / TARGET_FPS <= self.seconds < 1e6:
            raise SettingError(f"seconds {self.seconds:g}: expected two steps or more, {2 / TARGET_FPS:.2g} s.")
        for name, least in {"samples": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise SettingError(f"{name} {getattr(self, name)}: expected a whole number from {least}.")

    @property
    def steps(self) -> int:
        """Steps of a reconstruction and of a sample."""
        return round(self.seconds * TARGET_FPS)


@dataclass
class Evaluation:
    """What has been measured so far, by subset and kind of motion."""

    means: dict[tuple[str, str], Means] = field(default_factory=dict)

    def of(self, subset: str, kind: str) -> Means:
        """The means of a subset and a kind of motion, to add to."""
        return self.means.setdefault((subset, kind), Means())

    def rows(self) -> list[dict[str, str | float]]:
        """A row for each subset and kind that was measured, and for all subsets together where there are several.

        "motions" is how many windows or rollouts there were, "finite" the share of those that stayed finite, over which
        the other measures are.
        """
        measured = {key: means for key, means in self.means.items() if means.counts["finite"]}
        subsets = list(dict.fromkeys(subset for subset, _ in measured))
        whole = Evaluation()
        for (_, kind), means in measured.items():
            whole.of("all", kind).merge(means)
        found = {**measured, **(whole.means if len(subsets) > 1 else {})}
        keys = [(subset, kind) for subset in [*subsets, "all"] for kind in KINDS if (subset, kind) in found]
        return [
            {"subset": key[0] or "none", "motion": key[1], "motions": found[key].counts["finite"], **found[key].read()}
            for key in dict.fromkeys(keys)
        ]


def clips_to_evaluate(store: MotionStore, split: SplitName) -> MotionStore:
    """The clips of a split. Raises MotionError where there are none."""
    if split == "all":
        return store
    if split == "validation":
        held_out = split_clips(store).validation
        if held_out is None:
            raise MotionError("the only clip is one to train on; give --split all to evaluate on it.")
        return held_out
    chosen = store.select(lambda clip: split_of(clip.subset) == "test")
    if not len(chosen):
        raise MotionError(
            f"no clip of a test subset ({', '.join(SPLITS['test'])}) among {len(store)}; give --split validation for "
            "those that training validates on."
        )
    return chosen


def evaluate_motion(
    network: Network,
    bodies: Mapping[str, BodyModel],
    store: MotionStore,
    settings: EvaluationSettings,
    result: Evaluation,
    on_batch: Callable[[int], None] = lambda total: None,  # called after each of so many batches
) -> None:
    """Measure a network on all clips of a store, adding to the result batch by batch.

    Raises MotionError where no clip is long enough for a reconstruction.
    """
    if not (store.frames > settings.steps).any():
        raise MotionError(
            f"the longest of {len(store)} clips has {max(store.frames, default=0)} frames, and {settings.seconds:g} s "
            f"take {settings.steps + 1}; give fewer --seconds."
        )
    loss = HumorLoss(bodies).to(network.device)  # which moves the bodies there
    random = torch.Generator(network.device).manual_seed(settings.seed)
    jobs: list[Callable[[], None]] = []
    for subset in dict.fromkeys(clip.subset for clip in store.clips):
        part = store.select(lambda clip, subset=subset: clip.subset == subset)  # type: ignore[misc]
        means = {kind: result.of(subset, kind) for kind in KINDS}
        for clips, starts in part.windows_in_order(WINDOWS):
            noise = partial(validation_noise, settings.seed, len(jobs), len(clips))
            jobs.append(
                partial(_measure_transitions, network, bodies, loss, part, clips, starts, noise, means["one step"])
            )
        for clips, starts in part.windows_in_order(max(1, ROLLOUTS // settings.samples), settings.steps + 1):
            jobs.append(partial(_measure_motions, network, bodies, part, clips, starts, settings, random, means))
    for job in jobs:
        job()
        on_batch(len(jobs))


@torch.no_grad()
def _measure_transitions(
    network: Network,
    bodies: Mapping[str, BodyModel],
    loss: HumorLoss,
    store: MotionStore,
    clips: Int[np.ndarray, " B"],
    starts: Int[np.ndarray, " B"],
    noise: Callable[[], Tensor],
    means: Means,
) -> None:
    """Add the one-step errors of windows of ten transitions."""
    batch = store.batch(clips, starts).to(network.device)
    with network.running() as model:
        out = model(batch.past, batch.current, noise().to(network.device))
    _, terms = loss(out, batch.current, batch.contacts, batch.betas, batch.gender, 0)
    pose = PosedJoints(bodies, batch.betas, batch.gender)
    joints, truth = (_pose(pose, state) for state in (out.state, batch.current))
    finite = joints.isfinite().flatten(1).all(1)
    means.add(finite=finite, **joint_distances(joints[finite], truth[finite]))
    means.add(**contact_accuracies(out.contacts[finite], batch.contacts[finite]))
    kept = {name: term for name, term in terms.items() if name.endswith("_loss") and name != "kl_weighted_loss"}
    means.add(**{name: term.expand(len(batch)) for name, term in kept.items()})


@torch.no_grad()
def _measure_motions(
    network: Network,
    bodies: Mapping[str, BodyModel],
    store: MotionStore,
    clips: Int[np.ndarray, " W"],
    starts: Int[np.ndarray, " W"],
    settings: EvaluationSettings,
    random: torch.Generator,
    means: Mapping[str, Means],
) -> None:
    """Add the errors of reconstructions and samples of windows, and what the same measures say of the windows."""
    frames, count = settings.steps + 1, settings.samples
    windows = [(int(clip), slice(start, start + frames)) for clip, start in zip(clips, starts.tolist(), strict=True)]
    truth = MotionState.stack([store.states(clip).map(itemgetter(span)) for clip, span in windows], 0)
    truth = truth.map(lambda x: x.to(network.device))
    contacts = torch.stack([store.contacts(clip)[span][1:] for clip, span in windows]).to(network.device)
    genders = [store.clips[clip].gender for clip, _ in windows]
    betas = torch.from_numpy(store.betas[clips]).to(network.device)[:, None].expand(-1, frames, -1)
    pose = PosedJoints(bodies, betas, genders)
    joints = _pose(pose, truth)
    means["truth"].add(finite=torch.ones(len(windows)), **plausibility(joints))

    fed_back = partial(posed_joints, network, settings.smpl_joint_inputs, bodies, store)
    reconstructed, logits = reconstruct_windows(network, truth, fed_back(clips.tolist()))
    found = _pose(pose, reconstructed)
    finite = found.isfinite().flatten(1).all(1)
    means["reconstruction"].add(finite=finite, **joint_distances(found[finite, 1:], joints[finite, 1:]))
    means["reconstruction"].add(**contact_accuracies(logits[finite], contacts[finite]), **plausibility(found[finite]))

    first = truth.map(lambda x: x[:, 0].repeat_interleave(count, 0))
    samples = sample(network, first, settings.steps, random, fed_back(clips.repeat(count).tolist()))
    every = PosedJoints(bodies, betas.repeat_interleave(count, 0), [gender for gender in genders for _ in range(count)])
    found = _pose(every, samples).unflatten(0, (len(windows), count))
    finite = found.isfinite().flatten(2).all(2)
    whole = finite.all(1)
    means["samples"].add(finite=finite, **plausibility(found[finite]))
    means["samples"].add(**joint_distances(found[whole, :, 1:], joints[whole, None, 1:]))
    means["samples"].add(**sample_measures(found[whole, :, 1:], joints[whole, 1:]))


@torch.no_grad()
def reconstruct_windows(
    network: Network, truth: MotionState, joint_inputs: JointInputs | None = None
) -> tuple[MotionState, Float[Tensor, "W steps 9"]]:
    """Roll out windows (W, frames, ...) from their first frames by the posterior's means of their true transitions.

    Returns the windows, the first frame as it was, and the contact logits of the others. Unlike
    `generation.encode_decode`, which encodes each transition from the frame that was decoded before it.
    """
    past, current = truth.map(lambda x: x[:, :-1]), truth.map(lambda x: x[:, 1:])
    first = truth.map(lambda x: x[:, 0])
    pivot = CanonicalFrame.of(first).pivot.unsqueeze(1).expand_as(past.trans)
    frame = CanonicalFrame.of(past, pivot)
    noise = torch.zeros(*past.batch_shape, LATENT_SIZE, device=network.device)
    with network.running() as model:
        posterior = model(frame.world_to_canonical(past), frame.world_to_canonical(current), noise).posterior
        assert posterior is not None
        out = model.rollout(first, past.batch_shape[1], posterior.mean, joint_inputs=joint_inputs)
    return prepend_frame(first, out.state), out.contacts


def _pose(pose: PosedJoints, state: MotionState) -> Float[Tensor, "*batch 22 3"]:
    """The posed body's joints of states, by people numbered in the order of their flattened batch axes."""
    return replace_joints(state, pose).joints
