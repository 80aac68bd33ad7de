"""What does posing bodies cost: joints alone, keypoints, the whole mesh; ours and smplx?"""

import pytest

from humor import Precision
from humor.rotations import rotmat_to_rotvec

from .cases import OUTPUTS, POSING
from .published_loss import pose_with_smplx, smplx_body

VERTICES = {"joints": "none", "keypoints": "keypoints", "mesh": "all"}


@pytest.mark.parametrize("implementation", ["ours", "smplx"])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("case", POSING.items(), ids=POSING.keys())
def bench_kinematics(case, output, implementation, precision, device, dtype, workload, make_batch, measure):
    _, size = case
    batch = make_batch(size.windows).to(device, dtype)
    rotmats, trans = batch.current.rotmats.flatten(0, 1), batch.current.trans.flatten(0, 1)
    betas = batch.betas.flatten(0, 1)
    chosen = Precision(precision)
    if implementation == "ours":
        body = workload.bodies["neutral"].to(device, dtype)

        def pose():
            with chosen.autocast_scope(device):
                return body(rotmats, betas, trans, vertices=VERTICES[output])
    else:  # always poses the whole mesh
        slow = smplx_body(workload.body_arrays["neutral"]).to(device, dtype)
        rotvecs = rotmat_to_rotvec(rotmats).flatten(1)

        def pose():
            with chosen.autocast_scope(device):
                return pose_with_smplx(slow, rotvecs, betas, trans)

    group = f"kinematics, {output}, {size.transitions} bodies"
    measure(pose, group, answer=lambda: {"bodies": pose()}, bodies=size.transitions, precision=precision)
