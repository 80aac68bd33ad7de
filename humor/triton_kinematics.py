"""Forward kinematics and its gradient as one Triton kernel each.

A lane is a body, whose joints it walks along: each after its parent, or before it for the gradient. It needs triton,
which a PyTorch for CUDA brings, and runs on a CPU where TRITON_INTERPRET is 1.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from .skeleton import Skeleton
from .skinning import NAMESPACE
from .triton_kernels import require_inputs

BODIES = 32  # of a program: one for each lane, so that few bodies are many programs
LAUNCH = {"num_warps": 1, "num_stages": 1, "enable_fp_fusion": True}  # no load before a store that it depends on


@triton.jit
def _load(transforms, strides, inside):
    """A 3x4 matrix of each body, row by row; the identity outside."""
    numbers = ()
    for row in tl.static_range(3):
        for column in tl.static_range(4):
            other = 1.0 if row == column else 0.0
            numbers += (tl.load(transforms + row * strides[0] + column * strides[1], inside, other=other),)
    return numbers


@triton.jit
def _load_local(rotmats, strides, offsets, offset_stride, inside):
    """[rotation | offset] of a joint of each body, row by row."""
    numbers = ()
    for row in tl.static_range(3):
        for column in tl.static_range(3):
            numbers += (tl.load(rotmats + row * strides[2] + column * strides[3], inside),)
        numbers += (tl.load(offsets + row * offset_stride, inside),)
    return numbers


@triton.jit
def _place_joints(rotmats, strides, offsets, offset_strides, world, parents, joints, count, block: tl.constexpr):
    bodies, count = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block), tl.cast(count, tl.int64)
    inside, row_strides = bodies < count, (4 * joints * count, joints * count)
    for joint in range(joints):
        rotations, shifts = rotmats + joint * strides[1] + bodies * strides[0], offsets + joint * offset_strides[1]
        local = _load_local(rotations, strides, shifts + bodies * offset_strides[2], offset_strides[0], inside)
        parent = tl.load(parents + joint)
        above = _load(world + parent * count + bodies, row_strides, bodies < tl.where(parent < 0, 0, count))
        here = world + joint * count + bodies
        for row in tl.static_range(3):
            for column in tl.static_range(4):
                value = above[4 * row] * local[column] + above[4 * row + 1] * local[4 + column]
                value += above[4 * row + 2] * local[8 + column]
                if column == 3:
                    value += above[4 * row + 3]
                tl.store(here + row * row_strides[0] + column * row_strides[1], value, inside)
        tl.debug_barrier()  # a lane reads what it has written


@triton.jit
def _place_joints_backward(
    gradient, gradient_strides, world, rotmats, strides, offsets, offset_strides,
    totals, out_rotmats, out_offsets, parents, joints, count, block: tl.constexpr,
):  # fmt: skip
    """`totals` gets each joint's gradient with what its children add to it."""
    bodies, count = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block), tl.cast(count, tl.int64)
    inside, row_strides = bodies < count, (4 * joints * count, joints * count)
    for joint in range(joints):
        of_joint = gradient + joint * gradient_strides[2] + bodies * gradient_strides[3]
        numbers = _load(of_joint, gradient_strides, inside)
        for row in tl.static_range(3):
            for column in tl.static_range(4):
                at = totals + joint * count + bodies + row * row_strides[0] + column * row_strides[1]
                tl.store(at, numbers[4 * row + column], inside)
    tl.debug_barrier()
    for below in range(joints):
        joint = joints - 1 - below
        rotations, shifts = rotmats + joint * strides[1] + bodies * strides[0], offsets + joint * offset_strides[1]
        local = _load_local(rotations, strides, shifts + bodies * offset_strides[2], offset_strides[0], inside)
        parent = tl.load(parents + joint)
        has_parent = bodies < tl.where(parent < 0, 0, count)
        above = _load(world + parent * count + bodies, row_strides, has_parent)
        total = _load(totals + joint * count + bodies, row_strides, inside)
        for row in tl.static_range(3):
            for column in tl.static_range(4):
                value = above[row] * total[column] + above[4 + row] * total[4 + column]
                value += above[8 + row] * total[8 + column]
                if column == 3:
                    tl.store(out_offsets + (row * joints + joint) * count + bodies, value, inside)
                else:
                    tl.store(out_rotmats + (bodies * joints + joint) * 9 + 3 * row + column, value, inside)
                at = totals + parent * count + bodies + row * row_strides[0] + column * row_strides[1]
                value = total[4 * row + 3]
                if column < 3:
                    value = value * local[4 * column + 3] + total[4 * row] * local[4 * column]
                    value += total[4 * row + 1] * local[4 * column + 1] + total[4 * row + 2] * local[4 * column + 2]
                tl.store(at, tl.load(at, has_parent) + value, has_parent)
        tl.debug_barrier()


