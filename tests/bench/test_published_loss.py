"""The slow twin in bench/ is the published loss, in its values and in what it poses."""

import numpy as np
import pytest
import torch

from bench.published_loss import PublishedLoss
from humor import HumorLoss
from humor.errors import SettingError
from humor.model import Gaussian, Transition
from humor.skeleton import GENDERS
from tests.support import golden_values as golden


@pytest.mark.parametrize("case", ["loss_male", "loss_mixed", "loss_late"])
def test_it_gives_the_published_terms_and_our_gradients(case):
    values = golden.arrays(case)
    theirs, expected = evaluate(published_loss(), values)
    ours, _ = evaluate(HumorLoss(golden.bodies()), values)
    published = {name.removeprefix("term_"): float(v) for name, v in values.items() if name.startswith("term_")}
    assert {name: term.item() for name, term in expected.items()} == pytest.approx(published, rel=1e-5)
    for name in ("trans", "trans_vel", "joints", "joints_vel"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("case", "posed"), [("loss_mixed", ["male", "female"]), ("loss_male", ["male"])])
def test_each_gender_of_a_batch_is_padded_to_the_whole_of_it(case, posed):
    values, loss, calls = golden.arrays(case), published_loss(), []
    for gender, body in loss.bodies.items():
        body.register_forward_hook(
            lambda _, inputs, given, output, gender=gender: calls.append((gender, len(given["betas"]))),
            with_kwargs=True,
        )
    evaluate(loss, values)
    assert list(loss.bodies) == ["male", "female"]
    assert calls == [(gender, len(values["betas"])) for gender in posed for _ in ("prediction", "target")]


def test_a_gender_without_a_body_is_refused():
    values = golden.arrays("loss_mixed")
    values["gender"] = np.where(values["gender"] == "male", "neutral", "female")
    with pytest.raises(SettingError) as error:
        evaluate(published_loss(), values)
    assert str(error.value) == 'the published loss has no body for gender "neutral", only male and female ones.'


def published_loss():
    return PublishedLoss({gender: golden.body_arrays(gender) for gender in GENDERS})


def evaluate(loss, values):
    predicted = golden.state(values, "pred_").map(lambda x: x.requires_grad_())
    posterior, prior = (
        Gaussian(torch.as_tensor(values[f"{q}_mean"]), torch.as_tensor(values[f"{q}_var"]))
        for q in ("posterior", "prior")
    )
    total, terms = loss(
        Transition(predicted, torch.as_tensor(values["pred_contacts"]), posterior, prior),
        golden.state(values, "target_"),
        torch.as_tensor(values["target_contacts"]),
        torch.as_tensor(values["betas"]),
        values["gender"].tolist(),
        int(values["epoch"]),
    )
    total.backward()
    return predicted.map(lambda x: x.grad), terms
