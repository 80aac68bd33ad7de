"""Two calls at the same time in forks that share a core, and which calls are measured so."""

import gc
import math
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bench.harness.stats.verdict import Rule, SequentialTest
from bench.harness.timing import forked_call, pairing
from bench.harness.timing.clock import ThreadReading, clock_of, cpu_timer
from bench.harness.timing.forked_call import ForkedCallError, can_fork, forked
from bench.harness.timing.pairing import LONG_CALL, Comparison, TimedCall, gains_by_forks

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")


@pytest.fixture(autouse=True)
def frozen():
    """Without it every build in a fork searches all that the tests have made."""
    gc.freeze()
    yield
    gc.unfreeze()


@dataclass
class Counted:
    """A call of a known time, that writes down where it is built and made."""

    log: Path
    name: str
    seconds_of_one: float

    def __post_init__(self):
        self.note("build")

    def note(self, what):
        with self.log.open("a") as file:
            file.write(f"{self.name} {what} {os.getpid()} {sorted(os.sched_getaffinity(0))}\n")

    def seconds(self, calls):
        self.note(f"call{calls}")
        return calls * self.seconds_of_one


def lines(log):
    return [line.split(maxsplit=3) for line in log.read_text().splitlines()]


def alive(process):
    return Path(f"/proc/{process}").exists()


def test_each_version_is_built_and_called_in_a_process_of_its_own_on_one_cpu(tmp_path):
    log = tmp_path / "log"
    with forked(lambda: Counted(log, "base", 1.0), lambda: Counted(log, "head", 2.0)) as builders:
        base, head = builders(True)
        first, second = base(), head()
        assert (first.seconds(3), second.seconds(1)) == (3.0, 2.0)
        assert base().seconds(1) == 1.0
    done = lines(log)
    expected = ["base build", "head build", "base call3", "head call1", "base build", "base call1"]
    assert [f"{name} {what}" for name, what, *_ in done] == expected
    processes = {name: {process for each, _, process, _ in done if each == name} for name in ("base", "head")}
    assert all(len(each) == 1 for each in processes.values())
    assert not processes["base"] & processes["head"]
    assert str(os.getpid()) not in processes["base"] | processes["head"]
    assert len({cpus for *_, cpus in done}) == 1
    assert "," not in done[0][-1]
    assert not any(alive(process) for each in processes.values() for process in each)


def test_both_run_at_the_same_time(tmp_path):
    """Each waits until the other has begun, which would never be over in turns."""

    class Meets:
        def __init__(self, mine, other):
            self.mine, self.other = tmp_path / mine, tmp_path / other

        def seconds(self, calls):
            self.mine.touch()
            end = time.monotonic() + 60
            while not self.other.exists():
                assert time.monotonic() < end
                time.sleep(0.001)
            return 1.0

    with forked(lambda: Meets("base", "head"), lambda: Meets("head", "base")) as builders:
        block = pairing.take_pairs([build() for build in builders(True)], 1, 0.0, random.Random(0), 1, None)
    assert block.log_ratios == [0.0]


def failing(error):
    raise error


def test_what_building_or_calling_raises_comes_back_and_the_process_goes_on():
    class Fails:
        def seconds(self, calls):
            return failing(ValueError("no such window")) if calls == 1 else 4.0

    with forked(Fails, lambda: failing(OSError("no data"))) as builders:
        base, head = builders(False)
        call = base()
        with pytest.raises(ForkedCallError, match=r"^ValueError: no such window$"):
            call.seconds(1)
        assert call.seconds(2) == 4.0
        with pytest.raises(ForkedCallError, match=r"^OSError: no data$"):
            head()


def test_a_process_that_ends_is_an_error():
    class Ends:
        def seconds(self, calls):
            os.kill(os.getpid(), signal.SIGKILL)

    with forked(Ends, Ends) as builders:
        base, head = builders(True)
        call = base()
        for _ in range(2):
            with pytest.raises(ForkedCallError, match=r"^its process ended$"):
                call.seconds(1)
        head()


def test_whatever_ends_a_measurement_ends_its_processes(tmp_path):
    log = tmp_path / "log"

    def interrupted():
        with forked(*[lambda: Counted(log, "base", 1.0)] * 2) as builders:
            for build in builders(True):
                build()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(lines(log)) == 2
    assert not any(alive(process) for _, _, process, _ in lines(log))


