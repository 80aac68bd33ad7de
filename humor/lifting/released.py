"""The lifting networks' weights in files: those of our runs, and the released ones by their own names."""

import re
from pathlib import Path

from torch import nn

from ..errors import CheckpointError
from ..io.checkpoints import describe_mismatch, read_weights

ENTRIES = ("model", "model_pos")  # of files, that hold weights: ours and theirs
FRAME_POSITION = ("frame_position", "Temporal_pos_embed")
FREQUENCY_POSITION = ("frequency_position", "Temporal_pos_embed_")
# Patterns of our names and what stands for them in released ones, replaced one after the other.
_RELEASED_NAMES = {
    r"^spatial\.position$": "Spatial_pos_embed",
    r"^spatial\.embedding": "Spatial_patch_to_embedding",
    r"^spatial\.blocks": "Spatial_blocks",
    r"^spatial\.norm": "Spatial_norm",
    r"^frame_position$": "Temporal_pos_embed",
    r"^temporal_norm": "Temporal_norm",
    r"^temporal\.": "blocks.",
    r"^mean": "weighted_mean",
    r"\.attention_norm": ".norm1",
    r"\.attention\.queries_keys_values": ".attn.qkv",
    r"\.attention\.out": ".attn.proj",
    r"\.mlp_norm": ".norm2",
    r"\.mlp\.0": ".mlp.fc1",
    r"\.mlp\.2": ".mlp.fc2",
}
_RELEASED_NAMES_V2 = {
    r"^frequency_embedding": "Freq_embedding",
    r"^frequency_position$": "Temporal_pos_embed_",
    r"^frequency_mean": "weighted_mean",
    r"^frame_mean": "weighted_mean_",
    r"^(temporal\.\d+)\.mlp\.0": r"\1.mlp1.fc1",
    r"^(temporal\.\d+)\.mlp\.2": r"\1.mlp1.fc2",
    r"\.frequency_norm": ".norm3",
    r"\.frequency_mlp\.0": ".mlp2.fc1",
    r"\.frequency_mlp\.2": ".mlp2.fc2",
    **_RELEASED_NAMES,
    r"^spatial\.embedding": "Joint_embedding",
}


def released_names(network: nn.Module) -> dict[str, str]:
    """The name of each of a network's parameters in released checkpoints, by our name."""
    names = list(network.state_dict())
    table = _RELEASED_NAMES_V2 if "frequency_embedding.weight" in names else _RELEASED_NAMES
    released = dict(zip(names, names, strict=True))
    for pattern, replacement in table.items():
        released = {name: re.sub(pattern, replacement, other) for name, other in released.items()}
    return released


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a checkpoint's weights into a lifting network, all of them or none. Raises FileError or CheckpointError."""
    weights, wanted = read_weights(path, ENTRIES), network.state_dict()
    names = dict(zip(wanted, wanted, strict=True))
    if any(name.startswith("Spatial_") for name in weights):
        names = released_names(network)
    problems = describe_mismatch(weights, {names[name]: tensor for name, tensor in wanted.items()})
    if problems:
        raise CheckpointError(f"{path}: does not fit {type(network).__name__}: {'; '.join(problems)}.")
    network.load_state_dict({name: weights[names[name]] for name in wanted})
