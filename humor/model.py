"""HuMoR: a conditional VAE over transitions of a body's state. Source: Rempe et al., ICCV 2021, section 3."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .errors import CheckpointError, SettingError
from .io.checkpoints import read_weights
from .rollout import Body
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
    """What the network says of the next frame, in the frame of its input."""

    state: MotionState
    contacts: Float[Tensor, "*batch 9"]  # logits
    posterior: Gaussian | None
    prior: Gaussian | None


class Mlp(nn.Module):
    """Linear, GroupNorm(16), ReLU a hidden layer, then Linear; later layers read the last `skip` inputs again."""

    def __init__(self, sizes: tuple[int, ...], skip: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(sizes[0], sizes[1])]
        for inputs, outputs in pairwise(sizes[1:]):
            layers += [nn.GroupNorm(_GROUPS, inputs), nn.ReLU(inplace=True), nn.Linear(inputs + skip, outputs)]
        self.net = nn.ModuleList(layers)
        self.skip = skip

    def forward(self, inputs: Float[Tensor, "rows I"]) -> Float[Tensor, "rows O"]:
        hidden, again = inputs, inputs[:, inputs.shape[1] - self.skip :]
        for index, layer in enumerate(self.net):
            if self.skip and index and isinstance(layer, nn.Linear):
                # The cast is autocast's own, made before the join, so that the join is not promoted to float32.
                hidden = torch.cat([hidden, again.to(hidden.dtype)], 1)
            hidden = layer(hidden)
        return hidden


class HumorModel(nn.Module):
    """Prior, posterior and decoder. `width` multiplies every hidden size: 1 is the released model, 4 the study's.

    Parameter names are those of the released checkpoints.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        if width < 1:
            raise SettingError(f"width {width}: expected a whole number from 1.")
        self.width = width
        wide, half = 1024 * width, 512 * width
        self.encoder = Mlp((2 * STATE_SIZE, wide, wide, wide, wide, 2 * LATENT_SIZE))
        self.prior_net = Mlp((STATE_SIZE, wide, wide, wide, wide, 2 * LATENT_SIZE))
        self.decoder = Mlp((STATE_SIZE + LATENT_SIZE, wide, wide, half, sum(_RESIDUAL_SIZES)), skip=LATENT_SIZE)

    def forward(
        self, past: MotionState, current: MotionState, noise: Float[Tensor, "*batch 48"] | None = None
    ) -> Transition:
        """Encode a transition and predict it again, as in training; without noise a standard normal one is drawn."""
        batch = past.batch_shape
        seen = past.to_vector("rotmat").reshape(batch.numel(), STATE_SIZE)
        target = current.to_vector("rotmat").reshape(batch.numel(), STATE_SIZE)
        posterior = _gaussian(self.encoder(torch.cat([seen, target], 1)))
        prior = _gaussian(self.prior_net(seen))
        noise = torch.randn_like(posterior.mean) if noise is None else noise.reshape(posterior.mean.shape)
        state, contacts = self._decoded(past, seen, posterior.sample(noise))
        return Transition(state, contacts, _shaped(posterior, batch), _shaped(prior, batch))

    def prior(self, past: MotionState) -> Gaussian:
        """What the network expects to come after a state, before it sees it."""
        batch = past.batch_shape
        return _shaped(_gaussian(self.prior_net(past.to_vector("rotmat").reshape(batch.numel(), STATE_SIZE))), batch)

    def decode(
        self, past: MotionState, latents: Float[Tensor, "*batch 48"]
    ) -> tuple[MotionState, Float[Tensor, "*batch 9"]]:
        """The next state and contact logits for given latents."""
        rows = past.batch_shape.numel()
        return self._decoded(
            past, past.to_vector("rotmat").reshape(rows, STATE_SIZE), latents.reshape(rows, LATENT_SIZE)
        )

    def rollout(
        self,
        initial: MotionState,
        steps: int,
        latents: Float[Tensor, "*batch steps 48"] | None = None,
        use_mean: bool = False,
        generator: torch.Generator | None = None,
    ) -> Transition:
        """Generate `steps` frames from an initial state, in the initial state's frame (time after the batch axes).

        Latents are given, or the prior's mean, or drawn from the prior. Each prediction is told again in its own
        canonical frame; the joints' pivot is the initial state's throughout.
        """
        if steps < 1:
            raise SettingError(f"steps {steps}: expected a whole number from 1.")
        wanted = (*initial.batch_shape, steps, LATENT_SIZE)
        if latents is not None and latents.shape != wanted:
            raise SettingError(f"latents of shape {tuple(latents.shape)}; a rollout of {steps} steps wants {wanted}.")
        rows, kind = initial.batch_shape.numel(), initial.trans
        if latents is None and not use_mean:
            noise = torch.empty(steps, rows, LATENT_SIZE, dtype=kind.dtype, device=kind.device)
            noise = noise.normal_(generator=generator)
        given = None if latents is None else latents.reshape(rows, steps, LATENT_SIZE)
        body, pivot = Body.of(initial)
        bodies: list[Body] = []
        contacts: list[Tensor] = []
        for step in range(steps):
            if step:
                body = body.centred(pivot)
            seen = body.seen(pivot)
            if given is None:
                prior = _gaussian(self.prior_net(seen))
                chosen = prior.mean if use_mean else prior.sample(noise[step])
            else:
                chosen = given[:, step]
            output = self.decoder(torch.cat([seen, chosen.to(seen.dtype)], 1)).to(seen.dtype)
            body = body.moved(output[:, :-NUM_CONTACTS])
            bodies.append(body)
            contacts.append(output[:, -NUM_CONTACTS:])
        logits = torch.stack(contacts, 1).reshape(*initial.batch_shape, steps, NUM_CONTACTS)
        return Transition(Body.in_the_world(bodies, pivot, initial.batch_shape), logits, None, None)

    @classmethod
    def load(cls, path: str | Path) -> "HumorModel":
        """The network of a checkpoint, as wide as it is, ready to generate. Raises what `load_checkpoint` does."""
        model = cls(_width_of(read_weights(path)) or 1)
        model.load_checkpoint(path)
        return model.eval()

    def load_checkpoint(self, path: str | Path) -> None:
        """Fill the network from a checkpoint, ours or a released one; no code in the file is run.

        Raises CheckpointError naming every parameter that is missing, unexpected, or of another shape, and loads none.
        """
        weights = read_weights(path)
        found = _width_of(weights)
        if found not in (None, self.width):
            raise CheckpointError(
                f"{path}: a network of width {found}, expected {self.width}; use HumorModel({found})."
            )
        problems = _mismatch(weights, self.state_dict())
        if problems:
            raise CheckpointError(f"{path}: does not fit HumorModel(width={self.width}): {'; '.join(problems)}.")
        self.load_state_dict(weights)

    def _decoded(self, past: MotionState, seen: Tensor, latents: Tensor) -> tuple[MotionState, Tensor]:
        batch = past.batch_shape
        output = self.decoder(torch.cat([seen, latents.to(seen.dtype)], 1))
        output = output.to(past.trans.dtype).reshape(*batch, sum(_RESIDUAL_SIZES))
        trans, trans_vel, root, root_vel, body, joints, joints_vel, contacts = output.split(_RESIDUAL_SIZES, -1)
        with torch.autocast(output.device.type, enabled=False):
            turns = rotvec_to_rotmat(torch.cat([root, body], -1).unflatten(-1, (22, 3)))
            turned = turns @ past.rotmats
        state = MotionState(
            past.trans + trans,
            past.trans_vel + trans_vel,
            turned[..., 0, :, :],
            past.root_orient_vel + root_vel,
            turned[..., 1:, :, :],
            past.joints + joints.unflatten(-1, (22, 3)),
            past.joints_vel + joints_vel.unflatten(-1, (22, 3)),
        )
        return state, contacts


