"""The suite's cases, a line each, and the rule for which of them a device runs.

A window is ten transitions, so 8 windows are 80 rows of the network and 80 posed bodies.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """One linear layer: the study's Figures 3 and 4."""

    size: int
    rows: int
    full_only: bool = False  # on a CPU, left to --full
    has_weights = True  # that a precision may keep in half


@dataclass(frozen=True)
class Network:
    """The network at a width, over a batch."""

    windows: int
    width: int
    full_only: bool = False
    has_weights = True

    @property
    def rows(self) -> int:
        """Rows of the network's input."""
        return 10 * self.windows


@dataclass(frozen=True)
class Motions:
    """Motions to generate together, a frame after the other."""

    motions: int
    steps: int
    width: int = 1
    full_only: bool = False
    has_weights = True

    @property
    def rows(self) -> int:
        """Rows of the network's input, at each step."""
        return self.motions


@dataclass(frozen=True)
class Fits:
    """Motions to fit together, each of so many steps from its first frame."""

    motions: int
    steps: int
    width: int = 1
    full_only: bool = False
    has_weights = True

    @property
    def rows(self) -> int:
        """Rows of the network's input, over all steps."""
        return self.motions * self.steps


@dataclass(frozen=True)
class Sequences:
    """2D joints of so many frames each, to be lifted to 3D."""

    windows: int
    frames: int
    full_only: bool = False
    has_weights = True

    def __str__(self) -> str:
        return f"{self.frames} frames, batch {self.windows}"

    @property
    def rows(self) -> int:
        """Joints that a network sees."""
        return 17 * self.frames * self.windows


@dataclass(frozen=True)
class Bodies:
    """Bodies to pose, over a batch."""

    windows: int
    full_only: bool = False
    has_weights = False

    @property
    def rows(self) -> int:
        """Bodies."""
        return 10 * self.windows


@dataclass(frozen=True)
class Windows:
    """Windows of a batch to prepare."""

    windows: int
    full_only: bool = False
    has_weights = False

    @property
    def rows(self) -> int:
        """Transitions."""
        return 10 * self.windows


LINEAR = {
    #                    size  rows
    "1024":       Linear(1024,   80),
    "4096":       Linear(4096,   80),
    "1024-wide":  Linear(1024, 2000),
}  # fmt: skip

SAMPLING = {
    #                        windows  width
    "small":         Network(2,       1),
    "study":         Network(8,       1),
    "study-4x":      Network(8,       4),
    "training":      Network(200,     1),
    "training-4x":   Network(200,     4, full_only=True),
}  # fmt: skip

ROLLOUT = {
    #                motions  steps
    "one":   Motions(1,       30),
    "many":  Motions(64,      30),
}  # fmt: skip

FIT = {
    #                motions  steps
    "one":   Fits(1,          10),
    "many":  Fits(64,         10),
    "long":  Fits(1,          60, full_only=True),
}  # fmt: skip

POSING = {
    #                  windows
    "study":    Bodies(8),
    "training": Bodies(200, full_only=True),
}  # fmt: skip

LOSS = {
    #                    windows
    "small":      Bodies(2),
    "study":      Bodies(8),
    "training":   Bodies(200),
}  # fmt: skip

TRAIN = {
    #                   windows  width
    "small":    Network(2,       1),
    "study":    Network(8,       1),
    "study-4x": Network(8,       4, full_only=True),
    "training": Network(200,     1, full_only=True),
}  # fmt: skip

LIFTING = {
    #                windows  frames
    "27":  Sequences(1,       27),
    "81":  Sequences(1,       81),
    "243": Sequences(1,      243),
}  # fmt: skip

LIFTING_STEP = {
    #                windows  frames
    "27":  Sequences(1,       27),
    "81":  Sequences(1,       81),
    "243": Sequences(1,      243, full_only=True),
}  # fmt: skip

DATA = {
    #                    windows
    "study":      Windows(8),
    "training":   Windows(200),
}  # fmt: skip

QUICK = ("1024", "study", "one", "27")  # the cases that --quick keeps
EMULATED = ("1024", "small", "one")  # that a CPU without half precision gets through soon
OUTPUTS = ("joints", "keypoints", "mesh")
DIRECTIONS = ("forward", "forward+backward")
PUBLISHED_IMPLEMENTATIONS = ("published", "smplx")
OUR_IMPLEMENTATIONS = ("ours", "store")


@dataclass(frozen=True)
class Choice:
    """One benchmark that could run, as the rule below sees it."""

    case: str
    full_only: bool
    precision: str
    implementation: str
    rows: int
    has_weights: bool


def left_out(
    choice: Choice,
    device: str,
    quick: bool,
    full: bool,
    emulates: bool = False,
    suits_published_loss: bool = True,  # whether the motion does
) -> str | None:
    """Why a benchmark is not run here, or None. A CPU is spared what would take it minutes."""
    if choice.implementation == "published" and not suits_published_loss:
        return "the published loss has male and female bodies alone, and the motion has another gender"
    if quick and choice.case not in QUICK:
        return "--quick keeps the smallest case of each table"
    if choice.precision.endswith("-weights") and not choice.has_weights:
        return "no network weights to keep in half"
    if choice.precision == "fp8" and not choice.has_weights:
        return "no network layers to multiply in float8"
    if device != "cpu" or full:
        return None
    slow_twin = choice.implementation in PUBLISHED_IMPLEMENTATIONS
    if choice.full_only or (slow_twin and choice.rows > 80):
        return "minutes on a CPU; --full runs it"
    if choice.precision.startswith("fp16") and (slow_twin or choice.rows > 80):
        return "a CPU may have to emulate float16 and take minutes; --full runs it"
    if emulates and choice.has_weights and choice.case not in EMULATED:
        return "PyTorch emulates half precision on this CPU and takes minutes; --full runs it"
    return None


def case_named(benchmark: str, precision: str) -> str:
    """A benchmark's name without its file and its precision: what its precisions are compared under."""
    return benchmark.rpartition("::")[2].replace(f"{precision}-", "", 1)


def not_lower(precision: str | None) -> str | None:
    """Why there is no lower precision to judge in a benchmark, or None."""
    if precision is None:
        return "it has no precision to choose"
    return "what the other precisions are measured against" if precision == "fp32" else None


def not_compared(implementation: str, sleeps: bool) -> str | None:
    """Why two versions of the library are not compared by a benchmark, or None."""
    if implementation not in OUR_IMPLEMENTATIONS:
        return "other implementations do not change with the library"
    return "its time is mostly a pause" if sleeps else None
