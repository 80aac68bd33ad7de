"""Read AMASS clips, old `poses` files and newer SMPL-X "stageii" files alike, and write them."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float

from ..body import require_gender
from ..errors import MotionError, SettingError
from ..io.files import find_files, write_whole
from ..io.untrusted_arrays import read_npz
from ..rotations import Y_UP_TO_Z_UP, rotmat_to_rotvec, rotvec_to_rotmat
from ..skeleton import NUM_BETAS
from .splits import corrected_rate

POSE_WIDTH = 156  # root 3, body 63, hands 90
# The names that a clip is read from; real files hold more, some of it as Python objects.
RAW_ARRAYS = (
    "poses", "root_orient", "pose_body", "pose_hand", "trans", "betas", "gender", "mocap_framerate", "mocap_frame_rate",
)  # fmt: skip
# Where root and body end and where the hands begin in poses of each width: SMPL has no hands, SMPL-X has face joints
# between.
_POSE_LAYOUTS = {156: (66, 66), 165: (66, 75), 72: (66, None), 66: (66, None)}


@dataclass(frozen=True, eq=False)
class RawClip:
    """A clip before processing, z up."""

    name: str
    poses: Float[np.ndarray, "frames 156"]  # axis-angle, radians: root 3, body 63, hands 90
    trans: Float[np.ndarray, "frames 3"]  # metres
    betas: Float[np.ndarray, "16"]
    gender: str
    fps: float

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        name: str = "clip",
        fps: float | None = None,
        gender: str | None = None,
        up: str = "z",
    ) -> "RawClip":
        """Make a clip of AMASS's arrays by name.

        `fps` and `gender` are for arrays that name none; `up` is the axis, "y" or "z", that points up in the arrays.
        Raises MotionError for arrays that hold no motion, SettingError for a wrong setting.
        """
        poses, trans = _poses(arrays, name), _numbers(arrays, "trans", name)
        if trans.shape != (len(poses), 3):
            raise MotionError(f'{name}: "trans" is {trans.shape}; expected ({len(poses)}, 3), a row for each pose.')
        if len(poses) == 0:
            raise MotionError(f"{name}: holds no frames; leave it out.")
        for key, values in (("poses", poses), ("trans", trans)):
            bad = np.flatnonzero(~np.isfinite(values).all(1))
            if len(bad):
                raise MotionError(
                    f'{name}: "{key}" is not finite in {len(bad)} of {len(values)} frames, first in frame {bad[0]}; '
                    "cut those frames out."
                )
        if up not in ("y", "z"):
            raise SettingError(f'up "{up}" is neither y nor z.')
        if up == "y":
            poses, trans = _y_up_to_z_up(poses, trans)
        return cls(name, poses, trans, _betas(arrays, name), gender_of(arrays, name, gender), _fps(arrays, name, fps))


def read_amass(
    path: str | Path, fps: float | None = None, gender: str | None = None, up: str = "z", name: str | None = None
) -> RawClip:
    """Read one clip's `.npz`; a frame rate known to be wrong in AMASS is corrected by the clip's name.

    The name is its path in the tree: of a file that is read alone, AMASS's subset, subject and file. Raises FileError
    for an unreadable file, MotionError for one that holds no motion.
    """
    in_tree = "/".join(Path(os.path.abspath(path)).parts[-3:]) if name is None else name
    arrays = with_corrected_rate(read_npz(path, RAW_ARRAYS), in_tree)
    return RawClip.from_arrays(arrays, name or str(path), fps, gender, up)


def write_amass(path: Path, clip: RawClip, **also: np.ndarray) -> None:
    """Write a clip's `.npz` as AMASS does, and other arrays; `read_amass` gives it back. Raises FileError."""
    content = io.BytesIO()
    np.savez(
        content,
        poses=clip.poses.astype(np.float32),
        trans=clip.trans.astype(np.float32),
        betas=clip.betas,
        gender=np.array(clip.gender),
        mocap_framerate=np.array(clip.fps),
        **cast(Any, also),
    )
    write_whole(path, content.getvalue())


