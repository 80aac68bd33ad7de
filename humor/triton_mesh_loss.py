"""The mesh term of the loss and its gradients as one Triton kernel, which writes nothing of a mesh's size.

A program takes a block of bodies and a run of vertices, block by block, and adds to numbers that no other program
writes, so that every run gives the same sums. It needs triton, which a PyTorch for CUDA brings, and runs on a CPU where
TRITON_INTERPRET is 1.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from .triton_kernels import require_inputs

# Bodies and vertices of a block, and how many features or joints it sums over, or adds to, at once.
BLOCK = {"block_n": 32, "block_v": 32, "inner": 16, "outer": 32}
PROGRAMS = 512  # at most, unless there are more blocks of bodies: each run of vertices has its part of the gradients
WARPS = 8  # of a program


class _Pose(NamedTuple):
    """A pose's tensors, from a block's first body, and the distances between their elements in memory."""

    features: Any
    transforms: Any
    feature_strides: Any
    transform_strides: Any


class _Counts(NamedTuple):
    bodies: Any
    vertices: Any
    features: Any
    joints: Any


# Triton reads annotations as its own, so that its functions have no types.
@triton.jit
def _load(matrix, rows, columns, strides, counts):
    """A block of a matrix, with zeros outside of it."""
    inside = (rows < counts[0])[:, None] & (columns < counts[1])[None, :]
    return tl.load(matrix + rows[:, None] * strides[0] + columns[None, :] * strides[1], inside, other=0.0)


@triton.jit
def _add(values, matrix, rows, columns, strides, counts):
    """Add to a block of a matrix that no other program writes."""
    inside = (rows < counts[0])[:, None] & (columns < counts[1])[None, :]
    at = matrix + rows[:, None] * strides[0] + columns[None, :] * strides[1]
    tl.atomic_add(at, values, inside, sem="relaxed")


@triton.jit
def _pose_vertices(ours, theirs, blend_shapes, bodies, vertices, counts, zeros, inner):
    """v_posed of a block in both poses, axis by axis."""
    our_vertices, their_vertices = (zeros,) * 3, (zeros,) * 3
    for first in range(0, counts.features, inner):
        features = first + tl.arange(0, inner)
        our_features = _load(ours.features, bodies, features, ours.feature_strides, (counts.bodies, counts.features))
        their_features = _load(
            theirs.features, bodies, features, theirs.feature_strides, (counts.bodies, counts.features)
        )
        our_sums, their_sums = (), ()
        for axis in tl.static_range(3):
            shapes = blend_shapes + axis * counts.vertices * counts.features
            shapes = _load(shapes, features, vertices, (1, counts.features), (counts.features, counts.vertices))
            our_sums += (tl.dot(our_features, shapes, our_vertices[axis], input_precision="ieee"),)
            their_sums += (tl.dot(their_features, shapes, their_vertices[axis], input_precision="ieee"),)
        our_vertices, their_vertices = our_sums, their_sums
    return our_vertices, their_vertices


@triton.jit
def _skin_axis(axis, pose, v_posed, weights, bodies, vertices, counts, zeros, inner):
    """An axis of a block's vertices in the world, and that row of their skin transforms."""
    row = (zeros,) * 4
    for first in range(0, counts.joints, inner):
        joints = first + tl.arange(0, inner)
        by_joint = _load(weights, joints, vertices, (1, counts.joints), (counts.joints, counts.vertices))
        sums = ()
        for column in tl.static_range(4):
            number = pose.transforms + (4 * axis + column) * tl.cast(pose.transform_strides[0], tl.int64)
            strides = pose.transform_strides[1], pose.transform_strides[2]
            values = _load(number, bodies, joints, strides, (counts.bodies, counts.joints))
            sums += (tl.dot(values, by_joint, row[column], input_precision="ieee"),)
        row = sums
    return row[0] * v_posed[0] + row[1] * v_posed[1] + row[2] * v_posed[2] + row[3], row


