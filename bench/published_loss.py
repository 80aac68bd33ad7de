"""The published loss, computed through smplx as the published code does: the slow twin that ours is compared with.

It keeps what makes the published loss slow: rotation matrices go to axis-angle and back; male and female rows are each
padded with zeros to the size of the whole batch, so that twice the bodies are posed; all 52 joints and all 459 pose
columns are computed; per-vertex transforms are kept for the backward pass. Its values are the published ones
(tests/bench/test_published_loss.py). Source: Rempe et al. 2021, and the code released with it.
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
from humor.errors import SettingError
from humor.losses import Genders, PosedBatch
from humor.rotations import rotmat_to_rotvec
from humor.skeleton import AMASS_GENDERS, NUM_BETAS, NUM_BODY_JOINTS

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


class PublishedLoss(HumorLoss):
    """HuMoR's loss as it was published. Autocast, where it is on, reaches all of it, as in the study.

    It has a male and a female body, whatever `body_arrays` holds beside them, and raises SettingError for another
    gender. A gender that a batch lacks costs nothing, as in the published code.
    """

    def __init__(self, body_arrays: Mapping[str, Mapping[str, np.ndarray]], weights: LossWeights | None = None) -> None:
        super().__init__({}, weights)
        self.bodies = nn.ModuleDict({gender: smplx_body(body_arrays[gender]) for gender in AMASS_GENDERS})

    def forward(self, *args, **kwargs):
        """As HumorLoss's."""
        return self.evaluate(*args, **kwargs)

    def pose(self, predicted: MotionState, target: MotionState, betas: Tensor, gender: Genders) -> PosedBatch:
        """Pose each gender's rows in a batch padded to the size of the whole one, then drop the padding."""
        assert not isinstance(gender, Mapping), "the published loss reads values of the device: it cannot be compiled"
        others = sorted(set(gender) - set(AMASS_GENDERS))
        if others:
            raise SettingError(f'the published loss has no body for gender "{others[0]}", only male and female ones.')
        betas, network_joints = (_rows(x, predicted.batch_shape) for x in (betas, predicted.joints))
        states = [_rotvecs_and_trans(state) for state in (predicted, target)]
        gender_of_row = np.repeat(np.array(gender), len(betas) // len(gender))
        posed: list[tuple[Tensor, ...]] = []
        for name in AMASS_GENDERS:
            if name not in gender:
                continue
            chosen = torch.as_tensor(gender_of_row == name, device=betas.device)
            one, other = (self._posed_rows(name, rotvecs, betas, trans, chosen) for rotvecs, trans in states)
            assert one.vertices is not None
            assert other.vertices is not None
            error = (one.vertices - other.vertices).square().sum()
            posed.append((one.joints, other.joints, network_joints[chosen], error))
        ours, theirs, joints, errors = zip(*posed, strict=True)
        return PosedBatch(torch.cat(ours), torch.cat(theirs), torch.cat(joints), torch.stack(errors).sum())

    def _posed_rows(self, gender: str, rotvecs: Tensor, betas: Tensor, trans: Tensor, chosen: Tensor) -> PosedBody:
        count = int(chosen.sum())

        def padded(x: Tensor) -> Tensor:
            return torch.cat([x[chosen], x.new_zeros(len(x) - count, *x.shape[1:])])

        posed = pose_with_smplx(self.bodies[gender], *map(padded, (rotvecs, betas, trans)))
        assert posed.vertices is not None
        return PosedBody(posed.joints[:count], posed.vertices[:count])


def _rotvecs_and_trans(state: MotionState) -> tuple[Tensor, Tensor]:
    batch = state.batch_shape
    return _rows(rotmat_to_rotvec(state.rotmats), batch).flatten(1), _rows(state.trans, batch)


def _rows(x: Tensor, batch: torch.Size) -> Tensor:
    return x.reshape(batch.numel(), *x.shape[len(batch) :])
