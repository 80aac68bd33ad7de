"""The slow twin in bench/ is the published loss."""

import pytest
import torch

from bench.published_loss import RecipeLoss
from humor import HumorLoss
from humor.model import Gaussian, Transition
from humor.skeleton import GENDERS
from tests.support import golden_values as golden


@pytest.mark.parametrize("case", ["loss_male", "loss_mixed", "loss_late"])
def test_recipe_gives_the_published_terms_and_our_gradients(case):
    values = golden.arrays(case)
    theirs, expected = evaluate(RecipeLoss({gender: golden.body_arrays(gender) for gender in GENDERS}), values)
    ours, _ = evaluate(HumorLoss(golden.bodies()), values)
    published = {name.removeprefix("term_"): float(v) for name, v in values.items() if name.startswith("term_")}
    assert {name: term.item() for name, term in expected.items()} == pytest.approx(published, rel=1e-5)
    for name in ("trans", "trans_vel", "joints", "joints_vel"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=1e-6, rtol=1e-4)


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
