"""Pictures of bodies: a small z-buffer renderer in numpy, so that the README's picture needs no display and no GPU."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from ..io.files import whole_file
from ..skeleton import SMPLH
from .smplh_arrays import mannequin_arrays

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Mesh = tuple[Floats, Ints]  # vertices (V, 3) in metres, y up; triangles (F, 3)

Degrees = float | int
JointAngles = dict[str, tuple[Degrees, Degrees, Degrees]]  # by joint: about x, y and z, applied in the order z, y, x

CLAY = (0.84, 0.74, 0.65)
BACKDROP = np.array([[0.965, 0.962, 0.955], [0.885, 0.890, 0.895]])  # top and bottom of the picture
# Lights as (direction towards the light in the camera's frame, strength): key, fill, rim.
LIGHTS = (((-0.50, 0.55, 0.75), 0.62), ((0.80, 0.10, 0.55), 0.24), ((0.30, 0.60, -0.75), 0.30))
AMBIENT = 0.30
SHADOW = 300.0  # darkness for each square metre of triangles above a blur's width of floor


@dataclass(frozen=True)
class OrthographicCamera:
    """An orthographic view, rotated about the vertical axis, then tilted down; both in degrees."""

    turn: Degrees = 0
    tilt: Degrees = 0
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)  # metres: what the middle of the picture shows
    height: float = 2.0  # metres from the bottom to the top of the picture

    @property
    def axes(self) -> Floats:
        """The rows are the picture's right, its up, and the direction towards the viewer, in the world's frame."""
        a, b = np.radians([self.turn, self.tilt])
        about_y = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
        tilted = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        return tilted @ about_y


def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """Unit normals (V, 3), each the area-weighted mean of its triangles' normals."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices, dtype=float)
    for k in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(faces[:, k], face_normals[:, axis], len(vertices))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _rasterize(points: Floats, normals: Floats, faces: Ints, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Depth towards the viewer (h, w), -inf in empty pixels, and normals (h, w, 3) of triangles given in pixels.

    Every triangle is sampled at points closer than a pixel; triangles that need the same number are sampled together.
    """
    height, width = size
    depth, shade = np.full(height * width, -np.inf), np.zeros((height * width, 3))
    span = np.ptp(points[faces][:, :, :2], axis=1).max(axis=1)
    counts = np.maximum(2, np.ceil(span * 1.5)).astype(int) + 1
    for count in np.unique(counts):
        chosen = faces[counts == count]
        i, j = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
        inside = i + j < count
        a, b = i[inside] / (count - 1), j[inside] / (count - 1)
        blend = np.stack([1 - a - b, a, b], axis=1)
        spots = np.einsum("sk,fkc->fsc", blend, points[chosen]).reshape(-1, 3)
        column, row = np.floor(spots[:, 0]).astype(int), np.floor(spots[:, 1]).astype(int)
        visible = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
        cell, z = (row * width + column)[visible], spots[visible, 2]
        visible, cell, z = (x[z > depth[cell]] for x in (visible, cell, z))
        order = np.argsort(z, kind="stable")  # numpy keeps the last of several writes to one cell: the nearest
        depth[cell[order]] = z[order]
        won = np.flatnonzero(depth[cell] == z)
        face, spot = np.divmod(visible[won], len(blend))
        shade[cell[won]] = np.einsum("sk,skc->sc", blend[spot], normals[chosen[face]])
    return depth.reshape(size), shade.reshape(height, width, 3)


def _shade(normals: Floats, colour: Sequence[float]) -> Floats:
    """The colour (..., 3) of a matt surface with unit normals in the camera's frame, with a soft highlight."""
    light = np.full(normals.shape[:-1], AMBIENT)
    for direction, strength in LIGHTS:
        towards = np.array(direction) / np.linalg.norm(direction)
        light = light + strength * np.clip(normals @ towards, 0, None)
    half = np.array(LIGHTS[0][0]) / np.linalg.norm(LIGHTS[0][0]) + np.array([0, 0, 1])
    shine = 0.10 * np.clip(normals @ (half / np.linalg.norm(half)), 0, None) ** 24
    return np.clip(light[..., None] * np.array(colour) + shine[..., None], 0, 1)


def render_meshes(
    meshes: Sequence[Mesh], camera: OrthographicCamera, size: tuple[int, int],
    colours: Sequence[Sequence[float]] = (CLAY,), oversample: int = 2, floor: float | None = None,
) -> Floats:  # fmt: skip
    """A picture (height, width, 3) in 0..1 of the meshes; `floor` is the height in metres where shadows fall."""
    width, height = size[0] * oversample, size[1] * oversample
    scale = height / camera.height
    depth = np.full((height, width), -np.inf)
    ramp = np.linspace(0, 1, height)[:, None, None]
    image = np.broadcast_to(BACKDROP[0] * (1 - ramp) + BACKDROP[1] * ramp, (height, width, 3)).copy()
    shadow = np.zeros((height, width))

    def project(points: Floats) -> Floats:
        projected = (points - np.array(camera.centre)) @ camera.axes.T
        return np.stack(
            [width / 2 + scale * projected[:, 0], height / 2 - scale * projected[:, 1], projected[:, 2]], axis=1
        )

    for k, (vertices, faces) in enumerate(meshes):
        vertices, faces = np.asarray(vertices, dtype=float), np.asarray(faces, dtype=np.int64)
        points = project(vertices)
        low = np.clip(np.floor(points[:, :2].min(axis=0)).astype(int), 0, [width - 1, height - 1])
        high = np.clip(np.ceil(points[:, :2].max(axis=0)).astype(int) + 1, low + 1, [width, height])
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        normals = vertex_normals(vertices, faces) @ camera.axes.T
        mine, shade = _rasterize(points - [*low, 0], normals, faces, depth[window].shape)
        new = mine > depth[window]
        depth[window][new] = mine[new]
        unit = shade[new] / np.maximum(np.linalg.norm(shade[new], axis=1, keepdims=True), 1e-9)
        image[window][new] = _shade(unit, colours[k % len(colours)])
        if floor is not None:
            shadow += _floor_shadow(project, vertices[faces], floor, (height, width), 0.025 * scale)
    if floor is not None:
        ground = ~np.isfinite(depth)
        image[ground] *= (1 - 0.45 * np.clip(shadow, 0, 1))[ground][:, None]
    return image.reshape(size[1], oversample, size[0], oversample, 3).mean(axis=(1, 3))


def _floor_shadow(
    project: Callable[[Floats], Floats], corners: Floats, floor: float, size: tuple[int, int], blur: float
) -> Floats:
    """How much light from above triangles (F, 3, 3) take from each pixel of the floor; near ones take more."""
    areas = 0.5 * np.abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 1])
    points = corners.mean(axis=1)
    weight = areas * np.exp(-np.clip(points[:, 1] - floor, 0, None) / 0.30)
    points[:, 1] = floor
    projected = project(points)
    column, row = projected[:, 0].astype(int), projected[:, 1].astype(int)
    inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    mass = np.bincount((row * size[1] + column)[inside], weight[inside], size[0] * size[1]).reshape(size)
    return gaussian_filter(mass, (0.5 * blur, blur)) * SHADOW * blur**2


