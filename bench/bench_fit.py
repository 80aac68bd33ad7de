"""What does fitting a motion cost: the energy of its last stage and the gradient, as L-BFGS asks for it each time?"""

import pytest
import torch

from humor import HumorModel
from humor.fit_terms import energy
from humor.fitting import STAGES, Fitted, Slope, motion_problem
from humor.generation import Network
from humor.observations import observe

from .cases import FIT

NOISE = 0.04  # metres
FEW = 10  # steps: over more, what rounding does to a gradient grows at the motion's own rate, not the format's


@pytest.mark.parametrize("case", FIT.items(), ids=FIT.keys())
def bench_fit(case, precision, device, dtype, run_setup, measure):
    _, size = case
    clip = run_setup.clips[0]
    body = run_setup.bodies[clip.gender].to(device, dtype)
    torch.manual_seed(0)
    network = Network(HumorModel(size.width).to(dtype), precision, device)

    def slope_of(steps):
        observed = observe(clip.state.joints[: 1 + steps], NOISE).map(lambda x: x.to(device, dtype))
        truth = clip.state.map(lambda x: x[: 1 + steps].to(device, dtype))
        betas, level = clip.betas.to(device, dtype), torch.zeros(3, device=device, dtype=dtype)
        pose = Fitted(truth.rotmats, truth.trans, betas, truth.joints, level)
        with torch.device(device):
            problem = motion_problem(network, body, observed, pose)
        leaves = [variable.requires_grad_() for variable in problem.variables.values()]
        slope = Slope(leaves, lambda: energy(problem.told()[1], STAGES["motion"].weights), network.scaled)

        def take():
            with torch.device(device):
                return slope.take()

        take()  # which finds float16's scale
        return take, leaves

    def answer():
        take, leaves = slope_of(min(size.steps, FEW))
        value = take()
        return {"loss": value, "gradients": torch.cat([leaf.grad.flatten() for leaf in leaves])}

    group = f"fit, {size.steps} steps"
    measure(slope_of(size.steps)[0], group, answer=answer, rows=size.rows, width=size.width, precision=precision)