def _gaussian(output: Tensor) -> Gaussian:
    """Mean and variance out of mean and log-variance, in float32 at least."""
    mean, log_var = output.to(torch.promote_types(output.dtype, torch.float32)).chunk(2, 1)
    return Gaussian(mean, log_var.exp())


def _shaped(gaussian: Gaussian, batch: torch.Size) -> Gaussian:
    return Gaussian(gaussian.mean.reshape(*batch, LATENT_SIZE), gaussian.var.reshape(*batch, LATENT_SIZE))


def _width_of(weights: Mapping[str, Tensor]) -> int | None:
    """The width of a whole checkpoint by its first hidden layer; None where that cannot be told."""
    first = weights.get("prior_net.net.0.weight")
    if first is None or first.shape[1:] != (STATE_SIZE,) or first.shape[0] % 1024:
        return None
    return first.shape[0] // 1024


def _mismatch(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps one set of named tensors from being the other, a phrase each."""
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    problems = [f"missing {', '.join(missing)}"] if missing else []
    problems += [f"unexpected {', '.join(unexpected)}"] if unexpected else []
    for name in wanted:
        if name in found and found[name].shape != wanted[name].shape:
            problems.append(f"{name} has shape {tuple(found[name].shape)}, expected {tuple(wanted[name].shape)}")
    return problems
