"""HuMoR-Qual's inputs: the joints of the body in a predicted pose, not those that the network predicts beside it.

The variant differs from HuMoR in nothing else. In a rollout, and in training on its own predictions, a step reads the
joints of the posed body of its person; the loss and the output have the predicted ones. Source: the published option
`model_use_smpl_joint_inputs` of Rempe et al. 2021.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from .body import BodyModel
from .errors import SettingError
from .kinematics import place_joints
from .losses import Genders, gender_runs
from .rollout import JointInputs
from .skeleton import BODY, NUM_BETAS, NUM_BODY_JOINTS
from .state import MotionState


class PosedJoints:
    """The joints of the same people in any pose, each of the body of its gender.

    `gender` names the body of each entry of the first axis of the betas, (B, *batch, 16); people are numbered in the
    order of their flattened batch axes. Raises SettingError for another number of genders and for one without a body.
    """

    def __init__(self, bodies: Mapping[str, BodyModel], betas: Float[Tensor, "B *batch 16"], gender: Genders) -> None:
        runs = gender_runs(gender)
        missing = [name for name in runs if name not in bodies]
        if missing:
            raise SettingError(f'no body for gender "{missing[0]}"; there is one for {", ".join(bodies)}.')
        in_order = sorted(((name, run) for name, each in runs.items() for run in each), key=lambda pair: pair[1].start)
        if (in_order[-1][1].stop if in_order else 0) != len(betas):
            raise SettingError(f"betas of {len(betas)} people; give a gender for each.")
        parts = [self._offsets(bodies[name], betas[run]) for name, run in in_order]
        self.offsets = torch.cat(parts, 2)  # from each joint's parent, the root's from trans

    def __call__(self, rotmats: Float[Tensor, "N 22 3 3"], trans: Float[Tensor, "N 3"]) -> Float[Tensor, "N 22 3"]:
        """The joints in metres, in the frame of the root's rotation and of trans, and in the bodies' dtype."""
        with torch.autocast(trans.device.type, enabled=False):
            root, others = self.offsets.split([1, self.offsets.shape[1] - 1], 1)
            root = root + trans.to(root.dtype).T.unsqueeze(1)
            placed = place_joints(rotmats.to(root.dtype), torch.cat([root, others], 1), BODY)
            return placed[:, 3].permute(2, 1, 0)

    @staticmethod
    def _offsets(body: BodyModel, betas: Tensor) -> Float[Tensor, "3 22 N"]:
        flat = betas.detach().reshape(betas.shape[:-1].numel(), NUM_BETAS).to(body.blend_shapes)
        return body.offsets(flat, torch.zeros_like(flat[:, :3])).to(betas.device)


def replace_joints(state: MotionState, joint_inputs: JointInputs | None) -> MotionState:
    """A state with the joints that `joint_inputs` gives for its pose; without them, the same state."""
    if joint_inputs is None:
        return state
    size, batch = state.batch_shape.numel(), state.batch_shape
    joints = joint_inputs(state.rotmats.reshape(size, NUM_BODY_JOINTS, 3, 3), state.trans.reshape(size, 3))
    return replace(state, joints=joints.reshape(*batch, NUM_BODY_JOINTS, 3).to(state.joints.dtype))
