"""A page that plays motion by itself: what the browser needs to pose bodies, in one file that asks for no other."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..body import BodyModel
from ..data.amass import RawClip
from ..io.files import write_whole
from ..rotations import rotmat_to_quat
from ..skeleton import BODY_NAMES, BODY_PARENTS
from .generation import rotmats_of

QUAT_UNIT = 32767  # a quaternion's numbers are stored as whole ones, of which so many are 1
VERTICES_A_METRE = 10_000  # and a vertex's as tenths of millimetres
BONES_A_VERTEX = 4


class Blob:
    """Arrays one after the other; a browser finds each by its kind, its first byte and its length."""

    def __init__(self) -> None:
        self.content = bytearray()

    def add(self, values: NDArray[Any]) -> tuple[str, int, int]:
        """Where the values are from now on."""
        self.content += b"\0" * (-len(self.content) % values.itemsize)
        at = len(self.content)
        self.content += np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        return values.dtype.name, at, values.size


def write_page(
    path: Path, clips: Sequence[RawClip], bodies: Mapping[str, BodyModel], with_mesh: bool, title: str
) -> Path:
    """Write a page that plays clips of one frame rate side by side, as skeletons and, where wanted, as bodies.

    With meshes, the page holds the surface of the bodies: mind their licence. Raises FileError.
    """
    texts = {
        "@TITLE@": html.escape(title),
        "@DATA@": json.dumps(page_data(clips, bodies, with_mesh)).replace("<", "\\u003c"),  # no name ends the script
        "@SCRIPT@": _own("page.js"),
    }
    page = _own("page.html")
    for mark, text in texts.items():
        page = page.replace(mark, text)
    write_whole(path, page.encode())
    return path


def page_data(clips: Sequence[RawClip], bodies: Mapping[str, BodyModel], with_mesh: bool) -> dict[str, Any]:
    """What the page's script reads: rotations and ways of each clip, rest joints, and each shape's surface once."""
    blob, shapes = Blob(), dict[tuple[str, bytes], int]()
    meshes: list[tuple[str, int, int]] = []
    motions: list[dict[str, Any]] = []
    for clip in clips:
        body, betas = bodies[clip.gender], torch.as_tensor(clip.betas, dtype=torch.float32)
        shape = (clip.gender, clip.betas.tobytes())
        if with_mesh and shape not in shapes:
            shapes[shape] = len(meshes)
            meshes.append(blob.add(np.round(_rest_surface(body, betas) * VERTICES_A_METRE).astype(np.int16)))
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
    """Triangles, and the bones that move each vertex most with their weights: the same for every body of a family."""
    weights = body.body_weights.numpy()
    bones = np.argsort(-weights, 1, kind="stable")[:, :BONES_A_VERTEX]
    kept = np.take_along_axis(weights, bones, 1)
    kept = np.round(255 * kept / kept.sum(1, keepdims=True)).astype(np.uint8)
    faces = body.faces.numpy().astype(np.uint16)
    return {"faces": blob.add(faces), "bones": blob.add(bones.astype(np.uint8)), "weights": blob.add(kept)}


def _rest_surface(body: BodyModel, betas: torch.Tensor) -> NDArray[np.float32]:
    """The shaped surface in the rest pose, metres."""
    rest = torch.eye(3).expand(22, 3, 3)
    vertices = body(rest, betas, torch.zeros(3), vertices="all").vertices
    assert vertices is not None
    return vertices.numpy()


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
