"""One training step in named phases."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.profiler import record_function

from ..data.windows import PAIRS, WindowBatch
from ..errors import SettingError
from ..losses import HumorLoss, gender_runs
from ..model import Gaussian, HumorModel, Transition
from ..precision.presets import Precision
from ..state import CanonicalFrame, MotionState
from .execution import CudaGraphs, Execution, Recorder, Recordings, require_execution
from .micro_batches import Terms, joined, portions
from .optimizer import Adamax
from .phase_timer import PhaseClock

Average = Callable[[list[Tensor]], None]  # replaces gradients by their means over processes


class Step:
    """What training steps share: their phases, on the device that the model is on, and how weights are updated.

    Nothing waits for the device, except float16's gradient scaler with an optimizer that cannot leave a step out by
    itself (humor.training.optimizer's can).
    """

    settled_gradient_scale: float  # float16's scale once the overflows that training begins with are over

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        network: nn.Module | None = None,  # the model as processes share it; default: the model
        clock: PhaseClock | None = None,  # told where phases begin, with the loss's and the network's backward apart
        average: Average | None = None,  # of gradients over processes, where `network` does not
        execution: Execution = "eager",
    ) -> None:
        self.model, self.optimizer, self.precision = model, optimizer, precision
        self.network, self.clock, self.average = network or model, clock, average
        self.half_weights = precision.half_weights(model)
        self.device = next(model.parameters()).device
        self.scaler = precision.scaler(self.device)
        require_execution(execution, self.device)
        if execution == "compile":  # evaluation stays as it is: its batches have other shapes
            self.network = cast(nn.Module, torch.compile(self.network, fullgraph=True))

    def settle_gradient_scale(self) -> None:
        """Set the gradient scale to where it settles, so that the next steps do not overflow; float16 alone has one."""
        if self.scaler.is_enabled():
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": self.settled_gradient_scale})

    def backward(self, total: Float[Tensor, ""], share: float = 1.0) -> None:
        """Add gradients of a share of the loss, scaled where the precision needs it.

        A loss that is not finite makes no gradient that is.
        """
        with self._phase("backward"), self.precision.tf32_scope(self.device):
            # So that one check of the gradients is enough, and that every process comes to the same answer.
            whole = torch.full_like(total, share, requires_grad=False)
            spoilt = torch.where(total.detach().isfinite(), whole, float("nan"))
            self.scaler.scale(total).backward(spoilt)

    def optimize(self) -> None:
        """Update the weights, unless a scaled gradient overflowed, and clear the gradients."""
        with self._phase("optimize"):
            self.half_weights.move_gradients_to_masters()
            if self.average is not None:
                self.average([weight.grad for weight in self.model.parameters() if weight.grad is not None])
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            self.half_weights.refresh()

    def _phase(self, name: str) -> record_function:
        if self.clock is not None:
            self.clock.enter(name)
        return record_function(name)

    def _enter_network_backward(self, gradient: Tensor) -> None:
        assert self.clock is not None
        self.clock.enter("network backward")


class TrainStep(Step):
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
        clock: PhaseClock | None = None,
        average: Average | None = None,
        execution: Execution = "eager",
    ) -> None:
        super().__init__(model, optimizer, precision, network, clock, average, execution)
        self.loss = loss
        self._compiled_loss: Callable[..., tuple[Tensor, Terms]] | None = None
        self.recordings: Recordings | None = None
        self._term_names: list[str] = []
        if execution == "compile":
            self._compiled_loss = torch.compile(loss, fullgraph=True, dynamic=True)
        elif execution == "cuda-graph":
            self.record_with(CudaGraphs(self.device))

    def __call__(
        self,
        batch: WindowBatch,
        epoch: int = 0,
        noise: Float[Tensor, "B 10 48"] | None = None,
        fed_truth: Sequence[bool] | None = None,
    ) -> tuple[Float[Tensor, ""], Terms]:
        """Take one step. Returns the loss before it and its terms, on the device and unread."""
        ready = self.prepare(batch)
        if self.recordings is not None:
            return self._recorded(self.recordings, ready, epoch, noise, fed_truth)
        return self._taken(ready, epoch, noise, fed_truth)

    def _taken(
        self, batch: WindowBatch, epoch: int, noise: Tensor | None, fed_truth: Sequence[bool] | None
    ) -> tuple[Tensor, Terms]:
        """Everything after `prepare`."""
        found: list[tuple[WindowBatch, Tensor, Terms]] = []
        for portion, own_noise in portions(batch, noise):
            total, terms = self.compare(self.sample(portion, own_noise, fed_truth), portion, epoch)
            self.backward(total, len(portion) / len(batch))
            found.append((portion, total.detach(), terms))
            del total  # or its graph is kept while the next is made
        self.optimize()
        return joined(found)

    def record_with(self, recorder: Recorder) -> None:
        """From the next step on, record and play. What an optimizer loads later would not reach the recordings."""
        if not isinstance(self.optimizer, Adamax):
            raise SettingError("execution cuda-graph: needs training.optimizer.Adamax, which never reads; use it.")
        self.recordings = Recordings(recorder)

    def _recorded(
        self,
        recordings: Recordings,
        batch: WindowBatch,
        epoch: int,
        noise: Tensor | None,
        fed_truth: Sequence[bool] | None,
    ) -> tuple[Tensor, Terms]:
        """The same, played from a recording where there is one. The gradient scaler is in it: its scale, its count of
        steps and what it found are tensors on the device, which it reads only when it is saved. All other numbers
        that the host puts in are part of the layout."""
        optimizer = cast(Adamax, self.optimizer)
        inputs = batch.tensors() + ([] if noise is None else [noise])
        ramp, rates = self.loss.weights.kl_ramp(epoch), tuple(group["lr"] for group in optimizer.param_groups)
        layout = (tuple(batch.gender), tuple(x.shape for x in inputs), noise is None, fed_truth, ramp, rates)

        def call(own: Sequence[Tensor]) -> Tensor:
            own_noise = None if noise is None else own[-1]
            total, terms = self._taken(batch.with_tensors(own), epoch, own_noise, fed_truth)
            self._term_names = list(terms)
            return torch.stack([total, *(term.detach() for term in terms.values()), cast(Tensor, optimizer.taken)])

        with self._phase("graph"):
            clock, self.clock = self.clock, None  # phases cannot be told apart within a recording
            try:
                told = recordings.run(layout, inputs, call)
            finally:
                self.clock = clock
        total, *terms, optimizer.taken = told.unbind()
        return total, dict(zip(self._term_names, terms, strict=True))

    def prepare(self, batch: WindowBatch) -> WindowBatch:
        """Bring a batch to the device."""
        with self._phase("prepare"):
            return batch.to(self.device)

    def sample(
        self,
        batch: WindowBatch,
        noise: Float[Tensor, "B 10 48"] | None = None,
        fed_truth: Sequence[bool] | None = None,
    ) -> Transition:
        """Run the network forward, with the posterior's sample; on its own predictions where `fed_truth` says so."""
        with self._phase("sample"), self.precision.autocast_scope(self.device), self.half_weights.active():
            if fed_truth is None:
                out = self.network(batch.past, batch.current, noise)
            else:
                out = unroll(self.network, batch, noise, fed_truth)
        if self.clock is not None and out.state.trans.requires_grad:
            for name in ("trans", "pose_body"):  # the last gradients that the loss computes
                getattr(out.state, name).register_hook(self._enter_network_backward)
        return out

    def compare(self, out: Transition, batch: WindowBatch, epoch: int = 0) -> tuple[Float[Tensor, ""], Terms]:
        """Compute the loss and its terms; the phase called "loss"."""
        with self._phase("loss"), self.precision.autocast_scope(self.device):
            if self._compiled_loss is None:
                return self.loss(out, batch.current, batch.contacts, batch.betas, batch.gender, epoch)
            runs = {name: [(run.start, run.stop) for run in own] for name, own in gender_runs(batch.gender).items()}
            return self._compiled_loss(out, batch.current, batch.contacts, batch.betas, runs, epoch)

    @torch.no_grad()
    def evaluate(
        self,
        batch: WindowBatch,
        epoch: int = 0,
        noise: Float[Tensor, "B 10 48"] | None = None,
        fed_truth: Sequence[bool] | None = None,
    ) -> tuple[Float[Tensor, ""], Terms]:
        """The loss and its terms on a batch that nothing is learnt from."""
        ready = batch.to(self.device)
        with self.precision.autocast_scope(self.device), self.half_weights.active():
            if fed_truth is None:
                out = self.model(ready.past, ready.current, noise)
            else:
                out = unroll(self.model, ready, noise, fed_truth)
            total, terms = self.loss(out, ready.current, ready.contacts, ready.betas, ready.gender, epoch)
        return total, terms


def unroll(
    network: nn.Module,
    batch: WindowBatch,
    noise: Float[Tensor, "B 10 48"] | None,
    fed_truth: Sequence[bool],  # of the second to the last input
) -> Transition:
    """Predict a window's pairs one after the other, from the truth or from the prediction before.

    A prediction is fed told in its own canonical frame and without its history: no gradient passes between steps. The
    joints' pivot is the window's first throughout, as in a rollout. What comes out is to be compared with
    `batch.current`, each pair in its true input's frame, as in the published code.
    """
    assert len(fed_truth) == PAIRS - 1
    past = batch.past.map(lambda x: x[:, 0])
    pivot = CanonicalFrame.of(past).pivot
    outs: list[Transition] = []
    for step in range(PAIRS):
        current = batch.current.map(lambda x, step=step: x[:, step])  # type: ignore[misc]
        outs.append(network(past, current, None if noise is None else noise[:, step]))
        if step + 1 < PAIRS and fed_truth[step]:
            past = batch.past.map(lambda x, step=step: x[:, step + 1])  # type: ignore[misc]
        elif step + 1 < PAIRS:
            own = outs[-1].state.map(Tensor.detach)
            past = CanonicalFrame.of(own, pivot).world_to_canonical(own)
    return Transition(
        MotionState.stack([out.state for out in outs], 1),
        torch.stack([out.contacts for out in outs], 1),
        _stacked([out.posterior for out in outs]),
        _stacked([out.prior for out in outs]),
    )


def _stacked(gaussians: Sequence[Gaussian | None]) -> Gaussian:
    known = [gaussian for gaussian in gaussians if gaussian is not None]
    return Gaussian(torch.stack([each.mean for each in known], 1), torch.stack([each.var for each in known], 1))
