"""Peaks of GPUs from their data sheets: what a prediction starts from."""

from collections.abc import Mapping
from dataclasses import dataclass

from humor.errors import SettingError

from .cost_model import Machine

# The share of its sheet's rate that a large float32 multiply reached on an H100: 532 GFLOP in 12.46 ms
# (bench_sampling, 200 windows, width 4). Bandwidth and other number formats are assumed to reach the same share.
ACHIEVED = 0.64


@dataclass(frozen=True)
class Gpu:
    """Peaks of a GPU. A number format that its hardware lacks has no rate."""

    rates: Mapping[str, float]  # FLOP/s of matrix multiplies, dense, summed in float32, by number format
    bandwidth: float  # byte/s of its memory
    memory: float  # bytes
    units: int  # streaming multiprocessors
    sheet: str

    def machine(self, dispatch: float, launch: float) -> Machine:
        """The GPU for the cost model, behind a host with these costs in seconds."""
        rates = {name: ACHIEVED * rate for name, rate in self.rates.items()}
        return Machine(rates, ACHIEVED * self.bandwidth, dispatch, launch, self.units)


_ROWS = {
    # Where a sheet gives only rates with sparsity, this is half of them.
    # name      TFLOP/s of fp32, tf32, bf16, fp16, fp8   GB/s  GB  SMs  sheet
    "t4":       ((8.1,  None,  None,  65,    None), 320,  16, 40,  "NVIDIA T4 Tensor Core GPU data sheet, 2019"),
    "a100":     ((19.5, 156,   312,   312,   None), 2039, 80, 108, "NVIDIA A100 data sheet, 2021: SXM, 80 GB"),
    "h100":     ((67,   494.5, 989.5, 989.5, 1979), 3350, 80, 132, "NVIDIA H100 data sheet, 2023: SXM"),
    "l4":       ((30.3, 60,    121,   121,   242),  300,  24, 58,  "NVIDIA L4 data sheet, 2023"),
    "rtx-4090": ((82.6, 82.6,  165.2, 165.2, 330),  1008, 24, 128, "NVIDIA Ada GPU Architecture, 2022, appendix A"),
}  # fmt: skip
_FORMATS = ("fp32", "tf32", "bf16", "fp16", "fp8")

GPUS = {
    name: Gpu(
        {number_format: 1e12 * rate for number_format, rate in zip(_FORMATS, rates, strict=True) if rate is not None},
        1e9 * bandwidth,
        1e9 * memory,
        units,
        sheet,
    )
    for name, (rates, bandwidth, memory, units, sheet) in _ROWS.items()
}


def gpu_named(name: str) -> Gpu:
    """A GPU of the table. Raises SettingError for another."""
    if name not in GPUS:
        raise SettingError(f'GPU "{name}" has no peaks in bench/predict/gpus.py; give cpu or one of {", ".join(GPUS)}.')
    return GPUS[name]
