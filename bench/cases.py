"""The suite's cases, one line each, and the rule that decides which of them run on a device.

A window holds ten transitions. The network reads a row for each of them, and the loss poses a body for each.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

TRANSITIONS = 10  # of a window
JOINTS = 17  # of a skeleton that is lifted


class Cost(IntEnum):
    """How long a case takes on a CPU, in the steps by which a run there leaves it to `--full`."""

    TINY = 0  # soon, even where PyTorch emulates half precision
    SMALL = 1  # soon in every precision that the CPU has
    LARGE = 2  # minutes in float16 and with a published implementation
    HUGE = 3  # minutes in every precision


TINY, SMALL, LARGE, HUGE = Cost


@dataclass(frozen=True, kw_only=True)
class Case:
    """What every case says of itself."""

    cost: Cost = SMALL
    slower_than: float | None = None  # the smallest slowdown that matters, relative; None: that of --slower-than
    has_weights: ClassVar[bool] = True  # of linear layers, which a precision can keep in half or multiply in float8


@dataclass(frozen=True)
class Linear(Case):
    """One linear layer: the study's Figures 3 and 4."""

    size: int
    rows: int


@dataclass(frozen=True)
class Network(Case):
    """The network of a width, over a batch."""

    windows: int
    width: int

    @property
    def rows(self) -> int:
        """Rows of the network's input."""
        return TRANSITIONS * self.windows


@dataclass(frozen=True)
class Motions(Case):
    """Motions to generate or to fit together, each of so many steps after its first frame."""

    motions: int
    steps: int
    width: int = 1

    def __str__(self) -> str:
        return "1 motion" if self.motions == 1 else f"{self.motions} motions"


@dataclass(frozen=True)
class Sequences(Case):
    """Sequences of 2D joints to lift to 3D, each of so many frames."""

    windows: int
    frames: int

    def __str__(self) -> str:
        return f"{self.frames} frames, batch {self.windows}"

    @property
    def joints(self) -> int:
        """2D joints that a network reads."""
        return JOINTS * self.frames * self.windows


@dataclass(frozen=True)
class Windows(Case):
    """Windows of a batch without the network: to prepare, to pose, or to compute the loss of."""

    windows: int
    has_weights: ClassVar[bool] = False

    @property
    def transitions(self) -> int:
        """Transitions, and bodies to pose."""
        return TRANSITIONS * self.windows


LINEAR = {
    #                    size  rows
    "1024":       Linear(1024,   80, cost=TINY),
    "4096":       Linear(4096,   80),
    "1024-wide":  Linear(1024, 2000, cost=LARGE),
}  # fmt: skip

SAMPLING = {
    #                     windows  width
    "small":       Network(2,      1,  cost=TINY),
    "study":       Network(8,      1),
    "study-4x":    Network(8,      4),
    "training":    Network(200,    1,  cost=LARGE),
    "training-4x": Network(200,    4,  cost=HUGE),
}  # fmt: skip

ROLLOUT = {
    #              motions  steps
    "one":  Motions(1,      30,  cost=TINY),
    "many": Motions(64,     30),
}  # fmt: skip

FIT = {
    #              motions  steps
    "one":  Motions(1,      10,  cost=TINY),
    "many": Motions(64,     10,  cost=LARGE),
    "long": Motions(1,      60,  cost=HUGE),
}  # fmt: skip

POSING = {
    #                  windows
    "study":    Windows(8),
    "training": Windows(200,  cost=HUGE),
}  # fmt: skip

LOSS = {
    #                  windows
    "small":    Windows(2),
    "study":    Windows(8),
    "training": Windows(200,  cost=LARGE),
}  # fmt: skip

TRAIN = {
    #                  windows  width
    "small":    Network(2,      1,  cost=TINY),
    "study":    Network(8,      1),
    "study-4x": Network(8,      4,  cost=HUGE),
    "training": Network(200,    1,  cost=HUGE),
}  # fmt: skip

LIFTING = {
    #               windows  frames
    "27":  Sequences(1,       27),
    "81":  Sequences(1,       81),
    "243": Sequences(1,      243),
}  # fmt: skip

LIFTING_STEP = {
    #               windows  frames
    "27":  Sequences(1,       27),
    "81":  Sequences(1,       81),
    "243": Sequences(1,      243,  cost=HUGE),
}  # fmt: skip

DATA = {
    #                  windows
    "study":    Windows(8),
    "training": Windows(200),
}  # fmt: skip

QUICK = ("1024", "study", "one", "27")  # the cases that --quick keeps
OUTPUTS = ("joints", "keypoints", "mesh")
DIRECTIONS = ("forward", "forward+backward")
PUBLISHED_IMPLEMENTATIONS = ("published", "smplx")
OUR_IMPLEMENTATIONS = ("ours", "store")


@dataclass(frozen=True)
class Choice:
    """One benchmark that could run, as the rule below sees it."""

    name: str  # of the case in its table
    case: Case
    precision: str
    implementation: str


def left_out(
    choice: Choice,
    device: str,
    quick: bool,
    full: bool,
    emulates: bool = False,  # PyTorch emulates the precision's multiplies
    suits_published_loss: bool = True,  # the motion does
) -> str | None:
    """Why a benchmark does not run on a device, or None. A CPU leaves out what would take it minutes."""
    from humor.precision.presets import PRESETS  # tests must be able to import humor first, with its shapes checked

    case, preset = choice.case, PRESETS[choice.precision]  # type: ignore[index]
    if choice.implementation == "published" and not suits_published_loss:
        return "the published loss has male and female bodies alone, and the motion has another gender"
    if quick and choice.name not in QUICK:
        return "--quick keeps the smallest case of each table"
    if preset.keep_half_weights and not case.has_weights:
        return "no network weights to keep in half"
    if preset.float8 and not case.has_weights:
        return "no network layers to multiply in float8"
    if device != "cpu" or full:
        return None
    slow_twin = choice.implementation in PUBLISHED_IMPLEMENTATIONS
    if case.cost >= (LARGE if slow_twin else HUGE):
        return "minutes on a CPU; --full runs it"
    if preset.is_float16 and (slow_twin or case.cost >= LARGE):
        return "a CPU may have to emulate float16 and take minutes; --full runs it"
    if emulates and case.has_weights and case.cost > TINY:
        return "PyTorch emulates half precision on this CPU and takes minutes; --full runs it"
    return None
