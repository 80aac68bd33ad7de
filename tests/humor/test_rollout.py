"""A rollout is the same, step by step, as one that goes to the world and back."""

from functools import partial

import pytest
import torch

from humor.model import Transition
from humor.state import CanonicalFrame, MotionState
from tests.support import golden_values as golden
from tests.support.random_states import random_state


@pytest.fixture(scope="module")
def model(device):
    return golden.filled_model(1, 0.02).to(device, torch.float64)


def rollout_through_the_world(model, initial, latents):
    """The slow twin: each prediction is mapped to the world and into its own frame."""
    frame = CanonicalFrame.of(initial)
    pivot, state = frame.pivot, initial
    states, contacts = [], []
    for step in range(latents.shape[-2]):
        predicted, logits = model.decode(frame.world_to_canonical(state), latents[..., step, :])
        state = frame.canonical_to_world(predicted)
        frame = CanonicalFrame.of(state, pivot)
        states.append(state)
        contacts.append(logits)
    time = len(initial.batch_shape)
    return Transition(MotionState.stack(states, time), torch.stack(contacts, time), None, None)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,)])
def test_a_rollout_is_one_through_the_world(model, batch, device):
    latents = torch.randn(*batch, 12, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
    initial = random_state(batch, 3, device=device)
    with torch.no_grad():
        found = model.rollout(initial, 12, latents)
        expected = rollout_through_the_world(model, initial, latents)
    torch.testing.assert_close(found.state.to_vector(), expected.state.to_vector(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found.contacts, expected.contacts, atol=1e-10, rtol=1e-10)


def test_a_rollout_has_the_gradients_of_one_through_the_world(model, device):
    noise = torch.randn(2, 4, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
    gradients = []
    for roll in (lambda *given: model.rollout(given[0], 4, given[1]), partial(rollout_through_the_world, model)):
        initial = random_state((2,), 3, device=device).map(lambda x: x.requires_grad_())
        latents = noise.clone().requires_grad_()
        out = roll(initial, latents)
        (out.state.to_vector().square().sum() + out.contacts.sum()).backward()
        gradients.append(torch.cat([latents.grad.flatten(), initial.map(lambda x: x.grad).to_vector().flatten()]))
    torch.testing.assert_close(*gradients, atol=1e-9, rtol=1e-9)


def test_a_body_that_lies_on_its_side_keeps_its_heading(model, device):
    """Its right points up, so that it has none of its own."""
    initial = random_state((1,), 3, device=device)
    up = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]], dtype=torch.float64, device=device)
    initial = MotionState(**{**vars(initial), "root_orient": up})
    latents = torch.zeros(1, 2, 48, dtype=torch.float64, device=device)
    with torch.no_grad():
        found, expected = model.rollout(initial, 2, latents), rollout_through_the_world(model, initial, latents)
    torch.testing.assert_close(found.state.to_vector(), expected.state.to_vector(), atol=1e-10, rtol=1e-10)


def test_a_decoder_that_is_given_stands_in_for_the_models(model, device):
    latents, inputs = torch.randn(2, 3, 48, dtype=torch.float64, device=device), []
    initial = random_state((2,), 3, device=device)

    def decode(x):
        inputs.append(x)
        return model.decoder(x)

    with torch.no_grad():
        found, expected = model.rollout(initial, 3, latents, decoder=decode), model.rollout(initial, 3, latents)
    assert torch.equal(found.state.to_vector(), expected.state.to_vector())
    assert torch.equal(torch.stack(inputs, 1)[..., -48:], latents)


def test_drawn_latents_are_the_priors(model, device):
    """The first step's: mean and spread of what is drawn are those of the prior."""
    initial = random_state((1,), 3, device=device)
    random, again = (torch.Generator(device).manual_seed(5) for _ in range(2))
    with torch.no_grad():
        prior = model.prior(CanonicalFrame.of(initial).world_to_canonical(initial))
        noise = torch.empty(1, 1, 48, dtype=torch.float64, device=device).normal_(generator=random)
        expected = model.rollout(initial, 1, prior.sample(noise[0])[:, None])
        found = model.rollout(initial, 1, generator=again)
        mean = model.rollout(initial, 1, use_mean=True)
        of_mean = model.rollout(initial, 1, prior.mean[:, None])
    torch.testing.assert_close(found.state.to_vector(), expected.state.to_vector())
    torch.testing.assert_close(mean.state.to_vector(), of_mean.state.to_vector())
