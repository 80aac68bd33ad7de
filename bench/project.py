"""All that the harness must know of this project: its packages, its workload, its precisions and its rules.

How far a precision's answer may be from float64's. A format's unit roundoff u is half the gap between neighbours near 1
(bf16 2^-8, fp16 and TF32 2^-11). Multiplying in it rounds three times: both factors and what is written, by u at most
each. Roundings are independent, so that n of them in sequence add as squares, to sqrt(n) u (Higham and Mary 2019, "A
new approach to probabilistic rounding error analysis"); an error is a tensor's, its norm over the float64 run's.

  product    sqrt(3) u: one multiply.
  network    sqrt(27) u: encoder, or prior, and decoder are nine layers in sequence, and normalising between them keeps
             errors as large as they are.
  transformers  sqrt(150) u: eight blocks of six multiplies in sequence, an embedding and a head.
  bodies     sqrt(33) u: the tree of joints is eleven deep, a multiply each.
  loss       4 u: it is quadratic, hence twice, in what two roundings of inputs and weights moved; its mean over rows
             averages the others out.
  gradients  4 sqrt(u): a ReLU whose input was rounded across zero passes a gradient or not, and the share of those
             grows with u: a direction whose cosine is 8 u less than 1, and a norm 4 u off, is sqrt(16 u + 16 u^2) away.

The loss's and the gradients' are those that tests/humor/precision/test_precision.py holds the library to. "only finite"
is what has no bound: the later frames of a rollout move apart at the rate of the motion itself, whatever was rounded
first.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cases
from .harness.case import BenchmarkCase
from .harness.project import Precisions, Project, Run
from .harness.stats.accuracy import Bounds
from .predict.predict_mode import PredictMode
from .workload import OPTIONS, make_workload

if TYPE_CHECKING:
    import torch

BOUNDS: Bounds = {
    "product": lambda u: math.sqrt(3) * u,
    "network": lambda u: math.sqrt(27) * u,
    "transformers": lambda u: math.sqrt(150) * u,
    "bodies": lambda u: math.sqrt(33) * u,
    "loss": lambda u: 4 * u,
    "gradients": lambda u: 4 * math.sqrt(u),
    "only finite": lambda u: math.inf,
}
COUNTED_IMPLEMENTATIONS = ("ours", "store", "file for each window")


def supported(device: "torch.device") -> list[str]:
    """The precisions that a device has."""
    from humor.precision.presets import PRESETS, Precision

    return [name for name in PRESETS if Precision(name).supports(device)]


def unit_roundoff(precision: str) -> float:
    """Half the gap between neighbours near 1, of the format that matrices are multiplied in."""
    from humor.precision.presets import Precision

    return Precision(precision).unit_roundoff


def is_emulated(precision: str) -> bool:
    """Whether PyTorch multiplies in a precision without the CPU's libraries."""
    from humor.precision import cpu_half_emulation
    from humor.precision.presets import Precision

    kind = Precision(precision).preset.autocast
    return kind is not None and cpu_half_emulation.needs_emulation(kind)


def counting_scope(precision: str) -> AbstractContextManager[Any]:
    """Take half precision that this CPU lacks at float32's speed: what is dispatched does not depend on it."""
    from humor.precision.cpu_half_emulation import emulate_half_on_cpu

    return emulate_half_on_cpu() if is_emulated(precision) else nullcontext()


def has_network(case: BenchmarkCase) -> bool:
    """Whether a case multiplies by a network's weights: geometry is float32 in every precision, on purpose."""
    return "case" in case.parameters and case.parameters["case"][1].has_weights


def left_out(case: BenchmarkCase, run: Run) -> str | None:
    """Why a benchmark is not run here, or None."""
    return _other_execution(case, run.option("--execution")) or _not_in_this_run(case, run)


def _not_in_this_run(case: BenchmarkCase, run: Run) -> str | None:
    if "case" not in case.parameters:
        return None
    name, size = case.parameters["case"]
    precision = case.precision or "fp32"
    choice = cases.Choice(name, size, precision, _implementation(case))
    counts = run.mode in ("--counts", "--accept-counts")  # which are of the same cases everywhere
    emulates = run.device.type == "cpu" and not counts and is_emulated(precision)
    suits = run.workload.suits_published_loss
    return cases.left_out(choice, run.device.type, run.quick, run.full, emulates, suits)


def _other_execution(case: BenchmarkCase, execution: str) -> str | None:
    if execution == "eager":
        return None
    if "execution" not in case.fixtures:
        return f"--execution {execution} is for train step, sampling, rollout and fit"
    if _implementation(case) == "published":
        return "the published loss reads values from the device, so that it runs eagerly alone"
    return None


def _implementation(case: BenchmarkCase) -> str:
    return str(case.parameters.get("implementation", "ours"))


def not_compared(case: BenchmarkCase) -> str | None:
    """Why two versions of the library are not compared by a benchmark, or None."""
    ours = _implementation(case) in cases.OUR_IMPLEMENTATIONS
    return None if ours else "other implementations do not change with the library"


def slower_than(case: BenchmarkCase) -> float | None:
    """The smallest slowdown of a case that matters, where the table of cases gives it one."""
    threshold: float | None = case.parameters["case"][1].slower_than if "case" in case.parameters else None
    return threshold


def not_counted(case: BenchmarkCase) -> str | None:
    """Why a benchmark is not counted, or None."""
    counted = _implementation(case) in COUNTED_IMPLEMENTATIONS
    return None if counted else "not counted: what others do changes with their versions"


def counts_graph_breaks(case: BenchmarkCase) -> bool:
    """Whether graph breaks are counted: where there is a precision to choose, for fp32 and a table's smallest case.

    They come from the code, not from sizes and number formats; and nobody compiles the reading of files.
    """
    return case.precision == "fp32" and case.parameters["case"][0] in cases.QUICK


PROJECT = Project(
    name="humor-bench",
    module=__name__,
    root=Path(__file__).parents[1],
    library="humor",
    make_workload=make_workload,
    options=OPTIONS,
    fixtures={
        "bodies": lambda workload: workload.bodies,
        "make_batch": lambda workload: workload.make_batch,
        "execution": lambda workload: workload.execution,
    },
    describe=lambda workload: {"body": workload.body_name, "motion": workload.motion_name},
    notes=lambda workload: [f"passed over: {problem}" for problem in workload.passed_over],
    left_out=left_out,
    not_compared=not_compared,
    slower_than=slower_than,
    not_counted=not_counted,
    counts_graph_breaks=counts_graph_breaks,
    uncounted_files=("precision/cpu_half_emulation.py", "training/fused_adamax.py"),
    not_with_counts=("--motion", "--body-model"),
    rates=("frames",),
    precisions=Precisions(supported, "fp32", unit_roundoff, BOUNDS, has_network, counting_scope),
    modes=(PredictMode,),
)
