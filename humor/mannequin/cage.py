"""The mannequin's surface: a cage of 1722 quadrangles, the same for every build, and its Catmull-Clark subdivision.

Two bodies joined at the midline, trunk rows of 20, legs of 12, arms of 10 and fingers of 4 points: one subdivision of
1722 quadrangles gives the 6888 quadrangles, 13776 triangles and 6890 vertices of the SMPL family.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TRUNK_ROWS, HEAD_ROWS, ARM_ROWS, PALM_ROWS, LEG_ROWS, FOOT_ROWS = 14, 16, 13, 4, 21, 6
FINGER_ROWS = (6, 6, 6, 6, 5)  # index, middle, ring, little finger, thumb


def _strip(lower: Ints, upper: Ints, closed: bool, inward: bool = False) -> Ints:
    """Quadrangles (n, 4) between two rows of points; `inward` reverses their orientation."""
    quads = np.stack([lower, np.roll(lower, -1), np.roll(upper, -1), upper], axis=1)
    quads = quads if closed else quads[:-1]
    return quads[:, ::-1] if inward else quads


def _tube(rows: Sequence[Ints] | Ints, closed: bool = True, inward: bool = False) -> Ints:
    return np.concatenate([_strip(a, b, closed, inward) for a, b in pairwise(rows)])


def _without(quads: Ints, removed: Ints) -> Ints:
    """The quadrangles without those of a second list, whichever corner either starts with."""
    holes = {frozenset(quad) for quad in removed.tolist()}
    return quads[[frozenset(quad) not in holes for quad in quads.tolist()]]


@dataclass(frozen=True)
class HalfCage:
    """The numbers of the left half's points in `cage_points.half_cage`, row by row."""

    trunk: Ints  # (15, 11) front midline, side, back midline, from the groin up
    ridge: Ints  # (2,) from the neck towards the shoulder
    groin: int
    head: Ints  # (16, 7)
    crown: Ints  # (2,)
    arm: Ints  # (18, 10) the palm's rings included
    fingers: tuple[Ints, ...]  # (rows, 4) each
    leg: Ints  # (21, 12) the heel's rings included
    foot: Ints  # (6, 12)
    toe: Ints  # (3,)
    sole: Ints  # (4,)

    @staticmethod
    def numbered() -> "HalfCage":
        start = 0

        def take(*shape: int) -> Ints:
            nonlocal start
            start += int(np.prod(shape))
            return np.arange(start - int(np.prod(shape)), start).reshape(shape)

        return HalfCage(
            trunk=take(TRUNK_ROWS + 1, 11), ridge=take(2), groin=int(take(1)[0]), head=take(HEAD_ROWS, 7),
            crown=take(2), arm=take(ARM_ROWS + PALM_ROWS, 10), fingers=tuple(take(rows, 4) for rows in FINGER_ROWS),
            leg=take(LEG_ROWS, 12), foot=take(FOOT_ROWS, 12), toe=take(3), sole=take(4),
        )  # fmt: skip

    @property
    def armhole(self) -> Ints:
        """The trunk's points where the arm begins, in the order of the arm's rings."""
        t = self.trunk
        return t[[13, 14, 14, 14, 13, 12, 11, 11, 11, 12], [4, 4, 5, 6, 6, 6, 6, 5, 4, 4]]

    @property
    def neck(self) -> Ints:
        t = self.trunk[14]
        return np.array([t[0], t[1], t[2], self.ridge[0], t[8], t[9], t[10]])

    @property
    def leghole(self) -> Ints:
        t = self.trunk[0]
        return np.array([t[5], t[4], t[3], t[2], t[1], t[0], self.groin, t[10], t[9], t[8], t[7], t[6]])

    @property
    def instep(self) -> Ints:
        a, b, c = self.leg[-3:]
        return np.array([a[5], a[4], a[3], a[2], a[1], b[1], c[1], c[2], c[3], c[4], c[5], b[5]])

    def softness(self) -> Floats:
        """How far, 0 to 1, smoothing may move each point from its table's section to the mean of its neighbours."""
        soft = np.zeros(self.sole[-1] + 1)
        t = self.trunk
        for points, value in (
            (t[1], 0.4), (t[0], 1.0), (self.groin, 0.3), (self.leg[0], 0.9), (self.leg[1], 0.4),
            (t[11:14, 3:8], 0.3), (t[14], 0.4), (self.ridge, 0.4), (self.armhole, 0.6), (self.arm[0], 0.5),
            (self.arm[1], 0.2), (self.head[0], 0.5), (self.head[1], 0.3),
            (self.arm[ARM_ROWS : ARM_ROWS + 2, [8, 9, 0, 1]], 0.5), (self.fingers[4][0], 0.4),
            (self.leg[-4:-1, :7], 0.3), (self.foot[0], 0.3),
        ):  # fmt: skip
            soft[points] = value
        return soft

    def quads(self) -> Ints:
        return np.concatenate([self._trunk_quads(), self._head_quads(), self._arm_quads(), self._leg_quads()])

    def _trunk_quads(self) -> Ints:
        quads = _tube(self.trunk, closed=False)
        inside_armhole = np.isin(quads, self.trunk[[12, 13], 5]).any(axis=1)
        top = self.trunk[14]
        front, ridge, back = top[2:5], np.array([*self.ridge, top[5]]), top[[8, 7, 6]]
        return np.concatenate([quads[~inside_armhole], _tube([front, ridge, back], closed=False)])

    def _head_quads(self) -> Ints:
        f0, f1, f2, side, b2, b1, b0 = self.head[-1]
        c0, c1 = self.crown
        cap = np.array([[f0, f1, c1, c0], [f1, f2, side, c1], [c0, c1, b1, b0], [c1, side, b2, b1]])
        return np.concatenate([_tube([self.neck, *self.head], closed=False), cap])

    def _arm_quads(self) -> Ints:
        a, b, last = self.arm[ARM_ROWS], self.arm[ARM_ROWS + 1], self.arm[-1]
        roots = np.array([[last[k], last[k + 1], last[8 - k], last[9 - k]] for k in range(4)])
        thumb = np.array([[a[0], b[0], b[9], a[9]]])
        parts = [_without(_tube([self.armhole, *self.arm], inward=True), thumb)]
        for root, rows in zip([*roots, thumb[0]], self.fingers, strict=True):
            parts += [_tube([root, *rows], inward=True), rows[-1:, ::-1]]
        return np.concatenate(parts)

    def _leg_quads(self) -> Ints:
        front = _tube(self.leg[-3:, 1:6], closed=False)  # where the foot grows out of the heel
        tip = self.foot[-1]
        toes = [tip[:5], np.array([tip[11], *self.toe, tip[5]]), tip[[10, 9, 8, 7, 6]]]
        # The sole of the heel, three by three: four by two, as at the toes, would make the count of quadrangles even.
        k, i = self.leg[-1], self.sole
        sole = [k[:4], np.array([k[11], i[0], i[1], k[4]]), np.array([k[10], i[2], i[3], k[5]]), k[[9, 8, 7, 6]]]
        return np.concatenate(
            [
                _without(_tube([self.leghole, *self.leg]), front),
                _tube([self.instep, *self.foot], inward=True),
                _tube(toes, closed=False, inward=True),
                _tube(sole, closed=False),
            ]
        )