def place_joints(
    rotmats: Float[Tensor, "N joints 3 3"], offsets: Float[Tensor, "3 joints N"], skeleton: Skeleton
) -> Float[Tensor, "3 4 joints N"]:
    """`kinematics.place_joints` by the kernels. Only first gradients exist.

    Raises SettingError for what is not float32 or does not fit, and on a CPU without Triton's interpreter.
    """
    return _PlaceJoints.apply(rotmats, offsets, list(skeleton.parents))


def _forward(rotmats: Tensor, offsets: Tensor, parents: list[int]) -> Float[Tensor, "3 4 joints N"]:
    count, joints = len(rotmats), len(parents)
    inputs = (rotmats, (count, joints, 3, 3)), (offsets, (3, joints, count))
    require_inputs(not isinstance(_place_joints, triton.JITFunction), 'kinematics "triton"', '"operators"', *inputs)
    world = rotmats.new_empty(3, 4, joints, count)
    if count:
        sizes = _parents(tuple(parents), rotmats.device), joints, count, BODIES
        _place_joints[triton.cdiv(count, BODIES),](
            rotmats, rotmats.stride(), offsets, offsets.stride(), world, *sizes, **LAUNCH
        )
    return world


def _backward(
    gradient: Tensor, world: Tensor, rotmats: Tensor, offsets: Tensor, parents: list[int]
) -> tuple[Float[Tensor, "N joints 3 3"], Float[Tensor, "3 joints N"]]:
    count, joints = len(rotmats), len(parents)
    out_rotmats, out_offsets = rotmats.new_empty(rotmats.shape), offsets.new_empty(offsets.shape)
    if count:
        inputs = gradient, gradient.stride(), world, rotmats, rotmats.stride(), offsets, offsets.stride()
        outputs = torch.empty_like(world), out_rotmats, out_offsets
        sizes = _parents(tuple(parents), rotmats.device), joints, count, BODIES
        _place_joints_backward[triton.cdiv(count, BODIES),](*inputs, *outputs, *sizes, **LAUNCH)
    return out_rotmats, out_offsets


@cache  # copied to the device once
def _parents(parents: tuple[int, ...], device: torch.device) -> Int[Tensor, " joints"]:
    return torch.tensor(parents, dtype=torch.int64, device=device)


class _PlaceJoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rotmats: Tensor, offsets: Tensor, parents: list[int]) -> Tensor:
        world = (place_joints_operator if torch.compiler.is_compiling() else _forward)(rotmats, offsets, parents)
        ctx.save_for_backward(world, rotmats, offsets)
        ctx.parents = parents
        return world

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        work: Callable[..., Any] = place_joints_backward_operator if torch.compiler.is_compiling() else _backward
        return *work(gradient, *ctx.saved_tensors, ctx.parents), None


# Custom operators, so that torch.compile takes them as they are.
place_joints_operator = torch.library.custom_op(
    f"{NAMESPACE}::place_joints",
    _forward,
    mutates_args=(),
    schema="(Tensor rotmats, Tensor offsets, int[] parents) -> Tensor",
)
place_joints_backward_operator = torch.library.custom_op(
    f"{NAMESPACE}::place_joints_backward",
    _backward,
    mutates_args=(),
    schema="(Tensor gradient, Tensor world, Tensor rotmats, Tensor offsets, int[] parents) -> (Tensor, Tensor)",
)


@place_joints_operator.register_fake
def _fake(rotmats: Tensor, offsets: Tensor, parents: Any) -> Tensor:
    return rotmats.new_empty(3, 4, len(parents), len(rotmats))


@place_joints_backward_operator.register_fake
def _fake_backward(
    gradient: Tensor, world: Tensor, rotmats: Tensor, offsets: Tensor, parents: Any
) -> tuple[Tensor, Tensor]:
    return rotmats.new_empty(rotmats.shape), offsets.new_empty(offsets.shape)
