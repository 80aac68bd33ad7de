"""The loss is zero at the target, does not depend on the order of the batch, and has finite gradients everywhere."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from humor import HumorLoss, LossWeights
from humor.errors import SettingError
from humor.losses import TERMS, gender_runs, kl_divergence
from humor.model import Gaussian, Transition
from humor.rotations import rotvec_to_rotmat
from humor.state import MotionState
from tests.support import golden_values as golden
from tests.support.random_states import random_state


@pytest.fixture(scope="module")
def loss():
    return HumorLoss(golden.bodies())


def standard(rows):
    return Gaussian(torch.zeros(*rows, 48), torch.ones(*rows, 48))


def evaluate(loss, predicted, target, contacts, logits, gender, epoch=50):
    rows = target.batch_shape
    out = Transition(predicted, logits, standard(rows), standard(rows))
    return loss(out, target, contacts, torch.zeros(*rows, 16), gender, epoch)


def test_the_loss_of_the_target_itself_is_zero(loss):
    state = consistent_state(loss, 3)
    contacts = torch.zeros(3, 9)
    total, terms = evaluate(loss, state, state, contacts, torch.full((3, 9), -100.0), ["male"] * 3)
    assert total.item() == pytest.approx(0, abs=1e-9)
    assert {name: term.item() for name, term in terms.items() if name.endswith("_loss")} == pytest.approx(
        dict.fromkeys([f"{name}_loss" for name in (*TERMS, "kl", "kl_weighted", "reconstr_weighted")], 0.0), abs=1e-9
    )


def consistent_state(loss, rows):
    """A state whose joints are those of its pose."""
    state = random_state((rows,), dtype=torch.float32)
    joints = loss.bodies["male"](state.rotmats, torch.zeros(rows, 16), state.trans).joints
    return replace(state, joints=joints)


@given(st.integers(0, 10_000))
def test_kl_is_never_negative_and_zero_only_for_equals(seed):
    random = torch.Generator().manual_seed(seed)
    one, other = (
        Gaussian(
            torch.randn(3, 48, generator=random, dtype=torch.float64),
            torch.rand(3, 48, generator=random, dtype=torch.float64) + 0.01,
        )
        for _ in range(2)
    )
    assert kl_divergence(one, other) > 0
    assert kl_divergence(one, one) == pytest.approx(0, abs=1e-12)
    as_torch = torch.distributions.kl_divergence(
        *(torch.distributions.Normal(g.mean, g.var.sqrt()) for g in (one, other))
    )
    torch.testing.assert_close(kl_divergence(one, other), as_torch.sum(-1).mean())


@settings(max_examples=5)
@given(st.permutations(range(6)))
def test_the_order_of_the_batch_does_not_matter(loss, order):
    predicted, target = (random_state((6,), seed, torch.float32) for seed in (0, 1))
    gender = ["male", "female", "male", "neutral", "neutral", "female"]
    logits, contacts = torch.randn(6, 9, generator=torch.Generator().manual_seed(0)), torch.ones(6, 9)
    one = evaluate(loss, predicted, target, contacts, logits, gender)[0]
    shuffled = [x.map(lambda t: t[list(order)]) for x in (predicted, target)]
    other = evaluate(loss, *shuffled, contacts, logits[list(order)], [gender[i] for i in order])[0]
    torch.testing.assert_close(one, other, rtol=1e-5, atol=0)


def test_windows_count_as_their_transitions(loss):
    predicted, target = (random_state((2, 5), seed, torch.float32) for seed in (0, 1))
    logits, contacts = torch.randn(2, 5, 9), torch.ones(2, 5, 9)
    windows = evaluate(loss, predicted, target, contacts, logits, ["female", "male"])[0]
    flat = [x.map(lambda t: t.flatten(0, 1)) for x in (predicted, target)]
    rows = evaluate(loss, *flat, contacts.flatten(0, 1), logits.flatten(0, 1), ["female"] * 5 + ["male"] * 5)[0]
    torch.testing.assert_close(windows, rows, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [f.name for f in fields(LossWeights) if f.name not in ("kl", "kl_full_epoch")])
def test_a_weight_scales_its_term(name):
    predicted, target = (random_state((2,), seed, torch.float32) for seed in (0, 1))
    only = HumorLoss({"male": golden.body("male")}, LossWeights(**{**dict.fromkeys(TERMS, 0.0), name: 2.0}))
    total, terms = evaluate(only, predicted, target, torch.ones(2, 9), torch.zeros(2, 9), ["male"] * 2)
    torch.testing.assert_close(total, 2 * terms[f"{name}_loss"])


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.0), (1, 0.02), (25, 0.5), (50, 1.0), (51, 1.0)])
def test_kl_weight_rises_over_fifty_epochs(epoch, share):
    assert LossWeights().kl_ramp(epoch) == share


@pytest.mark.parametrize("angle", [0.0, 1e-8, 3.14159265])
def test_gradients_are_finite_at_rest_and_at_pi(loss, angle):
    rotvecs = torch.tensor([[[angle, 0.0, 0.0]]]).repeat(2, 22, 1).requires_grad_()
    rotmats = rotvec_to_rotmat(rotvecs)
    zeros = torch.zeros(2, 3)
    predicted = MotionState(
        zeros, zeros, rotmats[:, 0], zeros, rotmats[:, 1:], torch.zeros(2, 22, 3), torch.zeros(2, 22, 3)
    )
    logits = torch.zeros(2, 9, requires_grad=True)
    contacts = torch.ones(2, 9)
    total, _ = evaluate(loss, predicted, random_state((2,), dtype=torch.float32), contacts, logits, ["neutral"] * 2)
    total.backward()
    assert rotvecs.grad.isfinite().all()
    assert logits.grad.isfinite().all()


def test_accuracy_on_contacts_is_not_a_number_where_there_are_none(loss):
    state = random_state((2,), dtype=torch.float32)
    _, terms = evaluate(loss, state, state, torch.zeros(2, 9), torch.zeros(2, 9), ["male"] * 2)
    assert terms["contacts_pos_acc"].isnan()
    assert terms["contacts_neg_acc"] == 1


def test_runs_of_a_grouped_batch_are_one_slice_a_gender():
    assert gender_runs(["male", "male", "female"]) == {"male": [slice(0, 2)], "female": [slice(2, 3)]}
    assert gender_runs(["male", "female", "male"])["male"] == [slice(0, 1), slice(2, 3)]


def test_a_wrong_gender_is_refused(loss):
    state, ones = random_state((2,), dtype=torch.float32), torch.ones(2, 9)
    with pytest.raises(SettingError, match=r'^gender "other" is not one of male, female, neutral\.$'):
        evaluate(loss, state, state, ones, ones, ["male", "other"])
    with pytest.raises(SettingError, match=r"^1 genders for 2 rows; give one for each\.$"):
        evaluate(loss, state, state, ones, ones, ["male"])
    with pytest.raises(SettingError, match=r'^no body for gender "female"; HumorLoss has male\.$'):
        evaluate(HumorLoss({"male": golden.body("male")}), state, state, ones, ones, ["female"] * 2)


def test_kl_is_finite_for_variances_that_are_far_apart():
    mean = torch.zeros(1, 48)
    one, other = (Gaussian(mean, torch.full((1, 48), log).exp().requires_grad_()) for log in (-60.0, 60.0))
    kl = kl_divergence(one, other)
    kl.backward()
    assert kl.item() == pytest.approx(0.5 * 48 * 119, rel=1e-5)
    assert one.var.grad.isfinite().all()
    assert other.var.grad.isfinite().all()