def with_corrected_rate(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Replace the frame rate in a clip's arrays where AMASS is known to have it wrong, by the clip's name."""
    rate = corrected_rate(name)
    if rate is None:
        return dict(arrays)
    return {key: array for key, array in arrays.items() if key != "mocap_frame_rate"} | {
        "mocap_framerate": np.array(rate)
    }


def is_motion_file(path: Path) -> bool:
    """Whether a file in an AMASS tree is a motion by its name; files of body shapes lie beside them."""
    of_a_body = path.name == "shape.npz" or path.name.endswith(("_shape.npz", "_stagei.npz"))
    return path.suffix == ".npz" and not of_a_body and not path.name.startswith(".")


def find_motion_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Every motion file below a folder, linked folders included, and a sentence for each entry that leads to none."""
    files, problems = find_files(folder)
    return [file for file in files if is_motion_file(file)], problems


def gender_of(arrays: Mapping[str, np.ndarray], name: str, given: str | None = None) -> str:
    """The gender that arrays name, as text or bytes, or else the given one. Raises MotionError for an unknown one."""
    if "gender" not in arrays:
        if given is None:
            raise MotionError(f"{name}: no gender; pass --gender, e.g. --gender neutral.")
        return require_gender(given)
    stored = np.asarray(arrays["gender"]).reshape(-1)
    first = stored[0] if len(stored) else ""
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    try:
        return require_gender(text.strip().lower())
    except SettingError as error:
        raise MotionError(f"{name}: {error}") from None


def _numbers(arrays: Mapping[str, np.ndarray], key: str, name: str) -> np.ndarray:
    if key not in arrays:
        raise MotionError(f'{name}: no "{key}"; an AMASS clip has poses (or root_orient and pose_body) and trans.')
    values = np.asarray(arrays[key])
    if values.dtype.kind not in "fiu":
        raise MotionError(f'{name}: "{key}" holds {values.dtype}, not numbers; export the clip again.')
    return values.astype(np.float64)


def _poses(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Poses of 156 numbers a frame: root, body, and hands, at rest where the file has none."""
    if "pose_body" in arrays and "root_orient" in arrays:
        parts = [_numbers(arrays, key, name) for key in ("root_orient", "pose_body")]
        hands = (
            _numbers(arrays, "pose_hand", name)
            if "pose_hand" in arrays
            else np.zeros((parts[0].shape[:1] or (0,)) + (90,))
        )
        shapes = [part.shape for part in (*parts, hands)]
        frames = len(parts[0]) if parts[0].ndim else 0
        if shapes != [(frames, 3), (frames, 63), (frames, 90)]:
            raise MotionError(
                f"{name}: root_orient, pose_body, pose_hand are {', '.join(map(str, shapes))}; "
                "expected (frames, 3), (frames, 63), (frames, 90)."
            )
        return np.concatenate([*parts, hands], 1)
    stored = _numbers(arrays, "poses", name)
    if stored.ndim != 2 or stored.shape[1] not in _POSE_LAYOUTS:
        raise MotionError(f'{name}: "poses" is {stored.shape}; expected (frames, 156), or 165, 72 or 66 wide.')
    body_end, hands_start = _POSE_LAYOUTS[stored.shape[1]]
    poses = np.zeros((len(stored), POSE_WIDTH))
    poses[:, :body_end] = stored[:, :body_end]
    if hands_start is not None:
        poses[:, body_end:] = stored[:, hands_start:]
    return poses


def _betas(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """16 betas: cut from more, or padded with zeros."""
    stored = _numbers(arrays, "betas", name).reshape(-1)[:NUM_BETAS] if "betas" in arrays else np.zeros(0)
    if not np.isfinite(stored).all():
        raise MotionError(f'{name}: "betas" are not finite; set them to zero.')
    return np.pad(stored, (0, NUM_BETAS - len(stored)))


def _fps(arrays: Mapping[str, np.ndarray], name: str, given: float | None) -> float:
    keys = [key for key in ("mocap_framerate", "mocap_frame_rate") if key in arrays]
    if not keys and given is None:
        raise MotionError(
            f'{name}: no frame rate ("mocap_framerate" or "mocap_frame_rate"); pass --fps, e.g. --fps 120.'
        )
    rate = _numbers(arrays, keys[0], name) if keys else np.asarray(given, dtype=np.float64)
    if rate.size != 1 or not 0 < float(rate.reshape(())) <= 10_000:
        raise MotionError(f"{name}: frame rate {rate.tolist()}; expected frames a second, above 0 and up to 10000.")
    if len(keys) == 2 and not np.array_equal(_numbers(arrays, keys[1], name).reshape(-1), rate.reshape(-1)):
        found = " and ".join(f'"{key}" is {_numbers(arrays, key, name).tolist()}' for key in keys)
        raise MotionError(f"{name}: {found}; remove the wrong one.")
    return float(rate.reshape(()))


def _y_up_to_z_up(poses: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotate a motion so that z is up. The root joint's offset from `trans` at rest rotates with the body alone."""
    turn = torch.tensor(Y_UP_TO_Z_UP, dtype=torch.float64)
    root = rotmat_to_rotvec(turn @ rotvec_to_rotmat(torch.as_tensor(poses[:, :3]))).numpy()
    return np.concatenate([root, poses[:, 3:]], 1), trans @ turn.numpy().T
