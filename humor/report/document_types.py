"""What each kind of document holds: the JSON that other commands write, field by field."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..io.run_tables import RunCurves
from .schema import MismatchError, Number


@dataclass(frozen=True)
class Machine:
    """Where and when a document was measured; what its writer did not know is left out."""

    name: str = ""
    device: str = ""
    torch: str = ""
    threads: Number = None
    when: str = ""  # ISO time


@dataclass(frozen=True)
class PhaseTimes:
    """Seconds of one phase of a step: medians on the host and on the device, and the first step's on the host."""

    host: Number
    device: Number
    first: Number


@dataclass(frozen=True)
class ProfiledRun:
    """The steps of one precision at one width, seconds and bytes."""

    width: Number
    precision: str
    step: Number
    step_low: Number
    step_high: Number
    peak_bytes: Number
    phases: Mapping[str, PhaseTimes]


@dataclass(frozen=True)
class ProfiledLinear:
    """One linear layer's time in one precision, seconds."""

    size: Number
    rows: Number
    precision: str
    casts: Number
    launch: Number
    kernel: Number
    total: Number


@dataclass(frozen=True)
class Profile:
    """What `humor profile` writes."""

    batch: Number
    runs: tuple[ProfiledRun, ...]
    linear: tuple[ProfiledLinear, ...]
    machine: Machine = Machine()


@dataclass(frozen=True)
class PrecisionCase:
    """One case in one precision, beside fp32."""

    case: str
    precision: str
    verdict: str
    reason: str
    seconds: Number
    speedup: Number
    low: Number
    high: Number
    error: Number
    bound: Number


@dataclass(frozen=True)
class Precisions:
    """What `pytest bench --compare-precisions-json` writes."""

    cases: tuple[PrecisionCase, ...]
    machine: Machine = Machine()


@dataclass(frozen=True)
class SpeedupGrid:
    """Speed-ups of a precision over fp32 with their intervals, shape (sizes, rows)."""

    speedup: tuple[tuple[Number, ...], ...]
    low: tuple[tuple[Number, ...], ...]
    high: tuple[tuple[Number, ...], ...]


@dataclass(frozen=True)
class Crossover:
    """What `python -m bench.studies.crossover` writes."""

    sizes: tuple[Number, ...]
    rows: tuple[Number, ...]
    precisions: Mapping[str, SpeedupGrid]
    machine: Machine = Machine()

    def __post_init__(self) -> None:
        for name, grid in self.precisions.items():
            for part, table in vars(grid).items():
                if [len(line) for line in table] != [len(self.rows)] * len(self.sizes):
                    expected = f"{len(self.sizes)} sizes by {len(self.rows)} rows"
                    raise MismatchError(f"precisions[{name}].{part} is not {expected}")


@dataclass(frozen=True)
class PredictedPhase:
    """A number of the study beside what the cost model says, milliseconds."""

    table: Number
    width: Number
    phase: str
    precision: str
    published_ms: Number
    predicted_ms: Number
    fitted: object = False  # true where the model was fitted to it


@dataclass(frozen=True)
class PredictedCase:
    """The predicted seconds of one case, and its work."""

    case: str
    precision: str
    predicted: Number
    bound_by: str
    flops: Number
    bytes: Number
    kernels: Number


@dataclass(frozen=True)
class Prediction:
    """What `pytest bench --predict-to` writes."""

    gpu: str
    published: tuple[PredictedPhase, ...]
    cases: tuple[PredictedCase, ...]
    machine: Machine = Machine()


@dataclass(frozen=True)
class RooflinePoint:
    """The work of one case and its seconds."""

    case: str
    precision: str
    flops: Number
    bytes: Number
    seconds: Number


@dataclass(frozen=True)
class Roofline:
    """Cases under a machine's limits: FLOP/s by precision, and bytes a second."""

    peaks: Mapping[str, Number]
    bandwidth: Number
    points: tuple[RooflinePoint, ...]
    machine: Machine = Machine()


@dataclass(frozen=True)
class VerdictCase:
    """The verdict of one case: its change as a share of the base's time, with an interval."""

    case: str
    verdict: str
    change: Number
    low: Number
    high: Number
    base_ms: Number
    head_ms: Number
    upper_bound: Number = None  # one-sided, of the change


@dataclass(frozen=True)
class ComparedVersion:
    """A version of the code that was compared."""

    ref: str = ""


@dataclass(frozen=True)
class ComparedVersions:
    """The two versions that were compared."""

    base: ComparedVersion = ComparedVersion()
    head: ComparedVersion = ComparedVersion()


@dataclass(frozen=True)
class FailedCase:
    """A case that could not be compared."""

    case: str
    why: str


@dataclass(frozen=True)
class Verdicts:
    """What `pytest bench --verdicts` writes."""

    verdict: str
    reason: str
    warnings: tuple[str, ...]
    cases: tuple[VerdictCase, ...]
    controls: tuple[VerdictCase, ...] = ()  # measured, although their code is the same in both versions
    untouched: tuple[str, ...] = ()  # cases that run nothing that differs
    not_run: tuple[str, ...] = ()  # changed functions that no case runs
    failed: tuple[FailedCase, ...] = ()
    versions: ComparedVersions = ComparedVersions()
    machine: Machine = Machine()


@dataclass(frozen=True)
class BenchmarkStats:
    """Seconds of one benchmark."""

    median: Number
    q1: Number
    q3: Number
    rounds: Number


@dataclass(frozen=True)
class BenchmarkExtra:
    """What a benchmark says of itself."""

    precision: str = ""


@dataclass(frozen=True)
class SavedBenchmark:
    """One benchmark of a saved run."""

    name: str
    stats: BenchmarkStats
    extra_info: BenchmarkExtra = BenchmarkExtra()


@dataclass(frozen=True)
class SavedFingerprint:
    """The identity of a machine, hashed."""

    machine: str = ""


@dataclass(frozen=True)
class SavedMachine(Machine):
    """The machine of a saved run."""

    fingerprint: SavedFingerprint = SavedFingerprint()


@dataclass(frozen=True)
class SavedCommit:
    """The commit of a saved run."""

    id: str = ""


@dataclass(frozen=True)
class SavedRun:
    """What pytest-benchmark writes."""

    datetime: str  # ISO time
    benchmarks: tuple[SavedBenchmark, ...]
    machine_info: SavedMachine = SavedMachine()
    commit_info: SavedCommit = SavedCommit()

    @property
    def machine(self) -> Machine:
        """The machine, with the run's time."""
        return replace(self.machine_info, when=self.datetime)


@dataclass(frozen=True)
class Training:
    """The folder of `humor train` or `humor study`."""

    curves: RunCurves
    machine: Machine = Machine()


Content = Profile | Precisions | Crossover | Prediction | Roofline | Verdicts | SavedRun | Training
KINDS: Mapping[str, type[Content]] = {  # by the "kind" that a file names
    "profile": Profile,
    "precisions": Precisions,
    "crossover": Crossover,
    "prediction": Prediction,
    "roofline": Roofline,
    "verdicts": Verdicts,
}
