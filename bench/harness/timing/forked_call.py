"""Two long calls at the same time on one core, each in a fork of this process: what disturbs one disturbs the other.

The neighbours of a virtual machine slow it down by some percent for seconds at a time: they share the caches, the
memory and the core itself. No clock shows that, and of two calls of a second, one after the other, the second meets
other neighbours. Two processes on one core are given it in turns of some milliseconds by the system's scheduler, and
each counts its own CPU time (`clock.py`). On such a machine the ratio of two calls of 1.1 s scattered by 1.3 to 2.5 %
in turns and by 0.3 to 0.8 % at the same time; of 130 ms by 2.0 and 1.1 %, of 50 ms by 4.0 and 2.0 %. (On two cores:
Bulej et al. 2020, "Duet benchmarking: improving measurement accuracy in the cloud".) After each turn of the other, a
version reads its data into the cache anew; both do.

Where a process's memory lies makes it faster or slower for as long as it lives: by 2 % for calls that work on a
gigabyte, and once by 10 %. So in the second block of a round the two processes change versions, as the two versions
change their places in the order of building: the effect cancels in the round's mean, and widens the interval.
"""

import gc
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import torch

SAMPLE_SECONDS = 0.05  # the shortest sample: turns enough of each version
_PROCESSOR = 36  # of the fields of /proc/self/stat after the name, proc(5): the CPU that it runs on


class Timed(Protocol):
    """A built call that can be timed."""

    def seconds(self, calls: int) -> float:
        """Seconds that so many calls take together."""


Builder = Callable[[], Timed]


class ForkedCallError(Exception):
    """What building or calling raised in the other process, in one line."""


class ForkedCall:
    """A call in a fork of this process that stays on one CPU; one of `builders` makes it, each time it is asked to."""

    def __init__(self, builders: Sequence[Builder], cpu: int) -> None:
        messages, self._to = os.pipe()
        back, answers = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's, of threads that a fork loses: those of a pool that is not used
            self.process = os.fork()
        if self.process == 0:
            os.close(self._to)  # so that reading ends when the other process does
            _serve(builders, cpu, messages, answers)
        os.close(messages)
        os.close(answers)
        self._answers = os.fdopen(back, "rb")

    def build(self, which: int) -> "ForkedCall":
        """Make it anew, by the builder of this number. Raises ForkedCallError."""
        self.seconds(-1 - which)
        return self

    def seconds(self, calls: int) -> float:
        """Seconds that so many calls take together, by the clock over there. Raises ForkedCallError."""
        self.begin(calls)
        return self.end()

    def begin(self, calls: int) -> None:
        """Have it make so many calls, while this process goes on."""
        with suppress(BrokenPipeError):  # which the answer says
            os.write(self._to, calls.to_bytes(8, "little", signed=True))

    def end(self) -> float:
        """Seconds of the calls that were begun, when they are done. Raises ForkedCallError."""
        line = self._answers.readline()
        seconds, error = json.loads(line) if line else (0.0, "its process ended")
        if error:
            raise ForkedCallError(error)
        return float(seconds)

    def close(self) -> None:
        """End its process, whatever it is doing."""
        os.close(self._to)
        self._answers.close()
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def _serve(builders: Sequence[Builder], cpu: int, messages: int, answers: int) -> None:
    """Build and call as the messages say until there are no more; never return."""
    try:
        os.sched_setaffinity(0, {cpu})
        timed: Timed | None = None
        gc.disable()
        while message := os.read(messages, 8):
            calls = int.from_bytes(message, "little", signed=True)
            answer = 0.0, ""
            try:
                if calls < 0:
                    timed = None  # the last one's memory first
                    timed = builders[-1 - calls]()
                    gc.collect()
                else:
                    assert timed is not None
                    answer = timed.seconds(calls), ""
            except Exception as error:
                answer = 0.0, f"{type(error).__name__}: {error}"
            os.write(answers, f"{json.dumps(answer)}\n".encode())
    finally:
        os._exit(0)


def can_fork(device: torch.device) -> bool:
    """Whether calls run in forks: on Linux, in one thread, and where autograd starts no threads for a GPU."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return sys.platform == "linux" and alone


@contextmanager
def forked(base: Builder, head: Builder) -> Iterator[Callable[[bool], tuple[Builder, Builder]]]:
    """Two forks, on the CPU that this process runs on now: the builders of a block, from whether base is built first.

    What is built first is built in the first fork.
    """
    cpu = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[_PROCESSOR])
    calls: list[ForkedCall] = []

    def builders(base_first: bool) -> tuple[Builder, Builder]:
        of_base, of_head = calls if base_first else calls[::-1]
        return lambda: of_base.build(0), lambda: of_head.build(1)

    try:
        for _ in range(2):
            calls.append(ForkedCall((base, head), cpu))
        yield builders
    finally:
        for call in calls:
            call.close()
