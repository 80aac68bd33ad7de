"""One training step in named phases."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.profiler import record_function

from .data.windows import WindowBatch
from .losses import HumorLoss
from .model import HumorModel, Transition
from .precision import Precision

PHASES = ("prepare", "sample", "loss", "backward", "optimize")


class TrainStep:
    """Prepare, sample, loss, backward, optimize: the study's step, on the device that the model is on.

    Call it with a batch for the whole step, or call the phases one after the other. Only float16's gradient scaler
    ever waits for the device: it must know whether a gradient overflowed.
    """

    def __init__(
        self, model: HumorModel, loss: HumorLoss, optimizer: torch.optim.Optimizer, precision: Precision
    ) -> None:
        self.model, self.loss, self.optimizer, self.precision = model, loss, optimizer, precision
        self.device = next(model.parameters()).device
        self.scaler = precision.scaler(self.device)

    def __call__(
        self, batch: WindowBatch, epoch: int = 0, noise: Float[Tensor, "B 10 48"] | None = None
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """Take one step. Returns the loss before it and its terms, on the device and unread."""
        ready = self.prepare(batch)
        total, terms = self.compare(self.sample(ready, noise), ready, epoch)
        self.backward(total)
        self.optimize()
        return total.detach(), terms

    def prepare(self, batch: WindowBatch) -> WindowBatch:
        """Bring a batch to the device."""
        with record_function("prepare"):
            return batch.to(self.device)

    def sample(self, batch: WindowBatch, noise: Float[Tensor, "B 10 48"] | None = None) -> Transition:
        """Run the network forward, with the posterior's sample."""
        with record_function("sample"), self.precision.forward(self.device):
            return self.model(batch.past, batch.current, noise)

    def compare(
        self, out: Transition, batch: WindowBatch, epoch: int = 0
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """Compute the loss and its terms; the phase called "loss"."""
        with record_function("loss"), self.precision.forward(self.device):
            return self.loss(out, batch.current, batch.contacts, batch.betas, batch.gender, epoch)

    def backward(self, total: Float[Tensor, ""]) -> None:
        """Compute gradients, scaled where the precision needs it."""
        with record_function("backward"), self.precision.multiplies(self.device):
            self.scaler.scale(total).backward()

    def optimize(self) -> None:
        """Update the weights, unless a scaled gradient overflowed, and clear the gradients."""
        with record_function("optimize"):
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
