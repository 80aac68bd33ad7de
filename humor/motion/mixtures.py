"""A mixture of normal distributions, fitted to samples by expectation and maximisation (EM)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import SettingError

START_ITERATIONS = 5  # of k-means, which EM starts from


@dataclass(frozen=True, eq=False)
class NormalMixture:
    """A mixture of K normals over vectors of D numbers, each with a covariance of its own."""

    log_weights: Float[Tensor, " K"]
    means: Float[Tensor, "K D"]
    whiten: Float[Tensor, "K D D"]  # lower triangular W of each component: W^T W is the inverse of its covariance

    def map(self, change: Callable[[Tensor], Tensor]) -> "NormalMixture":
        """The mixture with every tensor replaced by `change` of it."""
        return NormalMixture(*map(change, (self.log_weights, self.means, self.whiten)))

    def log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """Logarithm of the density at each vector, in the type of the mixture."""
        return self._log_joint(x).logsumexp(-1)

    def _log_joint(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch K"]:
        """Logarithm of each component's weight times its density."""
        away = x.to(self.means.dtype).unsqueeze(-2) - self.means
        away = torch.einsum("...kd,ked->...ke", away, self.whiten)
        log_scale = self.whiten.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.log_weights + log_scale - 0.5 * self.means.shape[-1] * math.log(2 * math.pi)
        return constant - 0.5 * away.square().sum(-1)


def fit_mixture(
    samples: Float[Tensor, "N D"],
    components: int,
    least_variance: Float[Tensor, " D"] | float = 1e-6,
    shrinkage: float = 0.0,
    iterations: int = 100,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> NormalMixture:
    """Fit a mixture to samples, in float64. Ends when the mean log-likelihood gains less than `tolerance`.

    `least_variance` is added to every variance. With `shrinkage`, each covariance is averaged with the variances within
    all components, as if so many more samples of the component had those: what a component with fewer samples than
    numbers needs. Raises SettingError for fewer samples than components, and for samples that are not finite.

    Source: Dempster, Laird and Rubin 1977; the start: Arthur and Vassilvitskii 2007.
    """
    samples = samples.detach().to("cpu", torch.float64)
    if not 1 <= components <= len(samples):
        raise SettingError(f"{components} components of {len(samples)} samples; expected one sample each, at least.")
    if not samples.isfinite().all():
        raise SettingError("samples of a mixture must be finite; leave out those that are not.")
    least = torch.as_tensor(least_variance, dtype=torch.float64).expand(samples.shape[-1])
    mixture = _maximise(samples, _assign_nearest(samples, components, seed), least, shrinkage)
    before = -math.inf
    for _ in range(iterations):
        joint = torch.cat([mixture._log_joint(part) for part in samples.split(_rows_at_once(mixture))])
        total = joint.logsumexp(-1, keepdim=True)
        mixture = _maximise(samples, (joint - total).exp(), least, shrinkage)
        if float(total.mean()) - before < tolerance:
            break
        before = float(total.mean())
    return mixture


def _maximise(
    samples: Float[Tensor, "N D"], shares: Float[Tensor, "N K"], least: Float[Tensor, " D"], shrinkage: float
) -> NormalMixture:
    """The likeliest mixture, given each component's share of each sample."""
    counts = shares.sum(0) + 10 * torch.finfo(shares.dtype).eps
    means = shares.mT @ samples / counts[:, None]
    scatters = torch.stack([_scatter(samples - mean, share) for share, mean in zip(shares.mT, means, strict=True)])
    within = torch.diag_embed(scatters.diagonal(dim1=-2, dim2=-1).sum(0) / counts.sum())
    covariances = (scatters + shrinkage * within) / (counts + shrinkage)[:, None, None] + torch.diag(least)
    factor = torch.linalg.cholesky(covariances)
    whiten = torch.linalg.solve_triangular(
        factor, torch.eye(len(least), dtype=factor.dtype).expand_as(factor), upper=False
    )
    return NormalMixture((counts / counts.sum()).log(), means, whiten)


def _scatter(away: Float[Tensor, "N D"], share: Float[Tensor, " N"]) -> Float[Tensor, "D D"]:
    """The sum of outer products, over the samples that have a share."""
    some = share > 1e-12
    away, share = away[some], share[some]
    return (share[:, None] * away).mT @ away


def _assign_nearest(samples: Float[Tensor, "N D"], components: int, seed: int) -> Float[Tensor, "N K"]:
    """Each sample's component after a few iterations of k-means++, all numbers scaled to one deviation."""
    scaled = samples / samples.std(0, unbiased=False).clamp_min(1e-9)
    random = torch.Generator().manual_seed(seed)
    centres = scaled[torch.randint(len(scaled), (1,), generator=random)]
    while len(centres) < components:
        squared = torch.cdist(scaled, centres).amin(-1).square() + 1e-12  # equal samples may be drawn twice
        centres = torch.cat([centres, scaled[torch.multinomial(squared, 1, generator=random)]])
    for _ in range(START_ITERATIONS):
        shares = torch.nn.functional.one_hot(torch.cdist(scaled, centres).argmin(-1), components).to(samples.dtype)
        counts = shares.sum(0)[:, None]
        centres = torch.where(counts > 0, shares.mT @ scaled / counts.clamp_min(1), centres)
    return shares


def _rows_at_once(mixture: NormalMixture) -> int:
    """So many samples that what is computed of them stays small."""
    return max(1, 2**22 // mixture.means.numel())
