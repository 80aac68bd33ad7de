"""One training step in named phases, and the unrolling of a window on the network's own predictions."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.profiler import record_function

from ..body import BodyModel
from ..data.windows import PAIRS, WindowBatch
from ..errors import SettingError
from ..losses import HumorLoss, gender_runs
from ..model import Gaussian, HumorModel, Transition
from ..posed_joints import PosedJoints, replace_joints
from ..precision.presets import Precision
from ..rollout import JointInputs
from ..state import CanonicalFrame, MotionState
from .execution import CudaGraphCache, CudaGraphs, Execution, GraphRecorder, require_execution
from .micro_batches import Terms, combine_losses, split_micro_batches
from .optimizer import Adamax
from .phase_timer import PhaseTimer

Average = Callable[[list[Tensor]], None]  # replaces gradients by their means over processes


class BaseStep:
    """What training steps have in common: phases, backward and the update of the weights, on the model's device.

    Nothing waits for the device, except float16's gradient scaler with an optimizer that cannot skip a step by itself
    (humor.training.optimizer.Adamax can).
    """

    settled_gradient_scale: float  # where float16's scale settles after the overflows that training begins with

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        network: nn.Module | None = None,  # the model wrapped in DDP; default: the model
        timer: PhaseTimer | None = None,  # times the phases, with the loss's and the network's backward apart
        average: Average | None = None,  # averages gradients over processes where `network` does not
        execution: Execution = "eager",
    ) -> None:
        self.model, self.optimizer, self.precision = model, optimizer, precision
        self.network, self.timer, self.average = network or model, timer, average
        self.half_weights = precision.half_weights(model)
        self.device = next(model.parameters()).device
        self.scaler = precision.scaler(self.device)
        require_execution(execution, self.device)
        if execution == "compile":  # evaluation stays eager: its batches have other shapes
            self.network = cast(nn.Module, torch.compile(self.network, fullgraph=True))

    def settle_gradient_scale(self) -> None:
        """Set float16's gradient scale to where it settles, so that the next steps do not overflow."""
        if self.scaler.is_enabled():
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": self.settled_gradient_scale})

    def backward(self, total: Float[Tensor, ""], share: float = 1.0) -> None:
        """Add the gradients of a share of the loss, scaled where the precision needs it.

        Where the loss is not finite, no gradient is.
        """
        with self.phase("backward"), self.precision.tf32_scope(self.device):
            # One check of the gradients is then enough, and every process comes to the same answer.
            whole = torch.full_like(total, share, requires_grad=False)
            spoilt = torch.where(total.detach().isfinite(), whole, float("nan"))
            self.scaler.scale(total).backward(spoilt)

    def optimize(self) -> None:
        """Update the weights, unless a scaled gradient overflowed, and clear the gradients."""
        with self.phase("optimize"):
            self.half_weights.move_gradients_to_masters()
            if self.average is not None:
                self.average([weight.grad for weight in self.model.parameters() if weight.grad is not None])
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            self.half_weights.refresh()

    def phase(self, name: str) -> record_function:
        """Enter a phase of the step; the scope that it returns is the phase in a profiler's trace."""
        if self.timer is not None:
            self.timer.enter(name)
        return record_function(name)

    def time_network_backward(self, outputs: Iterable[Tensor]) -> None:
        """Begin the phase "network backward" when the gradient of the last of these outputs is computed."""
        timer = self.timer
        if timer is not None:
            for output in outputs:
                output.register_hook(lambda gradient: timer.enter("network backward"))


