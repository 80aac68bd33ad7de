"""On a GPU a case is slower only in cycles, too, and a run pauses where a limit slows it; with given readings."""

import math
import random
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_uint, c_ulonglong, c_void_p
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.environment.nvml import SLOWDOWNS, ClockReading, clock_reader
from bench.harness.stats.gate_verdict import GateTest, gate_verdict
from bench.harness.stats.verdict import Interval, Rule
from bench.harness.timing import gpu_clock as module
from bench.harness.timing import pairing
from bench.harness.timing.budget import CaseProgress, advice, values_needed
from bench.harness.timing.gpu_clock import LONGEST_PAUSE, PAUSED_AT_MOST, POLL, GpuClock, gpu_clock
from bench.harness.timing.pairing import Comparison, compare

# The library of the driver, as ctypes sees it.


class Nvml:
    """A library with one GPU, which fails where it is told to."""

    def __init__(self, mhz=1980, reasons=0, fails=(), names=("EventReasons", "ThrottleReasons")):
        self.nvmlInit_v2 = CFUNCTYPE(c_int)(lambda: 9 * ("init" in fails))
        self.nvmlDeviceGetHandleByUUID = CFUNCTYPE(c_int, c_char_p, POINTER(c_void_p))(self.handle)
        self.nvmlDeviceGetClockInfo = CFUNCTYPE(c_int, c_void_p, c_int, POINTER(c_uint))(self.clock)
        for name in names:
            of_reasons = CFUNCTYPE(c_int, c_void_p, POINTER(c_ulonglong))(self.slowed)
            setattr(self, f"nvmlDeviceGetCurrentClocks{name}", of_reasons)
        self.mhz, self.reasons, self.fails = mhz, reasons, fails

    def handle(self, uuid, handle):
        handle[0] = 77
        return 0 if uuid == b"GPU-1" else 6

    def clock(self, handle, kind, mhz):
        mhz[0] = self.mhz
        return 0 if (handle, kind) == (77, 1) and "clock" not in self.fails else 3

    def slowed(self, handle, reasons):
        reasons[0] = self.reasons
        return 0 if handle == 77 else 3


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (0x00, ()),
        (0x01 | 0x02 | 0x10 | 0x100, ()),  # idle, or as somebody set it: no limit
        (0x04, ("its power limit",)),
        (0x20 | 0x40, ("heat",)),
        (0x08 | 0x80, ("its hardware", "its power supply")),
    ],
)
@pytest.mark.parametrize("names", [("EventReasons",), ("ThrottleReasons",)])
def test_the_clock_and_what_slows_it_are_read_from_drivers_old_and_new(reasons, words, names):
    assert clock_reader("GPU-1", Nvml(1755, reasons, names=names))() == ClockReading(1755.0, words)


@pytest.mark.parametrize(
    ("uuid", "library"),
    [
        (None, Nvml()),
        ("GPU-2", Nvml()),
        ("GPU-1", Nvml(fails=("init",))),
        ("GPU-1", Nvml(fails=("clock",))),
        ("GPU-1", Nvml(mhz=0)),
        ("GPU-1", Nvml(names=())),
        ("GPU-1", SimpleNamespace()),
    ],
)
def test_a_clock_that_cannot_be_read_is_none(uuid, library):
    assert clock_reader(uuid, library)() is None


def test_without_a_driver_nothing_is_read(monkeypatch):
    monkeypatch.setattr("bench.harness.environment.nvml.LIBRARY", "libno-such-library.so.1")
    assert clock_reader("GPU-1")() is None


# Cycles beside time.


class Gpu:
    """A simulated GPU: what each version takes in cycles, the clock that it runs at, and one clock for all of it."""

    def __init__(self, cycles=(1e6, 1e6), mhz=(1980.0, 1980.0), readable=True, seed=0):
        self.cycles, self.mhz, self.readable = cycles, mhz, readable
        self.now, self.version, self.rng = 0.0, 0, np.random.default_rng(seed)

    def builders(self):
        return tuple(lambda version=version: SimpleNamespace(seconds=self.timed(version)) for version in (0, 1))

    def timed(self, version):
        def seconds(calls):
            taken = calls * self.cycles[version] * self.rng.normal(1, 0.003) / (1e6 * self.mhz[version])
            self.now, self.version = self.now + taken, version
            return taken

        return seconds

    def read(self):
        return ClockReading(self.mhz[self.version]) if self.readable else None

    def compare(self, monkeypatch, isolated=False):
        """The comparison, and the clock that took part."""
        monkeypatch.setattr(pairing.gc, "collect", lambda: None)  # of all that the tests have made, for every block
        monkeypatch.setattr(pairing, "time", SimpleNamespace(perf_counter=lambda: self.now))
        clock = GpuClock(self.read, 1.0, lambda: self.now)
        found = compare(
            lambda _: self.builders(), GateTest(Rule(cases=5)), 1.0, random.Random(0), isolated=isolated, gpu=clock
        )
        return found, clock


