"""How far the stage of the motion prior is followed, from where the stage before left the motion.

Where the network does not know motion like this, both stages err in their own ways, and a motion between them is nearer
to the truth than the worse of them. And what is seen holds a motion to the truth, but a hidden limb goes where the
network leads, which may be further from it than before. So where a limb is hidden all the time, the network is not
followed on motion that it does not know; and on motion that it knows, limbs that are seen are hidden in turn, to find
how far it should have been followed to place them. That is cross-validation; none of it needs the truth.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..body import BodyModel
from ..model import STATE_SIZE
from ..rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ..skeleton import BODY_NAMES
from .fit_result import FitResult, pose_motion, state_for_terms
from .fit_terms import FitState, data, transition_errors
from .observations import Observations

LIMBS = {
    f"{side} {limb}": tuple(BODY_NAMES.index(f"{side}_{part}") for part in parts)
    for limb, parts in {"arm": ("elbow", "wrist"), "leg": ("knee", "ankle", "foot")}.items()
    for side in ("left", "right")
}
FOOT = 2  # of a leg's joints; detectors of joints in images may leave it out
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from the stage before to that of the motion prior
KNOWN = 3.0  # times the squared error of a step on motion that the network knows; beyond that it does not know it
UNKNOWN_SHARE = 0.75  # on motion that the network does not know, with all limbs seen
ITERATIONS = 200  # at most, of the stage of the motion prior with a limb hidden
Stages = tuple[FitResult, FitResult]  # the one before the motion prior, and the one with it


def find_hidden(observed: Observations) -> dict[str, Bool[Tensor, "*batch"]]:
    """Whether no frame shows a limb, by limb."""
    return {limb: (observed.seen[..., joints[:FOOT]] <= 0).all(-1).all(-1) for limb, joints in LIMBS.items()}


def choose_share(
    body: BodyModel,
    observed: Observations,
    start: FitState,  # where the stage of the motion prior begins
    fit_stages: Callable[[str, Observations], Stages],  # to observations in which a limb is hidden
) -> Float[Tensor, "*batch"]:
    """How far to go from the stage before to that of the motion prior, 0 to 1, for each motion.

    All the way where there are images alone, from which the stage before does not know how far away anything is.
    """
    if observed.in_images:
        return torch.ones_like(start.betas[..., 0])
    hidden = torch.stack(list(find_hidden(observed).values())).any(0)
    known = transition_errors(start).median(-1).values <= KNOWN * STATE_SIZE
    asked = hidden & known
    errors = observed.joints.new_zeros(*asked.shape, len(SHARES))
    for limb, joints in LIMBS.items():
        shown = asked & ((observed.seen[..., joints[:FOOT]] > 0).float().mean((-2, -1)) > 0.5)
        if shown.any():
            found = fit_stages(limb, _without(observed, joints))
            held_out = [_error(body, _alone(observed, joints), interpolate(body, *found, share)) for share in SHARES]
            errors += shown.unsqueeze(-1) * torch.stack(held_out, -1)
    best = errors.new_tensor(SHARES)[errors.argmin(-1)].where(errors.any(-1), 1.0)  # 1 where no limb could be asked
    return torch.where(hidden, best * known, torch.where(known, 1.0, UNKNOWN_SHARE))


def interpolate(body: BodyModel, before: FitResult, after: FitResult, share: float | Tensor) -> FitResult:
    """The motion a share (0 to 1; of each motion, if a tensor) of the way from one to another, over the latter's floor.

    Rotations are on the shortest way.
    """
    batch = before.betas.shape[:-1]
    share = torch.as_tensor(share).to(before.betas).expand(batch)
    turn = rotmat_to_rotvec(before.rotmats.mT @ after.rotmats)
    rotmats = before.rotmats @ rotvec_to_rotmat(share[..., None, None, None] * turn)
    trans = torch.lerp(before.trans, after.trans, share[..., None, None])
    posed = pose_motion(body, rotmats, trans, torch.lerp(before.betas, after.betas, share[..., None]))
    return replace(posed, floor=after.floor, contacts=after.contacts)


def _without(observed: Observations, joints: tuple[int, ...]) -> Observations:
    """Observations in which these joints are hidden."""
    return _masked(observed, [joint not in joints for joint in range(len(BODY_NAMES))])


def _alone(observed: Observations, joints: tuple[int, ...]) -> Observations:
    """Observations of these joints alone."""
    return _masked(observed, [joint in joints for joint in range(len(BODY_NAMES))])


def _masked(observed: Observations, kept: list[bool]) -> Observations:
    mask = torch.tensor(kept, device=observed.joints.device)
    first, *others = (
        replace(part, confidence=part.confidence * mask, joints=part.joints * mask[:, None], also=())
        for part in observed.parts
    )
    return replace(first, also=tuple(others))


def _error(body: BodyModel, observed: Observations, found: FitResult) -> Float[Tensor, "*batch"]:
    """How far a motion is from observations: the term `data`."""
    return data(state_for_terms(body, observed, found, torch.zeros_like(found.floor)))
