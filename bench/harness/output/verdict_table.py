"""The result of a comparison: a verdict for each case, the exit code, and both as a table and as JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..stats.gate_verdict import GATE_VERDICTS, gate_verdict_of_run
from ..stats.verdict import Interval

KIND = "verdicts"  # of the document
PASSES, SLOWER, UNCLEAR, REFUSED = 0, 1, 3, 4  # exit codes
WIDEST = 1.0  # log ratio: an interval that says less is not worth its digits
EXIT_CODES = {"passes": PASSES, "faster": PASSES, "untouched": PASSES, "slower": SLOWER, "unclear": UNCLEAR}


@dataclass(frozen=True)
class CaseVerdict:
    """The verdict on one case and the measurements behind it."""

    case: str
    verdict: str
    interval: Interval  # of log(head time / base time)
    log_ratios: Sequence[Sequence[float]]  # of the pairs, by round
    seconds: tuple[float, float]  # of a call, base and head
    upper_bound: float  # one-sided, of the same logarithm
    touched_by: str = ""  # the first change that the case runs, where that was looked for
    slower_than: float | None = None  # the smallest slowdown that matters, where it is another than of other cases
    cycles: Interval | None = None  # of log(head cycles / base cycles), on a GPU whose clock was read

    @property
    def change(self) -> Interval:
        """Relative, as a fraction of the base's time."""
        return _relative_interval(self.interval)

    @property
    def range(self) -> str:
        """What is known of the change: of a case that passes, its upper bound; else its interval."""
        if not self.log_ratios:
            return "not reached"
        if self.verdict == "passes":
            return f"below {_relative(self.upper_bound):+.1%}"
        if self.verdict == "unclear" and self.interval.high - self.interval.low > WIDEST:
            return "too few rounds"
        in_cycles = ""
        if self.verdict == "unclear" and self.interval.low > 0 and self.cycles is not None:
            cycles = _relative_interval(self.cycles)
            in_cycles = f", in cycles [{cycles.low:+.1%}, {cycles.high:+.1%}]"
        return f"[{self.change.low:+.1%}, {self.change.high:+.1%}]{in_cycles}"

    def as_json(self) -> dict[str, Any]:
        """The case's entry in the verdicts document."""
        interval, (base, head) = self.interval, self.seconds
        return {
            "case": self.case,
            "verdict": self.verdict,
            "touched_by": self.touched_by,
            "slower_than": self.slower_than,
            **(_interval_as_json(interval) | ({} if self.log_ratios else {"change": None})),
            "upper_bound": _finite(_relative(self.upper_bound)),
            "cycles": None if self.cycles is None else _interval_as_json(self.cycles),
            "pairs": sum(map(len, self.log_ratios)),
            "base_ms": _finite(1000 * base),
            "head_ms": _finite(1000 * head),
            "log_ratios": [[round(x, 5) for x in pairs] for pairs in self.log_ratios],
        }

    @classmethod
    def of_json(cls, entry: Mapping[str, Any]) -> "CaseVerdict":
        """The case of such an entry."""
        cycles = entry.get("cycles")
        seconds = [math.nan if entry.get(name) is None else entry[name] / 1000 for name in ("base_ms", "head_ms")]
        return cls(
            entry["case"],
            entry["verdict"],
            _interval_of_json(entry),
            entry.get("log_ratios", []),
            (seconds[0], seconds[1]),
            _log_ratio(entry.get("upper_bound"), math.inf),
            entry.get("touched_by", ""),
            entry.get("slower_than"),
            None if cycles is None else _interval_of_json(cycles),
        )


@dataclass
class Findings:
    """Everything that a run measured, and what it could not measure."""

    results: list[CaseVerdict] = field(default_factory=list)
    controls: list[CaseVerdict] = field(default_factory=list)  # of code that is the same in both versions
    untouched: list[str] = field(default_factory=list)  # cases that run nothing that changed, and were not measured
    not_run: list[str] = field(default_factory=list)  # changed functions that no case runs
    elsewhere: int = 0  # touched cases that other shards measure
    only_base: list[str] = field(default_factory=list)
    only_head: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # case to why
    skipped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    refused: str | None = None  # why nothing can be compared
    no_verdict: bool = False  # that reason is that saved samples tell nothing, which is no fault of a run

    def refusal(self, allow_missing: bool) -> str | None:
        """Why there can be no verdict, or None."""
        if self.refused:
            return self.refused
        if self.failed:
            case, why = next(iter(self.failed.items()))
            return f"{_cases(len(self.failed))} failed, first {case}: {why}"
        changed = [result for result in self.controls if result.verdict in ("slower", "faster")]
        if changed:
            return (
                f"the machine was disturbed: {changed[0].case}, whose code is the same in both versions, came out "
                f"{changed[0].verdict} ({changed[0].change.estimate:+.1%}); run it again."
            )
        missing = [*self.skipped, *self.only_base, *self.only_head]
        if missing and not allow_missing:
            return (
                f"{_cases(len(missing))} could not be compared ({', '.join(missing[:3])}"
                f"{', ...' if len(missing) > 3 else ''}); mend that, or accept it with --allow-missing."
            )
        if self.results or self.controls or self.untouched or self.elsewhere:
            return None
        return "nothing was measured; choose cases that both versions have."

    def conclusion(self, allow_missing: bool, allow_unclear: bool) -> tuple[str, int]:
        """The run's verdict, or the reason for refusing one, and the exit code."""
        refusal = self.refusal(allow_missing)
        if refusal:
            return refusal, REFUSED
        verdict = gate_verdict_of_run(result.verdict for result in self.results) if self.results else "untouched"
        if verdict == "unclear" and allow_unclear:
            return verdict, PASSES
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
            "controls": [result.as_json() for result in self.controls],
            "untouched": self.untouched,
            "not_run": self.not_run,
            "only_base": self.only_base,
            "only_head": self.only_head,
            "failed": [{"case": case, "why": why} for case, why in self.failed.items()],
            "skipped": [{"case": case, "why": why} for case, why in self.skipped.items()],
            "warnings": self.warnings,
        }


