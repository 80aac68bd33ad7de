"""The clock that versions are compared by: what a call does and waits for, and nothing that others do."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from bench.harness.timing import clock
from bench.harness.timing.clock import ThreadReading, clock_of, cpu_timer, device_timer

CPU = torch.device("cpu")
EARLIER = ThreadReading(wall=10.0, ready=2.0, waits=5, cpu=4.0)


@pytest.mark.parametrize(
    ("later", "seconds"),
    [
        (ThreadReading(wall=13.0, ready=4.0, waits=5, cpu=5.0), 1.0),  # another had the CPU for two seconds
        (ThreadReading(wall=13.0, ready=2.0, waits=5, cpu=5.0), 1.0),  # another virtual machine had it
        (ThreadReading(wall=13.0, ready=2.0, waits=6, cpu=5.0), 3.0),  # it waited for two seconds
        (ThreadReading(wall=13.0, ready=2.5, waits=6, cpu=5.0), 2.5),  # and then half a second for the CPU
    ],
    ids=["preempted", "stolen", "waited", "waited and preempted"],
)
def test_the_time_between_readings(later, seconds):
    assert later - EARLIER == pytest.approx(seconds)


def take(call):
    reading = clock_of(CPU)
    if reading is cpu_timer:
        pytest.skip("this system does not say how long a thread was ready to run")
    start = reading()
    call()
    return reading() - start


def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def wait_for_another_thread():
    thread = threading.Thread(target=time.sleep, args=(0.05,))
    thread.start()
    thread.join()


@pytest.mark.parametrize("wait", [lambda: time.sleep(0.05), wait_for_another_thread], ids=["sleep", "thread"])
def test_waiting_counts(wait):
    assert take(wait) >= 0.05


def test_beside_busy_processes_a_call_takes_what_it_takes_alone():
    """Every CPU is busy three times over, so that wall time is several times as long; where it is not, all is well."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * torch.get_num_threads())]
    try:
        start = time.perf_counter()
        seconds = take(lambda: spin(0.1))
        wall = time.perf_counter() - start
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert seconds >= 0.1
    assert seconds < wall / 2 or wall < 0.3


def test_wall_time_where_a_thread_s_clocks_cannot_be_read(monkeypatch):
    def missing():
        raise FileNotFoundError("/proc/thread-self/schedstat")

    monkeypatch.setattr(clock, "ThreadClock", missing)
    assert clock_of(CPU) is cpu_timer
    assert clock_of(torch.device("cuda")) is device_timer


def test_wall_time_where_waits_are_not_counted(monkeypatch):
    monkeypatch.setattr(clock.time, "sleep", lambda seconds: None)
    assert clock_of(CPU) is cpu_timer
