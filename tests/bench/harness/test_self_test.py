"""The gate's self-test tells how often the gate is wrong, and what it catches."""

import random

import numpy as np
import pytest

from bench.harness.modes.self_test import SIZES, Outcome, Slowed, lines, replay, smallest_caught
from bench.harness.stats.verdict import Rule
from bench.harness.timing.pairing import TimedCall


def rounds_of(noise, seed=0, count=40):
    return np.random.default_rng(seed).normal(0, noise, (count, 2)).tolist()


def test_a_noisy_machine_catches_less_than_a_calm_one():
    calm, noisy = (smallest_caught(rounds_of(noise), Rule(), 20, random.Random(0)) for noise in (0.002, 0.2))
    assert 0 < calm <= Rule().slower_than < 0.1 < noisy


def test_what_is_caught_is_caught_in_a_real_replay():
    pool, chance = rounds_of(0.02), random.Random(1)
    size = smallest_caught(pool, Rule(), 20, random.Random(0))
    words = [replay(pool, size, Rule(), 20, chance) for _ in range(300)]
    assert words.count("slower") > 0.9 * len(words)
    smaller = SIZES[SIZES.index(size) - 1]
    words = [replay(pool, smaller, Rule(), 20, chance) for _ in range(300)]
    assert words.count("slower") < 0.99 * len(words)


def test_unchanged_code_is_not_called_slower_in_a_replay():
    chance = random.Random(0)
    words = [replay(rounds_of(0.02, seed), 0.0, Rule(), 20, chance) for seed in range(200)]
    assert words.count("slower") + words.count("faster") <= 2
    assert words.count("passes") > 190


def test_an_injected_slowdown_takes_its_share():
    clock = iter(range(100))
    slowed = Slowed(TimedCall(lambda: None, clock=lambda: 0.001 * next(clock)), 0.5)
    assert slowed.seconds(1) == pytest.approx(0.0015)


def test_the_rate_of_false_alarms_has_a_bound():
    outcome = Outcome("case", ["passes"] * 299 + ["slower"], "slower", 0.02)
    assert outcome.false_alarms == 1
    said = lines([outcome])
    assert "299 passes, 1 slower" in said[0]
    assert "catches 2.0%" in said[0]
    share = float(said[-1].partition("at most ")[2].partition("%")[0]) / 100

    def chance_of_so_few(share):
        return (1 - share) ** 300 + 300 * share * (1 - share) ** 299

    # A machine with so many false alarms would show one or none in 5 of 100 self-tests; the share is printed rounded.
    assert chance_of_so_few(share + 0.0005) < 0.05 < chance_of_so_few(share - 0.0005)
    assert lines([]) == ["nothing was measured."]
