"""How fast do public implementations pose a body? Those that are not installed are skipped."""

import pytest
import torch

from .cases import POSING
from .studies.third_party import IMPLEMENTATIONS, OUTPUTS, installed, random_pose


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("case", POSING.items(), ids=POSING.keys())
def bench_third_party(case, output, implementation, device, workload, measure):
    _, size = case
    if implementation not in installed():
        pytest.skip(f"{implementation} is not installed")
    rotmats, betas, trans = (x.to(device) for x in random_pose(size.transitions, hands=output.endswith("with hands")))
    pose = IMPLEMENTATIONS[implementation](workload.body_arrays["neutral"], rotmats, betas, trans, output)
    if pose is None:
        pytest.skip(f"{implementation} has no such call")
    with torch.no_grad():
        measure(pose, f"third party, {output}, {size.transitions} bodies", bodies=size.transitions)
