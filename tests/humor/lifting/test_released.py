"""Released checkpoints of both networks load by their own names, and lift as the published networks do."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from humor.errors import CheckpointError
from humor.lifting import PoseFormer, PoseFormerV2
from tests.support import golden_values as golden

SIZES = {name: tuple(map(int, name.split("_")[1:])) for name in golden.arrays("lifting") if name != "seed"}


def network_of(sizes):
    return PoseFormer(*sizes) if len(sizes) == 1 else PoseFormerV2(*sizes)


def released_file(path, sizes, weights=None, as_zip=True, **more):
    """A checkpoint as the published training writes it."""
    weights = golden.released_lifting_weights(sizes, 0) if weights is None else weights
    content = {
        "epoch": 3,
        "lr": np.float64(1e-4),
        "random_state": np.random.RandomState(3),
        "optimizer": {"state": {0: {"step": 4, "exp_avg": torch.zeros(3)}}, "param_groups": [{"betas": (0.9, 0.999)}]},
        "model_pos": {f"module.{name}": weight for name, weight in weights.items()},
    }
    torch.save({**content, **more}, path, _use_new_zipfile_serialization=as_zip)
    return path


@pytest.mark.parametrize("name", SIZES)
def test_a_released_checkpoint_lifts_as_the_published_network(tmp_path, name):
    values, sizes = golden.arrays("lifting"), SIZES[name]
    seed = int(values["seed"])
    file = released_file(tmp_path / "released.bin", sizes, golden.released_lifting_weights(sizes, seed))
    points = 0.5 * np.sin(0.377 * np.arange(3 * sizes[0] * 34) + seed)
    network = network_of(sizes).eval()
    network.load_checkpoint(file)
    with torch.no_grad():
        found = network(torch.tensor(points.reshape(3, sizes[0], 17, 2), dtype=torch.float32))
    np.testing.assert_allclose(found.numpy(), values[name], rtol=0, atol=1e-5)


class OldRandomState:
    """A random state as numpy pickled it before 1.17."""

    def __reduce__(self):
        return getattr(np.random, "__RandomState_ctor"), (), np.random.RandomState(3).get_state()


def test_a_file_of_old_versions_of_torch_and_numpy_loads(tmp_path):
    file = released_file(tmp_path / "old.bin", (9,), as_zip=False, random_state=OldRandomState())
    assert b"numpy.random\n__RandomState_ctor" in file.read_bytes()
    PoseFormer(9).load_checkpoint(file)


@pytest.mark.parametrize("sizes", [(9,), (27, 3, 3)])
def test_a_runs_own_checkpoint_loads_too(tmp_path, sizes):
    network, again = network_of(sizes), network_of(sizes)
    torch.save({"model": network.state_dict()}, tmp_path / "best.pt")
    again.load_checkpoint(tmp_path / "best.pt")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("sizes", [(9,), (27, 3, 3)])
def test_what_does_not_fit_is_named_and_nothing_is_loaded(tmp_path, sizes):
    weights = golden.released_lifting_weights(sizes, 0)
    del weights["Spatial_norm.bias"]
    weights["blocks.0.norm1.weight"] = torch.zeros(543)
    weights["extra.weight"] = torch.zeros(1)
    network = network_of(sizes)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        network.load_checkpoint(released_file(tmp_path / "odd.bin", sizes, weights))
    assert str(error.value) == (
        f"{tmp_path}/odd.bin: does not fit {type(network).__name__}: missing Spatial_norm.bias; unexpected "
        "extra.weight; blocks.0.norm1.weight has shape (543,), expected (544,)."
    )
    assert all(torch.equal(before[name], weight) for name, weight in network.state_dict().items())


def test_another_size_another_network_and_no_network_are_refused(tmp_path):
    file = released_file(tmp_path / "9.bin", (9,))
    with pytest.raises(CheckpointError, match=r"Temporal_pos_embed has shape \(1, 9, 544\), expected \(1, 27, 544\)"):
        PoseFormer(27).load_checkpoint(file)
    with pytest.raises(CheckpointError, match=r"missing .*Joint_embedding.* unexpected Spatial_patch_to_embedding"):
        PoseFormerV2(9, 3, 3).load_checkpoint(file)
    torch.save({"epoch": 3}, file)
    with pytest.raises(CheckpointError, match='no "model" or "model_pos" entry with tensors by name'):
        PoseFormer(9).load_checkpoint(file)


class Planted:
    """An object whose unpickling runs a command."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("entry", ["random_state", "optimizer", "model_pos", "lr"])
def test_a_file_that_would_run_something_is_refused_and_runs_nothing(tmp_path, entry):
    file = released_file(tmp_path / "planted.bin", (9,), **{entry: Planted(tmp_path / "ran")})
    with pytest.raises(CheckpointError, match="holds more than tensors and plain values"):
        PoseFormer(9).load_checkpoint(file)
    assert not (tmp_path / "ran").exists()


def light_file(sizes):
    """The bytes of a released checkpoint whose weights share one stored number each, so that it is small."""
    weights = {
        name: torch.zeros(1).expand(weight.shape) for name, weight in golden.released_lifting_weights(sizes, 0).items()
    }
    file = io.BytesIO()
    released_file(file, sizes, weights)
    return file.getvalue()


NAMES = [b"numpy.random._pickle\n__randomstate_ctor", b"numpy\ndtype", b"torch._utils\n_rebuild_tensor_v2"]
CALLABLES = [b"os\nsystem", b"builtins\neval", b"subprocess\nrun"]


def mutated(whole, random):
    """The archive with its pickle changed here and there, names of other callables put in, or any of its bytes."""
    if random.random() < 0.2:
        damaged = bytearray(whole)
        for place in random.integers(len(damaged), size=4):
            damaged[place] = random.integers(256)
        return bytes(damaged[: random.choice([len(damaged), random.integers(len(damaged))])])
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = bytearray(source.read(name))
            if name.endswith("data.pkl") and random.random() < 0.5:
                old = random.choice(
                    [b"numpy.random._pickle\n__randomstate_ctor", b"numpy\ndtype", b"torch._utils\n_rebuild_tensor_v2"]
                )
                content = content.replace(old, random.choice([b"os\nsystem", b"builtins\neval", b"subprocess\nrun"]))
            elif name.endswith("data.pkl"):
                for place in random.integers(len(content), size=random.integers(1, 4)):
                    content[place] = random.integers(256)
            target.writestr(name, bytes(content))
    return out.getvalue()


@pytest.mark.parametrize("sizes", [(9,), (27, 3, 3)])
@pytest.mark.parametrize("count", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_files_are_loaded_or_refused_and_nothing_in_them_is_run(tmp_path, monkeypatch, sizes, count):
    def run(*_):
        raise AssertionError("something in the file was run")

    whole, state = light_file(sizes), pickle.dumps(np.random.RandomState(0))
    for name in ("numpy.random._pickle.__randomstate_ctor", "os.system", "subprocess.run", "builtins.eval"):
        monkeypatch.setattr(name, run)
    with pytest.raises(AssertionError, match="was run"):
        pickle.loads(state)  # noqa: S301  what loading the file must not do
    network, random, file, refused = network_of(sizes), np.random.default_rng(0), tmp_path / "damaged.bin", 0
    file.write_bytes(whole)
    network.load_checkpoint(file)
    for _ in range(count):
        file.write_bytes(mutated(whole, random))
        try:
            network.load_checkpoint(file)
        except CheckpointError:
            refused += 1
    assert count / 2 < refused <= count