@pytest.mark.parametrize(
    ("gpu", "verdict", "time", "cycles"),
    [
        (Gpu(), "passes", 1.0, 1.0),
        (Gpu(mhz=(1980.0, 1782.0)), "unclear", 1 / 0.9, 1.0),  # the clock drops for one version only, in time
        (Gpu(mhz=(1782.0, 1782.0)), "passes", 1.0, 1.0),
        (Gpu(cycles=(1e6, 1.1e6)), "slower", 1.1, 1.1),
        (Gpu(cycles=(1e6, 1.05e6), mhz=(1980.0, 1782.0)), "slower", 1.05 / 0.9, 1.05),
        (Gpu(cycles=(1e6, 1.1e6), mhz=(1800.0, 1980.0)), "passes", 1.0, 1.1),  # time is what it passes by
        (Gpu(cycles=(1.1e6, 1e6)), "faster", 1 / 1.1, 1 / 1.1),
    ],
)
@pytest.mark.parametrize("isolated", [False, True])
def test_a_case_is_slower_only_where_cycles_agree(monkeypatch, gpu, verdict, time, cycles, isolated):
    found, clock = gpu.compare(monkeypatch, isolated)
    test = found.test
    assert test.verdict == verdict
    assert len(test.cycles) == len(test.values)
    assert test.interval.estimate == pytest.approx(math.log(time), abs=0.003)
    assert test.cycles_interval.estimate == pytest.approx(math.log(cycles), abs=0.003)
    assert clock.warnings() == []


def test_where_the_clock_cannot_be_read_time_alone_decides_and_that_is_said_once(monkeypatch):
    found, clock = Gpu(mhz=(1980.0, 1782.0), readable=False).compare(monkeypatch)
    assert (found.test.verdict, found.test.cycles_interval) == ("slower", None)
    (sentence,) = clock.warnings()
    assert sentence == (
        f"the GPU's clock could not be read for {2 * found.pairs} samples: where it was not, time alone decides."
    )


def test_one_reading_that_is_missing_leaves_a_case_to_time_alone(monkeypatch):
    gpu, readings = Gpu(mhz=(1980.0, 1782.0)), iter([None])
    monkeypatch.setattr(gpu, "read", lambda: next(readings, ClockReading(gpu.mhz[gpu.version])))
    found, clock = gpu.compare(monkeypatch)
    assert (found.test.verdict, found.test.cycles_interval, clock.unread) == ("slower", None, 1)


@given(
    st.floats(-0.5, 0.5),
    st.floats(0, 0.5),
    st.floats(-0.5, 0.5),
    st.one_of(st.none(), st.tuples(st.floats(-0.5, 0.5), st.floats(0, 0.5))),
)
def test_cycles_take_away_the_word_slower_and_change_no_other(middle, half, bound, cycles):
    interval, rule = Interval(middle, middle - half, middle + half), Rule()
    of_cycles = cycles and Interval(cycles[0], cycles[0] - cycles[1], cycles[0] + cycles[1])
    alone, both = gate_verdict(interval, bound, rule), gate_verdict(interval, bound, rule, of_cycles)
    disagree = of_cycles is not None and of_cycles.low <= 0
    assert both == ("unclear" if alone == "slower" and disagree else alone)


def progress_of(times, cycles):
    made = CaseProgress(Comparison(GateTest(Rule())), seconds=1.0 * len(times))
    for at in range(0, len(times), 2):
        made.test.add(times[at : at + 2], cycles[at : at + 2])
    return made


def test_a_case_that_only_a_lower_clock_makes_slower_does_not_use_up_the_budget():
    scatter = np.tile([0.004, -0.004], 6)
    slower, of_clock = progress_of(0.1 + scatter, 0.1 + scatter), progress_of(0.1 + scatter, scatter)
    assert (slower.test.verdict, of_clock.test.verdict) == ("slower", "unclear")
    assert values_needed(of_clock.test) > 1000 * values_needed(slower.test)
    assert advice({"a": of_clock}, 300.0, 0) == [
        "a is slower in time but not in cycles: the GPU's clock was lower; lock lower clocks, and run it again."
    ]


