"""The answer from one saved run: what each case took, with its precisions side by side."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from .document_types import SavedRun
from .layout import Answer, Figure, Table
from .numbers import TIMES, count, digits, multiple, unit_of, whole
from .row_charts import points
from .saved_runs import Timing, timing_of
from .style import Point, style_of

NO_PRECISION = "no precision"  # of a case that has no network
OURS, PUBLISHED = "ours", "published"
NOTE = (
    "Medians of one run, one case after the other: no verdict. pytest bench --compare-precisions alternates "
    "precisions, pytest bench --against main alternates with another commit, and humor profile says where the "
    "step goes."
)


@dataclass(frozen=True)
class CaseTiming:
    """What one case took in one precision."""

    benchmark: str  # the function
    case: str  # its parameters, without the precision
    precision: str
    timing: Timing


def one_run(run: SavedRun, name: str) -> Answer | None:
    """One run: a chart for each benchmark."""
    times = list(_case_timings(run))
    if not times:
        return None
    figures = [
        _figure(f"{name}-{number}", benchmark, [time for time in times if time.benchmark == benchmark])
        for number, benchmark in enumerate(dict.fromkeys(time.benchmark for time in times))
    ]
    parts = [f"{count(len(times), 'case')} of one run", *_faster_than_fp32(times), *_published_to_ours(times)]
    return Answer("; ".join(parts) + ".", figures, [NOTE])


def _case_timings(run: SavedRun) -> Iterator[CaseTiming]:
    for bench in run.benchmarks:
        if timing := timing_of(bench.stats):
            precision = bench.extra_info.precision or NO_PRECISION
            benchmark, _, parameters = bench.name.rstrip("]").partition("[")
            case = parameters.removeprefix(precision).removeprefix("-")
            yield CaseTiming(benchmark, case or benchmark, precision, timing)


def _figure(name: str, benchmark: str, times: Sequence[CaseTiming]) -> Figure:
    """A row for each case, a mark for each of its precisions."""
    factor, unit = unit_of((time.timing.median for time in times), TIMES)
    rows: dict[str, list[Point]] = {}
    cells = []
    for time in times:
        middle, low, high = (x / factor for x in (time.timing.median, time.timing.q1, time.timing.q3))
        shown = [digits(x) for x in (middle, low, high)]
        tooltip = f"{time.precision}: {shown[0]} {unit} [{shown[1]}, {shown[2]}]"
        rows.setdefault(time.case, []).append(Point(time.precision, middle, low, high, tooltip))
        cells.append([time.case, time.precision, *shown, whole(time.timing.rounds)])
    columns = ("case", "precision", f"median, {unit}", "first quartile", "third quartile", "rounds")
    styles = {time.precision: style_of(time.precision) for time in times}
    chart = points(name, benchmark, f"{unit}: median and middle half; left is faster", list(rows.items()), styles)
    return Figure(chart, Table(benchmark, columns, cells))


def _faster_than_fp32(times: Sequence[CaseTiming]) -> Iterator[str]:
    """In how many cases the median of a precision was below that of fp32."""
    reference = {(t.benchmark, t.case): t.timing.median for t in times if t.precision == "fp32"}
    pairs, faster = Counter[str](), Counter[str]()
    for time in times:
        ours = time.case.split("-")[-1] != PUBLISHED
        if ours and time.precision != "fp32" and (time.benchmark, time.case) in reference:
            pairs[time.precision] += 1
            faster[time.precision] += time.timing.median < reference[time.benchmark, time.case]
    if pairs:
        shares = (f"{precision} in {faster[precision]} of {number}" for precision, number in pairs.items())
        yield f"the median is below that of fp32 for {', '.join(shares)}"


def _published_to_ours(times: Sequence[CaseTiming]) -> Iterator[str]:
    """What the published code takes, for each benchmark that has both."""
    seconds = {(t.benchmark, t.precision, t.case): t.timing.median for t in times}
    ratios: dict[str, list[float]] = {}
    for (benchmark, precision, case), ours in seconds.items():
        published = f"{case.removesuffix(OURS)}{PUBLISHED}"
        if case.endswith(OURS) and (benchmark, precision, published) in seconds:
            ratios.setdefault(benchmark, []).append(seconds[benchmark, precision, published] / ours)
    if ratios:
        each = (f"{multiple(median(found))} in {benchmark}" for benchmark, found in ratios.items())
        yield f"times that the published code takes of ours: {', '.join(each)}"
