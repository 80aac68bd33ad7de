"""A simulated machine: noise of many kinds, met by the pairs, blocks and rounds that bench/harness/pairing.py takes."""

from dataclasses import dataclass

import numpy as np
from scipy import signal

from bench.harness.stats.verdict import block_values

PAIRS = 5  # of a block
SAMPLES = 2 * 2 * PAIRS  # of a round: two blocks of pairs of two


@dataclass(frozen=True)
class Machine:
    """What disturbs the logarithm of a sample's time; `kind` is a function of this module."""

    kind: str
    scale: float = 0.03  # of a sample
    second: float = 0.02  # whichever was built second takes so much longer
    layout: float = 0.01  # standard deviation of what a build's place in memory adds
    places: float = 0.0  # what the worse of two places adds

    def numbers(self, change: float, runs: int, rounds: int, seed: int, isolated: bool = False) -> np.ndarray:
        """Numbers of each run's blocks, (runs, 2 rounds), the new version taking exp(change) of the old one's time.

        Isolated, a number of each round, (runs, rounds).
        """
        chance = np.random.default_rng(seed)
        noise = self.scale * NOISES[self.kind](chance, runs, rounds * SAMPLES)
        samples = noise.reshape(runs, rounds, 2, PAIRS, 2)
        new_last = chance.choice([-1, 1], samples.shape[:-1])  # the order within a pair
        pairs = new_last * (samples[..., 1] - samples[..., 0])
        built_second = chance.choice([-1, 1], (runs, rounds, 1)) * np.array([1, -1])  # the other one in the other block
        builds = (*samples.shape[:3], 2)
        placed = self.layout * chance.standard_normal(builds) + self.places * chance.integers(0, 2, builds)
        blocks = block_values(pairs) + self.second * built_second + placed[..., 1] - placed[..., 0]
        return change + (blocks.mean(-1) if isolated else blocks.reshape(runs, 2 * rounds))


def even(chance, runs, count):
    """Independent and normal."""
    return chance.standard_normal((runs, count))


def heavy(chance, runs, count):
    """Student's t of 2 degrees of freedom: no variance."""
    return chance.standard_t(2, (runs, count))


def wild(chance, runs, count):
    """Every twentieth sample is Cauchy's: not even a mean."""
    struck = chance.random((runs, count)) < 0.05
    return even(chance, runs, count) + np.where(struck, 30 * np.abs(chance.standard_cauchy((runs, count))), 0.0)


def drifting(chance, runs, count):
    """A machine that gets steadily slower or faster, and heats up at first."""
    time = np.arange(count) / SAMPLES
    return even(chance, runs, count) + chance.normal(0, 1, (runs, 1)) * time + 20 * np.exp(-time / 5)


def bursting(chance, runs, count):
    """A neighbour who works for several blocks at a time and makes everything up to ten times as slow."""
    starts = chance.random((runs, count)) < 0.2 / SAMPLES
    window = np.ones(2 * SAMPLES)
    busy = signal.fftconvolve(starts, window[None], axes=1)[:, :count].round() > 0
    return even(chance, runs, count) + busy * chance.exponential(25.0, (runs, count))


def sluggish(chance, runs, count):
    """Autocorrelated over many rounds: AR(1)."""
    rho = 0.99
    shocks = even(chance, runs, count)
    shocks[:, 0] /= np.sqrt(1 - rho**2)  # stationary from the start
    return 5 * np.sqrt(1 - rho**2) * signal.lfilter([1.0], [1.0, -rho], shocks) + even(chance, runs, count)


NOISES = {each.__name__: each for each in (even, heavy, wild, drifting, bursting, sluggish)}
