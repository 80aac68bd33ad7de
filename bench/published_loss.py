"""The published loss, by its own recipe, through smplx: the slow twin that ours is measured against.

It does what makes the published loss slow, on purpose: rotation matrices go to axis-angle and back, every gender is
padded to the whole batch, all 52 joints and all 459 pose columns are posed, and per-vertex transforms are kept for the
backward pass. Its numbers are the published ones (tests/test_recipe.py).
"""

import contextlib
import io
from collections.abc import Mapping

import numpy as np
import smplx
import torch
from smplx.utils import Struct
from torch import Tensor, nn

from humor import HumorLoss, LossWeights, MotionState
from humor.body import PosedBody, first_betas
from humor.losses import Genders, PosedRows
from humor.rotations import rotmat_to_rotvec
from humor.skeleton import NUM_BETAS, NUM_BODY_JOINTS

_HAND_NUMBERS = 45


class _Smplh(smplx.SMPLH):
    SHAPE_SPACE_DIM = NUM_BETAS  # smplx cuts a file of fewer than 300 betas to 10 otherwise


def smplx_body(arrays: Mapping[str, np.ndarray]) -> smplx.SMPLH:
    """smplx's own SMPL+H module of a body's arrays; hand poses that a 16-beta file lacks are put at rest."""
    at_rest = {f"hands_mean{side}": np.zeros(_HAND_NUMBERS) for side in "lr"}
    components = {f"hands_components{side}": np.eye(_HAND_NUMBERS) for side in "lr"}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints remarks about the file
        body = _Smplh(
            model_path="",
            data_struct=Struct(**{**at_rest, **components, **arrays, "shapedirs": first_betas(arrays["shapedirs"])}),
            use_pca=False,
            flat_hand_mean=True,
            num_betas=NUM_BETAS,
        )
    return body.requires_grad_(False)


def pose_with_smplx(body: nn.Module, rotvecs: Tensor, betas: Tensor, trans: Tensor) -> PosedBody:
    """Pose rows of 22 axis-angle rotations (rows, 66) with smplx, hands at rest: joints and the whole mesh."""
    hands = rotvecs.new_zeros(len(rotvecs), _HAND_NUMBERS)
    posed = body(
        betas=betas,
        global_orient=rotvecs[:, :3],
        body_pose=rotvecs[:, 3:],
        left_hand_pose=hands,
        right_hand_pose=hands,
        transl=trans,
    )
    return PosedBody(posed.joints[:, :NUM_BODY_JOINTS], posed.vertices)


class RecipeLoss(HumorLoss):
    """HuMoR's loss as it was published. Autocast, where it is on, reaches all of it, as in the study."""

    def __init__(self, body_arrays: Mapping[str, Mapping[str, np.ndarray]], weights: LossWeights | None = None) -> None:
        super().__init__({}, weights)
        self.bodies = nn.ModuleDict({gender: smplx_body(arrays) for gender, arrays in body_arrays.items()})

    def forward(self, *args, **kwargs):
        """As HumorLoss's."""
        return self.evaluate(*args, **kwargs)

    def pose(self, predicted: MotionState, target: MotionState, betas: Tensor, gender: Genders) -> PosedRows:
        """Pose each gender with a batch padded to its full size, then keep the gender's own rows."""
        assert not isinstance(gender, Mapping), "the published loss reads values of the device: it cannot be compiled"
        rows = predicted.batch_shape.numel()
        of_row = np.repeat(np.array(gender), rows // len(gender))
        posed: list[tuple[Tensor, ...]] = []
        for name in dict.fromkeys(gender):
            chosen = torch.as_tensor(of_row == name, device=betas.device)

            one, other = (self._posed_rows(name, state, betas, chosen) for state in (predicted, target))
            assert one.vertices is not None
            assert other.vertices is not None
            error = (one.vertices - other.vertices).square().sum()
            posed.append((one.joints, other.joints, _rows(predicted.joints, predicted.batch_shape)[chosen], error))
        ours, theirs, stated, errors = zip(*posed, strict=True)
        return PosedRows(torch.cat(ours), torch.cat(theirs), torch.cat(stated), torch.stack(errors).sum())

    def _posed_rows(self, gender: str, state: MotionState, betas: Tensor, chosen: Tensor) -> PosedBody:
        def padded(x: Tensor) -> Tensor:
            mine = _rows(x, state.batch_shape)[chosen]
            return torch.cat([mine, mine.new_zeros(len(chosen) - len(mine), *mine.shape[1:])])

        rotvecs = padded(rotmat_to_rotvec(state.rotmats)).flatten(1)
        posed = pose_with_smplx(self.bodies[gender], rotvecs, padded(betas), padded(state.trans))
        assert posed.vertices is not None
        return PosedBody(posed.joints[: chosen.sum()], posed.vertices[: chosen.sum()])


def _rows(x: Tensor, batch: torch.Size) -> Tensor:
    return x.reshape(batch.numel(), *x.shape[len(batch) :])
