"""Small random surfaces and poses, and the mesh loss of them by the formula: the slow twin."""

import torch

from humor.skinning import Pose, Surface


def random_pose(rows, seed, joints=4, features=11, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    return Pose(
        torch.randn(rows, features, generator=random, dtype=dtype),
        torch.randn(12, rows, joints, generator=random, dtype=dtype),
    )


def random_surface(vertices=37, joints=4, features=11, dtype=torch.float64):
    random = torch.Generator().manual_seed(9)
    weights = torch.rand(vertices, joints, generator=random, dtype=dtype)
    return Surface(
        torch.randn(3, vertices, features, generator=random, dtype=dtype), weights / weights.sum(1, keepdim=True)
    )


def plain_vertices(surface, pose):
    """Vertices by the formula, all at once: the slow twin."""
    turns = pose.transforms.unflatten(0, (3, 4))
    v_posed = torch.einsum("cvp,np->nvc", surface.blend_shapes, pose.features)
    skin_transforms = torch.einsum("iknj,vj->nvik", turns, surface.weights)
    return torch.einsum("nvik,nvk->nvi", skin_transforms[..., :3], v_posed) + skin_transforms[..., 3]


def plain_loss(surface, predicted, target):
    return (plain_vertices(surface, predicted) - plain_vertices(surface, target)).square().sum()


def value_and_gradients(loss, surface, predicted, target):
    leaves = [predicted.features.clone().requires_grad_(), predicted.transforms.clone().requires_grad_()]
    value = loss(surface, Pose(*leaves), target)
    return value, *torch.autograd.grad(value, leaves)