def format_verdicts(findings: Findings, power: Mapping[str, Any] | None = None) -> list[str]:
    """The table of verdicts, the worst first, and what is not in it; `power` is the self-test's result by case."""
    rank = GATE_VERDICTS.index
    ordered = sorted(findings.results, key=lambda result: (rank(result.verdict), -result.interval.estimate))
    measured = [*ordered, *findings.controls]
    width = max([len(result.case) for result in measured], default=0)
    heading = f"{'verdict':8} {'case':{width}} {'base ms':>10} {'head ms':>10}  {'change':>7}  known of it"
    rows = [_row(result, width, (power or {}).get(result.case)) for result in ordered]
    return [
        *([heading] if measured else []),
        *rows,
        *(_row(dataclasses.replace(each, verdict="control"), width, None) for each in findings.controls),
        *_not_measured(findings),
        *(f"only in the base version: {case}" for case in findings.only_base),
        *(f"only in the head version: {case}" for case in findings.only_head),
        *(f"skipped: {case}: {why}" for case, why in findings.skipped.items()),
        *(f"failed: {case}: {why}" for case, why in findings.failed.items()),
        *(f"warning: {sentence}" for sentence in findings.warnings),
    ]


def _row(result: CaseVerdict, width: int, self_test: Any) -> str:
    """One line of the table."""
    base, head = (f"{1000 * seconds:10.4g}" if result.log_ratios else f"{'':10}" for seconds in result.seconds)
    change = f"{result.change.estimate:+7.1%}" if result.log_ratios else f"{'':7}"
    rounds = f", {len(result.log_ratios)} round{'s' * (len(result.log_ratios) > 1)}" if result.log_ratios else ""
    threshold = f"; {result.slower_than:.3g} matters" if result.slower_than is not None else ""
    touched = f"; touched: {result.touched_by}" if result.touched_by else ""
    known = f"{result.range}{rounds}{threshold}{touched}{_power(self_test)}"
    return f"{result.verdict:8} {result.case:{width}} {base} {head}  {change}  {known}"


def _relative(log_ratio: float) -> float:
    """A fraction of the base's time."""
    return math.expm1(log_ratio) if log_ratio < 700 else math.inf


def _relative_interval(interval: Interval) -> Interval:
    return Interval(*map(_relative, (interval.estimate, interval.low, interval.high)))


def _interval_as_json(interval: Interval) -> dict[str, float | None]:
    """A change as a fraction of the base's, with None for an end that is not known."""
    low = _relative(interval.low) if math.isfinite(interval.low) else None
    return {"change": _relative(interval.estimate), "low": low, "high": _finite(_relative(interval.high))}


def _interval_of_json(entry: Mapping[str, Any]) -> Interval:
    unknown = {"change": 0.0, "low": -math.inf, "high": math.inf}
    return Interval(*(_log_ratio(entry.get(name), value) for name, value in unknown.items()))


def _log_ratio(relative: float | None, unknown: float) -> float:
    return unknown if relative is None else math.log1p(relative)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _not_measured(findings: Findings) -> list[str]:
    """What is said once of the cases that are untouched, and of changes that no case runs."""
    said = []
    if findings.untouched:
        said.append(f"untouched: {_cases(len(findings.untouched))}, which run nothing that differs")
    if findings.elsewhere:
        said.append(f"measured by other shards: {_cases(findings.elsewhere)}")
    if findings.not_run:
        more = f" and {len(findings.not_run) - 5} more" if len(findings.not_run) > 5 else ""
        said.append(f"changed, and run by none of the benchmarks: {', '.join(findings.not_run[:5])}{more}")
    return said


def _power(self_test: Any) -> str:
    if not self_test:
        return ""
    catches = "nothing under 50%" if self_test["catches"] is None else f"{self_test['catches']:.1%}"
    return f"; self-test: catches {catches}, false {self_test['false_alarms']} of {self_test['trials']}"


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"
