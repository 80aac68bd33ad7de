"""Two long calls at the same time on one core, each in a fork of this process: what disturbs one disturbs the other.

The neighbours of a virtual machine slow it down by some percent for seconds at a time: they share the caches, the
memory and the core itself. No clock shows that, and of two calls of a second, one after the other, the second meets
other neighbours. Two processes on one core are given it in turns of some milliseconds by the system's scheduler, and
each counts its own CPU time (`clock.py`). On such a machine the ratio of two calls of 1.1 s scattered by 1.3 to 2.5 %
in turns and by 0.3 to 0.8 % at the same time; of 130 ms by 2.0 and 1.1 %, of 50 ms by 4.0 and 2.0 %. (On two cores:
Bulej et al. 2020, "Duet benchmarking: improving measurement accuracy in the cloud".) After each turn of the other, a
version reads its data into the cache anew; both do.

All forks begin with the same free memory, but with pages of their own: blocks of rounds scatter as much with pieces of
memory of random sizes before each build as without.
"""

import gc
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import torch

SAMPLE_SECONDS = 0.05  # the shortest sample: turns enough of each version
_PROCESSOR = 36  # of the fields of /proc/self/stat after the name, proc(5): the CPU that it runs on
_BUILD = 0  # as a number of calls: build anew


class Timed(Protocol):
    """A built call that can be timed."""

    def seconds(self, calls: int) -> float:
        """Seconds that so many calls take together."""


Builder = Callable[[], Timed]


class ForkedCallError(Exception):
    """What building or calling raised in the other process, in one line."""


class ForkedCall:
    """A call in a fork of this process that stays on one CPU, where `build` makes it, each time it is asked to."""

    def __init__(self, build: Builder, cpu: int) -> None:
        messages, self._to = os.pipe()
        back, answers = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's, of threads that a fork loses: those of a pool that is not used
            self.process = os.fork()
        if self.process == 0:
            os.close(self._to)  # so that reading ends when the other process does
            _serve(build, cpu, messages, answers)
        os.close(messages)
        os.close(answers)
        self._answers = os.fdopen(back, "rb")

    def build(self) -> "ForkedCall":
        """Make it anew. Raises ForkedCallError."""
        self.seconds(_BUILD)
        return self

    def seconds(self, calls: int) -> float:
        """Seconds that so many calls take together, by the clock over there. Raises ForkedCallError."""
        self.begin(calls)
        return self.end()

    def begin(self, calls: int) -> None:
        """Have it make so many calls, while this process goes on."""
        with suppress(BrokenPipeError):  # which the answer says
            os.write(self._to, calls.to_bytes(8, "little"))

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


def _serve(build: Builder, cpu: int, messages: int, answers: int) -> None:
    """Build and call as the messages say until there are no more; never return."""
    try:
        os.sched_setaffinity(0, {cpu})
        timed: Timed | None = None
        gc.disable()
        while message := os.read(messages, 8):
            calls = int.from_bytes(message, "little")
            answer = 0.0, ""
            try:
                if calls == _BUILD:
                    timed = None  # the last one's memory first
                    timed = build()
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
def forked(base: Builder, head: Builder, base_first: bool) -> Iterator[tuple[Builder, Builder]]:
    """Builders that build each in a fork of its own, made in this order, on the CPU that this process runs on now."""
    cpu = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[_PROCESSOR])
    calls: list[ForkedCall] = []
    try:
        for build in (base, head) if base_first else (head, base):
            calls.append(ForkedCall(build, cpu))
        first, second = calls if base_first else calls[::-1]
        yield first.build, second.build
    finally:
        for call in calls:
            call.close()
