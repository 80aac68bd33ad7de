"""`pytest bench --self-test`: how often --against is wrong on this machine, and what it catches.

Each case is compared with itself, several times over, with the settings of --against: unchanged code must not be called
slower or faster. Then once with a slowdown injected: every call is followed by waiting for a tenth of the time that it
took, and that must be called slower. From the blocks of the unchanged comparisons, drawn anew with a slowdown put on,
the whole procedure is replayed many times over; the smallest slowdown that it catches in 95 of 100 replays is what
--against can detect here. The outcome is written beside the saved runs, and `--against` shows it with its verdicts.

Exit codes: 0, nothing false and the injected slowdown was caught everywhere; 1, something was not; 3, some verdict
stayed unclear, so that nothing is wrong but not everything is decided; 4, refused: a case failed, or none was measured.
"""

import dataclasses
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scipy.special import betaincinv

from ..case import BenchmarkCase
from ..environment.fingerprint import refusal
from ..output.files import write_json
from ..output.verdict_table import REFUSED
from ..pytest_benchmark_adapter import file_beside_saved_runs
from ..session import (
    device_of,
    fingerprint_of,
    not_compared,
    project_of,
    rule_for,
    rule_of,
    threads_of,
    workload_options,
)
from ..stats.gate_verdict import GateTest
from ..stats.verdict import Rule
from ..timing.clock import clock_of
from ..timing.gpu_clock import gpu_clock
from ..timing.pairing import Builder, Comparison, Timed, TimedCall, compare, gains_by_forks
from ..timing.quiet import quiet
from ..versions.loaded_version import LoadedVersion
from .mode import Mode

