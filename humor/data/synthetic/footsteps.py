"""Where and when the feet of a synthetic walker go: straights, bends, turns on the spot, halts; the path above them.

The plane is the floor of a z-up world, in metres; a heading is an angle about z in radians, 0 looking along +x and
growing to the left. Footsteps come first and the body follows them, so that a planted foot cannot slide.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline

LEFT, RIGHT = 0, 1
DOUBLE_SUPPORT = 0.2  # share of a step with both feet down (Perry, Gait Analysis: stance is 60 % of a stride)
WEIGHT_SHIFT = 0.4  # seconds from deciding to walk until the first foot leaves the floor
STAND_WIDTH, WALK_WIDTH = 0.085, 0.05  # metres from the centre line to each foot
LONGEST_STEP = 0.82  # leg lengths; whoever wants to go faster steps more often
SWAY = 0.6  # share of the standing foot's width that the body's path is pulled towards it, before smoothing


@dataclass(frozen=True)
class Step:
    """One foot put down: which one, when (seconds), and where."""

    foot: int
    start: float  # the other foot has landed, or standing ends
    toe_off: float
    strike: float
    centre: np.ndarray  # (2,) point of the centre line beside the foot
    heading: float
    width: float  # from the centre line to the foot

    @property
    def place(self) -> np.ndarray:
        """(2,) point of the floor under the ankle once the foot is flat."""
        side = 1 if self.foot == LEFT else -1
        return self.centre + side * self.width * np.array([-np.sin(self.heading), np.cos(self.heading)])


@dataclass(frozen=True)
class Path:
    """Knots of what the body follows, to be smoothed: over the feet, and towards the foot that carries it."""

    times: np.ndarray  # (K,)
    centres: np.ndarray  # (K, 2)
    headings: np.ndarray  # (K,)


@dataclass(frozen=True)
class Bout:
    """A run of steps between two halts; a turn on the spot has no lengths."""

    pause: float  # seconds of standing before it
    step_time: float  # seconds
    lengths: np.ndarray  # (n,) metres that the centre line advances
    turns: np.ndarray  # (n,) radians that the heading changes


def plan_steps(rng: np.random.Generator, seconds: float, leg_length: float) -> list[Step]:
    """Footsteps that last at least the given time; the first two are the stance at the start.

    Longer legs step longer and slower (leg_length in metres, hip to ankle).
    """
    heading = rng.uniform(-np.pi, np.pi)
    steps = [Step(foot, -2.0, -1.5, -1.0, np.zeros(2), heading, STAND_WIDTH) for foot in (LEFT, RIGHT)]
    bouts = _bouts(rng, leg_length)
    # One bout more than needed, so that the clip never runs out of motion in its last steps.
    while steps[-1].strike < seconds + 1:
        steps += _bout_steps(next(bouts), steps[-1], foot=int(rng.integers(2)))
    return steps


def _bouts(rng: np.random.Generator, leg_length: float) -> Iterator[Bout]:
    """Walk, halt, turn on the spot, walk off, and again; the halt after some of the walks is not for turning."""
    pause, turns = rng.uniform(0.3, 0.7), True
    while True:
        yield _walk(rng, pause, leg_length)
        pause = rng.uniform(1.0, 1.8)
        if turns:
            yield _turn_on_the_spot(rng, pause)
            pause = rng.uniform(0.4, 1.0)
        turns = rng.uniform() < 0.6


def _walk(rng: np.random.Generator, pause: float, leg_length: float) -> Bout:
    """Steps at 0.9 to 1.6 m/s with a bend in them; half a step at first, the last one closes the stance."""
    count, first = int(rng.integers(6, 10)), int(rng.integers(1, 3))
    # Legs swing like pendulums, long ones at a slower beat; short ones do not keep up. 0.85 m is an adult's leg.
    pendulum = np.sqrt(leg_length / 0.85)
    speed = rng.uniform(0.9, 1.6) * min(leg_length / 0.85, 1.0)
    step_time = min(pendulum / (1.4 + 0.4 * speed), LONGEST_STEP * leg_length / speed)
    bend = np.zeros(count)
    bend[first:-1] = np.hanning(count - first + 1)[1:-1]
    bend *= rng.choice([-1, 1]) * rng.uniform(0.2, 0.42) / bend.max()
    lengths = speed * step_time * (1 - 0.3 * np.abs(bend))
    lengths[0] *= 0.5
    lengths[-2:] *= 0.7, 0.0
    return Bout(pause, step_time, lengths, bend)


def _turn_on_the_spot(rng: np.random.Generator, pause: float) -> Bout:
    """Turning steps of 30 to 45 degrees, the last one bringing the feet side by side again."""
    count = int(rng.integers(2, 4))
    turns = np.full(count + 1, rng.choice([-1, 1]) * rng.uniform(0.5, 0.8))
    turns[-1] = 0
    return Bout(pause, 0.62, np.zeros(count + 1), turns)


def _bout_steps(bout: Bout, last: Step, foot: int) -> list[Step]:
    """The steps of one bout, after the last one made; a turn on the spot opens with the foot on its own side."""
    on_the_spot = not bout.lengths.any()
    if on_the_spot:
        foot = LEFT if bout.turns[0] > 0 else RIGHT
    time, centre, heading = last.strike + bout.pause, last.centre, last.heading
    if last.strike < 0:
        time = bout.pause
    steps = []
    for k, (length, turn) in enumerate(zip(bout.lengths, bout.turns, strict=True)):
        along = heading + 0.5 * turn
        centre = centre + length * np.array([np.cos(along), np.sin(along)])
        heading = heading + turn
        toe_off = time + (WEIGHT_SHIFT if k == 0 else DOUBLE_SUPPORT * bout.step_time)
        strike = toe_off + (1 - DOUBLE_SUPPORT) * bout.step_time
        closing = on_the_spot or k >= len(bout.lengths) - 2
        steps.append(Step(foot, time, toe_off, strike, centre, heading, STAND_WIDTH if closing else WALK_WIDTH))
        time, foot = strike, 1 - foot
    return steps


def body_path(steps: list[Step], rng: np.random.Generator) -> Path:
    """Knots of the body's path: half-way between the feet at each landing, pulled to the standing foot in between."""
    knots = []
    for before, stance, step in zip(steps, steps[1:], steps[2:], strict=False):
        start = 0.5 * (before.centre + stance.centre), 0.5 * (before.heading + stance.heading)
        end = 0.5 * (stance.centre + step.centre), 0.5 * (stance.heading + step.heading)
        # After a halt the same foot may go twice: then the other one, which carries, was put down before.
        carrier = stance if stance.foot != step.foot else before
        swing = 0.5 * (step.toe_off + step.strike)
        share = (swing - step.start) / (step.strike - step.start)
        centre = start[0] + share * (end[0] - start[0]) + SWAY * (carrier.place - carrier.centre)
        # Standing until this step: shift about by millimetres, as people do.
        for time in np.arange(max(stance.strike, -1.0) + 0.4, step.start - 0.2, 0.4):
            knots.append((time, start[0] + rng.uniform(-0.006, 0.006, 2), start[1] + rng.uniform(-0.02, 0.02)))
        if step.start > stance.strike:
            knots.append((step.start, *start))
        knots.append((swing, centre, start[1] + share * (end[1] - start[1])))
        knots.append((step.strike, *end))
    first = (-1.5, steps[0].centre, steps[0].heading)
    times, centres, headings = zip(first, *knots, strict=True)
    return Path(np.array(times), np.array(centres), np.array(headings))


