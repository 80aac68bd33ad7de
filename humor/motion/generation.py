"""Motion from a trained network: sampled from real first states, or encoded and decoded again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter, methodcaller
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..body import BodyModel
from ..data.amass import POSE_WIDTH, RawClip
from ..data.processing import TARGET_FPS
from ..data.store import MotionStore
from ..errors import MotionError, SettingError
from ..model import LATENT_SIZE, HumorModel
from ..posed_joints import PosedJoints, replace_joints
from ..precision.presets import Precision
from ..rollout import JointInputs
from ..rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ..skeleton import NUM_BODY_JOINTS
from ..state import CanonicalFrame, MotionState


class Network:
    """A trained network on a device, computing in a precision. Raises SettingError where the device lacks it."""

    def __init__(self, model: HumorModel, precision: str = "fp32", device: torch.device | str = "cpu") -> None:
        self.device, self._precision = torch.device(device), Precision(precision)
        self._precision.require(self.device)
        self.model = model.to(self.device).requires_grad_(False)
        self._half_weights = self._precision.half_weights(self.model)

    @property
    def scaled(self) -> bool:
        """Whether gradients through the network have float16's small range."""
        return self._precision.preset.scaled

    @contextmanager
    def running(self) -> Iterator[HumorModel]:
        """Yield the network, computing in its precision; gradients pass through it but not into its weights."""
        with self._precision.autocast_scope(self.device), self._half_weights.active():
            yield self.model


@dataclass(frozen=True)
class Start:
    """A frame of a clip for a motion to start from."""

    clip: int  # number in the store
    frame: int


def draw_starts(store: MotionStore, count: int, seed: int) -> list[Start]:
    """Draw frames to start from: a clip uniformly, then a frame of it uniformly.

    A smaller count gives the first of a larger one. Raises SettingError and MotionError.
    """
    if count < 1 or seed < 0:
        raise SettingError(f"num {count}, seed {seed}: expected whole numbers, num from 1 and seed from 0.")
    if not len(store):
        raise MotionError("the store holds no clips; add some with humor process.")
    random = np.random.default_rng(seed)
    clips = [(int(random.integers(len(store))), float(random.random())) for _ in range(count)]
    return [Start(clip, int(share * int(store.frames[clip]))) for clip, share in clips]


def posed_joints(
    network: Network,
    smpl_joint_inputs: bool | None,  # None: as the network's checkpoint was trained
    bodies: Mapping[str, BodyModel],
    store: MotionStore,
    clips: Sequence[int],
) -> PosedJoints | None:
    """The joints to feed back in motions of the people of these clips, or None where the network's own are fed back."""
    if not (network.model.smpl_joint_inputs if smpl_joint_inputs is None else smpl_joint_inputs):
        return None
    betas = torch.from_numpy(store.betas[list(clips)]).to(network.device)
    return PosedJoints(bodies, betas, [store.clips[clip].gender for clip in clips])


@torch.no_grad()
def sample(
    network: Network,
    initial: MotionState,
    steps: int,
    generator: torch.Generator | None = None,
    joint_inputs: JointInputs | None = None,  # as HuMoR-Qual, see PosedJoints
) -> MotionState:
    """Roll out from initial states (N, ...) by samples of the prior: (N, 1 + steps, ...), the initial ones first."""
    initial = initial.map(lambda x: x.to(network.device))
    with network.running() as model:
        out = model.rollout(initial, steps, generator=generator, joint_inputs=joint_inputs).state
    return prepend_frame(initial, out)


@torch.no_grad()
def reconstruct(
    network: Network, truth: MotionState, joint_inputs: JointInputs | None = None
) -> tuple[MotionState, MotionState]:
    """Encode every transition of a clip (frames, ...) and decode the posterior's mean; the first frame is kept.

    Returns the clip in which each step starts from the frame decoded before, and the one in which it starts from the
    truth.
    """
    truth = truth.map(lambda x: x.to(network.device))
    past, current = truth.map(itemgetter(slice(-1))), truth.map(itemgetter(slice(1, None)))
    frames, noise = CanonicalFrame.of(past), torch.zeros(past.batch_shape[0], LATENT_SIZE, device=network.device)
    with network.running() as model:
        rolled_out, _ = encode_decode(model, truth, joint_inputs)
        stepped = model(frames.world_to_canonical(past), frames.world_to_canonical(current), noise).state
    return rolled_out, prepend_frame(truth.map(itemgetter(0)), frames.canonical_to_world(stepped))


