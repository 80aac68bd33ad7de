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
from .kinematics import joint_placer
from .mesh_loss import MESH_LOSSES
from .model import Gaussian, Transition
from .skeleton import BODY, CONTACT_JOINTS, NUM_VERTICES
from .skinning import Pose
from .state import MotionState

# The gender of each entry of the batch's first axis: a name for each, or the (start, stop) of each gender's runs.
# torch.compile sees only numbers in the second form, so that it does not recompile for every batch.
Genders = Sequence[str] | Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term; the defaults are the published ones."""

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
        """The share of the KL weight that is used in an epoch, 0 to 1."""
        return min(epoch / self.kl_full_epoch, 1.0) if self.kl_full_epoch > 0 else 1.0


@dataclass(frozen=True, eq=False)
class PosedBatch:
    """A batch of n bodies, each posed with the body model of its gender, the genders one after the other."""

    predicted: Float[Tensor, "n 22 3"]  # joints of the predicted pose, metres
    target: Float[Tensor, "n 22 3"]  # joints of the target pose, metres
    network_joints: Float[Tensor, "n 22 3"]  # joints that the network predicts beside the pose, metres
    mesh_loss: Float[Tensor, ""]  # squared distance in square metres, summed over bodies and vertices


@dataclass(frozen=True, eq=False)
class LossInputs:
    """All that a term may read."""

    predicted: MotionState
    target: MotionState
    contacts: Float[Tensor, "*batch 9"]  # logits
    target_contacts: Float[Tensor, "*batch 9"]  # 0 or 1
    posed: PosedBatch


def kl_divergence(posterior: Gaussian, prior: Gaussian) -> Float[Tensor, ""]:
    """KL(posterior || prior) of diagonal normals, summed over latents, mean over the batch."""
    spread = (posterior.var + (posterior.mean - prior.mean).square()) / prior.var
    # Two logarithms, because the ratio of very different variances would underflow.
    return 0.5 * (spread - 1 - posterior.var.log() + prior.var.log()).sum(-1).mean()


def contact_velocity(c: LossInputs) -> Float[Tensor, ""]:
    """Mean squared speed of the contact joints, each weighted by its predicted probability of contact."""
    speed = torch.stack([c.predicted.joints_vel[..., joint, :] for joint in CONTACT_JOINTS], -2).square().sum(-1)
    return (c.contacts.sigmoid() * speed).mean()


def _state_mse(name: str) -> Callable[[LossInputs], Tensor]:
    return lambda c: mse_loss(getattr(c.predicted, name), getattr(c.target, name))


# To add a term, add it here and its weight to LossWeights under the same name; it is reported as "<name>_loss".
TERMS: dict[str, Callable[[LossInputs], Tensor]] = {
    **{name: _state_mse(name) for name in MotionState.__dataclass_fields__},
    "contacts": lambda c: binary_cross_entropy_with_logits(c.contacts, c.target_contacts),
    "contacts_vel": contact_velocity,
    "smpl_joint": lambda c: mse_loss(c.posed.predicted, c.posed.target),
    "smpl_mesh": lambda c: c.posed.mesh_loss / (3 * NUM_VERTICES * max(len(c.posed.network_joints), 1)),
    "smpl_joint_consistency": lambda c: mse_loss(c.posed.predicted, c.posed.network_joints),
}


class HumorLoss(nn.Module):
    """HuMoR's training loss over a batch of any leading shape; `gender` names the body of each entry of its first axis.

    `mesh` selects how the mesh term is computed: "fused" (the default), "compiled" (the same, with its inner part
    compiled at the first call), "triton" (the same as one kernel for a GPU, not yet timed on one) or "plain" (the
    formula as written, which saves several meshes for the backward pass). `kinematics` is "operators" or "triton",
    again one kernel for a GPU, and one for its gradient.
    Raises SettingError for another choice.
    """

    def __init__(
        self,
        bodies: Mapping[str, BodyModel],
        weights: LossWeights | None = None,
        mesh: str = "fused",
        kinematics: str = "operators",
    ) -> None:
        super().__init__()
        if mesh not in MESH_LOSSES:
            raise SettingError(f'mesh "{mesh}" is not one of {", ".join(MESH_LOSSES)}.')
        self.mesh, self.place_joints = mesh, joint_placer(kinematics)
        self.bodies = nn.ModuleDict({require_gender(gender): body for gender, body in bodies.items()})
        self.weights = weights or LossWeights()

    def forward(
        self,
        out: Transition,
        target: MotionState,
        target_contacts: Float[Tensor, "B *batch 9"],
        betas: Float[Tensor, "B *batch 16"],
        gender: Genders,
        epoch: int,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The total and its terms, unweighted, by name. Computed in float32 whatever autocast is on around it.

        Raises SettingError without posterior and prior, without a gender for each entry, and for a gender without body.
        """
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
        """The same, under the autocast that is on around it."""
        if out.posterior is None or out.prior is None:
            raise SettingError("the loss needs a posterior and a prior, which a rollout lacks; give it a forward pass.")
        if not isinstance(gender, Mapping) and (len(gender) != len(betas) or not gender):
            raise SettingError(f"{len(gender)} genders for {len(betas)} rows; give one for each.")
        posed = self.pose(out.state, target, betas, gender)
        inputs = LossInputs(out.state, target, out.contacts, target_contacts, posed)
        losses = {name: term(inputs) for name, term in TERMS.items()}
        reconstruction = torch.stack([getattr(self.weights, name) * loss for name, loss in losses.items()]).sum()
        kl, ramp = kl_divergence(out.posterior, out.prior), self.weights.kl_ramp(epoch)
        weighted_kl = self.weights.kl * ramp * kl
        terms = {
            **{f"{name}_loss": loss for name, loss in losses.items()},
            "kl_loss": kl,
            "kl_anneal_weight": torch.full_like(kl, ramp),
            "kl_weighted_loss": weighted_kl,
            "reconstr_weighted_loss": reconstruction,
            **contact_accuracies(out.contacts, target_contacts),
        }
        return reconstruction + weighted_kl, terms

    def pose(self, predicted: MotionState, target: MotionState, betas: Tensor, gender: Genders) -> PosedBatch:
        """Pose prediction and target with the body of their gender. The betas are data: they get no gradient."""
        runs, axes = gender_runs(gender), len(target.batch_shape)
        missing = [name for name in runs if name not in self.bodies]
        if missing:
            raise SettingError(f'no body for gender "{missing[0]}"; HumorLoss has {", ".join(self.bodies)}.')
        bodies = [cast(BodyModel, self.bodies[name]) for name in runs]
        inner = betas.shape[1:axes].numel()
        counts = [inner * sum(run.stop - run.start for run in gender_slices) for gender_slices in runs.values()]

        def grouped(x: Tensor) -> Tensor:
            x = by_gender(x, runs)
            return x.reshape(sum(counts), *x.shape[axes:]).to(bodies[0].blend_shapes.dtype)

        betas = grouped(betas).detach()
        shapes = betas.split(counts)
        rest = torch.cat([body.rest(shape) for body, shape in zip(bodies, shapes, strict=True)], 2)

        def placed(state: MotionState) -> tuple[Tensor, Pose]:
            rotmats, trans = grouped(state.rotmats), grouped(state.trans).split(counts)
            offsets = [body.offsets(shape, origin) for body, shape, origin in zip(bodies, shapes, trans, strict=True)]
            world = self.place_joints(rotmats, torch.cat(offsets, 2), BODY)
            return world[:, 3].permute(2, 1, 0), Pose.from_joints(rotmats, betas, world, rest)

        joints, pose = placed(predicted)
        with torch.no_grad():
            target_joints, target_pose = placed(target)
        poses = zip(bodies, pose.split(counts), target_pose.split(counts), strict=True)
        losses = [MESH_LOSSES[self.mesh](body.surface("all"), ours, theirs) for body, ours, theirs in poses]
        return PosedBatch(joints, target_joints, grouped(predicted.joints), torch.stack(losses).sum())


def by_gender(x: Tensor, runs: Mapping[str, list[slice]]) -> Tensor:
    """A batch in the order of its genders, by slices known on the host; one that is in this order is not copied."""
    order = [run for slices in runs.values() for run in slices]
    if all(run.stop == after.start for run, after in pairwise(order)):
        return x
    return torch.cat([x[run] for run in order])


def gender_runs(gender: Genders) -> dict[str, list[slice]]:
    """The slices of the first axis that each gender has. Raises SettingError for a gender that there is not."""
    if isinstance(gender, Mapping):
        return {name: [slice(start, stop) for start, stop in spans] for name, spans in gender.items()}
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
    """Share of contacts predicted right: of all, of those that touch, of those that do not (NaN if there are none)."""
    right = ((logits > 0) == (contacts > 0.5)).to(contacts.dtype)
    return {
        "contacts_acc": right.mean(),
        "contacts_pos_acc": (right * contacts).sum() / contacts.sum(),
        "contacts_neg_acc": (right * (1 - contacts)).sum() / (1 - contacts).sum(),
    }