def smooth_curve(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Twice differentiable curve near a polyline, which it never overshoots: values (K, ...) at times (K,).

    Source: Schoenberg's variation-diminishing cubic spline, whose controls are the polyline at the knots' means.
    """
    reach = 0.25 * np.arange(1, 4)
    knots = np.concatenate([times[0] - reach[::-1], times, times[-1] + reach])
    greville = (knots[1:-3] + knots[2:-2] + knots[3:-1]) / 3
    after = np.clip(np.searchsorted(times, greville), 1, len(times) - 1)
    share = np.clip((greville - times[after - 1]) / (times[after] - times[after - 1]), 0, 1)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    controls = values[after - 1] + share * (values[after] - values[after - 1])
    return BSpline(knots, controls, 3)(at)


def ease(share: np.ndarray) -> np.ndarray:
    """0 to 1, with no speed and no acceleration at either end, and clamped outside.

    Source: Flash & Hogan 1985, minimum jerk.
    """
    share = np.clip(share, 0, 1)
    return share**3 * (10 - 15 * share + 6 * share**2)


def glide(share: np.ndarray) -> np.ndarray:
    """Like `ease` with a steadier speed in between, at most 1.4 times the mean, as a swinging foot has."""
    x = 2 * np.clip(share, 0, 1) - 1
    return 0.5 + 0.5 * (x - 2 / 5 * x**5 + x**9 / 9) / (1 - 2 / 5 + 1 / 9)
