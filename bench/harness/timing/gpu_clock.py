"""The clock of a GPU beside the times that are taken on it: cycles, and pauses where a limit slows it.

A GPU near its power limit lowers its clock, by what ran before as much as by what runs. Time times clock is the number
of cycles, which a lower clock leaves as it is: a version that takes more time, but no more cycles, met a lower clock.
The clock is read as each sample ends, right after its work: a reading at both ends would average two versions', and a
thread that reads meanwhile would take Python's lock from the version that is measured.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..environment.nvidia import device_uuid
from ..environment.nvml import ReadClock, clock_reader

if TYPE_CHECKING:
    import torch

LONGEST_PAUSE = 5.0  # seconds
PAUSED_AT_MOST = 0.2  # of the time for measuring, over all pauses
POLL = 0.1  # seconds between two looks
RECOVERED = 0.98  # of the highest clock that nothing slowed


class GpuClock:
    """Reads the clock of one GPU as samples end, and pauses before a block where the last one was slowed."""

    def __init__(
        self,
        read: ReadClock,
        seconds: float,  # for measuring, which pauses may take a share of
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._read, self._now, self._sleep = read, now, sleep
        self._left = PAUSED_AT_MOST * seconds
        self._slowed_by: dict[str, None] = {}  # since the last pause
        self._highest = 0.0  # MHz that nothing slowed
        self.unread = 0  # samples whose clock could not be read
        self.paused = 0.0  # seconds
        self.paused_for: dict[str, None] = {}  # reasons, in the order of their coming

    def megahertz(self) -> float | None:
        """The clock of the sample that ended just now; None where it cannot be read."""
        reading = self._read()
        if reading is None:
            self.unread += 1
            return None
        self._slowed_by |= dict.fromkeys(reading.slowed_by)
        if not reading.slowed_by:
            self._highest = max(self._highest, reading.mhz)
        return reading.mhz

    def pause_if_slowed(self) -> None:
        """Wait until nothing slows the clock and it is back at its height, if something slowed it since the last call.

        For LONGEST_PAUSE at most, and for PAUSED_AT_MOST of all time over all calls.
        """
        slowed_by, self._slowed_by = self._slowed_by, {}
        if not slowed_by or self._left <= 0:
            return
        start, longest = self._now(), min(LONGEST_PAUSE, self._left)
        while (elapsed := self._now() - start) < longest:
            self._sleep(min(POLL, longest - elapsed))
            reading = self._read()
            if reading is None or (not reading.slowed_by and reading.mhz >= RECOVERED * self._highest):
                break
        taken = self._now() - start
        self.paused, self._left = self.paused + taken, self._left - taken
        self.paused_for |= slowed_by

    @property
    def pauses(self) -> str:
        """What the progress says of them; nothing where there were none."""
        return f"paused {self.paused:.1f}s, as {' and '.join(self.paused_for)} slowed the GPU" if self.paused else ""

    def warnings(self) -> list[str]:
        """A sentence each on a clock that could not be read, and on pauses."""
        warnings = []
        if self.unread:
            warnings.append(
                f"the GPU's clock could not be read for {self.unread} samples: where it was not, time alone decides."
            )
        if self.paused:
            exhausted = "" if self._left > 0 else ", which is all that pauses may take"
            warnings.append(f"{self.pauses}{exhausted}; lock lower clocks.")
        return warnings


def gpu_clock(device: "torch.device", seconds: float) -> GpuClock | None:
    """The clock of a CUDA device that is measured for so many seconds; None for the CPU."""
    return None if device.type == "cpu" else GpuClock(clock_reader(device_uuid(str(device))), seconds)
