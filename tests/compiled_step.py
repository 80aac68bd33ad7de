"""Run by test_compile.py in a process of its own: PyTorch's compiler cannot read functions whose shapes are checked."""

import golden_values as golden
import torch

from humor import HumorLoss, HumorModel, MotionState
from humor.data import WindowBatch


def main() -> None:
    """Compile network and loss as one graph, and the mesh error's inner part; compare with what is not compiled."""
    torch.manual_seed(0)
    states = [MotionState.from_vector(torch.randn(3, 10, 207), "rotvec") for _ in range(2)]
    contacts, betas = torch.randint(2, (3, 10, 9)).float(), torch.randn(3, 10, 16)
    batch = WindowBatch(*states, contacts, betas, ["male", "male", "female"])
    model, noise = HumorModel(), torch.randn(3, 10, 48)

    def gradient(mesh: str, backend: str | None) -> torch.Tensor:
        loss = HumorLoss(golden.bodies(), mesh=mesh)

        def total() -> torch.Tensor:
            out = model(batch.past, batch.current, noise)
            return loss(out, batch.current, batch.contacts, batch.betas, batch.gender, 50)[0]

        model.zero_grad()
        run = torch.compile(total, fullgraph=True, backend=backend) if backend else total
        run().backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters()])

    expected = gradient("plain", None)
    for mesh, backend in (("fused", None), ("fused", "aot_eager"), ("compiled", None)):
        difference = (gradient(mesh, backend) - expected).norm() / expected.norm()
        assert difference < 1e-5, f"{mesh}, {backend}: {difference:.1e}"


if __name__ == "__main__":
    main()
