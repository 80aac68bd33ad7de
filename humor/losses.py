"""HuMoR's training loss: a table of small terms and their weights. Source: Rempe et al. 2021, section 3.3."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from .body import BodyModel, require_gender
from .errors import SettingError
from .mesh_error import MESH_ERRORS
from .model import Gaussian, Transition
from .skeleton import CONTACT_JOINTS, NUM_VERTICES
from .skinning import Pose
from .state import MotionState


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
    """The rows of one gender, posed."""

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
    posed: Sequence[PosedRows]  # one for each gender there is


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


def _posed_error(difference: Callable[[PosedRows], Tensor]) -> Callable[[Comparison], Tensor]:
    """Mean square over all rows of what is summed gender by gender."""

    def error(c: Comparison) -> Tensor:
        parts = [difference(rows) for rows in c.posed]
        return torch.stack([part.square().sum() for part in parts]).sum() / sum(part.numel() for part in parts)

    return error


def posed_mesh(c: Comparison) -> Float[Tensor, ""]:
    """Mean squared error of the coordinates of all vertices."""
    numbers = sum(len(rows.predicted) for rows in c.posed) * 3 * NUM_VERTICES
    return torch.stack([rows.squared_mesh_error for rows in c.posed]).sum() / numbers


# Each name is the field of LossWeights and, with "_loss", the name that the term is reported by.
TERMS: dict[str, Callable[[Comparison], Tensor]] = {
    **{name: _state_error(name) for name in MotionState.__dataclass_fields__},
    "contacts": lambda c: binary_cross_entropy_with_logits(c.contacts, c.target_contacts),
    "contacts_vel": contact_velocity,
    "smpl_joint": _posed_error(lambda rows: rows.predicted - rows.target),
    "smpl_mesh": posed_mesh,
    "smpl_joint_consistency": _posed_error(lambda rows: rows.predicted - rows.stated),
}


class HumorLoss(nn.Module):
    """The training loss over any leading shape of rows; `gender` names the body of each entry of the first axis.

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
        gender: Sequence[str],
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
        gender: Sequence[str],
        epoch: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The same in whatever number format holds around it."""
        if out.posterior is None or out.prior is None:
            raise SettingError("the loss needs a posterior and a prior, which a rollout lacks; give it a forward pass.")
        if len(gender) != len(betas) or not gender:
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

    def pose(
        self, predicted: MotionState, target: MotionState, betas: Tensor, gender: Sequence[str]
    ) -> list[PosedRows]:
        """Prediction and target posed with the body of their gender; rows are picked by slices known on the host.

        The betas are data: they get no gradient.
        """
        posed = []
        ours, theirs = (predicted.rotmats, predicted.trans), (target.rotmats, target.trans)
        for name, runs in gender_runs(gender).items():
            if name not in self.bodies:
                raise SettingError(f'no body for gender "{name}"; HumorLoss has {", ".join(self.bodies)}.')

            def pick(rows: Tensor, runs: list[slice] = runs, axes: int = len(target.batch_shape)) -> Tensor:
                own = rows[runs[0]] if len(runs) == 1 else torch.cat([rows[run] for run in runs])
                return own.reshape(own.shape[:axes].numel(), *own.shape[axes:])

            body, shape = cast(BodyModel, self.bodies[name]), pick(betas).detach()
            joints, pose = _posed(body, shape, *map(pick, ours))
            with torch.no_grad():
                target_joints, target_pose = _posed(body, shape, *map(pick, theirs))
            error = MESH_ERRORS[self.mesh](body.surface("all"), pose, target_pose)
            posed.append(PosedRows(joints, target_joints, pick(predicted.joints), error))
        return posed


def _posed(body: BodyModel, betas: Tensor, rotmats: Tensor, trans: Tensor) -> tuple[Tensor, Pose]:
    """Joints (n, 22, 3), and what carries the mesh."""
    world = body.place(rotmats, betas, trans)
    return world[:, 3].permute(2, 1, 0), body.pose(rotmats, betas, world)


def gender_runs(gender: Sequence[str]) -> dict[str, list[slice]]:
    """Where each gender stands in a batch, as slices: one each where the batch is grouped."""
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
