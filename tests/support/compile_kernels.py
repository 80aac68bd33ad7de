"""Run by tests in a process of its own: compile the Triton kernels for an H100, which needs no GPU."""

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from humor import triton_kinematics, triton_mesh_loss
from humor.training import triton_adamax

ALIGNED = [["tt.divisibility", 16]]


def compile_kernel(
    kernel: Any, signature: dict[str, Any], constants: dict[Any, Any], aligned: list[Any], warps: int = 4
) -> Any:
    """The kernel for float32 arguments of which some are aligned."""
    source = ASTSource(kernel, signature, constants, dict.fromkeys(aligned, ALIGNED))
    options = {"num_warps": warps, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def check_adamax(weights: int = 2) -> None:
    """The kernel of so many weights reads 8 numbers of 4 tensors a thread and writes those of 3, by fours."""
    lists = dict.fromkeys(("weights", "gradients", "averages", "norms"), ("*fp32",) * weights)
    numbers = dict.fromkeys(("taken", "scale", "rate"), "*fp32") | dict.fromkeys(("share", "beta2", "eps"), "fp32")
    signature = {**lists, "sizes": ("i32",) * weights, **numbers, "block_size": "constexpr"}
    aligned = [(each, weight) for each in range(5) for weight in range(weights)]
    block_size = {(len(signature) - 1,): triton_adamax.BLOCK}
    ptx = compile_kernel(triton_adamax._update, signature, block_size, aligned).asm["ptx"]
    counts = [ptx.count(f"{name}.global.v4") for name in ("ld", "st")]
    assert counts == [2 * 4 * weights, 2 * 3 * weights], counts


def check_mesh_loss() -> None:
    """For one body and for many: products in full float32, and nothing stored but sums."""
    kernel, shape = triton_mesh_loss._mesh_loss, triton_mesh_loss.BLOCK
    for one in (False, True):
        # As `Pose.from_joints` lays them out; the number 1 is a constant of the kernel.
        strides = ("i32", "constexpr"), ("i32", "constexpr", "constexpr" if one else "i32")
        pose = triton_mesh_loss._Pose("*fp32", "*fp32", *strides)
        counts = triton_mesh_loss._Counts("constexpr" if one else "i32", *("i32",) * 3)
        constants = {(each, 2, 1): 1 for each in (0, 1)} | {(each, 3, 1): 1 for each in (0, 1)}
        if one:
            constants |= {(4, 0): 1, (0, 3, 2): 1, (1, 3, 2): 1}
        given = dict(zip(kernel.arg_names, [pose, pose, "*fp32", "*fp32", counts, "i32", *["*fp32"] * 3], strict=False))
        settings = {"gradient": True, **shape}
        constants |= {(kernel.arg_names.index(name),): value for name, value in settings.items()}
        signature = given | dict.fromkeys(settings, "constexpr")
        aligned = [(0, 0), (0, 1), (1, 0), (1, 1), (2,), (3,)]
        compiled = compile_kernel(kernel, signature, constants, aligned, triton_mesh_loss.WARPS)
        ptx = compiled.asm["ptx"]
        assert "fma.rn.f32" in ptx
        assert "mma" not in ptx
        assert ptx.count("st.global") in (1, 4)  # four numbers a thread, alone or by fours
        assert compiled.metadata.shared < 64 * 1024


def check_kinematics() -> None:
    """A joint's 12 numbers and its parent's are read, and 12 written; for the gradient 12 more of each pass."""
    for name, stored in (("_place_joints", 12), ("_place_joints_backward", 36)):
        kernel = getattr(triton_kinematics, name)
        signature: dict[str, Any] = dict.fromkeys(kernel.arg_names, "*fp32")
        signature |= {"strides": ("i32",) * 4, "offset_strides": ("i32",) * 3, "joints": "i32", "count": "i32"}
        signature |= {"parents": "*i64", "block": "constexpr"}
        if "gradient_strides" in signature:
            signature["gradient_strides"] = ("i32",) * 4
        constants = {(kernel.arg_names.index("block"),): triton_kinematics.BODIES}
        ptx = compile_kernel(kernel, signature, constants, [], triton_kinematics.LAUNCH["num_warps"]).asm["ptx"]
        assert ptx.count("st.global") == stored, ptx.count("st.global")


if __name__ == "__main__":
    {"adamax": check_adamax, "kinematics": check_kinematics, "mesh_loss": check_mesh_loss}[sys.argv[1]]()
