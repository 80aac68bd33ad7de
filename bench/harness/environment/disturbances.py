"""Detects what disturbs a run: other processes, a virtual machine's host, heat, a battery; each gives a warning.

Call `monitor = DisturbanceMonitor.begin()` before anything else runs, `monitor.look()` between cases, and
`monitor.warnings()` at the end. Disturbances are read from the system's counters, never inferred from the times.
"""

from dataclasses import dataclass
from pathlib import Path

from .nvidia import Query, no_gpu

# Fractions of all CPU time unless stated otherwise; an idle machine stays below them.
LOAD_BEFORE = 0.5  # load average over the last minute, per core
OTHER_CORES = 0.2  # used by other processes, on average over the run
OTHER_CORES_AT_WORST = 0.5  # the same between two looks
STOLEN = 0.01
SLOWED = 0.85  # lowest over highest frequency of the core in use
LOOK_TICKS = 50  # per core: 0.5 s, the shortest interval that ticks of 10 ms resolve
RUN_TICKS = 10  # per core: the shortest run that is judged
GPU_BUSY = 10  # % of the time before the run
GPU_SLOWED = 0.01  # s of the run, summed over reasons

GPU_COUNTERS = {  # microseconds since the driver was loaded
    "clocks_event_reasons_counters.sw_power_cap": "its power limit",
    "clocks_event_reasons_counters.hw_power_brake_slowdown": "its power supply",
    "clocks_event_reasons_counters.sw_thermal_slowdown": "heat",
    "clocks_event_reasons_counters.hw_thermal_slowdown": "heat",
}


@dataclass(frozen=True)
class Ticks:
    """CPU time since boot, summed over cores, in ticks of usually 10 ms."""

    cores: int
    total: int
    busy: int  # in any process, the kernel or an interrupt
    stolen: int  # by the host, from this virtual machine
    process_tree: int  # of this process and its descendants


@dataclass(frozen=True)
class Snapshot:
    """What is read at both ends of a run."""

    ticks: Ticks | None
    throttled: int  # thermal throttling events
    on_battery: bool
    gpu: dict[str, str]


class DisturbanceMonitor:
    """Monitors one run; a look takes well under a millisecond, both ends read some files and run nvidia-smi."""

    def __init__(self, root: Path, gpu: Query) -> None:
        self._root, self._gpu = root, gpu
        self._load = load_average(root)
        self._first = self._read()
        self._last = self._first.ticks
        self._worst = 0.0  # cores used by others between two looks
        self._mhz: list[float] = []  # lowest and highest at a look

    @classmethod
    def begin(cls, root: Path = Path("/"), gpu: Query = no_gpu) -> "DisturbanceMonitor":
        """Start monitoring; `root` is the folder of proc and sys, `gpu` queries the driver (`nvidia.gpu_query`)."""
        return cls(root, gpu)

    def look(self) -> None:
        """Record the current state; within half a second of the last look this does nothing."""
        now = read_ticks(self._root)
        if now is None or self._last is None or now.total - self._last.total < LOOK_TICKS * now.cores:
            return
        self._worst = max(self._worst, cores_used_by_others(self._last, now))
        self._last = now
        mhz = frequency(self._root)
        if mhz is not None:
            self._mhz = [min([mhz, *self._mhz]), max([mhz, *self._mhz])]

    def warnings(self) -> list[str]:
        """A sentence for each disturbance of the run so far."""
        self.look()
        last = self._read()
        cores = self._first.ticks.cores if self._first.ticks else None
        warnings = [
            load_warning(self._load, cores),
            *cpu_warnings(self._first.ticks, last.ticks, self._worst),
            throttling_warning(last.throttled - self._first.throttled, self._mhz),
            "on battery: clocks follow the charge; plug the machine in."
            if self._first.on_battery or last.on_battery
            else None,
            *gpu_warnings(self._first.gpu, last.gpu),
        ]
        return [warning for warning in warnings if warning]

    def _read(self) -> Snapshot:
        fields = ["utilization.gpu", "temperature.gpu", *GPU_COUNTERS]
        return Snapshot(read_ticks(self._root), throttle_count(self._root), on_battery(self._root), self._gpu(fields))


# From readings to warnings.


def cores_used_by_others(first: Ticks, last: Ticks) -> float:
    """The average number of cores that other processes used between two readings."""
    used = (last.busy - first.busy) - (last.process_tree - first.process_tree)
    return min(max(0.0, used / (last.total - first.total)), 1.0) * last.cores


def load_warning(load: float | None, cores: int | None) -> str | None:
    """About the load in the minute before the run."""
    if load is None or cores is None or load < LOAD_BEFORE * cores:
        return None
    return f"busy before the run: a load average of {load:.1f} on {_cores(cores)}; wait until it has settled."