class TrainStep(BaseStep):
    """Prepare, sample, loss, backward, optimize: the study's step.

    Call it with a batch for the whole step, or call the phases one after the other.
    """

    settled_gradient_scale = 1024.0

    def __init__(
        self,
        model: HumorModel,
        loss: HumorLoss,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        network: nn.Module | None = None,
        timer: PhaseTimer | None = None,
        average: Average | None = None,
        execution: Execution = "eager",
        micro_batch_size: int | None = None,  # windows at once; default: the device's, see humor.training.micro_batches
        smpl_joint_inputs: bool = False,  # the posed body's joints are fed back, as in HuMoR-Qual
    ) -> None:
        super().__init__(model, optimizer, precision, network, timer, average, execution)
        self.loss, self.micro_batch_size, self.smpl_joint_inputs = loss, micro_batch_size, smpl_joint_inputs
        self._compiled_loss: Callable[..., tuple[Tensor, Terms]] | None = None
        self.graph_cache: CudaGraphCache | None = None
        self._term_names: list[str] = []
        if execution == "compile":
            self._compiled_loss = torch.compile(loss, fullgraph=True, dynamic=True)
        elif execution == "cuda-graph":
            self.record_graphs_with(CudaGraphs(self.device))

    def __call__(
        self,
        batch: WindowBatch,
        epoch: int = 0,
        noise: Float[Tensor, "B 10 48"] | None = None,
        teacher_forcing: Sequence[bool] | None = None,
    ) -> tuple[Float[Tensor, ""], Terms]:
        """Take one step. Returns the loss before it and its terms, on the device.

        `teacher_forcing` says of the second to tenth input whether it is the truth; by default, all are.
        """
        ready = self.prepare(batch)
        if self.graph_cache is not None:
            return self._replay(self.graph_cache, ready, epoch, noise, teacher_forcing)
        return self._accumulate(ready, epoch, noise, teacher_forcing)

    def eager_twin(self, timer: PhaseTimer) -> "TrainStep":
        """This step, operator by operator however it is executed, with a timer of its own."""
        twin = copy.copy(self)
        twin.timer, twin.network, twin.graph_cache, twin._compiled_loss = timer, self.model, None, None
        return twin

    def _accumulate(
        self, batch: WindowBatch, epoch: int, noise: Tensor | None, teacher_forcing: Sequence[bool] | None
    ) -> tuple[Tensor, Terms]:
        """Everything after `prepare`, in micro-batches."""
        results: list[tuple[WindowBatch, Tensor, Terms]] = []
        for part, part_noise in split_micro_batches(batch, noise, self.micro_batch_size):
            total, terms = self.compute_loss(self.sample(part, part_noise, teacher_forcing), part, epoch)
            self.backward(total, len(part) / len(batch))
            results.append((part, total.detach(), terms))
            del total  # or its graph is kept while the next is made
        self.optimize()
        return combine_losses(results)

    def record_graphs_with(self, recorder: GraphRecorder) -> None:
        """Record and replay steps from the next one on. State that is loaded later would not reach the graphs.

        Raises SettingError for an optimizer that reads from the device.
        """
        if not isinstance(self.optimizer, Adamax):
            raise SettingError("execution cuda-graph: needs training.optimizer.Adamax, which never reads; use it.")
        self.graph_cache = CudaGraphCache(recorder)

    def _replay(
        self,
        graph_cache: CudaGraphCache,
        batch: WindowBatch,
        epoch: int,
        noise: Tensor | None,
        teacher_forcing: Sequence[bool] | None,
    ) -> tuple[Tensor, Terms]:
        """Everything after `prepare`, replayed from a graph where there is one.

        The gradient scaler is part of the graph: its scale, step count and `found_inf` are tensors on the device, which
        it reads only when it is saved. All other numbers that the host passes are part of the layout.
        """
        optimizer = cast(Adamax, self.optimizer)
        inputs = batch.tensors() + ([] if noise is None else [noise])
        ramp, rates = self.loss.weights.kl_ramp(epoch), tuple(group["lr"] for group in optimizer.param_groups)
        layout = (tuple(batch.gender), tuple(x.shape for x in inputs), noise is None, teacher_forcing, ramp, rates)

        def call(tensors: Sequence[Tensor]) -> Tensor:
            static_noise = None if noise is None else tensors[-1]
            total, terms = self._accumulate(batch.with_tensors(tensors), epoch, static_noise, teacher_forcing)
            self._term_names = list(terms)
            return torch.stack([total, *(term.detach() for term in terms.values()), cast(Tensor, optimizer.taken)])

        with self.phase("graph"):
            timer, self.timer = self.timer, None  # a graph's phases cannot be timed
            try:
                results = graph_cache.run(layout, inputs, call)
            finally:
                self.timer = timer
        total, *terms, optimizer.taken = results.unbind()
        return total, dict(zip(self._term_names, terms, strict=True))

    def prepare(self, batch: WindowBatch) -> WindowBatch:
        """Copy a batch to the device."""
        with self.phase("prepare"):
            return batch.to(self.device)

    def sample(
        self,
        batch: WindowBatch,
        noise: Float[Tensor, "B 10 48"] | None = None,
        teacher_forcing: Sequence[bool] | None = None,
    ) -> Transition:
        """Run the network forward with a sample of the posterior; without teacher forcing, on its own predictions."""
        with self.phase("sample"), self.precision.autocast_scope(self.device), self.half_weights.active():
            out = self._forward(self.network, batch, noise, teacher_forcing)
        if out.state.trans.requires_grad:
            self.time_network_backward((out.state.trans, out.state.pose_body))  # the last gradients of the loss
        return out

    def compute_loss(self, out: Transition, batch: WindowBatch, epoch: int = 0) -> tuple[Float[Tensor, ""], Terms]:
        """Compute the loss and its terms; the phase called "loss"."""
        with self.phase("loss"), self.precision.autocast_scope(self.device):
            if self._compiled_loss is None:
                return self.loss(out, batch.current, batch.contacts, batch.betas, batch.gender, epoch)
            runs = {name: [(run.start, run.stop) for run in each] for name, each in gender_runs(batch.gender).items()}
            return self._compiled_loss(out, batch.current, batch.contacts, batch.betas, runs, epoch)

    @torch.no_grad()
    def evaluate(
        self,
        batch: WindowBatch,
        epoch: int = 0,
        noise: Float[Tensor, "B 10 48"] | None = None,
        teacher_forcing: Sequence[bool] | None = None,
    ) -> tuple[Float[Tensor, ""], Terms]:
        """The loss and its terms on a batch, without gradients."""
        ready = batch.to(self.device)
        with self.precision.autocast_scope(self.device), self.half_weights.active():
            out = self._forward(self.model, ready, noise, teacher_forcing)
            total, terms = self.loss(out, ready.current, ready.contacts, ready.betas, ready.gender, epoch)
        return total, terms

    def _forward(
        self, network: nn.Module, batch: WindowBatch, noise: Tensor | None, teacher_forcing: Sequence[bool] | None
    ) -> Transition:
        if teacher_forcing is None:
            return cast(Transition, network(batch.past, batch.current, noise))
        posed = None
        if self.smpl_joint_inputs:
            bodies = {name: cast(BodyModel, body) for name, body in self.loss.bodies.items()}
            posed = PosedJoints(bodies, batch.betas[:, 0], batch.gender)
        return unroll(network, batch, noise, teacher_forcing, posed)


