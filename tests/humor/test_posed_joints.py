"""HuMoR-Qual: a step reads the joints of the posed body, not those that the network predicted."""

import copy
from dataclasses import replace

import pytest
import torch

from humor import Precision
from humor.errors import SettingError
from humor.model import Transition
from humor.posed_joints import PosedJoints
from humor.state import CanonicalFrame, MotionState
from tests.support import golden_values as golden
from tests.support.random_states import random_state

PEOPLE = {"one": ("male",), "two alike": ("male",) * 2, "mixed": ("female", "male", "female", "neutral", "male")}


@pytest.fixture(scope="module")
def bodies(device):
    return {gender: copy.deepcopy(body).double() for gender, body in golden.bodies(device).items()}


@pytest.fixture(scope="module")
def model(device):
    return golden.filled_model(1, 0.02).to(device, torch.float64)


def random_betas(count, device):
    betas = torch.randn(count, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return betas.to(device)


@pytest.mark.parametrize("genders", PEOPLE.values(), ids=PEOPLE)
def test_posed_joints_are_those_of_each_persons_body(bodies, genders, device):
    state, betas = random_state((len(genders),), 2, device=device), random_betas(len(genders), device)
    found = PosedJoints(bodies, betas, genders)(state.rotmats, state.trans)
    for row, gender in enumerate(genders):
        expected = bodies[gender](state.rotmats[row], betas[row], state.trans[row]).joints
        torch.testing.assert_close(found[row], expected, atol=1e-12, rtol=0)


def test_people_may_have_several_batch_axes(bodies, device):
    state, betas = random_state((2, 3), 2, device=device), random_betas(6, device).reshape(2, 3, 16)
    rotmats, trans = state.rotmats.flatten(0, 1), state.trans.flatten(0, 1)
    found = PosedJoints(bodies, betas, ("male", "female"))(rotmats, trans)
    each = PosedJoints(bodies, betas.flatten(0, 1), ("male",) * 3 + ("female",) * 3)(rotmats, trans)
    assert torch.equal(found, each)


def qual_rollout(model, bodies, initial, latents, betas, genders):
    """The slow twin: one person after the other, each step through the world, posed by the whole body model."""
    people = []
    for person, gender in enumerate(genders):
        state = initial.map(lambda x, person=person: x[person])
        frame = CanonicalFrame.of(state)
        pivot, states, contacts = frame.pivot, [], []
        for latent in latents[person]:
            predicted, logits = model.decode(frame.world_to_canonical(state), latent)
            states.append(frame.canonical_to_world(predicted))
            contacts.append(logits)
            posed = bodies[gender](predicted.rotmats, betas[person], predicted.trans).joints
            state = frame.canonical_to_world(replace(predicted, joints=posed))
            frame = CanonicalFrame.of(state, pivot)
        people.append((MotionState.stack(states, 0), torch.stack(contacts)))
    states, contacts = zip(*people, strict=True)
    return Transition(MotionState.stack(states, 0), torch.stack(contacts), None, None)


@pytest.mark.parametrize("genders", PEOPLE.values(), ids=PEOPLE)
def test_a_rollout_feeds_the_posed_joints_back(model, bodies, genders, device):
    count = len(genders)
    initial, betas = random_state((count,), 3, device=device), random_betas(count, device)
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(count, 12, 48, dtype=torch.float64, generator=random).to(device)
    with torch.no_grad():
        found = model.rollout(initial, 12, latents, joint_inputs=PosedJoints(bodies, betas, genders))
        expected = qual_rollout(model, bodies, initial, latents, betas, genders)
        plain = model.rollout(initial, 12, latents)
    torch.testing.assert_close(found.state.to_vector(), expected.state.to_vector(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found.contacts, expected.contacts, atol=1e-10, rtol=1e-10)
    difference = (found.state.joints - plain.state.joints).abs().amax((0, 2, 3))
    assert difference[0] == 0  # the first step reads the initial state in both
    assert difference[1:].min() > 1e-4


def test_a_rollouts_joints_are_those_that_the_network_predicts(model, bodies, device):
    """What is fed back is not what is returned: the two differ, for the network here is not trained."""
    initial, betas = random_state((1,), 3, device=device), random_betas(1, device)
    with torch.no_grad():
        posed_by = PosedJoints(bodies, betas, ("male",))
        state = model.rollout(initial, 2, use_mean=True, joint_inputs=posed_by).state.map(lambda x: x[:, -1])
    assert (posed_by(state.rotmats, state.trans) - state.joints).abs().max() > 0.01


def test_joints_are_posed_in_single_precision_under_autocast(bodies, device):
    single = {gender: copy.deepcopy(body).float() for gender, body in bodies.items()}
    state = random_state((3,), 3, torch.float32, device)
    posed_by = PosedJoints(single, random_betas(3, device).float(), ("male",) * 3)
    expected = posed_by(state.rotmats, state.trans)
    with Precision("bf16").autocast_scope(device):
        assert torch.equal(posed_by(state.rotmats, state.trans), expected)


@pytest.mark.parametrize(
    ("genders", "text"),
    [
        (("male",), "betas of 2 people; give a gender for each."),
        (("male", "neutral"), 'no body for gender "neutral"; there is one for male.'),
    ],
)
def test_what_cannot_be_posed_is_one_sentence(genders, text, bodies, device):
    with pytest.raises(SettingError) as error:
        PosedJoints({"male": bodies["male"]}, random_betas(2, device), genders)
    assert str(error.value) == text