@dataclass(frozen=True)
class Cage:
    """The whole control cage: the half-cage point and side of each of its points, and its quadrangles."""

    half: Ints  # (n,) index into the half cage
    side: Floats  # (n,) 1 for the left, -1 for the right, 0 on the midline
    mirror: Ints  # (n,) the point on the other side
    quads: Ints  # (1722, 4)
    of_half: Ints  # (half points,) the left point made of each half-cage point, -1 where it has none

    def points(self, half_points: Floats) -> Floats:
        return half_points[self.half] * np.stack([self.side, np.ones_like(self.side), np.ones_like(self.side)], axis=1)


@cache
def cage() -> Cage:
    """The control cage that all builds share."""
    plan = HalfCage.numbered()
    left = plan.quads()
    midline = np.unique([*plan.trunk[:, [0, 10]].flat, plan.groin, *plan.head[:, [0, 6]].flat, plan.crown[0]])
    used = np.unique(left)
    paired = np.setdiff1d(used, midline)
    half = np.concatenate([midline, paired, paired])
    m, p = len(midline), len(paired)
    side = np.concatenate([np.zeros(m), np.ones(p), -np.ones(p)])
    mirror = np.concatenate([np.arange(m), m + p + np.arange(p), m + np.arange(p)])
    to_left = np.full(used.max() + 1, -1)
    to_left[half[: m + p]] = np.arange(m + p)
    quads = to_left[left]
    return Cage(half, side, mirror, np.concatenate([quads, mirror[quads][:, ::-1]]), to_left)


