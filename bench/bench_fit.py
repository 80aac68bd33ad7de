"""What does fitting motions cost: the energy of the last stage with its gradient, once, as L-BFGS evaluates it?"""

import pytest
import torch

from humor import HumorModel
from humor.motion.fit_result import FitResult
from humor.motion.fit_stages import STAGES
from humor.motion.fit_terms import energy
from humor.motion.generation import Network
from humor.motion.lbfgs import ScaledObjective
from humor.motion.observations import observe
from humor.motion.prior_problems import transition_problem
from humor.training.execution import apply_execution_to_parts

from .cases import FIT

NOISE = 0.04  # metres
ANSWER_STEPS = 10  # beyond them, a gradient's rounding errors grow at the rate of the motion, not of the format


@pytest.mark.parametrize("case", FIT.items(), ids=FIT.keys())
def bench_fit(case, precision, execution, device, dtype, workload, measure):
    _, size = case
    clip = max(workload.clips, key=lambda clip: len(clip.contacts))
    steps = min(size.steps, len(clip.contacts) - 1)
    body = workload.bodies[clip.gender].to(device, dtype)
    betas, level = (torch.as_tensor(x).to(device, dtype).expand(size.motions, -1) for x in (clip.betas, torch.zeros(3)))

    def make_objective(steps, execution="eager"):
        starts = torch.linspace(0, len(clip.contacts) - 1 - steps, size.motions).long()
        truth = clip.state.map(lambda x: x[starts[:, None] + torch.arange(1 + steps)])
        observed = observe(truth.joints, NOISE).map(lambda x: x.to(device, dtype))
        truth = truth.map(lambda x: x.to(device, dtype))
        torch.manual_seed(0)
        network = Network(HumorModel(size.width).to(dtype), precision, device)
        with torch.device(device):
            pose = FitResult(truth.rotmats, truth.trans, betas, truth.joints, level)
            problem = transition_problem(network, body, observed, pose)
        parts = (network.model.prior_net, network.model.decoder)
        leaves = [variable.requires_grad_() for variable in problem.variables.values()]
        objective = ScaledObjective(
            leaves,
            lambda: energy(problem.evaluate(None)[1], STAGES["motion"].weights).sum(),
            network.scaled,
            lambda call: apply_execution_to_parts(call, parts, execution, device),
        )

        def evaluate():
            with torch.device(device):
                return objective.evaluate()

        evaluate()  # settles float16's gradient scale
        return evaluate, leaves

    def answer():
        evaluate, leaves = make_objective(min(steps, ANSWER_STEPS))
        value = evaluate()
        return {"loss": value, "gradients": torch.cat([leaf.grad.flatten() for leaf in leaves])}

    group = f"fit, {size} of {steps} steps"
    info = {"width": size.width, "precision": precision, "execution": execution}
    eager = None if execution == "eager" else make_objective(steps)[0]
    measure(make_objective(steps, execution)[0], group, eager, answer, transitions=size.motions * steps, **info)
