"""The block of one saved run: what each case took, with its precisions side by side."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .blocks import Block, Figure, Table, source_of
from .documents import Document, table_of
from .numbers import TIMES, count, digits, multiple, unit_of, whole
from .row_charts import points
from .saved_runs import stats_of
from .style import Point, Style, style_of

NONE = "no precision"  # of a case that has no network
OURS, PUBLISHED = "ours", "published"
NOTE = (
    "Medians of one run, one case after the other: a look, no verdict. pytest bench --pays compares precisions in "
    "turns, pytest bench --against main compares with another commit, and humor profile says where the step goes."
)


@dataclass(frozen=True)
class _Time:
    benchmark: str  # the function
    case: str  # its parameters, without the precision
    precision: str
    stats: Any


def single(documents: Sequence[Document], name: str) -> Block | None:
    """One run: a chart for each benchmark. Nothing where there are more, whose block is their history."""
    times = [time for document in documents for time in _times(document)]
    if len(documents) != 1 or not times:
        return None
    precisions = list(dict.fromkeys(time.precision for time in times))
    styles = {precision: style_of(precision, precisions) for precision in precisions}
    benchmarks = dict.fromkeys(time.benchmark for time in times)
    figures = [
        _figure(f"{name}-{number}", benchmark, [time for time in times if time.benchmark == benchmark], styles)
        for number, benchmark in enumerate(benchmarks)
    ]
    told = [f"{count(len(times), 'case')} of one run", *_faster(times), *_against_published(times)]
    return Block("; ".join(told) + ".", figures, source_of(documents[0]), [NOTE])


def _times(document: Document) -> Iterator[_Time]:
    for bench in document.content["benchmarks"]:
        if stats := stats_of(bench):
            precision = str(table_of(bench, "extra_info").get("precision") or NONE)
            benchmark, _, parameters = bench["name"].rstrip("]").partition("[")
            case = parameters.removeprefix(precision).removeprefix("-")
            yield _Time(benchmark, case or benchmark, precision, stats)


def _figure(name: str, benchmark: str, times: Sequence[_Time], styles: Mapping[str, Style]) -> Figure:
    """A row for each case, a mark for each of its precisions."""
    factor, unit = unit_of((time.stats["median"] for time in times), TIMES)
    rows: dict[str, list[Point]] = {}
    cells = []
    for time in times:
        middle, low, high = (time.stats[key] / factor for key in ("median", "q1", "q3"))
        shown = [digits(x) for x in (middle, low, high)]
        told = f"{time.precision}: {shown[0]} {unit} [{shown[1]}, {shown[2]}]"
        rows.setdefault(time.case, []).append(Point(time.precision, middle, low, high, told))
        cells.append([time.case, time.precision, *shown, whole(time.stats["rounds"])])
    columns = ("case", "precision", f"median, {unit}", "first quartile", "third quartile", "rounds")
    own = {
        precision: style for precision, style in styles.items() if any(time.precision == precision for time in times)
    }
    chart = points(name, benchmark, f"{unit}: median and middle half; left is faster", list(rows.items()), own)
    return Figure(chart, Table(benchmark, columns, cells))


def _faster(times: Sequence[_Time]) -> Iterator[str]:
    """In how many cases the median of a precision was below that of fp32."""
    single_precision = {(t.benchmark, t.case): t.stats["median"] for t in times if t.precision == "fp32"}
    pairs, faster = Counter[str](), Counter[str]()
    for time in times:
        ours = time.case.split("-")[-1] != PUBLISHED
        if ours and time.precision != "fp32" and (time.benchmark, time.case) in single_precision:
            pairs[time.precision] += 1
            faster[time.precision] += time.stats["median"] < single_precision[time.benchmark, time.case]
    if pairs:
        told = (f"{precision} in {faster[precision]} of {number}" for precision, number in pairs.items())
        yield f"the median is below that of fp32 for {', '.join(told)}"


def _against_published(times: Sequence[_Time]) -> Iterator[str]:
    """What the published code takes, for each benchmark that has both."""
    found = {(t.benchmark, t.precision, t.case): t.stats["median"] for t in times}
    ratios: dict[str, list[float]] = {}
    for (benchmark, precision, case), seconds in found.items():
        published = f"{case.removesuffix(OURS)}{PUBLISHED}"
        if case.endswith(OURS) and (benchmark, precision, published) in found:
            ratios.setdefault(benchmark, []).append(found[benchmark, precision, published] / seconds)
    if ratios:
        told = (f"{multiple(median(each))} in {benchmark}" for benchmark, each in ratios.items())
        yield f"times that the published code takes of ours: {', '.join(told)}"