# Pauses where the clock is slowed.

FREE, CAPPED = ClockReading(1980.0), ClockReading(1600.0, ("its power limit",))
HOT, RISING = ClockReading(1500.0, ("heat",)), ClockReading(1900.0)  # RISING: nothing slows it, but it is not back


class Readings:
    """Readings that are given one after the other, the last of them from then on; and a clock that sleeping moves."""

    def __init__(self, *readings):
        self.readings, self.now, self.slept = list(readings), 100.0, []

    def read(self):
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def clock(self, seconds=1000.0):
        return GpuClock(self.read, seconds, lambda: self.now, self.sleep)


def block(clock, samples=1):
    """A block: a pause if there is to be one, then samples."""
    clock.pause_if_slowed()
    for _ in range(samples):
        clock.megahertz()


@pytest.mark.parametrize(
    ("given_readings", "polls"),
    [
        ((FREE, FREE), 0),
        ((FREE, CAPPED, FREE), 1),
        ((FREE, CAPPED, CAPPED, HOT, FREE), 3),
        ((FREE, CAPPED, RISING, RISING, ClockReading(1950.0), FREE), 3),
        ((CAPPED, CAPPED, RISING, FREE), 1),  # how high it can be is not known
        ((FREE, CAPPED, None, FREE), 1),  # it can no longer be read
    ],
)
def test_a_pause_lasts_until_nothing_slows_the_clock_and_it_is_back(given_readings, polls):
    world = Readings(*given_readings)
    clock = world.clock()
    block(clock, samples=2)
    block(clock, samples=0)
    assert len(world.slept) == polls
    assert clock.paused == pytest.approx(POLL * polls)
    assert clock.pauses == (f"paused {POLL * polls:.1f}s, as its power limit slowed the GPU" if polls else "")
    block(clock, samples=0)
    assert len(world.slept) == polls  # the block between them was not slowed


def test_a_pause_ends_at_its_limit_and_all_of_them_at_theirs():
    world = Readings(FREE, HOT, CAPPED)
    clock = world.clock(seconds=100.0)
    block(clock, samples=2)
    for number in range(1, 20):
        block(clock)
        assert clock.paused == pytest.approx(min(LONGEST_PAUSE * number, PAUSED_AT_MOST * 100.0))
    assert clock.paused == pytest.approx(world.now - 100.0)
    assert clock.pauses == "paused 20.0s, as heat and its power limit slowed the GPU"
    assert clock.warnings() == [f"{clock.pauses}, which is all that pauses may take; lock lower clocks."]


def test_every_reason_that_the_driver_gives_for_a_limit_is_paused_for():
    for word in SLOWDOWNS.values():
        world = Readings(ClockReading(1500.0, (word,)), FREE)
        clock = world.clock()
        block(clock)
        block(clock)
        assert clock.warnings() == [f"paused 0.1s, as {word} slowed the GPU; lock lower clocks."]


def test_a_pause_comes_before_a_block_and_is_none_of_its_time(monkeypatch):
    """What a block may take, and what it measures, begins after the pause."""
    gpu = Gpu()
    readings = Readings(CAPPED)
    plain, _ = gpu.compare(monkeypatch)
    gpu.rng = np.random.default_rng(0)
    monkeypatch.setattr(pairing, "time", SimpleNamespace(perf_counter=lambda: gpu.now + readings.now))
    paused = compare(lambda _: gpu.builders(), GateTest(Rule(cases=5)), 1.0, random.Random(0), gpu=readings.clock(10.0))
    assert readings.slept
    assert [block.seconds for blocks in paused.rounds for block in blocks][:2] == [
        block.seconds for blocks in plain.rounds for block in blocks
    ][:2]


def test_a_cpu_has_no_such_clock_and_a_gpu_is_read_by_its_uuid(monkeypatch):
    monkeypatch.setattr(module, "device_uuid", lambda device: {"cuda:1": "GPU-1"}[device])
    monkeypatch.setattr(module, "clock_reader", lambda uuid: lambda: ClockReading({"GPU-1": 1305.0}[uuid]))
    assert gpu_clock(SimpleNamespace(type="cpu"), 300.0) is None
    assert gpu_clock(type("Device", (), {"type": "cuda", "__str__": lambda _: "cuda:1"})(), 300.0).megahertz() == 1305.0
