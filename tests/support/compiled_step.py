"""Run by test_compile.py in a process of its own: PyTorch's compiler cannot read functions whose shapes are checked."""

from functools import partial

import torch

from humor import HumorLoss, HumorModel, MotionState, Precision
from humor.data import WindowBatch
from humor.training.optimizer import Adamax
from humor.training.step import TrainStep
from tests.support import golden_values as golden


def draw_batch(genders: list[str]) -> WindowBatch:
    """Windows of random motion."""
    rows = len(genders)
    states = [MotionState.from_vector(torch.randn(rows, 10, 207), "rotvec") for _ in range(2)]
    return WindowBatch(*states, torch.randint(2, (rows, 10, 9)).float(), torch.randn(rows, 10, 16), genders)


def train_step(mesh: str, precision: str = "fp32", execution: str = "eager") -> TrainStep:
    """A step of always the same network."""
    torch.manual_seed(0)
    model = HumorModel()
    return TrainStep(
        model,
        HumorLoss(golden.bodies(), mesh=mesh),
        Adamax(model.parameters()),
        Precision(precision),
        execution=execution,
    )


def gradient(step: TrainStep, batch: WindowBatch, noise: torch.Tensor, backend: str | None) -> torch.Tensor:
    """Of prepare, sample, loss and backward, compiled as one graph."""

    def total() -> torch.Tensor:
        ready = step.prepare(batch)
        return step.compute_loss(step.sample(ready, noise), ready, 50)[0]

    run = torch.compile(total, fullgraph=True, backend=backend) if backend else total
    run().backward()
    return torch.cat([weight.grad.flatten() for weight in step.model.parameters()])


def compare_gradients() -> None:
    """Compile the whole step, and the mesh error's inner part; compare with what is not compiled."""
    batch, noise = draw_batch(["male", "male", "female"]), torch.randn(3, 10, 48)
    expected = gradient(train_step("plain"), batch, noise, None)
    for mesh, backend in (("fused", None), ("fused", "aot_eager"), ("compiled", None)):
        difference = (gradient(train_step(mesh), batch, noise, backend) - expected).norm() / expected.norm()
        assert difference < 1e-5, f"{mesh}, {backend}: {difference:.1e}"


def compare_executions() -> None:
    """Steps whose network and loss are compiled apart are eager ones, and other batches are no other programs."""
    torch.compile, compile_ = partial(torch.compile, backend="eager"), torch.compile
    for precision in ("fp32", "bf16-weights"):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        eager, compiled = (train_step("fused", precision, execution) for execution in ("eager", "compile"))
        layouts = (["male"] * 3 + ["female"] * 2, ["male"] * 2 + ["female"] * 3, ["male"] * 3 + ["female"] * 4)
        for epoch, genders in zip((50, 20, 21), layouts, strict=True):
            batch, noise = draw_batch(genders), torch.randn(len(genders), 10, 48)
            (expected, _), (found, _) = (step(batch, epoch, noise) for step in (eager, compiled))
            assert torch.isclose(found, expected, rtol=1e-5), f"{precision}: {found} is not {expected}"
        programs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        assert programs <= 4, f"{precision}: {programs} programs"  # network and loss, and each once more for any size
    torch.compile = compile_


if __name__ == "__main__":
    compare_gradients()
    compare_executions()
