"""An SMPL-family body: shape and joint rotations in; joints, chosen vertices or the whole mesh out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .errors import BodyError, FileError, SettingError
from .io.untrusted_arrays import read_npz, read_pickle_arrays
from .kinematics import place_joints
from .mannequin import mannequin_arrays
from .skeleton import BODY, GENDERS, KEYPOINT_VERTICES, NUM_BETAS, NUM_BODY_JOINTS, NUM_VERTICES, SMPL, SMPLH, Skeleton
from .skinning import Patch, Pose, Surface, skin

_REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
FILE_ARRAYS = (*_REQUIRED, *(f"hands_{what}{side}" for what in ("components", "mean") for side in "lr"))
_BODY_FEATURES = 1 + NUM_BETAS + 9 * (NUM_BODY_JOINTS - 1)
_WRISTS = slice(20, 22)
MIN_SIZE, MAX_SIZE = 0.3, 3.0  # metres, of a body in the rest pose
_GAP = 32  # vertices; one more patch costs about as much as multiplying so many more


class FingerRun(NamedTuple):
    """Consecutive vertices that one hand's fingers move."""

    side: int  # 0 left, 1 right
    first: int
    stop: int


@dataclass(frozen=True, eq=False)
class PosedBody:
    """A body in a pose, in the world frame."""

    joints: Float[Tensor, "*batch 22 3"]  # metres
    vertices: Float[Tensor, "*batch V 3"] | None  # metres, in the order that was asked for


