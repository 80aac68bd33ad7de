"""What disturbed a run: other processes, the host of a virtual machine, heat, a battery; a sentence for each.

`watch = Weather.begin()` before anything else runs, `watch.look()` between cases, `watch.warnings()` at the end.
A run is disturbed or not whatever its times say, so nothing here looks at a time.
"""

from dataclasses import dataclass
from pathlib import Path

from .nvidia import Query, no_gpu

# Shares of all CPU time unless said otherwise; below them a machine is as quiet as machines are.
BUSY_BEFORE = 0.5  # load average over the last minute, a core
OTHERS = 0.2  # cores that other processes used, over the run
OTHERS_AT_WORST = 0.5  # and between two looks
STOLEN = 0.01
SLOWED = 0.85  # lowest over highest frequency of the core in use
LOOK_TICKS = 50  # a core: the shortest time between looks, 0.5 s, that a clock of 10 ms ticks can judge
RUN_TICKS = 10  # and the shortest run
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
    """CPU time since the machine started, of all cores together; a tick is mostly 10 ms."""

    cores: int
    total: int
    busy: int  # in any process, the kernel or an interrupt
    stolen: int  # by the host, from this virtual machine
    own: int  # of this process and those that it started


@dataclass(frozen=True)
class Counts:
    """What is read at both ends of a run only."""

    ticks: Ticks | None
    throttled: int  # times that a core was slowed by heat
    on_battery: bool
    gpu: dict[str, str]


class Weather:
    """One run under watch; a look costs well under a millisecond, the two ends some file reads and nvidia-smi."""

    def __init__(self, root: Path, gpu: Query) -> None:
        self._root, self._gpu = root, gpu
        self._load = load_average(root)
        self._first = self._read()
        self._last = self._first.ticks
        self._worst = 0.0
        self._mhz: list[float] = []  # lowest and highest seen

    @classmethod
    def begin(cls, root: Path = Path("/"), gpu: Query = no_gpu) -> "Weather":
        """Start watching; `root` holds proc and sys, `gpu` asks the driver (`nvidia.gpu_query`)."""
        return cls(root, gpu)

    def look(self) -> None:
        """Note how it is now; more often than every half second changes nothing."""
        now = read_ticks(self._root)
        if now is None or self._last is None or now.total - self._last.total < LOOK_TICKS * now.cores:
            return
        self._worst = max(self._worst, others(self._last, now))
        self._last = now
        mhz = frequency(self._root)
        if mhz is not None:
            self._mhz = [min([mhz, *self._mhz]), max([mhz, *self._mhz])]

    def warnings(self) -> list[str]:
        """What disturbed the run until now, a sentence each; empty when nothing did."""
        self.look()
        last = self._read()
        cores = self._first.ticks.cores if self._first.ticks else None
        said = [
            load_sentence(self._load, cores),
            *cpu_sentences(self._first.ticks, last.ticks, self._worst),
            heat_sentence(last.throttled - self._first.throttled, self._mhz),
            "on battery: clocks follow the charge; plug the machine in."
            if self._first.on_battery or last.on_battery
            else None,
            *gpu_sentences(self._first.gpu, last.gpu),
        ]
        return [sentence for sentence in said if sentence]

    def _read(self) -> Counts:
        fields = ["utilization.gpu", "temperature.gpu", *GPU_COUNTERS]
        return Counts(read_ticks(self._root), throttle_count(self._root), on_battery(self._root), self._gpu(fields))


# The core: numbers to sentences.


def others(first: Ticks, last: Ticks) -> float:
    """Cores that other processes used between two readings, on average."""
    used = (last.busy - first.busy) - (last.own - first.own)
    return min(max(0.0, used / (last.total - first.total)), 1.0) * last.cores


def load_sentence(load: float | None, cores: int | None) -> str | None:
    """Of the minute before the run."""
    if load is None or cores is None or load < BUSY_BEFORE * cores:
        return None
    return f"busy before the run: a load average of {load:.1f} on {_cores(cores)}; wait until it has settled."


