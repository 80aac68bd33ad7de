"""The network is the released one, and reads its checkpoints without running anything in them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from humor import HumorModel, Precision
from humor.errors import CheckpointError, SettingError
from humor.state import CanonicalFrame
from tests.support import golden_values as golden
from tests.support.random_states import random_state


@pytest.fixture(scope="module")
def model():
    return golden.filled_model(1, 0.02)


def float_state(batch=(4,), seed=0):
    return random_state(batch, seed, torch.float32)


@pytest.mark.parametrize(("width", "parameters"), [(1, 9_725_976), (4, 133_243_416)])
def test_a_width_has_its_number_of_parameters(width, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in HumorModel(width).parameters()) == parameters


def test_a_width_below_one_is_refused():
    with pytest.raises(SettingError, match=r"^width 0: expected a whole number from 1\.$"):
        HumorModel(0)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,)])
def test_any_leading_shape_is_predicted(model, batch):
    out = model(float_state(batch), float_state(batch, 1), torch.zeros(*batch, 48))
    assert out.state.batch_shape == batch
    assert out.contacts.shape == (*batch, 9)
    assert out.prior.mean.shape == (*batch, 48)


def test_predicted_rotations_are_rotations(model):
    out = model(float_state(), float_state(seed=1))
    rotmats = out.state.rotmats
    torch.testing.assert_close(rotmats @ rotmats.mT, torch.eye(3).expand_as(rotmats), atol=1e-5, rtol=0)


def test_batch_entries_do_not_affect_each_other(model):
    past, current, noise = float_state(), float_state(seed=1), torch.randn(4, 48)
    together = model(past, current, noise)
    alone = model(past.map(lambda x: x[2:3]), current.map(lambda x: x[2:3]), noise[2:3])
    torch.testing.assert_close(together.state.to_vector()[2:3], alone.state.to_vector(), atol=1e-5, rtol=0)


@settings(max_examples=5)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_a_rollout_is_fixed_by_its_latents(model, seed, steps):
    initial, latents = float_state((2,), seed), torch.randn(2, steps, 48, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        one, other = (model.rollout(initial, steps, latents) for _ in range(2))
    assert one.state.batch_shape == (2, steps)
    assert torch.equal(one.state.to_vector(), other.state.to_vector())


def test_a_rollout_by_the_prior_is_fixed_by_its_generator(model):
    with torch.no_grad():
        one, same, other = (
            model.rollout(float_state(), 3, generator=torch.Generator().manual_seed(s)).state.trans for s in (1, 1, 2)
        )
        mean = model.rollout(float_state(), 3, use_mean=True).state.trans
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, mean)


def test_a_rollouts_first_step_is_one_decoding_in_the_canonical_frame(model):
    initial, latents = float_state(), torch.randn(4, 1, 48)
    frame = CanonicalFrame.of(initial)
    with torch.no_grad():
        expected, logits = model.decode(frame.world_to_canonical(initial), latents[:, 0])
        out = model.rollout(initial, 1, latents)
    first = out.state.map(lambda x: x[:, 0])
    torch.testing.assert_close(first.to_vector(), frame.canonical_to_world(expected).to_vector(), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.contacts[:, 0], logits)


def test_a_rollout_of_no_steps_is_refused(model):
    with pytest.raises(SettingError, match=r"^steps 0: expected a whole number from 1\.$"):
        model.rollout(float_state(), 0)


def test_a_saved_checkpoint_is_loaded_again(model, tmp_path):
    torch.save({"model": model.state_dict(), "epoch": 3}, tmp_path / "c.pth")
    other = HumorModel()
    other.load_checkpoint(tmp_path / "c.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(model, tmp_path):
    weights = model.state_dict()
    del weights["prior_net.net.0.bias"]
    weights["extra"] = torch.zeros(1)
    weights["decoder.net.9.bias"] = torch.zeros(207)
    path = tmp_path / "c.pth"
    torch.save({"model": weights}, path)
    other = HumorModel()
    before = other.decoder.net[0].weight.clone()
    with pytest.raises(CheckpointError) as error:
        other.load_checkpoint(path)
    assert str(error.value) == (
        f"{path}: does not fit HumorModel(width=1): missing prior_net.net.0.bias; unexpected extra; "
        "decoder.net.9.bias has shape (207,), expected (216,)."
    )
    assert torch.equal(other.decoder.net[0].weight, before)


@pytest.mark.parametrize("wrapped", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}"])
def test_weights_of_a_wrapped_network_are_loaded(model, tmp_path, wrapped):
    weights = {wrapped.format(name): weight for name, weight in model.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "c.pth")
    other = HumorModel.load(tmp_path / "c.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_weights_of_a_network_with_a_wrapped_part_are_loaded(model, tmp_path):
    weights = {name.replace("encoder.", "encoder._orig_mod."): each for name, each in model.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "c.pth")
    HumorModel().load_checkpoint(tmp_path / "c.pth")


def test_a_long_list_of_names_is_cut(model, tmp_path):
    torch.save({"model": {f"net.{name}": each for name, each in model.state_dict().items()}}, tmp_path / "c.pth")
    with pytest.raises(CheckpointError) as error:
        HumorModel().load_checkpoint(tmp_path / "c.pth")
    first = [name for name in model.state_dict()][:4]
    assert str(error.value) == (
        f"{tmp_path}/c.pth: does not fit HumorModel(width=1): missing {', '.join(first)} and 46 more; "
        f"unexpected {', '.join(f'net.{name}' for name in first)} and 46 more."
    )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_rollout_in_half_precision_stays_close_to_single(model, precision):
    latents = torch.randn(4, 3, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.rollout(float_state(), 3, latents).state.to_vector()
        with Precision(precision).autocast_scope("cpu"):
            found = model.rollout(float_state(), 3, latents).state.to_vector()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_latents_of_another_shape_are_refused(model):
    with pytest.raises(SettingError) as error:
        model.rollout(float_state(), 3, torch.zeros(4, 2, 48))
    assert str(error.value) == "latents of shape (4, 2, 48); a rollout of 3 steps wants (4, 3, 48)."


def test_weights_of_another_width_are_refused(tmp_path):
    path = tmp_path / "wide.pth"
    with torch.device("meta"):
        weights = HumorModel(2).state_dict()
    torch.save({"model": {name: torch.zeros(1).expand(value.shape) for name, value in weights.items()}}, path)
    with pytest.raises(CheckpointError) as error:
        HumorModel().load_checkpoint(path)
    assert str(error.value) == f"{path}: a network of width 2, expected 1; use HumorModel(2), or give --width 2."
