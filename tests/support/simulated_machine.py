"""Simulated block values: noise of several kinds in the pairs, blocks and rounds of bench/harness/timing/pairing.py."""

from dataclasses import dataclass

import numpy as np
from scipy import signal

from bench.harness.stats.verdict import block_values

PAIRS = 5  # of a block
SAMPLES = 2 * 2 * PAIRS  # of a round: two blocks, two samples in a pair


@dataclass(frozen=True)
class Machine:
    """The noise in the logarithm of a sample's time; `kind` is a name in NOISES."""

    kind: str
    scale: float = 0.03  # of the noise of a sample
    second: float = 0.02  # added to the version that is built second
    layout: float = 0.01  # standard deviation of the effect of a build's place in memory
    places: float = 0.0  # added in the worse of two places in memory

    def simulate(self, change: float, runs: int, rounds: int, seed: int, isolated: bool = False) -> np.ndarray:
        """Block values of each run, (runs, 2 rounds), where head takes exp(change) times as long as base.

        With `isolated`, the means of each round's two blocks, (runs, rounds).
        """
        rng = np.random.default_rng(seed)
        noise = self.scale * NOISES[self.kind](rng, runs, rounds * SAMPLES)
        samples = noise.reshape(runs, rounds, 2, PAIRS, 2)
        head_last = rng.choice([-1, 1], samples.shape[:-1])  # the order within a pair
        pairs = head_last * (samples[..., 1] - samples[..., 0])
        built_second = rng.choice([-1, 1], (runs, rounds, 1)) * np.array([1, -1])  # swapped in a round's other block
        builds = (*samples.shape[:3], 2)
        placed = self.layout * rng.standard_normal(builds) + self.places * rng.integers(0, 2, builds)
        blocks = block_values(pairs) + self.second * built_second + placed[..., 1] - placed[..., 0]
        return change + (blocks.mean(-1) if isolated else blocks.reshape(runs, 2 * rounds))


def even(rng, runs, count):
    """Independent and normal."""
    return rng.standard_normal((runs, count))


def heavy(rng, runs, count):
    """Student's t with 2 degrees of freedom: no variance."""
    return rng.standard_t(2, (runs, count))


def wild(rng, runs, count):
    """Normal, with every twentieth sample from a Cauchy distribution: no mean."""
    struck = rng.random((runs, count)) < 0.05
    return even(rng, runs, count) + np.where(struck, 30 * np.abs(rng.standard_cauchy((runs, count))), 0.0)


def drifting(rng, runs, count):
    """A linear drift, and a decay from the start as of a machine that heats up."""
    time = np.arange(count) / SAMPLES
    return even(rng, runs, count) + rng.normal(0, 1, (runs, 1)) * time + 20 * np.exp(-time / 5)


def bursting(rng, runs, count):
    """Another process that is busy for several blocks at a time and slows everything down up to ten times."""
    starts = rng.random((runs, count)) < 0.2 / SAMPLES
    window = np.ones(2 * SAMPLES)
    busy = signal.fftconvolve(starts, window[None], axes=1)[:, :count].round() > 0
    return even(rng, runs, count) + busy * rng.exponential(25.0, (runs, count))


def sluggish(rng, runs, count):
    """Autocorrelated over many rounds: AR(1)."""
    rho = 0.99
    shocks = even(rng, runs, count)
    shocks[:, 0] /= np.sqrt(1 - rho**2)  # stationary from the start
    return 5 * np.sqrt(1 - rho**2) * signal.lfilter([1.0], [1.0, -rho], shocks) + even(rng, runs, count)


NOISES = {each.__name__: each for each in (even, heavy, wild, drifting, bursting, sluggish)}
