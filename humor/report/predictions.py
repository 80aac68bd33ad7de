"""Answers from what was predicted for another GPU, never to be taken for measured."""

from .document_types import PredictedPhase, Prediction
from .layout import Answer, Figure, Table
from .numbers import TIMES, count, digits, percent, scaled, unit_of, whole
from .row_charts import points
from .style import Point, Style
from .svg import SERIES


def study_predicted(document: Prediction, name: str) -> Answer | None:
    """What was predicted for another GPU, beside what the study published of it."""
    if not document.published:
        return None
    rows, cells, errors = [], [], []
    for phase in document.published:
        label = f"table {whole(phase.table)}, width {whole(phase.width)}, {phase.phase}, {phase.precision}"
        label += " (fitted)" * bool(phase.fitted)
        both = {"published": phase.published_ms, "predicted": phase.predicted_ms}
        rows.append((label, [Point(kind, ms, None, None, f"{kind} {digits(ms)} ms") for kind, ms in both.items()]))
        error = _relative_error(phase)
        fitted = "fitted" if phase.fitted else ""
        cells.append([label, *map(digits, both.values()), percent(error, signed=True), fitted])
        errors += [abs(error)] if error is not None and not phase.fitted else []
    title = f"Predicted for a {document.gpu}, beside what was published"
    table = Table(title, ("number", "published, ms", "predicted, ms", "off by", "used to fit"), cells)
    sentence = f"Predicted for a {document.gpu}, not measured: "
    sentence += (
        f"of {count(len(errors), 'published number')} that the model was not fitted to, it is off by "
        f"{percent(sorted(errors)[len(errors) // 2])} at the middle and {percent(max(errors))} at most."
        if errors else "every published number was used to fit the model, so that none tests it."
    )  # fmt: skip
    styles = {"published": Style(SERIES[5], "o"), "predicted": Style(SERIES[0], "D", hollow=True)}
    return Answer(sentence, [Figure(points(name, title, "ms", rows, styles), table)])


def _relative_error(phase: PredictedPhase) -> float | None:
    """Of a prediction; None where a number is not known."""
    if not phase.published_ms or phase.predicted_ms is None:
        return None
    return phase.predicted_ms / phase.published_ms - 1


def cases_predicted(document: Prediction, name: str) -> Answer | None:
    """How long each case was predicted to take on another GPU, and what binds it."""
    cases = document.cases
    if not cases:
        return None
    factor, unit = unit_of((case.predicted for case in cases), TIMES)
    bounds = list(dict.fromkeys(case.bound_by for case in cases))
    styles = {bound: Style(SERIES[at % len(SERIES)], "Dos^v"[at % 5], hollow=True) for at, bound in enumerate(bounds)}
    rows, cells = [], []
    for case in cases:
        label, time = f"{case.case}, {case.precision}", scaled(case.predicted, factor)
        tooltip = f"predicted {digits(time)} {unit}, bound by {case.bound_by}"
        rows.append((label, [Point(case.bound_by, time, None, None, tooltip)]))
        work = digits(scaled(case.flops, 1e9)), digits(scaled(case.bytes, 1e6)), whole(case.kernels)
        cells.append([label, digits(time), case.bound_by, *work])
    title = f"Predicted times on a {document.gpu}"
    table = Table(title, ("case", f"predicted, {unit}", "bound by", "GFLOP", "MB", "kernels"), cells)
    most = max(bounds, key=lambda bound: sum(case.bound_by == bound for case in cases))
    share = f"{sum(case.bound_by == most for case in cases)} of {count(len(cases), 'case')}"
    sentence = f"Predicted for a {document.gpu}, not measured: {most} binds {share}."
    return Answer(sentence, [Figure(points(name, title, f"predicted, {unit}", rows, styles), table)])