def draw_meshes(
    path: Path, meshes: Sequence[Mesh], camera: OrthographicCamera | None = None, size: tuple[int, int] = (1200, 600),
    colours: Sequence[Sequence[float]] = (CLAY,), floor: float | None = None,
) -> Path:  # fmt: skip
    """Write a shaded picture of meshes (metres, y up) to a PNG; without a camera all of them are in view."""
    if camera is None:
        points = np.concatenate([np.asarray(vertices) for vertices, _ in meshes])
        low, high = points.min(axis=0), points.max(axis=0)
        span = max(high[1] - low[1], (high[0] - low[0]) * size[1] / size[0])
        camera = OrthographicCamera(centre=tuple(((low + high) / 2).tolist()), height=1.1 * float(span))
    picture = render_meshes(meshes, camera, size, colours, floor=floor)
    with whole_file(path) as file:
        imsave(cast(BinaryIO, file), np.round(255 * picture).astype(np.uint8), format="png")
    return path


STANDING: JointAngles = {
    "left_collar": (0, 0, -7), "right_collar": (0, 0, 7), "left_shoulder": (4, -8, -66), "right_shoulder": (4, 8, 66),
    "left_elbow": (0, -16, 0), "right_elbow": (0, 16, 0), "left_hip": (0, 8, 3), "right_hip": (0, -8, -3),
    "left_ankle": (0, 0, -3), "right_ankle": (0, 0, 3), "left_wrist": (0, 0, -6), "right_wrist": (0, 0, 6),
}  # fmt: skip
_RELAXED_FINGERS: JointAngles = {
    f"{side}_{finger}{k}": (0, 0, sign * (8 + 5 * place)) for side, sign in (("left", -1), ("right", 1))
    for place, finger in enumerate(("index", "middle", "ring", "pinky")) for k in (1, 2, 3)
}  # fmt: skip
STRIDING: JointAngles = {
    "pelvis": (3, 0, 0), "left_hip": (-27, 0, 1), "left_knee": (7, 0, 0), "left_ankle": (10, 0, 0),
    "right_hip": (23, 0, -1), "right_knee": (8, 0, 0), "right_ankle": (0, 0, 0), "right_foot": (-26, 0, 0),
    "spine1": (1, 4, 0), "spine2": (0, 5, 0), "spine3": (0, 4, 0), "neck": (0, -8, 0), "head": (-3, -4, 0),
    "left_collar": (0, 0, -6), "right_collar": (0, 0, 6), "left_shoulder": (28, 0, -70), "right_shoulder": (-24, 0, 70),
    "left_elbow": (0, -22, 0), "right_elbow": (0, 44, 0),
}  # fmt: skip
WAVING: JointAngles = STANDING | {
    "right_collar": (0, 0, -8), "right_shoulder": (0, 14, -2), "right_elbow": (-70, 0, -82), "right_wrist": (0, 0, -10),
    "spine2": (0, 0, -3), "neck": (0, -4, 3), "head": (0, -6, 4), "left_hip": (0, 6, 5), "left_ankle": (0, 0, -4),
}  # fmt: skip
SITTING: JointAngles = {
    "pelvis": (-6, 0, 0), "left_hip": (-80, 0, 9), "right_hip": (-82, 0, -7), "left_knee": (84, 0, 0),
    "right_knee": (72, 0, 0), "left_ankle": (2, 0, 0), "right_ankle": (16, 0, 0), "spine1": (8, 0, 0),
    "spine2": (5, 0, 0), "neck": (4, 0, 0), "head": (-4, 0, 0), "left_collar": (0, 0, -8), "right_collar": (0, 0, 8),
    "left_shoulder": (-16, 4, -72), "right_shoulder": (-16, -4, 72), "left_elbow": (0, -46, 0),
    "right_elbow": (0, 46, 0), "left_wrist": (0, 0, -14), "right_wrist": (0, 0, 14),
}  # fmt: skip


