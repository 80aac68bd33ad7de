"""Each disturbance of a run gives one warning, and an idle machine gives none."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.environment.disturbances import DisturbanceMonitor, Ticks, cores_used_by_others, read_ticks
from bench.harness.environment.nvidia import no_gpu

QUIET_GPU = {"utilization.gpu": "0 %", "temperature.gpu": "41"}


class Machine:
    """A folder with the proc and sys of two cores, whose counters a test advances."""

    def __init__(self, root):
        self.root = root
        self.busy, self.idle, self.stolen = 1000, 9000, 0
        self.own = {"self": 0}
        self.gpu = {}
        self.write("proc/loadavg", "0.10 0.20 0.30 1/99 1234")
        self.run(seconds=0)

    def write(self, path, content):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")

    def run(self, seconds, own=0.0, child=0.0, neighbours=0.0, stolen=0.0):
        """Let time pass while numbers of cores are used."""
        used = round(100 * seconds * (own + child + neighbours))
        self.busy += used
        self.stolen += round(100 * seconds * stolen)
        self.idle += round(200 * seconds) - used - round(100 * seconds * stolen)
        line = f"{self.busy - 60} 10 20 {self.idle - 5} 5 10 20 {self.stolen} 0 0"
        self.write("proc/stat", f"cpu  {line}\ncpu0 {line}\ncpu1 {line}\nintr 5 6 7")
        self.own["self"] += round(100 * seconds * own)
        self.process("self", self.own["self"], children="77" if child else "")
        if child:
            self.own["77"] = self.own.get("77", 0) + round(100 * seconds * child)
            self.process("77", self.own["77"], children="")

    def process(self, name, ticks, children):
        after = " ".join(["0"] * 21 + ["1"] + ["0"] * 13)  # it last ran on core 1
        times = f"{ticks // 2} {ticks - ticks // 2} 0 0"
        self.write(f"proc/{name}/stat", f"5 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 {times} {after}")
        self.write(f"proc/{name}/task/5/children", children)

    def frequency(self, mhz):
        self.write("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", mhz * 1000)

    def begin(self):
        return DisturbanceMonitor.begin(
            self.root, lambda fields: {name: self.gpu[name] for name in fields if name in self.gpu}
        )


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_an_idle_machine_gives_no_warning(machine):
    machine.gpu = QUIET_GPU
    machine.frequency(3000)
    monitor = machine.begin()
    for _ in range(5):
        machine.run(seconds=1, own=1.0, neighbours=0.05)
        monitor.look()
    assert monitor.warnings() == []


def test_what_the_run_itself_uses_is_no_disturbance(machine):
    machine.run(seconds=1, child=1.0)
    monitor = machine.begin()
    machine.run(seconds=10, own=1.0, child=1.0)
    assert monitor.warnings() == []


def test_other_processes_give_a_warning_with_the_cores_that_they_used(machine):
    monitor = machine.begin()
    machine.run(seconds=10, own=1.0, neighbours=0.9)
    assert monitor.warnings() == [
        "busy machine: other processes used 0.9 of 2 cores during the run; verdicts may need longer."
    ]


def test_a_process_that_is_busy_for_part_of_the_run_is_detected_between_looks(machine):
    monitor = machine.begin()
    machine.run(seconds=99, own=1.0)
    monitor.look()
    machine.run(seconds=1, own=1.0, neighbours=1.0)
    monitor.look()
    assert monitor.warnings() == [
        "busy machine: other processes used 0.0 of 2 cores during the run (1.0 at worst); verdicts may need longer."
    ]


def test_a_look_within_half_a_second_of_the_last_changes_nothing(machine):
    monitor = machine.begin()
    machine.run(seconds=9, own=1.0)
    monitor.look()
    machine.run(seconds=0.1, neighbours=2.0)  # 20 ticks of a coarse clock
    monitor.look()
    machine.run(seconds=0.9, own=1.0)
    assert monitor.warnings() == []


@pytest.mark.parametrize(("seconds", "warnings"), [(0.05, 0), (0.15, 1)])
def test_a_run_too_short_to_judge_gives_no_warning(machine, seconds, warnings):
    monitor = machine.begin()
    machine.run(seconds=seconds, neighbours=2.0)
    assert len(monitor.warnings()) == warnings


@pytest.mark.parametrize(
    ("disturbance", "warnings"),
    [
        ({"neighbours": 0.15}, 0),
        ({"neighbours": 0.25}, 1),
        ({"stolen": 0.01}, 0),
        ({"stolen": 0.03}, 1),
    ],
)
def test_what_every_machine_does_gives_no_warning(machine, disturbance, warnings):
    monitor = machine.begin()
    machine.run(seconds=100, own=1.0, **disturbance)
    assert len(monitor.warnings()) == warnings


@pytest.mark.parametrize(
    ("before", "after", "warnings"),
    [("5 %", "0 us", 0), ("15 %", "0 us", 1), ("0 %", "5000 us", 0), ("0 %", "15000 us", 1), ("?", "?", 0)],
)
def test_what_every_gpu_does_gives_no_warning(machine, before, after, warnings):
    counter = "clocks_event_reasons_counters.sw_power_cap"
    machine.gpu = {"utilization.gpu": before, counter: "0 us"}
    monitor = machine.begin()
    machine.gpu = {counter: after}
    assert len(monitor.warnings()) == warnings


def test_time_stolen_by_the_host_gives_a_warning(machine):
    monitor = machine.begin()
    machine.run(seconds=10, own=1.0, stolen=0.2)
    assert monitor.warnings() == [
        "busy host: 10% of this virtual machine's CPU time went to others; verdicts may need longer."
    ]


def test_load_before_the_run_gives_a_warning(machine):
    machine.write("proc/loadavg", "1.80 0.20 0.30 1/99 1234")
    monitor = machine.begin()
    machine.write("proc/loadavg", "9.90 0.20 0.30 1/99 1234")
    machine.run(seconds=10, own=2.0)
    assert monitor.warnings() == ["busy before the run: a load average of 1.8 on 2 cores; wait until it has settled."]


def test_a_falling_clock_gives_a_warning(machine):
    monitor = machine.begin()
    for mhz in (3000, 2000, 2900):
        machine.frequency(mhz)
        machine.run(seconds=1, own=1.0)
        monitor.look()
    assert monitor.warnings() == [
        "unsteady clock: the CPU went from 3000 down to 2000 MHz during the run; fix the CPU's frequency."
    ]


def test_thermal_throttling_gives_a_warning_if_it_occurs_during_the_run(machine):
    machine.write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", 5)
    machine.write("sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", 2)
    monitor = machine.begin()
    machine.run(seconds=1, own=1.0)
    assert monitor.warnings() == []
    machine.write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", 8)
    assert monitor.warnings() == ["hot machine: heat slowed the CPU 3 times; let it cool."]


@pytest.mark.parametrize(
    ("supply", "on_battery"),
    [
        ({"type": "Battery", "status": "Discharging"}, True),
        ({"type": "Battery", "status": "Charging"}, False),
        ({"type": "Battery", "status": "Discharging", "scope": "Device"}, False),  # a mouse
        ({"type": "Mains", "online": "1"}, False),
    ],
)
def test_a_discharging_battery_gives_a_warning(machine, supply, on_battery):
    for name, content in supply.items():
        machine.write(f"sys/class/power_supply/BAT0/{name}", content)
    assert machine.begin().warnings() == (
        ["on battery: clocks follow the charge; plug the machine in."] if on_battery else []
    )


def test_a_gpu_in_use_before_the_run_gives_a_warning(machine):
    machine.gpu = QUIET_GPU | {"utilization.gpu": "37 %"}
    monitor = machine.begin()
    machine.gpu = QUIET_GPU | {"utilization.gpu": "99 %"}
    assert monitor.warnings() == ["busy GPU: it was in use 37 % of the time before the run; let it alone."]


def test_a_gpu_throttled_during_the_run_gives_a_warning_with_the_reasons(machine):
    counters = "clocks_event_reasons_counters"
    machine.gpu = QUIET_GPU | {f"{counters}.sw_power_cap": "1000000 us", f"{counters}.hw_thermal_slowdown": "7 us"}
    monitor = machine.begin()
    assert monitor.warnings() == []
    machine.gpu = {
        "temperature.gpu": "84",
        f"{counters}.sw_power_cap": "2500000 us",
        f"{counters}.hw_thermal_slowdown": "200007 us",
    }
    assert monitor.warnings() == [
        "slowed GPU: by its power limit for 1.5 s and heat for 0.2 s, at 84 °C; lock lower clocks."
    ]


def test_a_machine_without_proc_warns_of_what_is_unknown(tmp_path):
    monitor = DisturbanceMonitor.begin(tmp_path, no_gpu)
    monitor.look()
    assert monitor.warnings() == ["how busy the machine was is not known: there is no /proc/stat here."]


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 256))
def test_cores_used_by_others_are_between_zero_and_all(own, busy, idle, cores):
    """Even where the counters disagree, because a process that ends is missed by one of two readings."""
    first = Ticks(cores, total=7, busy=3, stolen=0, process_tree=1)
    last = Ticks(cores, total=8 + busy + idle, busy=3 + busy, stolen=0, process_tree=1 + own)
    assert 0.0 <= cores_used_by_others(first, last) <= cores


BURN = "import time\nwhile time.process_time() < 0.4: pass\nprint('burnt', flush=True)\ninput()"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc/stat here")
def test_the_process_tree_has_the_time_of_a_child_and_of_its_child():
    command = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}], check=True)"
    before = read_ticks(Path("/"))
    with subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"burnt\n"
        during = read_ticks(Path("/"))
        child.communicate(b"\n")
    after = read_ticks(Path("/"))
    for reading in (during, after):
        assert reading.process_tree - before.process_tree >= 30  # 0.4 s in ticks of 10 ms, less what rounding takes
    assert after.total >= after.busy >= after.process_tree