def cpu_sentences(first: Ticks | None, last: Ticks | None, worst: float) -> list[str]:
    """Of other processes and of the host."""
    if first is None or last is None:
        return ["how busy the machine was is not known: there is no /proc/stat here."]
    total = last.total - first.total
    if total < RUN_TICKS * last.cores:
        return []
    said, used, stolen = [], others(first, last), (last.stolen - first.stolen) / total
    if used >= OTHERS or worst >= OTHERS_AT_WORST:
        at_worst = f" ({worst:.1f} at worst)" if worst >= used + 0.1 else ""
        said.append(
            f"busy machine: other processes used {used:.1f} of {_cores(last.cores)} during the run{at_worst}; "
            "verdicts may need longer."
        )
    if stolen >= STOLEN:
        said.append(
            f"busy host: {stolen:.0%} of this virtual machine's CPU time went to others; verdicts may need longer."
        )
    return said


def heat_sentence(throttled: int, mhz: list[float]) -> str | None:
    """Of clocks that fell: by heat where the CPU counts that, else by what the frequencies show."""
    fell = f"the CPU went from {mhz[1]:.0f} down to {mhz[0]:.0f} MHz" if mhz and mhz[0] < SLOWED * mhz[1] else None
    if throttled > 0:
        return f"hot machine: heat slowed the CPU {throttled} times{f', {fell}' if fell else ''}; let it cool."
    return f"unsteady clock: {fell} during the run; fix the CPU's frequency." if fell else None


def gpu_sentences(first: dict[str, str], last: dict[str, str]) -> list[str]:
    """Of a GPU that others used before the run, or that was slowed in it."""
    said = []
    busy = _number(first.get("utilization.gpu"))
    if busy is not None and busy >= GPU_BUSY:
        said.append(f"busy GPU: it was in use {busy:.0f} % of the time before the run; let it alone.")
    slowed: dict[str, float] = {}
    for field, why in GPU_COUNTERS.items():
        before, after = _number(first.get(field)), _number(last.get(field))
        if before is not None and after is not None and after > before:
            slowed[why] = slowed.get(why, 0.0) + (after - before) / 1e6
    if sum(slowed.values()) >= GPU_SLOWED:
        reasons = " and ".join(f"{why} for {seconds:.2g} s" for why, seconds in slowed.items())
        degrees = last.get("temperature.gpu")
        said.append(f"slowed GPU: by {reasons}{f', at {degrees} °C' if degrees else ''}; lock lower clocks.")
    return said


def _cores(count: int) -> str:
    return f"{count} core{'s' if count > 1 else ''}"


def _number(value: str | None) -> float | None:
    """Of "12 %" or "34 us"."""
    try:
        return float((value or "").split()[0])
    except (IndexError, ValueError):
        return None


# The edges: what the machine says. All of it may be missing.


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def load_average(root: Path) -> float | None:
    """Over the last minute, processes that ran or waited to."""
    return _number(_text(root / "proc/loadavg"))


def read_ticks(root: Path) -> Ticks | None:
    """From /proc/stat (proc(5): user nice system idle iowait irq softirq steal; guests are in user)."""
    lines = [line.split() for line in _text(root / "proc/stat").splitlines() if line.startswith("cpu")]
    if len(lines) < 2:
        return None
    user, nice, system, idle, iowait, irq, softirq, stolen = map(int, lines[0][1:9])
    busy = user + nice + system + irq + softirq
    return Ticks(len(lines) - 1, busy + idle + iowait + stolen, busy, stolen, _own_ticks(root))


def _own_ticks(root: Path) -> int:
    """User and system time of this process, of those that it started, and of theirs, ended or not."""
    ticks, left = 0, ["self"]
    while left:
        name = left.pop()
        fields = _text(root / "proc" / name / "stat").rpartition(")")[2].split()
        if fields:
            ticks += sum(map(int, fields[11:15]))  # utime stime, and those of ended children
        left += _children(root / "proc" / name / "task")
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
    """Times that heat slowed a core or its package, over all of them, since the machine started."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    return sum(int(_number(_text(file)) or 0) for file in files)


def on_battery(root: Path) -> bool:
    """Whether a battery of the machine, not of its mouse, is running down."""
    supplies = [
        folder for folder in (root / "sys/class/power_supply").glob("*") if "Device" not in _text(folder / "scope")
    ]
    return any(
        _text(folder / "type").strip() == "Battery" and _text(folder / "status").strip() == "Discharging"
        for folder in supplies
    )