@triton.jit
def _add_transform_gradient(axis, difference, v_posed, weights, gradient, stride, bodies, vertices, counts, outer):
    """Add that of a row of the transforms, of which one number of all bodies and joints is a `stride` from the next."""
    factors = v_posed + (tl.full(difference.shape, 1, tl.float32),)  # noqa: RUF005  # Triton knows no other way
    for first in range(0, counts.joints, outer):
        joints = first + tl.arange(0, outer)
        by_vertex = _load(weights, vertices, joints, (counts.joints, 1), (counts.vertices, counts.joints))
        for column in tl.static_range(4):
            values = 2 * tl.dot(difference * factors[column], by_vertex, input_precision="ieee")
            number = gradient + (4 * axis + column) * stride
            _add(values, number, bodies, joints, (1, stride // counts.joints), (counts.bodies, counts.joints))


@triton.jit
def _add_feature_gradient(v_posed_gradient, blend_shapes, gradient, bodies, vertices, counts, zeros, outer):
    for first in range(0, counts.features, outer):
        features = first + tl.arange(0, outer)
        values = tl.full((zeros.shape[0], outer), 0, tl.float32)
        for axis in tl.static_range(3):
            shapes = blend_shapes + axis * counts.vertices * counts.features
            shapes = _load(shapes, vertices, features, (counts.features, 1), (counts.vertices, counts.features))
            values = tl.dot(v_posed_gradient[axis], shapes, values, input_precision="ieee")
        _add(2 * values, gradient, bodies, features, (counts.features, 1), (counts.bodies, counts.features))


@triton.jit
def _from_body(pose, body):
    features, transforms = pose.feature_strides, pose.transform_strides
    return _Pose(pose.features + body * features[0], pose.transforms + body * transforms[1], features, transforms)


@triton.jit
def _mesh_loss(
    ours, theirs, blend_shapes, weights, counts, run, losses, feature_gradient, transform_gradient,
    gradient: tl.constexpr, block_n: tl.constexpr, block_v: tl.constexpr, inner: tl.constexpr, outer: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(1).to(tl.int64)
    body = tl.program_id(0).to(tl.int64) * block_n
    stride = tl.cast(counts.bodies, tl.int64) * counts.joints
    row = part * counts.bodies + body
    feature_gradient += row * counts.features
    transform_gradient += part * 12 * stride + body
    ours, theirs = _from_body(ours, body), _from_body(theirs, body)
    here = tl.minimum(counts.bodies - body, block_n).to(tl.int32)
    counts = _Counts(here, counts.vertices, counts.features, counts.joints)
    bodies, zeros = tl.arange(0, block_n), tl.full((block_n, block_v), 0, tl.float32)
    loss = zeros
    start = tl.program_id(1) * run
    for first in range(start, tl.minimum(start + run, counts.vertices), block_v):
        vertices = first + tl.arange(0, block_v)
        our_vertices, their_vertices = _pose_vertices(
            ours, theirs, blend_shapes, bodies, vertices, counts, zeros, inner
        )
        v_posed_gradient = (zeros,) * 3
        for axis in range(3):
            target, _ = _skin_axis(axis, theirs, their_vertices, weights, bodies, vertices, counts, zeros, inner)
            world, rotation = _skin_axis(axis, ours, our_vertices, weights, bodies, vertices, counts, zeros, inner)
            difference = world - target
            loss += difference * difference
            if gradient:
                _add_transform_gradient(
                    axis, difference, our_vertices, weights, transform_gradient, stride, bodies, vertices, counts, outer
                )
                v_posed_gradient = (
                    v_posed_gradient[0] + rotation[0] * difference,
                    v_posed_gradient[1] + rotation[1] * difference,
                    v_posed_gradient[2] + rotation[2] * difference,
                )
        if gradient:
            _add_feature_gradient(
                v_posed_gradient, blend_shapes, feature_gradient, bodies, vertices, counts, zeros, outer
            )
    losses += row * block_v + bodies[:, None] * block_v + tl.arange(0, block_v)[None, :]
    tl.store(losses, loss, (bodies < here)[:, None])


def mesh_loss_and_gradients(
    blend_shapes: Float[Tensor, "3 V P"],
    weights: Float[Tensor, "V J"],
    features: Float[Tensor, "N P"],
    transforms: Float[Tensor, "12 N J"],
    target_features: Float[Tensor, "N P"],
    target_transforms: Float[Tensor, "12 N J"],
    gradient: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N P"], Float[Tensor, "12 N J"]]:
    """The loss and its gradients of the predicted features and transforms, which are zeros without `gradient`.

    Raises SettingError for what is not float32 or does not fit, and on a CPU without Triton's interpreter.
    """
    counts = _Counts(len(features), len(weights), features.shape[1], weights.shape[1])
    poses = (features, transforms), (target_features, target_transforms)
    shapes = (counts.bodies, counts.features), (12, counts.bodies, counts.joints)
    constants = (blend_shapes, (3, counts.vertices, counts.features)), (weights, (counts.vertices, counts.joints))
    inputs = (*constants, *(each for pose in poses for each in zip(pose, shapes, strict=True)))
    require_inputs(not isinstance(_mesh_loss, triton.JITFunction), 'mesh "triton"', '"fused"', *inputs)
    blocks, vertex_blocks = triton.cdiv(len(features), BLOCK["block_n"]), triton.cdiv(len(weights), BLOCK["block_v"])
    run = max(triton.cdiv(vertex_blocks, max(PROGRAMS // max(blocks, 1), 1)), 1)
    parts = triton.cdiv(vertex_blocks, run)
    losses = features.new_empty(parts, len(features), BLOCK["block_v"])
    feature_gradient = features.new_zeros(parts if gradient else 0, *features.shape)
    transform_gradient = features.new_zeros(len(feature_gradient), 12, counts.joints, counts.bodies)
    if losses.numel():
        _mesh_loss[blocks, parts](
            *(_Pose(x, y, x.stride(), y.stride()) for x, y in poses),
            blend_shapes.contiguous(), weights.contiguous(), counts, run * BLOCK["block_v"], losses,
            feature_gradient, transform_gradient, gradient, **BLOCK, num_warps=WARPS, enable_fp_fusion=True,
        )  # fmt: skip
    out = torch.empty_like(transforms)
    torch.sum(transform_gradient.transpose(2, 3), 0, out=out)
    return losses.sum(), feature_gradient.sum(0), out
