"""The result of a comparison: a verdict for each case, the exit code, and both as a table and as JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..stats.verdict import VERDICTS, Interval, verdict_of_suite

KIND = "verdicts"  # of the document
SAME_OR_FASTER, SLOWER, UNCLEAR, REFUSED = 0, 1, 3, 4  # exit codes
EXIT_CODES = {"same": SAME_OR_FASTER, "faster": SAME_OR_FASTER, "slower": SLOWER, "unclear": UNCLEAR}


@dataclass(frozen=True)
class CaseVerdict:
    """The verdict on one case and the measurements behind it."""

    case: str
    verdict: str
    interval: Interval  # of log(head time / base time)
    log_ratios: Sequence[Sequence[float]]  # of the pairs, by round
    seconds: tuple[float, float]  # of a call, base and head

    @property
    def change(self) -> Interval:
        """Relative, as a fraction of the base's time."""
        return Interval(
            *(math.expm1(min(x, 700.0)) for x in (self.interval.estimate, self.interval.low, self.interval.high))
        )

    def as_json(self) -> dict[str, Any]:
        """The case's entry in the verdicts document."""
        change, (base, head) = self.change, self.seconds
        return {
            "case": self.case,
            "verdict": self.verdict,
            "change": change.estimate,
            "low": change.low,
            "high": change.high if math.isfinite(self.interval.high) else None,
            "pairs": sum(map(len, self.log_ratios)),
            "base_ms": 1000 * base,
            "head_ms": 1000 * head,
            "log_ratios": [[round(x, 5) for x in pairs] for pairs in self.log_ratios],
        }


@dataclass
class Findings:
    """Everything that a run measured, and what it could not measure."""

    results: list[CaseVerdict] = field(default_factory=list)
    only_base: list[str] = field(default_factory=list)
    only_head: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # case to why
    skipped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    refused: str | None = None  # why nothing can be compared

    def refusal(self, allow_missing: bool) -> str | None:
        """Why there can be no verdict, or None."""
        if self.refused:
            return self.refused
        if self.failed:
            case, why = next(iter(self.failed.items()))
            return f"{_cases(len(self.failed))} failed, first {case}: {why}"
        missing = [*self.skipped, *self.only_base, *self.only_head]
        if missing and not allow_missing:
            return (
                f"{_cases(len(missing))} could not be compared ({', '.join(missing[:3])}"
                f"{', ...' if len(missing) > 3 else ''}); mend that, or accept it with --allow-missing."
            )
        return None if self.results else "nothing was measured; choose cases that both versions have."

    def conclusion(self, allow_missing: bool, allow_unclear: bool) -> tuple[str, int]:
        """The run's verdict, or the reason for refusing one, and the exit code."""
        refusal = self.refusal(allow_missing)
        if refusal:
            return refusal, REFUSED
        verdict = verdict_of_suite(result.verdict for result in self.results)
        if verdict == "unclear" and allow_unclear:
            return verdict, SAME_OR_FASTER
        return verdict, EXIT_CODES[verdict]

    def as_json(self, conclusion: str, code: int, **more: Any) -> dict[str, Any]:
        """The verdicts document."""
        refused = code == REFUSED
        return {
            "kind": KIND,
            "exit": code,
            "verdict": "refused" if refused else conclusion,
            "reason": conclusion if refused else "",
            **more,
            "cases": [result.as_json() for result in self.results],
            "only_base": self.only_base,
            "only_head": self.only_head,
            "failed": [{"case": case, "why": why} for case, why in (self.failed | self.skipped).items()],
            "warnings": self.warnings,
        }


def format_verdicts(findings: Findings, power: Mapping[str, Any] | None = None) -> list[str]:
    """The table of verdicts, the worst first, and what is not in it; `power` is the self-test's result by case."""
    ordered = sorted(findings.results, key=lambda result: (VERDICTS.index(result.verdict), -result.interval.estimate))
    width = max([len(result.case) for result in ordered], default=0)
    table = (
        [f"{'verdict':8} {'case':{width}} {'base ms':>10} {'head ms':>10}  {'change':>7}  interval"] if ordered else []
    )
    for result in ordered:
        base, head = (1000 * seconds for seconds in result.seconds)
        change = result.change
        high = f"{change.high:+.1%}" if math.isfinite(result.interval.high) else "?"
        table.append(
            f"{result.verdict:8} {result.case:{width}} {base:10.4g} {head:10.4g}  {change.estimate:+7.1%}"
            f"  [{change.low:+.1%}, {high}]  {len(result.log_ratios)} rounds{_power((power or {}).get(result.case))}"
        )
    return [
        *table,
        *(f"only in the base version: {case}" for case in findings.only_base),
        *(f"only in the head version: {case}" for case in findings.only_head),
        *(f"skipped: {case}: {why}" for case, why in findings.skipped.items()),
        *(f"failed: {case}: {why}" for case, why in findings.failed.items()),
        *(f"warning: {sentence}" for sentence in findings.warnings),
    ]


def _power(self_test: Any) -> str:
    if not self_test:
        return ""
    catches = "nothing under 50%" if self_test["catches"] is None else f"{self_test['catches']:.1%}"
    return f"; self-test: catches {catches}, false {self_test['false_alarms']} of {self_test['trials']}"


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"