def cpu_warnings(first: Ticks | None, last: Ticks | None, worst: float) -> list[str]:
    """About other processes and the host during the run."""
    if first is None or last is None:
        return ["how busy the machine was is not known: there is no /proc/stat here."]
    total = last.total - first.total
    if total < RUN_TICKS * last.cores:
        return []
    warnings, used, stolen = [], cores_used_by_others(first, last), (last.stolen - first.stolen) / total
    if used >= OTHER_CORES or worst >= OTHER_CORES_AT_WORST:
        at_worst = f" ({worst:.1f} at worst)" if worst >= used + 0.1 else ""
        warnings.append(
            f"busy machine: other processes used {used:.1f} of {_cores(last.cores)} during the run{at_worst}; "
            "verdicts may need longer."
        )
    if stolen >= STOLEN:
        warnings.append(
            f"busy host: {stolen:.0%} of this virtual machine's CPU time went to others; verdicts may need longer."
        )
    return warnings


def throttling_warning(throttled: int, mhz: list[float]) -> str | None:
    """About a falling clock: thermal throttling where the CPU counts it, else what the frequencies show."""
    fell = f"the CPU went from {mhz[1]:.0f} down to {mhz[0]:.0f} MHz" if mhz and mhz[0] < SLOWED * mhz[1] else None
    if throttled > 0:
        return f"hot machine: heat slowed the CPU {throttled} times{f', {fell}' if fell else ''}; let it cool."
    return f"unsteady clock: {fell} during the run; fix the CPU's frequency." if fell else None


def gpu_warnings(first: dict[str, str], last: dict[str, str]) -> list[str]:
    """About a GPU that was in use before the run or throttled during it."""
    warnings = []
    busy = _number(first.get("utilization.gpu"))
    if busy is not None and busy >= GPU_BUSY:
        warnings.append(f"busy GPU: it was in use {busy:.0f} % of the time before the run; let it alone.")
    slowed: dict[str, float] = {}
    for field, why in GPU_COUNTERS.items():
        before, after = _number(first.get(field)), _number(last.get(field))
        if before is not None and after is not None and after > before:
            slowed[why] = slowed.get(why, 0.0) + (after - before) / 1e6
    if sum(slowed.values()) >= GPU_SLOWED:
        reasons = " and ".join(f"{why} for {seconds:.2g} s" for why, seconds in slowed.items())
        degrees = last.get("temperature.gpu")
        warnings.append(f"slowed GPU: by {reasons}{f', at {degrees} °C' if degrees else ''}; lock lower clocks.")
    return warnings


def _cores(count: int) -> str:
    return f"{count} core{'s' if count > 1 else ''}"


def _number(value: str | None) -> float | None:
    """The number in "12 %" or "34 us"."""
    try:
        return float((value or "").split()[0])
    except (IndexError, ValueError):
        return None


# Readings, any of which a machine may not have.


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def load_average(root: Path) -> float | None:
    """The number of processes that ran or waited to, averaged over the last minute."""
    return _number(_text(root / "proc/loadavg"))


def read_ticks(root: Path) -> Ticks | None:
    """CPU time from /proc/stat (proc(5): user nice system idle iowait irq softirq steal; user includes guests)."""
    lines = [line.split() for line in _text(root / "proc/stat").splitlines() if line.startswith("cpu")]
    if len(lines) < 2:
        return None
    user, nice, system, idle, iowait, irq, softirq, stolen = map(int, lines[0][1:9])
    busy = user + nice + system + irq + softirq
    return Ticks(len(lines) - 1, busy + idle + iowait + stolen, busy, stolen, _process_tree_ticks(root))


def _process_tree_ticks(root: Path) -> int:
    """User and system time of this process and all its descendants, ended or not."""
    ticks, pending = 0, ["self"]
    while pending:
        name = pending.pop()
        fields = _text(root / "proc" / name / "stat").rpartition(")")[2].split()
        if fields:
            ticks += sum(map(int, fields[11:15]))  # utime, stime, and the same of ended children
        pending += _children(root / "proc" / name / "task")
    return ticks


def _children(tasks: Path) -> list[str]:
    try:
        threads = list(tasks.iterdir())
    except OSError:
        return []
    return [child for thread in threads for child in _text(thread / "children").split()]


def frequency(root: Path) -> float | None:
    """MHz of the core that this process last ran on."""
    fields = _text(root / "proc/self/stat").rpartition(")")[2].split()
    if len(fields) < 37:
        return None
    khz = _number(_text(root / f"sys/devices/system/cpu/cpu{fields[36]}/cpufreq/scaling_cur_freq"))
    return None if khz is None else khz / 1000


def throttle_count(root: Path) -> int:
    """Thermal throttling events of all cores and packages since boot."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    return sum(int(_number(_text(file)) or 0) for file in files)


def on_battery(root: Path) -> bool:
    """Whether a battery of the machine itself, not of a mouse, is discharging."""
    supplies = [
        folder for folder in (root / "sys/class/power_supply").glob("*") if "Device" not in _text(folder / "scope")
    ]
    return any(
        _text(folder / "type").strip() == "Battery" and _text(folder / "status").strip() == "Discharging"
        for folder in supplies
    )