def test_a_round_in_forks_finds_the_ratio_and_both_orders_of_building(tmp_path):
    log = tmp_path / "log"
    pair = (lambda: Counted(log, "base", 0.1), lambda: Counted(log, "head", 0.11))
    comparison = Comparison(SequentialTest(Rule(1e-9, 1e-9)), in_forks=True)
    for _ in range(3):
        comparison.measure_round(pair, random.Random(0), longest=1e-9)
    assert comparison.test.values == pytest.approx([math.log(1.1)] * 6)
    done = lines(log)
    built = [name for name, what, *_ in done if what == "build"]
    assert [
        built[at : at + 4] in (["base", "head", "head", "base"], ["head", "base", "base", "head"]) for at in (0, 4, 8)
    ]
    processes = [process for _, what, process, _ in done if what == "build"]
    assert len(set(processes)) == 6  # a pair for each round
    for at in (0, 4, 8):  # which change versions in its second block
        by_process = {process: set() for process in processes[at : at + 4]}
        for process, version in zip(processes[at : at + 4], built[at : at + 4], strict=True):
            by_process[process].add(version)
        assert list(by_process.values()) == [{"base", "head"}] * 2
    assert {what for _, what, *_ in done} == {"build", "call1"}


@pytest.mark.parametrize(("seconds", "calls"), [(0.02, 3), (0.049, 2), (0.05, 1), (0.3, 1)])
def test_a_sample_is_long_enough_for_several_turns(tmp_path, seconds, calls):
    log = tmp_path / "log"
    pair = [lambda name=name: Counted(log, name, seconds) for name in ("base", "head")]
    Comparison(SequentialTest(Rule()), in_forks=True).measure_round(pair, random.Random(0), longest=1e-9)
    samples = [what for _, what, *_ in lines(log)]
    assert samples.count(f"call{calls}") >= 4
    assert calls * seconds >= forked_call.SAMPLE_SECONDS


def readings(*pairs):
    """A clock that says these (CPU seconds, waits)."""
    said = iter([ThreadReading(wall=cpu, ready=0.0, waits=waits, cpu=cpu) for cpu, waits in pairs])
    return lambda: next(said)


@pytest.mark.parametrize(
    ("clock", "gains"),
    [
        (readings((1.0, 3), (1.0 + 2 * LONG_CALL, 3)), True),
        (readings((1.0, 3), (1.0 + LONG_CALL / 2, 3)), False),
        (readings((1.0, 3), (1.5, 4), (1.5, 4), (2.0, 4)), True),  # it waits in its first call alone
        (readings((1.0, 3), (1.5, 4), (1.5, 4), (2.0, 5)), False),
        (cpu_timer, False),
    ],
    ids=["long", "short", "waits at first", "waits", "a clock of walls"],
)
def test_calls_that_are_long_and_never_wait_gain(monkeypatch, clock, gains):
    monkeypatch.setattr(pairing, "can_fork", lambda device: True)
    assert gains_by_forks(TimedCall(lambda: None, clock), CPU) is gains


def test_a_call_of_another_process_is_not_forked(monkeypatch):
    monkeypatch.setattr(pairing, "can_fork", lambda device: True)
    assert not gains_by_forks(object(), CPU)


@pytest.mark.parametrize(
    ("device", "threads", "gpu", "can"),
    [("cpu", 1, False, True), ("cpu", 2, False, False), ("cpu", 1, True, False), ("cuda", 1, True, False)],
)
def test_forks_are_for_one_thread_where_there_is_no_gpu(monkeypatch, device, threads, gpu, can):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert can_fork(torch.device(device)) is can


def test_the_clock_reads_the_fork_it_is_in():
    clock = clock_of(CPU)
    if clock is cpu_timer:
        pytest.skip("this system does not say how long a thread was ready to run")

    class Waits:
        def seconds(self, calls):
            before = clock()
            time.sleep(0.001)
            return float(clock().waits - before.waits)

    with forked(Waits, Waits) as builders:
        assert [build().seconds(1) for build in builders(True)] == [1.0, 1.0]


def test_a_backward_pass_runs_in_a_fork_after_one_here_beside_a_thread():
    if torch.cuda.is_available():
        pytest.skip("autograd does not run in forks where there is a GPU, and none is made there")

    def gradient():
        weight = torch.ones(3, requires_grad=True)
        (weight * 2).sum().backward()
        return float(weight.grad.sum())

    class Differentiates:
        def seconds(self, calls):
            return gradient()

    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert gradient() == 6.0
        with forked(Differentiates, Differentiates) as builders:
            assert [build().seconds(1) for build in builders(True)] == [6.0, 6.0]
    finally:
        ended.set()
        thread.join()
