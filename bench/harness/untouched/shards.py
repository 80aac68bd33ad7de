"""`--shard 2/4`: the part of the touched cases that one of several machines measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

CALLS = 10  # of a case in a round, about
ROUND_SECONDS = 0.2  # of the quickest case


@dataclass(frozen=True)
class Shard:
    """One part of several."""

    number: int  # from 1
    of: int

    def part(self, cases: Sequence[str], seconds: Mapping[str, float]) -> list[str]:
        """Its cases: each goes, the slowest first, to the part that has least to do; `seconds` are of a call."""
        load, parts = [0.0] * self.of, [list[str]() for _ in range(self.of)]
        for name in sorted(cases, key=lambda name: (-seconds.get(name, 0.0), name)):
            least = load.index(min(load))
            load[least] += ROUND_SECONDS + CALLS * seconds.get(name, 0.0)
            parts[least].append(name)
        return parts[self.number - 1]


def shard_of(text: str | None) -> Shard | None:
    """The part that an option such as 2/4 names. Raises UsageError."""
    if text is None:
        return None
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise pytest.UsageError(f'--shard "{text}" is no part of a whole; give, say, 2/4 for the second of four.')
    return Shard(int(number), int(of))
