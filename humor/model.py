"""HuMoR: a conditional VAE over transitions of a body's state. Source: Rempe et al., ICCV 2021, section 3."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .errors import CheckpointError, SettingError
from .io.checkpoints import describe_mismatch, read_checkpoint, read_weights
from .rollout import JointInputs, RolloutState
from .rotations import rotvec_to_rotmat
from .state import MotionState

STATE_SIZE = 339
LATENT_SIZE = 48
NUM_CONTACTS = 9
_RESIDUAL_SIZES = (3, 3, 3, 3, 63, 66, 66, NUM_CONTACTS)
_GROUPS = 16


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A diagonal normal distribution over latents."""

    mean: Float[Tensor, "*batch 48"]
    var: Float[Tensor, "*batch 48"]

    def sample(self, noise: Float[Tensor, "*batch 48"]) -> Float[Tensor, "*batch 48"]:
        """The reparametrised sample for this standard normal noise."""
        return torch.addcmul(self.mean, noise, self.var.sqrt())


@dataclass(frozen=True, eq=False)
class Transition:
    """The network's prediction of the next state, in the frame of its input, and the latents' distributions."""

    state: MotionState
    contacts: Float[Tensor, "*batch 9"]  # logits
    posterior: Gaussian | None
    prior: Gaussian | None


