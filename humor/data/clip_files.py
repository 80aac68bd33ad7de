"""Read and write processed clips: one `.npz` each, with the array names of the published HuMoR code."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import MotionError
from ..io.files import write_whole
from ..io.untrusted_arrays import read_npz
from ..rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ..skeleton import CONTACT_JOINTS, NUM_BETAS
from ..state import MotionState
from .amass import gender_of
from .plausibility import implausible_size
from .processing import Clip

# The arrays with a first axis of frames: their names, and their shapes a frame.
_FRAME_ARRAYS = {
    "trans": (3,),
    "trans_vel": (3,),
    "root_orient": (3,),  # axis-angle
    "root_orient_vel": (3,),
    "pose_body": (63,),  # axis-angle
    "joints": (22, 3),
    "joints_vel": (22, 3),
    "mojo_verts": (43, 3),
    "contacts": (22,),  # a column for each body joint
}
_SCALARS = ("fps", "floor_height")
PROCESSED_ARRAYS = (*_FRAME_ARRAYS, *_SCALARS, "gender", "betas")


def is_processed(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays are those of a processed clip; raw clips hold no velocities."""
    return {"contacts", "joints", "joints_vel"} <= set(arrays)


def read_processed(path: str | Path, name: str | None = None) -> Clip:
    """Read a processed clip. Raises FileError for an unreadable file, MotionError for one without a valid clip."""
    return clip_from_arrays(read_npz(path, PROCESSED_ARRAYS), name or str(path))


def write_processed(path: Path, clip: Clip, **more: np.ndarray) -> None:
    """Write a processed clip and further arrays, whole or not at all. Raises FileError."""
    content, arrays = io.BytesIO(), cast(dict[str, Any], {**arrays_from_clip(clip), **more})
    np.savez(content, **arrays)
    write_whole(path, content.getvalue())


def clip_from_arrays(arrays: Mapping[str, np.ndarray], name: str) -> Clip:
    """Make a clip of a processed file's arrays. Raises MotionError for missing or wrong arrays."""
    missing = [key for key in PROCESSED_ARRAYS if key not in arrays]
    if missing:
        raise MotionError(f"{name}: a processed clip without {', '.join(missing)}; process the raw clip again.")
    frames = len(arrays["contacts"]) if arrays["contacts"].ndim else 0
    values = {key: _numbers(arrays, key, (frames, *shape), name) for key, shape in _FRAME_ARRAYS.items()}
    fps, floor_height = (float(_numbers(arrays, key, (), name)) for key in _SCALARS)
    stored = arrays["betas"].reshape(-1)[:NUM_BETAS]
    betas = _numbers({"betas": np.pad(stored, (0, NUM_BETAS - len(stored)))}, "betas", (NUM_BETAS,), name)
    if not frames or not 0 < fps <= 10_000:
        raise MotionError(f"{name}: {frames} frames at {fps:g} a second; process the raw clip again.")
    problem = implausible_size(values["joints"], torch.ones(frames, 22, dtype=torch.bool))
    if problem:
        raise MotionError(f"{name}: {problem}; expected a person's in metres, correct the units.")
    contacts = values["contacts"][:, list(CONTACT_JOINTS)]
    if not ((contacts == 0) | (contacts == 1)).all():
        raise MotionError(f'{name}: "contacts" holds other numbers than 0 and 1; process the raw clip again.')
    gender = gender_of(arrays, name)
    root, body = (rotvec_to_rotmat(values[key].unflatten(-1, (-1, 3))) for key in ("root_orient", "pose_body"))
    state = MotionState(
        *(values["trans"], values["trans_vel"], root.squeeze(1), values["root_orient_vel"], body),
        *(values["joints"], values["joints_vel"]),
    )
    return Clip(name, state, contacts, values["mojo_verts"], betas, gender, fps, floor_height)


def arrays_from_clip(clip: Clip) -> dict[str, np.ndarray]:
    """Convert a clip to arrays with the published names and shapes."""
    state = clip.state
    contacts = torch.zeros(len(clip), 22)
    contacts[:, list(CONTACT_JOINTS)] = clip.contacts
    frames = {
        "trans": state.trans,
        "trans_vel": state.trans_vel,
        "root_orient": rotmat_to_rotvec(state.root_orient),
        "root_orient_vel": state.root_orient_vel,
        "pose_body": rotmat_to_rotvec(state.pose_body).flatten(1),
        "joints": state.joints,
        "joints_vel": state.joints_vel,
        "mojo_verts": clip.keypoints,
        "contacts": contacts,
        "betas": clip.betas,
    }
    scalars = {"fps": clip.fps, "floor_height": clip.floor_height, "gender": clip.gender}
    return {key: value.numpy() for key, value in frames.items()} | {key: np.array(x) for key, x in scalars.items()}


def _numbers(arrays: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...], name: str) -> Tensor:
    values = np.asarray(arrays[key])
    if values.dtype.kind not in "fiu" or values.shape != shape:
        raise MotionError(
            f'{name}: "{key}" is {values.dtype} {values.shape}; expected numbers of shape {shape}; '
            "process the raw clip again."
        )
    with np.errstate(over="ignore"):  # reported as not finite
        numbers = torch.from_numpy(values.astype(np.float32))
    if not (numbers.abs() <= 1e6).all():
        raise MotionError(f'{name}: "{key}" is not finite or over a million; process the raw clip again.')
    return numbers
