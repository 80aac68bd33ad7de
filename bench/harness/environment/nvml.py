"""Reads a GPU's clock, and what slows it, from NVML, the library that comes with NVIDIA's driver, without root."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
SLOWDOWNS = {  # bits of the clocks' event reasons
    0x04: "its power limit",
    0x08: "its hardware",  # beside one of the last two where the driver knows which
    0x20: "heat",
    0x40: "heat",
    0x80: "its power supply",
}
_SM_CLOCK = 1
_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")  # the older name


@dataclass(frozen=True)
class ClockReading:
    """The clock of a GPU's multiprocessors at one moment."""

    mhz: float
    slowed_by: tuple[str, ...] = ()


ReadClock = Callable[[], ClockReading | None]  # None where it cannot be read


def clock_reader(uuid: str | None, library: Any = None) -> ReadClock:
    """What reads the clock of the GPU with this UUID; where there is none, or no such library, it reads None."""
    handle = ctypes.c_void_p()
    try:
        nvml = ctypes.CDLL(LIBRARY) if library is None else library
        name = (uuid or "").encode()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle)):
            return lambda: None
        reasons_of = next(getattr(nvml, name) for name in _REASONS if hasattr(nvml, name))
    except (OSError, AttributeError, StopIteration):  # no driver, or one too old
        return lambda: None

    def read() -> ClockReading | None:
        mhz, reasons = ctypes.c_uint(), ctypes.c_ulonglong()
        if nvml.nvmlDeviceGetClockInfo(handle, _SM_CLOCK, ctypes.byref(mhz)) or not mhz.value:
            return None
        reasons_of(handle, ctypes.byref(reasons))  # none where it fails
        slowed_by = dict.fromkeys(word for bit, word in SLOWDOWNS.items() if reasons.value & bit)
        return ClockReading(float(mhz.value), tuple(slowed_by))

    return read