def _sides(quads: Ints) -> Ints:
    """The four sides of each quadrangle (4 F, 2), the smaller end first."""
    return np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)


# Smoothing steps inward and outward in turn, so that nothing shrinks. Source: Taubin 1995.
FAIRING = (0.6, -0.55) * 5 + (0.5,)


@cache
def fairing() -> sparse.csr_matrix:
    """The matrix (n, n) that rounds the cage where tables of different parts meet: groin, armpits, neck, thumb."""
    whole = cage()
    count = len(whole.half)
    edges = np.unique(_sides(whole.quads), axis=0)
    ends = (np.concatenate([edges[:, 0], edges[:, 1]]), np.concatenate([edges[:, 1], edges[:, 0]]))
    near = sparse.csr_matrix((np.ones(2 * len(edges)), ends), shape=(count, count))
    mean = sparse.diags(1 / np.asarray(near.sum(axis=1)).ravel()) @ near
    soft = sparse.diags(HalfCage.numbered().softness()[whole.half])
    matrix = sparse.identity(count, format="csr")
    for strength in FAIRING:
        matrix = matrix + strength * (soft @ ((mean @ matrix) - matrix))
    return matrix.tocsr()


@dataclass(frozen=True)
class Subdivision:
    """One Catmull-Clark step of the cage. Vertices come as cage points, then edges, then faces."""

    matrix: sparse.csr_matrix  # (6890, n) from cage points to vertices
    quads: Ints  # (6888, 4) outward; the second half mirrors the first, corner for corner
    mirror: Ints  # (6890,) the vertex on the other side


@cache
def subdivision() -> Subdivision:
    """The step from the cage to the surface. Source: Catmull and Clark 1978."""
    quads, mirror = cage().quads, cage().mirror
    n, f = int(quads.max()) + 1, len(quads)
    edges, edge_of = np.unique(_sides(quads), axis=0, return_inverse=True)
    edge_of = edge_of.reshape(f, 4)
    e = len(edges)

    def table(rows: Ints, columns: Ints, width: int, height: int, value: float) -> sparse.csr_matrix:
        return sparse.csr_matrix((np.full(rows.size, value), (rows.ravel(), columns.ravel())), shape=(height, width))

    face_points = table(np.repeat(np.arange(f), 4), quads, n, f, 0.25)
    ends = table(np.repeat(np.arange(e), 2), edges, n, e, 0.5)
    faces_at_edge = table(edge_of, np.repeat(np.arange(f), 4), f, e, 0.5)
    edge_points = 0.5 * (ends + faces_at_edge @ face_points)
    valence = np.bincount(edges.ravel(), minlength=n).astype(float)
    faces_at_point = sparse.diags(1 / valence) @ table(quads, np.repeat(np.arange(f), 4), f, n, 1.0)
    edges_at_point = sparse.diags(1 / valence) @ table(edges, np.repeat(np.arange(e), 2), e, n, 1.0)
    own = sparse.diags((valence - 3) / valence)
    moved = sparse.diags(1 / valence) @ (faces_at_point @ face_points + 2 * edges_at_point @ ends) + own
    matrix = sparse.vstack([moved, edge_points, face_points]).tocsr()
    before = np.roll(edge_of, 1, axis=1)
    centre = np.broadcast_to((n + e + np.arange(f))[:, None], (f, 4))
    fine = np.stack([quads, n + edge_of, centre, n + before], axis=-1).reshape(-1, 4)
    other = np.sort(mirror[edges], axis=1)
    other_edge = np.searchsorted(edges[:, 0] * n + edges[:, 1], other[:, 0] * n + other[:, 1])
    other_face = np.roll(np.arange(f), f // 2)
    return Subdivision(matrix, fine, np.concatenate([mirror, n + other_edge, n + e + other_face]))
