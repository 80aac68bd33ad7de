"""Values of the published HuMoR implementation (ICCV 2021 code, PyTorch 2.13, CPU, float32) on made-up inputs."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from humor import BodyModel, HumorModel, MotionState
from humor.skeleton import GENDERS

FOLDER = Path(__file__).parents[1] / "golden"
SIZES = {"root_orient": (3, 3), "pose_body": (21, 3, 3), "joints": (22, 3), "joints_vel": (22, 3)}


def arrays(name: str) -> dict[str, np.ndarray]:
    """A golden file."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def processed_arrays(case: str) -> dict[str, np.ndarray]:
    """A clip as the published processing writes it."""
    values = arrays(f"process_{case}")
    return {key.removeprefix("processed_"): value for key, value in values.items() if key.startswith("processed_")}


def body_arrays(gender: str) -> dict[str, np.ndarray]:
    """A golden body, expanded from its compact form to the SMPL+H format."""
    compact = arrays(f"body_{gender}")
    rows = np.arange(6890)
    weights = np.zeros((6890, 52))
    weights[rows[:, None], compact["weights_index"]] = compact["weights_value"]
    directions = compact["posedirs_u"].astype(np.float64) @ compact["posedirs_vt"].astype(np.float64)
    regressor = np.zeros((52, 6890))
    regressor[np.arange(52)[:, None], compact["joint_vertices"]] = 1 / 8
    parents = compact["parents"].astype(np.int64) % 2**32  # the root's is 2**32 - 1
    return {
        "v_template": compact["v_template"],
        "shapedirs": compact["shapedirs"].astype(np.float64),
        "posedirs": directions.reshape(6890, 3, 459),
        "weights": weights,
        "J_regressor": regressor,
        "kintree_table": np.stack([parents, np.arange(52)]),
        "f": (np.arange(13776)[:, None] + np.arange(3)) % 6890,
        "bs_type": np.array("lrotmin"),
        "bs_style": np.array("lbs"),
    }


@cache
def body(gender: str, device: str = "cpu") -> BodyModel:
    """A golden body. Its anatomy is random: it tests arithmetic, not looks."""
    return BodyModel(body_arrays(gender), f"golden {gender}").to(device)


def bodies(device: torch.device | str = "cpu") -> dict[str, BodyModel]:
    """The golden body of each gender."""
    return {gender: body(gender, str(device)) for gender in GENDERS}


def state(values: dict[str, np.ndarray], prefix: str, device: torch.device | str = "cpu") -> MotionState:
    """The state whose fields are stored under a prefix."""
    names = MotionState.__dataclass_fields__
    found = {name: torch.as_tensor(values[prefix + name], device=device) for name in names}
    return MotionState(
        **{name: x.reshape(*found["trans"].shape[:-1], *SIZES.get(name, (3,))) for name, x in found.items()}
    )


def filled_weights(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, torch.Tensor]:
    """Weights of these names and shapes by the golden files' rule."""
    weights: dict[str, torch.Tensor] = {}
    for k, name in enumerate(sorted(shapes)):
        shape = tuple(shapes[name])
        wave = np.sin(0.7310585 * np.arange(np.prod(shape)) + 1.234 * k + seed)
        wave = wave * (0.1 if len(shape) == 1 else 1.2 / np.sqrt(shape[-1]))
        wave = wave + (len(shape) == 1 and name.endswith("weight"))
        weights[name] = torch.as_tensor(wave.reshape(shape), dtype=torch.float32)
    return weights


def filled_model(seed: int, decoder_output_scale: float = 1.0) -> HumorModel:
    """A network with weights filled by the golden files' rule."""
    model = HumorModel()
    weights = filled_weights({name: weight.shape for name, weight in model.state_dict().items()}, seed)
    for name in weights:
        if name.startswith("decoder.net.9"):
            weights[name] *= decoder_output_scale
    model.load_state_dict(weights)
    return model


def released_lifting_weights(sizes: tuple[int, ...], seed: int) -> dict[str, torch.Tensor]:
    """The weights of a published PoseFormer of (frames,) or PoseFormerV2 of (frames, kept, coefficients)."""
    tables = json.loads((FOLDER / "lifting_state_dicts.json").read_text())
    shapes = next(table for name, table in tables.items() if name.startswith("poseformer-v2") == (len(sizes) == 3))
    frames, low = sizes[1 if len(sizes) == 3 else 0], sizes[-1]
    changed = {
        "Temporal_pos_embed": [1, frames, 544],
        "Temporal_pos_embed_": [1, low, 544],
        "weighted_mean.weight": [1, low, 1],
        "weighted_mean_.weight": [1, frames, 1],
    }
    return filled_weights(shapes | {name: changed[name] for name in changed if name in shapes}, seed)