class Mlp(nn.Module):
    """Linear, GroupNorm(16), ReLU for each hidden layer, then Linear; later layers get the last `skip` inputs again."""

    def __init__(self, sizes: tuple[int, ...], skip: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(sizes[0], sizes[1])]
        for inputs, outputs in pairwise(sizes[1:]):
            layers += [nn.GroupNorm(_GROUPS, inputs), nn.ReLU(inplace=True), nn.Linear(inputs + skip, outputs)]
        self.net = nn.ModuleList(layers)
        self.skip = skip

    def forward(self, inputs: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        hidden, skipped = inputs, inputs[:, inputs.shape[1] - self.skip :]
        for index, layer in enumerate(self.net):
            if self.skip and index and isinstance(layer, nn.Linear):
                # Autocast would cast later; cast now, so that concatenation does not promote to float32.
                hidden = torch.cat([hidden, skipped.to(hidden.dtype)], 1)
            hidden = layer(hidden)
        return hidden


class HumorModel(nn.Module):
    """Prior, posterior and decoder. `width` multiplies every hidden size: 1 is the released model, 4 the study's.

    Parameter names are those of the released checkpoints. Raises SettingError for a width below 1.
    """

    smpl_joint_inputs = False  # whether its checkpoint says that it was trained as HuMoR-Qual; released ones do not say

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        if width < 1:
            raise SettingError(f"width {width}: expected a whole number from 1.")
        self.width = width
        wide, half = 1024 * width, 512 * width
        self.encoder = Mlp((2 * STATE_SIZE, wide, wide, wide, wide, 2 * LATENT_SIZE))
        prior_net = Mlp((STATE_SIZE, wide, wide, wide, wide, 2 * LATENT_SIZE))
        self.decoder = Mlp((STATE_SIZE + LATENT_SIZE, wide, wide, half, sum(_RESIDUAL_SIZES)), skip=LATENT_SIZE)
        self.prior_net = prior_net  # after the decoder: an optimizer's state goes by this order, in released files too

    def forward(
        self, past: MotionState, current: MotionState, noise: Float[Tensor, "*batch 48"] | None = None
    ) -> Transition:
        """Encode a transition and decode it again, as in training; both states are in the canonical frame of `past`.

        `noise` is the standard normal sample of the latents; without it, one is drawn.
        """
        batch = past.batch_shape
        past_vector = past.to_vector("rotmat").reshape(batch.numel(), STATE_SIZE)
        current_vector = current.to_vector("rotmat").reshape(batch.numel(), STATE_SIZE)
        posterior = _gaussian(self.encoder(torch.cat([past_vector, current_vector], 1)))
        prior = _gaussian(self.prior_net(past_vector))
        noise = torch.randn_like(posterior.mean) if noise is None else noise.reshape(posterior.mean.shape)
        state, contacts = self._decode(past, past_vector, posterior.sample(noise))
        return Transition(state, contacts, _reshape(posterior, batch), _reshape(prior, batch))

    def prior(self, past: MotionState) -> Gaussian:
        """The distribution of the latents of the next transition, given only the state before it."""
        batch = past.batch_shape
        return _reshape(_gaussian(self.prior_net(past.to_vector("rotmat").reshape(batch.numel(), STATE_SIZE))), batch)

    def decode(
        self, past: MotionState, latents: Float[Tensor, "*batch 48"]
    ) -> tuple[MotionState, Float[Tensor, "*batch 9"]]:
        """The next state and contact logits for given latents."""
        size = past.batch_shape.numel()
        past_vector = past.to_vector("rotmat").reshape(size, STATE_SIZE)
        return self._decode(past, past_vector, latents.reshape(size, LATENT_SIZE))

    def rollout(
        self,
        initial: MotionState,
        steps: int,
        latents: Float[Tensor, "*batch steps 48"] | None = None,
        use_mean: bool = False,
        generator: torch.Generator | None = None,
        decoder: Callable[[Tensor], Tensor] | None = None,
        joint_inputs: JointInputs | None = None,
    ) -> Transition:
        """Generate `steps` frames from an initial state, in the same frame (z up); time comes after the batch axes.

        The latents are given, the prior's mean, or drawn from the prior. Each prediction is mapped into its own
        canonical frame before the next step; the joints' pivot is the initial state's throughout. `decoder` stands in
        for the model's, e.g. to look at its inputs, (N, 339 + 48). With `joint_inputs`, such as a
        `humor.posed_joints.PosedJoints` of the same bodies, a step reads the joints that these return for the pose
        before it, as HuMoR-Qual does; the states keep the network's. Raises SettingError for steps below 1 and latents
        of another shape.
        """
        if steps < 1:
            raise SettingError(f"steps {steps}: expected a whole number from 1.")
        shape = (*initial.batch_shape, steps, LATENT_SIZE)
        if latents is not None and latents.shape != shape:
            raise SettingError(f"latents of shape {tuple(latents.shape)}; a rollout of {steps} steps wants {shape}.")
        size, decode = initial.batch_shape.numel(), self.decoder if decoder is None else decoder
        if latents is None and not use_mean:
            noise = torch.empty(steps, size, LATENT_SIZE, dtype=initial.trans.dtype, device=initial.trans.device)
            noise = noise.normal_(generator=generator)
        given = None if latents is None else latents.reshape(size, steps, LATENT_SIZE)
        state, pivot = RolloutState.from_world(initial)
        states: list[RolloutState] = []
        contacts: list[Tensor] = []
        for step in range(steps):
            if step:
                if joint_inputs is not None:
                    state = state.replace_joints(joint_inputs(state.rotmats, state.trans), pivot)
                state = state.recanonicalize(pivot)
            vector = state.to_vector(pivot)
            if given is None:
                prior = _gaussian(self.prior_net(vector))
                chosen = prior.mean if use_mean else prior.sample(noise[step])
            else:
                chosen = given[:, step]
            output = decode(torch.cat([vector, chosen.to(vector.dtype)], 1)).to(vector.dtype)
            state = state.apply_residuals(output[:, :-NUM_CONTACTS])
            states.append(state)
            contacts.append(output[:, -NUM_CONTACTS:])
        logits = torch.stack(contacts, 1).reshape(*initial.batch_shape, steps, NUM_CONTACTS)
        return Transition(RolloutState.to_world(states, pivot, initial.batch_shape), logits, None, None)

    @classmethod
    def load(cls, path: str | Path) -> "HumorModel":
        """The network of a checkpoint at the checkpoint's width, in eval mode. Raises what `load_checkpoint` raises."""
        model = cls(_checkpoint_width(read_weights(path)) or 1)
        model.load_checkpoint(path)
        settings = read_checkpoint(path).get("settings")
        model.smpl_joint_inputs = isinstance(settings, Mapping) and settings.get("smpl_joint_inputs") is True
        return model.eval()

    def load_checkpoint(self, path: str | Path) -> None:
        """Load the weights of a checkpoint, ours or a released one; no code in the file is run.

        Raises FileError for a missing file, and CheckpointError for one that is damaged or does not fit, naming the
        first parameters that are missing, unexpected, or of another shape; then nothing is loaded.
        """
        weights = read_weights(path)
        found = _checkpoint_width(weights)
        if found not in (None, self.width):
            raise CheckpointError(
                f"{path}: a network of width {found}, expected {self.width}; "
                f"use HumorModel({found}), or give --width {found}."
            )
        problems = describe_mismatch(weights, self.state_dict())
        if problems:
            raise CheckpointError(f"{path}: does not fit HumorModel(width={self.width}): {'; '.join(problems)}.")
        self.load_state_dict(weights)

    def _decode(self, past: MotionState, past_vector: Tensor, latents: Tensor) -> tuple[MotionState, Tensor]:
        batch = past.batch_shape
        output = self.decoder(torch.cat([past_vector, latents.to(past_vector.dtype)], 1))
        output = output.to(past.trans.dtype).reshape(*batch, sum(_RESIDUAL_SIZES))
        trans, trans_vel, root, root_vel, body, joints, joints_vel, contacts = output.split(_RESIDUAL_SIZES, -1)
        with torch.autocast(output.device.type, enabled=False):
            rotations = rotvec_to_rotmat(torch.cat([root, body], -1).unflatten(-1, (22, 3)))
            rotmats = rotations @ past.rotmats
        state = MotionState(
            past.trans + trans,
            past.trans_vel + trans_vel,
            rotmats[..., 0, :, :],
            past.root_orient_vel + root_vel,
            rotmats[..., 1:, :, :],
            past.joints + joints.unflatten(-1, (22, 3)),
            past.joints_vel + joints_vel.unflatten(-1, (22, 3)),
        )
        return state, contacts


def _gaussian(output: Tensor) -> Gaussian:
    """The normal distribution of a mean and log-variance, in float32 at least."""
    mean, log_var = output.to(torch.promote_types(output.dtype, torch.float32)).chunk(2, 1)
    return Gaussian(mean, log_var.exp())


def _reshape(gaussian: Gaussian, batch: torch.Size) -> Gaussian:
    return Gaussian(gaussian.mean.reshape(*batch, LATENT_SIZE), gaussian.var.reshape(*batch, LATENT_SIZE))


def _checkpoint_width(weights: Mapping[str, Tensor]) -> int | None:
    """The width of a checkpoint by its first hidden layer, or None where that does not say."""
    first = weights.get("prior_net.net.0.weight")
    if first is None or first.shape[1:] != (STATE_SIZE,) or first.shape[0] % 1024:
        return None
    return first.shape[0] // 1024