def unroll(
    network: nn.Module,
    batch: WindowBatch,
    noise: Float[Tensor, "B 10 48"] | None,
    teacher_forcing: Sequence[bool],  # of the second to the last input
    joint_inputs: JointInputs | None = None,  # replace the predicted joints in the next input, see PosedJoints
) -> Transition:
    """Predict a window's pairs one after the other, each from the truth or from the previous prediction.

    A prediction becomes an input in its canonical frame and detached: no gradient passes between steps. The joints'
    pivot is that of the window's first frame throughout, as in a rollout. Predictions are compared with
    `batch.current`, each pair in its true input's frame, as in the published code.
    """
    assert len(teacher_forcing) == PAIRS - 1
    past = batch.past.map(lambda x: x[:, 0])
    pivot = CanonicalFrame.of(past).pivot
    outs: list[Transition] = []
    for step in range(PAIRS):
        current = batch.current.map(lambda x, step=step: x[:, step])  # type: ignore[misc]
        outs.append(network(past, current, None if noise is None else noise[:, step]))
        if step + 1 < PAIRS and teacher_forcing[step]:
            past = batch.past.map(lambda x, step=step: x[:, step + 1])  # type: ignore[misc]
        elif step + 1 < PAIRS:
            predicted = replace_joints(outs[-1].state.map(Tensor.detach), joint_inputs)
            past = CanonicalFrame.of(predicted, pivot).world_to_canonical(predicted)
    return Transition(
        MotionState.stack([out.state for out in outs], 1),
        torch.stack([out.contacts for out in outs], 1),
        _stack([out.posterior for out in outs]),
        _stack([out.prior for out in outs]),
    )


def _stack(gaussians: Sequence[Gaussian | None]) -> Gaussian:
    known = [gaussian for gaussian in gaussians if gaussian is not None]
    return Gaussian(torch.stack([each.mean for each in known], 1), torch.stack([each.var for each in known], 1))
