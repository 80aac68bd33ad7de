"""HuMoR's training loss: a table of small terms and their weights. Source: Rempe et al. 2021, section 3.3."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from .body import BodyModel, require_gender
from .errors import SettingError
from .kinematics import place_joints
from .mesh_loss import MESH_ERRORS
from .model import Gaussian, Transition
from .skeleton import BODY, CONTACT_JOINTS, NUM_VERTICES
from .skinning import Pose
from .state import MotionState

# Which rows have which gender: a name for each row, or the (start, stop) of each gender's runs. Of the second a
# compiler sees numbers, and does not begin anew for every batch.
Genders = Sequence[str] | Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class LossWeights:
    """What each term counts for; the defaults are the published ones."""

    kl: float = 4e-4
    kl_full_epoch: int = 50  # the KL weight rises linearly from 0 to full over these epochs
    trans: float = 1.0
    trans_vel: float = 1.0
    root_orient: float = 1.0
    root_orient_vel: float = 1.0
    pose_body: float = 1.0
    joints: float = 1.0
    joints_vel: float = 1.0
    contacts: float = 0.01
    contacts_vel: float = 0.01
    smpl_joint: float = 1.0
    smpl_mesh: float = 1.0
    smpl_joint_consistency: float = 1.0

    def kl_ramp(self, epoch: int) -> float:
        """The share of the KL weight that holds in an epoch, 0 to 1."""
        return min(epoch / self.kl_full_epoch, 1.0) if self.kl_full_epoch > 0 else 1.0


@dataclass(frozen=True, eq=False)
class PosedRows:
    """All rows posed with the body of their gender, the genders one after the other."""

    predicted: Float[Tensor, "n 22 3"]  # joints of the predicted pose, metres
    target: Float[Tensor, "n 22 3"]  # joints of the target pose
    stated: Float[Tensor, "n 22 3"]  # the joints that the network predicts beside the pose
    squared_mesh_error: Float[Tensor, ""]  # square metres, summed over rows and vertices


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that a term may look at."""

    predicted: MotionState
    target: MotionState
    contacts: Float[Tensor, "*batch 9"]  # logits
    target_contacts: Float[Tensor, "*batch 9"]  # 0 or 1
    posed: PosedRows


def kl_divergence(posterior: Gaussian, prior: Gaussian) -> Float[Tensor, ""]:
    """KL(posterior || prior) of diagonal normals, summed over latents, mean over rows."""
    spread = (posterior.var + (posterior.mean - prior.mean).square()) / prior.var
    # Logarithms apart: a ratio of very different variances would underflow.
    return 0.5 * (spread - 1 - posterior.var.log() + prior.var.log()).sum(-1).mean()


def contact_velocity(c: Comparison) -> Float[Tensor, ""]:
    """Mean squared speed of the contact joints, each as far as the network says that it touches."""
    speed = torch.stack([c.predicted.joints_vel[..., joint, :] for joint in CONTACT_JOINTS], -2).square().sum(-1)
    return (c.contacts.sigmoid() * speed).mean()


def _state_error(name: str) -> Callable[[Comparison], Tensor]:
    return lambda c: mse_loss(getattr(c.predicted, name), getattr(c.target, name))


# Each name is the field of LossWeights and, with "_loss", the name that the term is reported by.
TERMS: dict[str, Callable[[Comparison], Tensor]] = {
    **{name: _state_error(name) for name in MotionState.__dataclass_fields__},
    "contacts": lambda c: binary_cross_entropy_with_logits(c.contacts, c.target_contacts),
    "contacts_vel": contact_velocity,
    "smpl_joint": lambda c: mse_loss(c.posed.predicted, c.posed.target),
    "smpl_mesh": lambda c: c.posed.squared_mesh_error / (3 * NUM_VERTICES * max(len(c.posed.stated), 1)),
    "smpl_joint_consistency": lambda c: mse_loss(c.posed.predicted, c.posed.stated),
}