class BodyModel(nn.Module):
    """SMPL+H (or SMPL) that takes rotation matrices. Source: Loper et al. 2015; Romero et al. 2017.

    Joints are linear in the betas, so that no vertex is needed for them. With 22 rotations the hands are at rest, and
    their joints and skinning weights are folded into the wrists, which is exact.
    """

    blend_shapes: Tensor  # (3, V, 1 + 16 + 9 (J - 1)): template, shape and pose blend shapes
    weights: Tensor  # (V, J)
    body_blend_shapes: Tensor  # without the hands, contiguous: multiplying by a slice costs a fifth more
    body_weights: Tensor  # (V, 22): the hands' folded into the wrists
    joint_blend_shapes: Tensor  # (3, J, 1 + 16): each joint in the rest pose, by the template and the betas
    offset_blend_shapes: Tensor  # (3, J, 1 + 16 + 3): relative to its parent; the root's also by trans
    faces: Tensor  # (F, 3)
    keypoints: Tensor  # (43,)
    finger_blend_shapes: Tensor  # (3, v, 9 f): of the vertices that a hand's f finger joints move
    finger_weights: Tensor  # (v, f)

    def __init__(self, arrays: Mapping[str, np.ndarray], name: str = "body model") -> None:
        super().__init__()
        arrays = _check(arrays, name)
        template, weights, posedirs = (arrays[key].astype(np.float64) for key in ("v_template", "weights", "posedirs"))
        shapedirs, regressor = first_betas(arrays["shapedirs"]), arrays["J_regressor"].astype(np.float64)
        self.skeleton: Skeleton = SMPLH if len(regressor) == len(SMPLH) else SMPL
        blend_shapes = np.concatenate([template[:, :, None], shapedirs, posedirs], 2)
        joints = np.einsum("jv,vcp->jcp", regressor, blend_shapes[:, :, : 1 + NUM_BETAS])
        self.finger_runs, finger_blend_shapes, finger_weights = _fingers(blend_shapes, weights)
        constants = {
            "blend_shapes": blend_shapes.transpose(1, 0, 2),
            "weights": weights,
            "body_blend_shapes": blend_shapes[..., :_BODY_FEATURES].transpose(1, 0, 2),
            "body_weights": _fold_hands(weights, self.skeleton),
            "finger_blend_shapes": finger_blend_shapes.transpose(1, 0, 2),
            "finger_weights": finger_weights,
            "joint_blend_shapes": joints.transpose(1, 0, 2),
            "offset_blend_shapes": _parent_offsets(joints, self.skeleton).transpose(1, 0, 2),
        }
        for key, value in constants.items():
            self.register_buffer(
                key, torch.as_tensor(np.ascontiguousarray(value), dtype=torch.float32), persistent=False
            )
        self.register_buffer("faces", torch.as_tensor(arrays["f"].astype(np.int64)), persistent=False)
        self.register_buffer("keypoints", torch.tensor(KEYPOINT_VERTICES), persistent=False)

    @classmethod
    def load(cls, path: str | Path) -> "BodyModel":
        """Read an SMPL+H `.npz` (the 16-beta file) or a classic SMPL or SMPL+H `.pkl`; no code in the file is run.

        Raises FileError for an unreadable file and BodyError for one that holds no SMPL-family body.
        """
        return cls(read_body(path), str(path))

    @classmethod
    def mannequin(cls, gender: str = "neutral") -> "BodyModel":
        """The procedural body, which needs no SMPL+H file. Raises SettingError for a gender that there is not."""
        return cls(mannequin_arrays(require_gender(gender)), f"mannequin ({gender})")

    def rest_joints(self, betas: Float[Tensor, "*batch 16"]) -> Float[Tensor, "*batch 22 3"]:
        """The 22 body joints of the shaped body in the rest pose, metres."""
        rest = self.rest(betas.reshape(-1, NUM_BETAS))
        return rest.permute(2, 1, 0).reshape(*betas.shape[:-1], NUM_BODY_JOINTS, 3)

    def forward(
        self,
        rotmats: Float[Tensor, "*batch J 3 3"],  # 22 or all joints; root first, child axes in the parent's frame
        betas: Float[Tensor, "*batch 16"],
        trans: Float[Tensor, "*batch 3"],  # metres, added to everything
        vertices: str | Sequence[int] | Int[Tensor, " chosen"] = "none",  # "none", "keypoints", "all" or indices
    ) -> PosedBody:
        """Pose the body, in its buffers' dtype (float32), whatever autocast is on around it.

        Raises BodyError for another number of rotations and SettingError for a choice of vertices that there is not.
        """
        if rotmats.shape[-3] not in (NUM_BODY_JOINTS, len(self.skeleton)):
            wanted = f"{NUM_BODY_JOINTS} (hands at rest) or {len(self.skeleton)}"
            raise BodyError(f"the body was given {rotmats.shape[-3]} rotations; it takes {wanted}.")
        with torch.autocast(rotmats.device.type, enabled=False):
            dtype, batch = self.blend_shapes.dtype, betas.shape[:-1]
            joints_only = isinstance(vertices, str) and vertices == "none"
            joints = NUM_BODY_JOINTS if joints_only else rotmats.shape[-3]
            rotmats = rotmats[..., :joints, :, :].reshape(batch.numel(), joints, 3, 3).to(dtype)
            betas, trans = (x.reshape(batch.numel(), x.shape[-1]).to(dtype) for x in (betas, trans))
            skeleton = BODY if joints == NUM_BODY_JOINTS else self.skeleton
            world = place_joints(rotmats, self.offsets(betas, trans, joints), skeleton)
            placed = world[:, 3, :NUM_BODY_JOINTS].permute(2, 1, 0).reshape(*batch, NUM_BODY_JOINTS, 3)
            if joints_only:
                return PosedBody(placed, None)
            pose = Pose.from_joints(rotmats, betas, world, self.rest(betas, joints))
            posed = self._skin(vertices, pose)
            return PosedBody(placed, posed.reshape(*batch, *posed.shape[1:]))

    def offsets(
        self, betas: Float[Tensor, "N 16"], trans: Float[Tensor, "N 3"], joints: int = NUM_BODY_JOINTS
    ) -> Float[Tensor, "3 J N"]:
        """Each joint relative to its parent in the rest pose, and the root relative to the world's origin; metres."""
        blend_shapes = self.offset_blend_shapes[:, :joints].flatten(0, 1)
        offsets = torch.addmm(blend_shapes[:, :1], blend_shapes[:, 1:], torch.cat([betas, trans], 1).T)
        return offsets.unflatten(0, (3, joints))

    def rest(self, betas: Float[Tensor, "N 16"], joints: int = NUM_BODY_JOINTS) -> Float[Tensor, "3 J N"]:
        """Each joint in the rest pose, metres."""
        blend_shapes = self.joint_blend_shapes[:, :joints].flatten(0, 1)
        return torch.addmm(blend_shapes[:, :1], blend_shapes[:, 1:], betas.T).unflatten(0, (3, joints))

    def surface(self, vertices: str | Sequence[int] | Int[Tensor, " chosen"], hands: bool = False) -> Surface:
        """The constants of the chosen vertices; without `hands` the fingers' weights are folded into the wrists."""
        chosen = (self.blend_shapes, self.weights) if hands else (self.body_blend_shapes, self.body_weights)
        whole = Surface(*chosen)
        if not isinstance(vertices, str):
            return whole.select(torch.as_tensor(vertices, device=self.blend_shapes.device))
        if vertices not in ("keypoints", "all"):
            raise SettingError(f'vertices: "{vertices}" is not one of none, keypoints, all, or a list of indices.')
        return whole if vertices == "all" else whole.select(self.keypoints)

    def _skin(self, vertices: str | Sequence[int] | Tensor, pose: Pose) -> Float[Tensor, "N V 3"]:
        """The vertices. A mesh with hands is the mesh without them, plus what the fingers add where they reach."""
        hands = pose.transforms.shape[2] > NUM_BODY_JOINTS
        if not (hands and isinstance(vertices, str) and vertices == "all"):
            return skin(self.surface(vertices, hands), pose)
        body, fingers = pose.transforms.split([NUM_BODY_JOINTS, len(self.skeleton) - NUM_BODY_JOINTS], 2)
        # The body's weights move a finger with its wrist; what remains is its motion relative to the wrist.
        wrists = body[..., _WRISTS].repeat_interleave(fingers.shape[2] // 2, 2)
        surface = Surface(self.body_blend_shapes, self.body_weights, self._finger_patches())
        return skin(surface, Pose(pose.features, torch.cat([body, fingers - wrists], 2)))

    def _finger_patches(self) -> tuple[Patch, ...]:
        """The patches that fingers add to the mesh without hands."""
        lengths = [run.stop - run.first for run in self.finger_runs]
        blend_shapes, weights = self.finger_blend_shapes.split(lengths, 1), self.finger_weights.split(lengths)
        parts = zip(self.finger_runs, blend_shapes, weights, strict=True)
        per_hand = self.finger_weights.shape[1]
        return tuple(
            Patch(run.first, _BODY_FEATURES + 9 * per_hand * run.side, NUM_BODY_JOINTS + per_hand * run.side, *part)
            for run, *part in parts
        )


def read_body(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an SMPL-family file, unchecked. Raises FileError for an unreadable one."""
    path = Path(path)
    if path.suffix.lower() not in (".npz", ".pkl"):
        raise FileError(f"{path}: a body model is an .npz or .pkl file; name one, e.g. smplh/male/model.npz.")
    return read_npz(path, FILE_ARRAYS) if path.suffix.lower() == ".npz" else read_pickle_arrays(path, FILE_ARRAYS)


def require_gender(gender: str) -> str:
    """The gender, if it is one of the three. Raises SettingError."""
    if gender not in GENDERS:
        raise SettingError(f'gender "{gender}" is not one of {", ".join(GENDERS)}.')
    return gender


def _check(arrays: Mapping[str, np.ndarray], name: str) -> Mapping[str, np.ndarray]:
    """The same arrays, if they make an SMPL-family body. Raises BodyError."""
    missing = [key for key in _REQUIRED if key not in arrays]
    if missing:
        raise BodyError(f"{name}: no {', '.join(missing)}; expected an SMPL+H body with {', '.join(_REQUIRED)}.")
    count = arrays["v_template"].shape[0] if arrays["v_template"].ndim == 2 else 0
    if count != NUM_VERTICES:
        raise BodyError(f"{name}: {count} vertices; expected {NUM_VERTICES} (SMPL+H or SMPL, not SMPL-X or MANO).")
    joints = arrays["J_regressor"].shape[0] if arrays["J_regressor"].ndim == 2 else 0
    skeleton = {len(SMPLH): SMPLH, len(SMPL): SMPL}.get(joints)
    if skeleton is None:
        raise BodyError(f"{name}: {joints} joints; expected {len(SMPLH)} (SMPL+H) or {len(SMPL)} (SMPL).")
    shapes = {
        "v_template": (count, 3),
        "posedirs": (count, 3, 9 * (joints - 1)),
        "J_regressor": (joints, count),
        "weights": (count, joints),
        "kintree_table": (2, joints),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape or arrays[key].dtype.kind not in "fiu":
            found = f"{arrays[key].dtype} {arrays[key].shape}"
            raise BodyError(f'{name}: "{key}" is {found}; expected numbers of shape {shape}.')
        if not np.isfinite(arrays[key]).all():
            raise BodyError(f'{name}: "{key}" has values that are not finite; use an undamaged file.')
    _check_shape_and_tree(arrays, skeleton, name)
    return arrays


def _check_shape_and_tree(arrays: Mapping[str, np.ndarray], skeleton: Skeleton, name: str) -> None:
    shapedirs, faces = arrays["shapedirs"], arrays["f"]
    if shapedirs.ndim != 3 or shapedirs.shape[:2] != (NUM_VERTICES, 3) or not np.isfinite(shapedirs).all():
        raise BodyError(f'{name}: "shapedirs" is {shapedirs.shape}; expected finite ({NUM_VERTICES}, 3, betas).')
    size = float(np.ptp(arrays["v_template"], axis=0).max())
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise BodyError(f'{name}: "v_template" is {size:.3g} m large; expected a person in metres, correct the units.')
    parents = arrays["kintree_table"][0].astype(np.int64)
    if tuple(parents[1:]) != skeleton.parents[1:]:
        raise BodyError(f'{name}: "kintree_table" is another tree than SMPL\'s; use an SMPL+H file.')
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu" or faces.max(initial=0) >= NUM_VERTICES:
        raise BodyError(f'{name}: "f" is not a list of vertex triples below {NUM_VERTICES}; use an undamaged file.')


def first_betas(shapedirs: np.ndarray) -> np.ndarray:
    """16 shape blend shapes (V, 3, 16): the first of more, zeros after fewer."""
    first = shapedirs[..., :NUM_BETAS].astype(np.float64)
    return np.pad(first, ((0, 0), (0, 0), (0, NUM_BETAS - first.shape[-1])))


def _fold_hands(weights: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Weights (V, 22) of the body joints, each hand's folded into its wrist."""
    folded = weights[:, :NUM_BODY_JOINTS].copy()
    for joint in range(NUM_BODY_JOINTS, len(skeleton)):
        ancestor = joint
        while ancestor >= NUM_BODY_JOINTS:
            ancestor = skeleton.parents[ancestor]
        folded[:, ancestor] += weights[:, joint]
    return folded


def _fingers(blend_shapes: np.ndarray, weights: np.ndarray) -> tuple[list[FingerRun], np.ndarray, np.ndarray]:
    """The runs of vertices that each hand's fingers move, with their blend shapes and weights for these fingers.

    A run may span a few vertices that no finger moves: their numbers are zeros.
    """
    per_hand = (weights.shape[1] - NUM_BODY_JOINTS) // 2
    runs: list[FingerRun] = []
    finger_blend_shapes, finger_weights = [np.zeros((0, 3, 9 * per_hand))], [np.zeros((0, per_hand))]
    for side in range(2):
        joints = slice(NUM_BODY_JOINTS + side * per_hand, NUM_BODY_JOINTS + (side + 1) * per_hand)
        features = slice(_BODY_FEATURES + 9 * side * per_hand, _BODY_FEATURES + 9 * (side + 1) * per_hand)
        moved = np.flatnonzero((weights[:, joints] != 0).any(1) | (blend_shapes[:, :, features] != 0).any((1, 2)))
        for run in np.split(moved, np.flatnonzero(np.diff(moved) > _GAP) + 1):
            if len(run):
                runs.append(FingerRun(side, int(run[0]), int(run[-1]) + 1))
                finger_blend_shapes.append(blend_shapes[run[0] : run[-1] + 1, :, features])
                finger_weights.append(weights[run[0] : run[-1] + 1, joints])
    return runs, np.concatenate(finger_blend_shapes), np.concatenate(finger_weights)


def _parent_offsets(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Each joint relative to its parent, (J, 3, 1 + 16 + 3); the root follows trans, the last three columns."""
    offsets = np.concatenate([joints[:1], joints[1:] - joints[list(skeleton.parents[1:])]])
    offsets = np.pad(offsets, ((0, 0), (0, 0), (0, 3)))
    offsets[0, :, -3:] = np.eye(3)
    return offsets
