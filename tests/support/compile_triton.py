"""Run by test_optimizer.py in a process of its own: compile the Triton kernel for an H100, which needs no GPU."""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from humor.training import triton_adamax


def compile_adamax(weights: int) -> str:
    """The kernel of so many weights, all aligned, as PTX."""
    lists = dict.fromkeys(("weights", "gradients", "averages", "norms"), ("*fp32",) * weights)
    numbers = dict.fromkeys(("taken", "scale", "rate"), "*fp32") | dict.fromkeys(("share", "beta2", "eps"), "fp32")
    signature = {**lists, "sizes": ("i32",) * weights, **numbers, "block_size": "constexpr"}
    aligned = {(each, weight): [["tt.divisibility", 16]] for each in range(5) for weight in range(weights)}
    source = ASTSource(triton_adamax._update, signature, {(len(signature) - 1,): triton_adamax.BLOCK}, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})
    return compiled.asm["ptx"]


if __name__ == "__main__":
    ptx = compile_adamax(2)
    counts = [ptx.count(f"{name}.global.v4") for name in ("ld", "st")]
    # Of two weights, a thread reads 8 numbers of 4 tensors and writes those of 3, by fours.
    assert counts == [2 * 4 * 2, 2 * 3 * 2], counts