INJECTED = 0.1
SIZES = (0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
CAUGHT = 0.95
REPLAYS = 200


@dataclass(frozen=True)
class Outcome:
    """The self-test of one case."""

    name: str
    verdicts: Sequence[str]  # of unchanged code
    injected: str  # the verdict over the injected slowdown
    catches: float | None  # the smallest slowdown caught 95 times in 100; None where none of SIZES is

    @property
    def false_alarms(self) -> int:
        """How often unchanged code was called changed."""
        return sum(verdict in ("slower", "faster") for verdict in self.verdicts)


@dataclass
class Slowed:
    """A call that takes a share longer: it is waited for in proportion to what it took."""

    timed: Timed
    share: float

    def seconds(self, calls: int) -> float:
        """How long so many calls take, with the wait."""
        taken = self.timed.seconds(calls)
        end = time.perf_counter() + taken * self.share
        while time.perf_counter() < end:
            pass
        return taken * (1 + self.share)


class SelfTest(Mode):
    """The self-test of all cases of a run."""

    flags = ("--self-test",)
    title = "self-test of the gate"

    @classmethod
    def add_options(cls, parser: pytest.Parser) -> None:
        group = parser.getgroup("bench gate")
        group.addoption(
            "--self-test", action="store_true", help="how often --against is wrong here, and what it catches"
        )
        group.addoption("--trials", type=int, default=10, metavar="N", help="--self-test's, for a case (default: 10)")

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        self.outcomes: list[Outcome] = []
        self.notes: list[str] = []

    def left_out(self, case: BenchmarkCase) -> str | None:
        return not_compared(self.config, case)

    def start(self, cases: Sequence[BenchmarkCase]) -> None:
        self.rule = rule_of(self.config, len(cases))
        self.max_time, self.trials = self.config.getoption("--max-time"), self.config.getoption("--trials")
        self.device, self.threads = device_of(self.config), threads_of(self.config)
        self.gpu = gpu_clock(self.device, len(cases) * (self.trials + 1) * self.max_time)
        self.version = LoadedVersion(project_of(self.config), workload_options(self.config))
        self.chance = random.Random()

    def measure(self, case: BenchmarkCase) -> None:
        clock, rule = clock_of(self.device), rule_for(self.config, case, self.rule)

        def plain() -> Timed:
            return TimedCall(self.version.build(case.id).call, clock)

        def slowed() -> Timed:
            return Slowed(plain(), INJECTED)

        with quiet(self.threads):
            in_forks = gains_by_forks(plain(), self.device)
            start = time.perf_counter()
            unchanged = [self._compare(plain, plain, rule, in_forks) for _ in range(self.trials)]
            rounds = sum(len(found.rounds) for found in unchanged)
            most = max(3, int(self.max_time / max((time.perf_counter() - start) / rounds, 1e-9)))
            injected = self._compare(plain, slowed, rule, in_forks)
        pool = [found.test.values[i : i + 2] for found in unchanged for i in range(0, len(found.test.values), 2)]
        verdicts = [found.test.verdict for found in unchanged]
        catches = smallest_caught(pool, rule, most, random.Random(0))
        self.outcomes.append(Outcome(case.name, verdicts, injected.test.verdict, catches))

    def _compare(self, base: Builder, head: Builder, rule: Rule, in_forks: bool) -> Comparison:
        test = GateTest(rule)
        return compare(lambda turn: (base, head), test, self.max_time, self.chance, gpu=self.gpu, in_forks=in_forks)

    def finish(self, status: int) -> int:
        if status or not self.outcomes:
            why = "a case failed, as shown above" if status == pytest.ExitCode.TESTS_FAILED else "nothing was measured"
            self.notes.append(f"refused: {why}; mend that, or choose other cases.")
            return REFUSED
        self.notes += [f"warning: {sentence}" for sentence in (self.gpu.warnings() if self.gpu else [])]
        try:
            write_json(_file(self.config), self._as_json())
        except OSError as error:
            self.notes.append(f"warning: --against will not show this: {error}")
        if any(each.false_alarms or each.injected in ("passes", "faster") for each in self.outcomes):
            return 1
        return 3 if any("unclear" in (*each.verdicts, each.injected) for each in self.outcomes) else 0

    def lines(self) -> list[str]:
        return [*lines(self.outcomes), *self.notes]

    def _as_json(self) -> dict[str, Any]:
        cases = {
            each.name: {
                "trials": len(each.verdicts),
                "false_alarms": each.false_alarms,
                "injected": each.injected,
                "catches": each.catches,
            }
            for each in self.outcomes
        }
        device = str(self.device)
        fingerprint = dataclasses.asdict(fingerprint_of(self.config))
        settings = {"rule": dataclasses.asdict(self.rule), "max_time": self.max_time, "threads": self.threads}
        return {"kind": "self-test", "device": device, "fingerprint": fingerprint, **settings, "cases": cases}


def smallest_caught(pool: Sequence[Sequence[float]], rule: Rule, rounds: int, chance: random.Random) -> float | None:
    """The smallest of SIZES that replays of so many rounds catch often enough, with all larger ones caught too."""
    smallest = None
    for size in reversed(SIZES):
        caught = sum(replay(pool, size, rule, rounds, chance) == "slower" for _ in range(REPLAYS))
        if caught < CAUGHT * REPLAYS:
            break
        smallest = size
    return smallest


def replay(pool: Sequence[Sequence[float]], slowdown: float, rule: Rule, rounds: int, chance: random.Random) -> str:
    """The verdict over rounds drawn from those of unchanged code, slowed."""
    trial, shift = GateTest(rule), math.log1p(slowdown)
    for _ in range(rounds):
        if trial.add([value + shift for value in chance.choice(pool)]):
            break
    return trial.finish()


def lines(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each case, and the rate over all."""
    width = max([len(each.name) for each in outcomes], default=0)
    table = [
        f"{each.name:{width}}  unchanged: {', '.join(_counted(each.verdicts))};  "
        f"{INJECTED:.0%} injected: {each.injected};  catches {said_size(each.catches)}"
        for each in outcomes
    ]
    trials, alarms = sum(len(each.verdicts) for each in outcomes), sum(each.false_alarms for each in outcomes)
    if not trials:
        return ["nothing was measured."]
    bound = float(betaincinv(alarms + 1, trials - alarms, 0.95)) if alarms < trials else 1.0
    return [
        *table,
        "",
        f"false alarms: {alarms} in {trials} comparisons of unchanged code (at most {bound:.1%}, with 95 % confidence)",
    ]


def said_size(catches: float | None) -> str:
    """The smallest slowdown that is caught."""
    return f"nothing under {SIZES[-1]:.0%}" if catches is None else f"{catches:.1%}"


def _counted(verdicts: Sequence[str]) -> list[str]:
    return [f"{verdicts.count(word)} {word}" for word in ("passes", "unclear", "slower", "faster") if word in verdicts]


def known_power(config: pytest.Config) -> Mapping[str, Any]:
    """What the last self-test on this machine, under these settings, found for each case; nothing if there was none."""
    try:
        content = json.loads(_file(config).read_text())
        if refusal(content["fingerprint"], fingerprint_of(config, content["device"])):
            return {}
        cases: Mapping[str, Any] = content["cases"]
        return cases
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _file(config: pytest.Config) -> Path:
    return file_beside_saved_runs(config, "self-test.json")
