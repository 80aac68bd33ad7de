"""A mixture of normals is scikit-learn's, has a gradient, and stays a density where samples are few."""

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch.distributions import MultivariateNormal

from humor.errors import SettingError
from humor.motion.mixtures import fit_mixture


def draw(counts, size, seed=0):
    """Samples of normals that lie apart, so many of each, with covariances of their own."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    spread = 0.5
    return torch.cat([6 * normal(size) + normal(count, size) @ (spread * normal(size, size)) for count in counts])


@pytest.mark.parametrize(("counts", "size"), [((300,), 3), ((400, 200), 2), ((300, 500, 200), 4), ((400,) * 5, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_mixture_is_as_likely_as_scikit_learns(counts, size, seed):
    samples = draw(counts, size, seed)
    found = fit_mixture(samples, len(counts), least_variance=1e-6, tolerance=1e-9, iterations=500)
    theirs = GaussianMixture(len(counts), tol=1e-9, max_iter=500, reg_covar=1e-6, n_init=5, random_state=seed)
    theirs.fit(samples.numpy())
    expected = torch.from_numpy(theirs.score_samples(samples.numpy()))
    assert found.log_prob(samples).mean() > expected.mean() - 1e-3
    assert found.log_weights.exp().sum() == pytest.approx(1)


@pytest.mark.parametrize("size", [2, 5])
def test_where_ours_ends_scikit_learn_finds_nothing_better(size):
    samples = draw((300, 200, 500), size, seed=4)
    found = fit_mixture(samples, 3, least_variance=1e-4, tolerance=1e-9, iterations=500)
    start = {
        "weights_init": found.log_weights.exp().numpy(),
        "means_init": found.means.numpy(),
        "precisions_init": (found.whiten.mT @ found.whiten).numpy(),
    }
    theirs = GaussianMixture(3, tol=1e-9, max_iter=500, reg_covar=1e-4, **start)
    elsewhere = samples + draw((1000,), size, seed=5)
    expected = torch.from_numpy(theirs.fit(samples.numpy()).score_samples(elsewhere.numpy()))
    torch.testing.assert_close(found.log_prob(elsewhere), expected, rtol=1e-3, atol=1e-3)


def test_one_component_is_the_normal_of_the_samples_mean_and_covariance():
    samples = draw((50,), 3)
    normal = MultivariateNormal(samples.mean(0), samples.mT.cov(correction=0) + 0.01 * torch.eye(3))
    torch.testing.assert_close(fit_mixture(samples, 1, 0.01).log_prob(samples), normal.log_prob(samples))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_the_density_has_leading_shapes_and_a_gradient(shape):
    mixture = fit_mixture(draw((60, 60), 3), 2, 0.1)
    x = torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert mixture.log_prob(x).shape == shape
    assert torch.autograd.gradcheck(mixture.log_prob, x)


@pytest.mark.parametrize("components", [1, 4])
def test_with_fewer_samples_than_numbers_what_was_not_seen_stays_possible(components):
    train, other = draw((10, 10), 40, seed=2)[::2], draw((10, 10), 40, seed=2)[1::2]
    variances = torch.full((40,), 0.01)
    loose, tight = (fit_mixture(train, components, variances, shrinkage) for shrinkage in (20.0, 0.0))
    assert loose.log_prob(other).isfinite().all()
    assert loose.log_prob(other).mean() > tight.log_prob(other).mean()


def test_samples_that_are_equal_and_a_component_too_many():
    samples = torch.ones(8, 2)
    assert fit_mixture(samples, 3, 0.01).log_prob(samples).isfinite().all()


def test_a_seed_gives_one_mixture():
    samples = draw((100, 100, 100), 3)
    same, again = (fit_mixture(samples, 3, seed=7) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(vars(same).values(), vars(again).values(), strict=True))


@pytest.mark.parametrize(
    ("samples", "components", "text"),
    [
        (torch.zeros(2, 3), 3, "3 components of 2 samples"),
        (torch.zeros(2, 3), 0, "0 components"),
        (torch.tensor([[1.0], [float("nan")]]), 1, "must be finite"),
    ],
)
def test_samples_that_make_no_mixture(samples, components, text):
    with pytest.raises(SettingError, match=text):
        fit_mixture(samples, components)