@torch.no_grad()
def encode_decode(
    model: HumorModel, truth: MotionState, joint_inputs: JointInputs | None = None
) -> tuple[MotionState, Float[Tensor, "*batch steps 48"]]:
    """Encode and decode clips (*batch, frames, ...) step by step, each from the frame decoded before.

    Returns the clips and the posterior's means. `joint_inputs` makes it HuMoR-Qual's, as in a rollout.
    """
    time = len(truth.batch_shape) - 1
    first, *rest = (truth.map(methodcaller("select", time, step)) for step in range(truth.batch_shape[time]))
    state, frame = first, CanonicalFrame.of(first)
    pivot, noise = frame.pivot, torch.zeros(*first.batch_shape, LATENT_SIZE, device=first.trans.device)
    states, latents = [], []
    for current in rest:
        out = model(frame.world_to_canonical(state), frame.world_to_canonical(current), noise)
        assert out.posterior is not None
        states.append(frame.canonical_to_world(out.state))
        state = frame.canonical_to_world(replace_joints(out.state, joint_inputs))
        frame = CanonicalFrame.of(state, pivot)
        latents.append(out.posterior.mean)
    return prepend_frame(first, MotionState.stack(states, time)), torch.stack(latents, time)


def clip_of(name: str, state: MotionState, betas: Float[np.ndarray, "16"], gender: str) -> RawClip:
    """A motion (frames, ...) as a clip of body parameters, hands at rest. Raises MotionError for one not finite."""
    rotvecs = rotmat_to_rotvec(state.rotmats.float().cpu()).flatten(1).numpy()
    trans = state.trans.float().cpu().numpy()
    bad = np.flatnonzero(~(np.isfinite(rotvecs).all(1) & np.isfinite(trans).all(1)))
    if len(bad):
        raise MotionError(
            f"{name}: not finite from {bad[0] / TARGET_FPS:.1f} s on; train the network longer, or ask for less."
        )
    poses = np.zeros((len(trans), POSE_WIDTH), np.float32)
    poses[:, : rotvecs.shape[1]] = rotvecs
    return RawClip(name, poses, trans, betas.astype(np.float64), gender, float(TARGET_FPS))


def rotmats_of(clip: RawClip) -> Float[Tensor, "frames 22 3 3"]:
    """A clip's rotations, without the hands'."""
    rotvecs = torch.as_tensor(clip.poses[:, : 3 * NUM_BODY_JOINTS], dtype=torch.float32)
    return rotvec_to_rotmat(rotvecs.unflatten(-1, (NUM_BODY_JOINTS, 3)))


@torch.no_grad()
def joints_of(clip: RawClip, body: BodyModel) -> Float[Tensor, "frames 22 3"]:
    """A clip's joints, hands at rest; metres."""
    betas = torch.as_tensor(clip.betas, dtype=torch.float32).expand(len(clip.poses), -1)
    return body(rotmats_of(clip), betas, torch.as_tensor(clip.trans, dtype=torch.float32)).joints


def joint_error(joints: Float[Tensor, "*batch J 3"], truth: Float[Tensor, "*batch J 3"]) -> float:
    """Mean distance of joints from their true positions (metres), in millimetres."""
    return float(1000 * torch.linalg.vector_norm(joints - truth, dim=-1).mean())


def motion_name(number: int, name: str, frame: int | None = None) -> str:
    """The name of motion made from a clip, e.g. 003_01_01_poses_frame12."""
    at = "" if frame is None else f"_frame{frame}"
    return f"{number:03d}_{Path(name).stem}{at}"


def prepend_frame(first: MotionState, rest: MotionState) -> MotionState:
    """One frame (*batch, ...) before others (*batch, frames, ...)."""
    axis = len(first.batch_shape)
    return MotionState(
        *(torch.cat([getattr(first, name).unsqueeze(axis), getattr(rest, name)], axis) for name in vars(first))
    )