def posed_vertices(arrays: Mapping[str, NDArray[np.generic]], pose: JointAngles) -> Floats:
    """Vertices (6890, 3) of a body in a pose, metres; slow and plain, for pictures. Source: Loper et al. 2015."""
    rest, weights = np.asarray(arrays["v_template"], float), np.asarray(arrays["weights"], float)
    joints = np.asarray(arrays["J_regressor"], float) @ rest
    rotmats = np.tile(np.eye(3), (len(SMPLH), 1, 1))
    for name, (x, y, z) in pose.items():
        rotmats[SMPLH.names.index(name)] = Rotation.from_euler("zyx", [z, y, x], degrees=True).as_matrix()
    vertices = rest + np.asarray(arrays["posedirs"]) @ (rotmats[1:] - np.eye(3)).ravel()
    world = np.zeros((len(SMPLH), 4, 4))
    for joint, parent in enumerate(SMPLH.parents):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = rotmats[joint], joints[joint] - (joints[parent] if parent >= 0 else 0)
        world[joint] = local if parent < 0 else world[parent] @ local
    world[:, :3, 3] -= np.einsum("jab,jb->ja", world[:, :3, :3], joints)
    skin_transforms = np.einsum("vj,jab->vab", weights, world)
    return np.einsum("vab,vb->va", skin_transforms[:, :3, :3], vertices) + skin_transforms[:, :3, 3]


def _box(low: Floats, high: Floats) -> Mesh:
    """A box with its own corners for each side, so that its edges are drawn sharp."""
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    sides = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    quads = np.arange(24).reshape(6, 4)
    return corners[sides.ravel()], np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


# The README's picture from left to right: gender, pose, metres along the floor, degrees about the vertical, colour.
SCENE: tuple[tuple[str, JointAngles, float, float, tuple[float, float, float]], ...] = (
    ("male", STANDING, -1.76, 16, (0.60, 0.70, 0.79)),
    ("female", STANDING, -1.08, 12, (0.86, 0.67, 0.60)),
    ("neutral", STANDING, -0.45, 6, CLAY),
    ("neutral", STRIDING, 0.45, -62, CLAY),
    ("neutral", WAVING, 1.20, -8, CLAY),
    ("neutral", SITTING, 1.89, -38, CLAY),
)
STOOL = (0.70, 0.68, 0.66)


def draw_mannequins(path: Path, size: tuple[int, int] = (1200, 600)) -> Path:
    """The README's picture: the three builds standing, and the neutral one striding, waving and sitting."""
    meshes: list[Mesh] = []
    colours: list[tuple[float, float, float]] = []
    for gender, pose, place, turn, colour in SCENE:
        arrays = mannequin_arrays(gender)
        vertices = posed_vertices(arrays, {**_RELAXED_FINGERS, **pose})
        vertices = vertices - [0, vertices[:, 1].min(), 0]
        parts, tints = [(vertices, np.asarray(arrays["f"]))], [colour]
        if pose is SITTING:
            seat = vertices[np.hypot(vertices[:, 0], vertices[:, 2]) < 0.14, 1].min()
            parts.append(_box(np.array([-0.21, 0, -0.21]), np.array([0.21, seat + 0.004, 0.17])))
            tints.append(STOOL)
        about_y = Rotation.from_euler("y", turn, degrees=True).as_matrix()
        meshes += [(points @ about_y.T + [place, 0, 0], faces) for points, faces in parts]
        colours += tints
    camera = OrthographicCamera(tilt=6, centre=(0.06, 0.92, 0.0), height=2.26)
    return draw_meshes(path, meshes, camera, size, colours, floor=0.0)
