"""A page that plays motion in a browser: one HTML file with all that it needs to pose the bodies."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ..body import BodyModel
from ..data.amass import RawClip
from ..io.files import write_whole
from ..rotations import rotmat_to_quat
from ..skeleton import BODY_NAMES, BODY_PARENTS
from .generation import rotmats_of

QUAT_UNIT = 32767  # the int16 that stands for 1 in a quaternion
VERTEX_UNITS_A_METRE = 10_000  # vertices are stored in tenths of millimetres
BONES_A_VERTEX = 4


class Blob:
    """Arrays one after the other in bytes; a browser finds each by its type, first byte and length."""

    def __init__(self) -> None:
        self.content = bytearray()

    def add(self, values: NDArray[Any]) -> tuple[str, int, int]:
        """Append values; returns their type, first byte and length."""
        self.content += b"\0" * (-len(self.content) % values.itemsize)
        at = len(self.content)
        self.content += np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        return values.dtype.name, at, values.size


def write_page(
    path: Path, clips: Sequence[RawClip], bodies: Mapping[str, BodyModel], with_mesh: bool, title: str
) -> Path:
    """Write a page that plays clips of one frame rate side by side, as skeletons or, with meshes, as bodies.

    With meshes, the page contains the surface of the bodies: mind their licence. Raises FileError.
    """
    return _write_data(path, page_data(clips, bodies, with_mesh), title)


def write_joints_page(
    path: Path,
    name: str,
    joints: Float[np.ndarray, "frames J 3"],
    parents: Sequence[int],
    fps: float,
    title: str,
) -> Path:
    """Write a page that plays joints, metres in a world whose z is up, without a body. Raises FileError.

    Joint 0 is the root, whose parent is -1.
    """
    blob, points = Blob(), joints.astype(np.float32)
    motion = {
        "name": name,
        "frames": len(points),
        "points": blob.add(points),
        "trans": blob.add(points[:, 0] - points[0, 0]),
        "rest": blob.add(points[0]),
    }
    content = base64.b64encode(blob.content).decode()
    data = {"fps": fps, "parents": list(parents), "head": None, "meshes": [], "motions": [motion], "blob": content}
    return _write_data(path, data, title)


def _write_data(path: Path, data: Mapping[str, Any], title: str) -> Path:
    """Write the page of what its script reads."""
    texts = {
        "@TITLE@": html.escape(title),
        "@DATA@": json.dumps(data).replace("<", "\\u003c"),  # so that no name ends the script
        "@SCRIPT@": _resource("page.js"),
    }
    page = _resource("page.html")
    for mark, text in texts.items():
        page = page.replace(mark, text)
    write_whole(path, page.encode())
    return path


def page_data(clips: Sequence[RawClip], bodies: Mapping[str, BodyModel], with_mesh: bool) -> dict[str, Any]:
    """What the page's script reads: each clip's rotations, translations and rest joints, and each shape's surface."""
    blob, shapes = Blob(), dict[tuple[str, bytes], int]()
    meshes: list[tuple[str, int, int]] = []
    motions: list[dict[str, Any]] = []
    for clip in clips:
        body, betas = bodies[clip.gender], torch.as_tensor(clip.betas, dtype=torch.float32)
        shape = (clip.gender, clip.betas.tobytes())
        if with_mesh and shape not in shapes:
            shapes[shape] = len(meshes)
            meshes.append(blob.add(np.round(_rest_surface(body, betas) * VERTEX_UNITS_A_METRE).astype(np.int16)))
        quats = rotmat_to_quat(rotmats_of(clip)).numpy()
        motions.append(
            {
                "name": clip.name,
                "frames": len(quats),
                "quats": blob.add(np.round(quats * QUAT_UNIT).astype(np.int16)),
                "trans": blob.add(clip.trans.astype(np.float32)),
                "rest": blob.add(body.rest_joints(betas).numpy()),
                "mesh": shapes.get(shape),
            }
        )
    skin = _skin(bodies[clips[0].gender], blob) if meshes else {}
    return {
        "fps": clips[0].fps,
        "parents": BODY_PARENTS,
        "head": BODY_NAMES.index("head"),
        "meshes": meshes,
        "motions": motions,
        **skin,
        "blob": base64.b64encode(blob.content).decode(),
    }


def _skin(body: BodyModel, blob: Blob) -> dict[str, tuple[str, int, int]]:
    """Triangles, and for each vertex the bones with the largest weights: the same for every body of one topology."""
    weights = body.body_weights.numpy()
    bones = np.argsort(-weights, 1, kind="stable")[:, :BONES_A_VERTEX]
    largest = np.take_along_axis(weights, bones, 1)
    largest = np.round(255 * largest / largest.sum(1, keepdims=True)).astype(np.uint8)
    faces = body.faces.numpy().astype(np.uint16)
    return {"faces": blob.add(faces), "bones": blob.add(bones.astype(np.uint8)), "weights": blob.add(largest)}


def _rest_surface(body: BodyModel, betas: torch.Tensor) -> NDArray[np.float32]:
    """The shaped surface in the rest pose, metres."""
    rest = torch.eye(3).expand(22, 3, 3)
    vertices = body(rest, betas, torch.zeros(3), vertices="all").vertices
    assert vertices is not None
    return vertices.numpy()


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