class HumorLoss(nn.Module):
    """The training loss over any leading shape of rows; `gender` tells the body of each entry of the first axis.

    `mesh` is how the mesh term is computed: "fused" (the default), "compiled" (the same with its inner part compiled at
    the first call) or "plain" (the formula as it is written, which keeps several meshes for the backward pass).
    """

    def __init__(
        self, bodies: Mapping[str, BodyModel], weights: LossWeights | None = None, mesh: str = "fused"
    ) -> None:
        super().__init__()
        if mesh not in MESH_ERRORS:
            raise SettingError(f'mesh "{mesh}" is not one of {", ".join(MESH_ERRORS)}.')
        self.mesh = mesh
        self.bodies = nn.ModuleDict({require_gender(gender): body for gender, body in bodies.items()})
        self.weights = weights or LossWeights()

    def forward(
        self,
        out: Transition,
        target: MotionState,
        target_contacts: Float[Tensor, "rows *batch 9"],
        betas: Float[Tensor, "rows *batch 16"],
        gender: Genders,
        epoch: int,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The total and its terms, unweighted, by name. Computed in float32 whatever autocast is on around it."""
        with torch.autocast(target.trans.device.type, enabled=False):
            return self.evaluate(out, target, target_contacts, betas, gender, epoch)

    def evaluate(
        self,
        out: Transition,
        target: MotionState,
        target_contacts: Tensor,
        betas: Tensor,
        gender: Genders,
        epoch: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The same in whatever number format holds around it."""
        if out.posterior is None or out.prior is None:
            raise SettingError("the loss needs a posterior and a prior, which a rollout lacks; give it a forward pass.")
        if not isinstance(gender, Mapping) and (len(gender) != len(betas) or not gender):
            raise SettingError(f"{len(gender)} genders for {len(betas)} rows; give one for each.")
        posed = self.pose(out.state, target, betas, gender)
        compared = Comparison(out.state, target, out.contacts, target_contacts, posed)
        errors = {name: term(compared) for name, term in TERMS.items()}
        reconstruction = torch.stack([getattr(self.weights, name) * error for name, error in errors.items()]).sum()
        kl, ramp = kl_divergence(out.posterior, out.prior), self.weights.kl_ramp(epoch)
        weighted_kl = self.weights.kl * ramp * kl
        terms = {
            **{f"{name}_loss": error for name, error in errors.items()},
            "kl_loss": kl,
            "kl_anneal_weight": torch.full_like(kl, ramp),
            "kl_weighted_loss": weighted_kl,
            "reconstr_weighted_loss": reconstruction,
            **contact_accuracies(out.contacts, target_contacts),
        }
        return reconstruction + weighted_kl, terms

    def pose(self, predicted: MotionState, target: MotionState, betas: Tensor, gender: Genders) -> PosedRows:
        """Prediction and target posed with the body of their gender. The betas are data: they get no gradient."""
        runs, axes = gender_runs(gender), len(target.batch_shape)
        missing = [name for name in runs if name not in self.bodies]
        if missing:
            raise SettingError(f'no body for gender "{missing[0]}"; HumorLoss has {", ".join(self.bodies)}.')
        bodies = [cast(BodyModel, self.bodies[name]) for name in runs]
        inner = betas.shape[1:axes].numel()
        counts = [inner * sum(run.stop - run.start for run in own) for own in runs.values()]

        def grouped(x: Tensor) -> Tensor:
            x = by_gender(x, runs)
            return x.reshape(sum(counts), *x.shape[axes:]).to(bodies[0].directions.dtype)

        betas = grouped(betas).detach()
        shapes = betas.split(counts)
        rest = torch.cat([body.rest(own) for body, own in zip(bodies, shapes, strict=True)], 2)

        def placed(state: MotionState) -> tuple[Tensor, Pose]:
            rotmats, trans = grouped(state.rotmats), grouped(state.trans).split(counts)
            offsets = [body.offsets(*own) for body, *own in zip(bodies, shapes, trans, strict=True)]
            world = place_joints(rotmats, torch.cat(offsets, 2), BODY)
            return world[:, 3].permute(2, 1, 0), Pose.of(rotmats, betas, world, rest)

        joints, pose = placed(predicted)
        with torch.no_grad():
            target_joints, target_pose = placed(target)
        pairs = zip(bodies, pose.split(counts), target_pose.split(counts), strict=True)
        errors = [MESH_ERRORS[self.mesh](body.surface("all"), ours, theirs) for body, ours, theirs in pairs]
        return PosedRows(joints, target_joints, grouped(predicted.joints), torch.stack(errors).sum())


def by_gender(rows: Tensor, runs: Mapping[str, list[slice]]) -> Tensor:
    """Rows gender by gender, picked by slices known on the host; a batch that is grouped stays as it is."""
    order = [run for own in runs.values() for run in own]
    if all(run.stop == after.start for run, after in pairwise(order)):
        return rows
    return torch.cat([rows[run] for run in order])


def gender_runs(gender: Genders) -> dict[str, list[slice]]:
    """Where each gender stands in a batch, as slices: one each where the batch is grouped."""
    if isinstance(gender, Mapping):
        return {name: [slice(start, stop) for start, stop in own] for name, own in gender.items()}
    runs: dict[str, list[slice]] = {}
    start = 0
    for stop in range(1, len(gender) + 1):
        if stop == len(gender) or gender[stop] != gender[start]:
            runs.setdefault(require_gender(gender[start]), []).append(slice(start, stop))
            start = stop
    return runs


def contact_accuracies(
    logits: Float[Tensor, "*batch 9"], contacts: Float[Tensor, "*batch 9"]
) -> dict[str, Float[Tensor, ""]]:
    """Share of contacts told right: of all, of those there are, of those there are not (NaN where there are none)."""
    right = ((logits > 0) == (contacts > 0.5)).to(contacts.dtype)
    return {
        "contacts_acc": right.mean(),
        "contacts_pos_acc": (right * contacts).sum() / contacts.sum(),
        "contacts_neg_acc": (right * (1 - contacts)).sum() / (1 - contacts).sum(),
    }
