"""Whether two precisions train alike: a pure function of their loss curves."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from ..io.run_tables import RunCurves

CURVES = ("train", "validation")  # of RunCurves
AGREE, DIFFER, UNDECIDED = "agree", "differ", "cannot be distinguished at this length"
CONFIDENCE, POWER = 0.95, 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class CurveComparison:
    """One of three words, and the numbers behind it: of the log loss, so that 0.01 is one percent."""

    word: str
    why: str
    change: float  # of the level, against the reference
    low: float  # of its interval
    high: float
    spread: float  # what another seed changes
    visible: float = float("nan")  # the least change whose interval would leave out zero, four times in five
    seeds: int | None = None  # with which it would be decided, of the same scatter; None if it is, or with many


_NO_NUMBERS = (float("nan"),) * 4


def compare_curves(
    reference: Float[np.ndarray, "seeds epochs"], other: Float[np.ndarray, "seeds epochs"]
) -> CurveComparison:
    """Compare loss curves of the same seeds: the same first weights, batches and noise.

    A curve's level is its mean log loss over the last half of the epochs. The change is the mean over seeds of the
    level minus the reference's of the same seed, with its 95 % interval by Student's t on those paired differences. It
    is measured against the spread: the standard deviation over seeds of the reference's level, what another seed
    changes.

    - agree: the whole interval is within the spread of zero.
    - differ: the whole interval is further than the spread from zero; or only the reference stays finite.
    - cannot be distinguished at this length: everything else: the interval reaches across the spread, there are fewer
      than two seeds, or the reference itself has not fallen by more than its spread since the first epoch.
    """
    if not np.isfinite(reference).all():
        return _undecided("the reference is not finite")
    if not np.isfinite(other).all():
        return CurveComparison(DIFFER, "it does not stay finite", *_NO_NUMBERS)
    if (reference <= 0).any() or (other <= 0).any():
        return _undecided("a loss is not above zero")
    if len(reference) < 2:
        return _undecided("one seed has no spread")
    ours, theirs = np.log(other), np.log(reference)
    late = slice(theirs.shape[1] // 2, None)
    levels = theirs[:, late].mean(1)
    changes = ours[:, late].mean(1) - levels
    change, spread = float(changes.mean()), float(levels.std(ddof=1))
    scatter = float(changes.std(ddof=1))
    reach = _reach(scatter, len(changes))
    visible = reach + scatter / math.sqrt(len(changes)) * float(stats.t.ppf(POWER, len(changes) - 1))
    numbers = (change, change - reach, change + reach, spread, visible)
    if abs(change) - reach > spread:
        return CurveComparison(DIFFER, "the change is larger than what another seed changes", *numbers)
    if float((theirs[:, 0] - levels).mean()) <= spread:
        return CurveComparison(UNDECIDED, "the loss has hardly fallen yet", *numbers)
    if abs(change) + reach <= spread:
        return CurveComparison(AGREE, "the change is smaller than what another seed changes", *numbers)
    counts = range(len(changes) + 1, MOST_SEEDS)
    enough = next((count for count in counts if _reach(scatter, count) <= abs(spread - abs(change))), None)
    return CurveComparison(UNDECIDED, "the interval reaches across what another seed changes", *numbers, enough)


def comparison_sentences(runs: RunCurves) -> list[str]:
    """A sentence on each precision beside the first."""
    reference, *others = runs.precisions
    sentences = []
    for name in others:
        curves = {
            curve: compare_curves(getattr(runs, curve)[reference], getattr(runs, curve)[name])
            for curve in CURVES
            if not np.isnan(getattr(runs, curve)[reference]).all()  # nothing validated
        }
        sentences.append(comparison_sentence(name, reference, curves))
    return sentences


def comparison_sentence(name: str, reference: str, curves: dict[str, CurveComparison]) -> str:
    """One sentence over several curves, e.g. train and validation: agree where all do, differ where one does."""
    words = [verdict.word for verdict in curves.values()]
    word = DIFFER if DIFFER in words else UNDECIDED if UNDECIDED in words else AGREE
    numbers = "; ".join(f"{curve} {_numbers(verdict)}" for curve, verdict in curves.items())
    return f"The curves of {name} and {reference} {word}: {numbers}."


def _numbers(verdict: CurveComparison) -> str:
    if not np.isfinite(verdict.change):
        return f"({verdict.why})"
    low, change, high, spread = (100 * x for x in (verdict.low, verdict.change, verdict.high, verdict.spread))
    seeds = "" if verdict.seeds is None else f"; {verdict.seeds} seeds would decide"
    found = f"{change:+.2g} % [{low:+.2g}, {high:+.2g}], where {100 * verdict.visible:.2g} % would have been seen"
    return f"{found} and another seed changes {spread:.2g} % ({verdict.why}{seeds})"


def _reach(scatter: float, seeds: int) -> float:
    """Half the width of the interval of a mean over seeds that scatter so much."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1)) * scatter / math.sqrt(seeds)


def _undecided(why: str) -> CurveComparison:
    return CurveComparison(UNDECIDED, why, *_NO_NUMBERS)
