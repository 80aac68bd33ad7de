"""Conversions between forms of rotations, exact and differentiable everywhere, at zero and pi too.

`rotvec` is an axis-angle vector in radians, `rotmat` a 3x3 matrix whose columns are the rotated axes, `quat` a
unit quaternion (w, x, y, z) with w >= 0, and `rot6d` the first two columns of the matrix, one after the other.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Y_UP_TO_Z_UP = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))  # a quarter turn about x

# Below this squared angle a series is used; its first neglected term is under 1e-16, so that float64 is exact too.
_SERIES_BELOW = 1e-3


def cross_matrix(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrix K with K u = vector x u."""
    (x, y, z), (left, back, down) = vector.unbind(-1), vector.neg().unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, down, y, z, zero, left, back, x, zero], -1).unflatten(-1, (3, 3))


def rotvec_to_rotmat(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrix of a rotation vector (radians). Source: Rodrigues' formula, with sin and 1 - cos as series near zero."""
    squared = rotvec.square().sum(-1)[..., None, None]
    small = squared < _SERIES_BELOW
    half = 0.5 * squared.masked_fill(small, 1).sqrt()
    half_sinc = torch.sin(half) / half
    sin_over = torch.where(small, _series(squared, (1.0, -1 / 6, 1 / 120, -1 / 5040)), half_sinc * torch.cos(half))
    cos_over = torch.where(small, _series(squared, (1 / 2, -1 / 24, 1 / 720, -1 / 40320)), 0.5 * half_sinc.square())
    cross = cross_matrix(rotvec)
    outer = rotvec[..., :, None] * rotvec[..., None, :]
    eye = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    square = torch.addcmul(outer, squared, eye, value=-1)  # of the cross matrix
    return torch.addcmul(torch.addcmul(eye, sin_over, cross), cos_over, square)


def rotmat_to_rotvec(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector (radians, angle at most pi) of a rotation matrix."""
    return quat_to_rotvec(rotmat_to_quat(rotmat))


def rotmat_to_quat(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (w, x, y, z), w >= 0, of a rotation matrix.

    Source: Shepperd 1978. Of his four formulas the one with the largest divisor is used, so that value and gradient
    are accurate at every angle.
    """
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in rotmat.unbind(-2))
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m01 + m10, m02 + m20], -1),
            torch.stack([m02 - m20, m01 + m10, 1 - m00 + m11 - m22, m12 + m21], -1),
            torch.stack([m10 - m01, m02 + m20, m12 + m21, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )  # row k is 4 q_k q
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    quat = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quat = quat / torch.linalg.vector_norm(quat, dim=-1, keepdim=True)
    return torch.where(quat[..., :1] < 0, -quat, quat)


def quat_to_rotvec(quat: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector (radians) of a unit quaternion (w, x, y, z) with w >= 0."""
    w, xyz = quat[..., :1], quat[..., 1:]
    squared = xyz.square().sum(-1, keepdim=True)
    small = squared < _SERIES_BELOW
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    # atan(s / w) / s as a series in (s / w)^2; w is 1 within 5e-4 where it is used.
    safe_w = torch.where(small, w, torch.ones_like(w))
    series = 2 / safe_w * _series(squared / safe_w.square(), (1.0, -1 / 3, 1 / 5, -1 / 7, 1 / 9))
    return torch.where(small, series, 2 * torch.atan2(sine, w) / sine) * xyz


def rotvec_to_quat(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (w, x, y, z), w >= 0, of a rotation vector (radians)."""
    return rotmat_to_quat(rotvec_to_rotmat(rotvec))


def quat_to_rotmat(quat: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrix of a unit quaternion (w, x, y, z)."""
    w, xyz = quat[..., 0, None, None], quat[..., 1:]
    outer = xyz[..., :, None] * xyz[..., None, :]
    eye = torch.eye(3, dtype=quat.dtype, device=quat.device)
    squared = xyz.square().sum(-1)[..., None, None]
    return eye + 2 * (outer - squared * eye + w * cross_matrix(xyz))


def rotmat_to_rot6d(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """First two columns of a rotation matrix, one after the other. Source: Zhou et al. 2019."""
    return rotmat[..., :2].transpose(-1, -2).flatten(-2)


def rot6d_to_rotmat(rot6d: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix whose first two columns are the Gram-Schmidt of the two given ones. Source: Zhou et al. 2019."""
    first = torch.nn.functional.normalize(rot6d[..., :3], dim=-1)
    second = rot6d[..., 3:]
    second = torch.nn.functional.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def _series(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Polynomial in x by Horner's rule, lowest coefficient first."""
    *others, next_highest, highest = coefficients
    value = x * highest + next_highest
    for coefficient in reversed(others):
        value = value * x + coefficient
    return value
