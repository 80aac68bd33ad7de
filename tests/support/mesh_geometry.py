"""What is true of a triangle mesh, asked slowly and plainly: its volume, what lies inside, what cuts what."""

import numpy as np
from scipy.spatial import cKDTree


def volume(vertices, faces):
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return np.einsum("fi,fi", a, np.cross(b, c)) / 6


def windings(points, vertices, faces):
    """How often the surface winds round each point: 1 inside, 0 outside. Source: Van Oosterom and Strackee 1983."""
    spread = vertices.T.astype(np.float32)[:, None] - points.T.astype(np.float32)[:, :, None]  # (3, points, V)
    length = np.sqrt((spread**2).sum(0))
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (spread[:, :, faces[:, k]] for k in range(3))
    la, lb, lc = (length[:, faces[:, k]] for k in range(3))
    top = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    ab, bc, ca = ax * bx + ay * by + az * bz, bx * cx + by * cy + bz * cz, cx * ax + cy * ay + cz * az
    return np.arctan2(top, la * lb * lc + ab * lc + bc * la + ca * lb).sum(1) / (2 * np.pi)


def crossings(vertices, faces):
    """How many pairs of triangles without a common corner cut each other: an edge of one passes through the other."""
    corners = vertices[faces]
    centres = corners.mean(1)
    radii = np.linalg.norm(corners - centres[:, None], axis=2).max(1)
    pairs = cKDTree(centres).query_pairs(2 * radii.max(), output_type="ndarray")
    pairs = pairs[np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1) < radii[pairs].sum(1)]
    apart = ~(faces[pairs[:, 0]][:, :, None] == faces[pairs[:, 1]][:, None]).any((1, 2))
    return int((_cuts(corners, pairs[apart]) | _cuts(corners, pairs[apart][:, ::-1])).sum())


def _cuts(corners, pairs):
    edges, (p, q, r) = corners[pairs[:, 0]], np.moveaxis(corners[pairs[:, 1]], 1, 0)
    hit = np.zeros(len(pairs), bool)
    for k in range(3):
        start, along = edges[:, k], edges[:, (k + 1) % 3] - edges[:, k]
        cross = np.cross(along, r - p)
        size = ((q - p) * cross).sum(1)
        size = np.where(np.abs(size) > 1e-18, size, np.inf)
        u = ((start - p) * cross).sum(1) / size
        side = np.cross(start - p, q - p)
        v, t = (along * side).sum(1) / size, ((r - p) * side).sum(1) / size
        hit |= (u > 0) & (v > 0) & (u + v < 1) & (t > 0) & (t < 1)
    return hit
