"""What a time depends on: a baseline counts only where machine, software and settings are the same.

Not seen: clocks locked with `nvidia-smi --lock-gpu-clocks`, which the driver does not report back.
"""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any

MACHINE, SOFTWARE, SETTINGS = "on another machine", "with other software", "under other settings"


def _named(words: str, group: str) -> Any:
    return dataclasses.field(metadata={"words": words, "group": group})


@dataclass(frozen=True)
class Fingerprint:
    """Everything that is compared, None where it is not known here; as JSON, `dataclasses.asdict` of it."""

    machine: str | None = _named("machine", MACHINE)  # hashed
    device: str = _named("device", MACHINE)
    cpu: str = _named("CPU", MACHINE)
    cores: int | None = _named("CPU cores", MACHINE)
    memory_gib: int | None = _named("GiB of memory", MACHINE)

    system: str = _named("system", SOFTWARE)  # and its kernel's release
    driver: str | None = _named("NVIDIA driver", SOFTWARE)
    cuda: str | None = _named("CUDA", SOFTWARE)
    cudnn: int | None = _named("cuDNN", SOFTWARE)
    torch: str = _named("PyTorch", SOFTWARE)
    numpy: str = _named("NumPy", SOFTWARE)
    python: str = _named("Python", SOFTWARE)

    threads: int = _named("threads within an operator", SETTINGS)
    interop_threads: int = _named("threads between operators", SETTINGS)
    omp_num_threads: str | None = _named("OMP_NUM_THREADS", SETTINGS)
    mkl_num_threads: str | None = _named("MKL_NUM_THREADS", SETTINGS)
    environment: str | None = _named("environment variables", SETTINGS)
    affinity: str | None = _named("CPUs to run on", SETTINGS)
    cpu_quota: str | None = _named("CPU quota of the container", SETTINGS)
    matmul_tf32: str = _named("TF32 multiplies", SETTINGS)
    matmul_fp32_precision: str | None = _named("torch.backends.cuda.matmul.fp32_precision", SETTINGS)
    float32_matmul_precision: str = _named("float32 matmul precision", SETTINGS)
    cudnn_tf32: str = _named("cuDNN's TF32", SETTINGS)
    cudnn_benchmark: bool = _named("cuDNN's benchmark mode", SETTINGS)
    cudnn_deterministic: bool = _named("cuDNN's deterministic mode", SETTINGS)
    deterministic: bool = _named("deterministic algorithms", SETTINGS)
    governor: str | None = _named("CPU governor", SETTINGS)
    max_mhz: int | None = _named("highest CPU frequency in MHz", SETTINGS)
    turbo: bool | None = _named("turbo", SETTINGS)
    smt: bool | None = _named("hyper-threading", SETTINGS)
    huge_pages: str | None = _named("transparent huge pages", SETTINGS)
    power_limit: str | None = _named("GPU power limit", SETTINGS)
    graphics_clock: str | None = _named("GPU application clock", SETTINGS)
    memory_clock: str | None = _named("GPU memory application clock", SETTINGS)
    persistence: str | None = _named("GPU persistence mode", SETTINGS)
    ecc: str | None = _named("GPU ECC", SETTINGS)
    mig: str | None = _named("GPU MIG mode", SETTINGS)

    @classmethod
    def read(cls, content: object) -> "Fingerprint":
        """From what JSON held. Raises ValueError with what is wrong with it."""
        if not isinstance(content, dict):
            raise ValueError(f"it is a {type(content).__name__}, not an object")
        kinds = typing.get_type_hints(cls)
        for word, names in (("lacks", kinds.keys() - content.keys()), ("has unknown", content.keys() - kinds.keys())):
            if names:
                raise ValueError(f"it {word} {', '.join(sorted(map(str, names)))}")
        for name, kind in kinds.items():
            if type(content[name]) not in (typing.get_args(kind) or (kind,)):
                raise ValueError(f"its {name} is {content[name]!r}")
        return cls(**content)


def differences(baseline: Fingerprint, here: Fingerprint) -> list[str]:
    """Each difference in words, such as "PyTorch 2.12.0 then, 2.13.0 now"; empty where there is none."""
    return [sentence for _, sentence in _grouped(baseline, here)]


def refusal(baseline: object, here: Fingerprint) -> str | None:
    """Why times of a baseline do not count here, in one sentence; None where they do.

    `baseline` is what its JSON holds as the fingerprint, None where it holds none.
    """
    mend = "measure a new baseline here."
    if baseline is None:
        return f"refused: the baseline does not say where it was measured; {mend}"
    try:
        then = Fingerprint.read(baseline)
    except ValueError as error:
        return f"refused: the baseline's fingerprint cannot be used, {error}; {mend}"
    found = _grouped(then, here)
    groups = [group for group in (MACHINE, SOFTWARE, SETTINGS) if any(group == other for other, _ in found)]
    if not groups:
        return None
    parts = [f"{group}: " + "; ".join(said for other, said in found if other == group) for group in groups]
    mend = f"set them back, or {mend}" if groups == [SETTINGS] else mend
    return f"refused: the baseline was measured {'; and '.join(parts)}; {mend}"


def _grouped(baseline: Fingerprint, here: Fingerprint) -> list[tuple[str, str]]:
    changed = [
        (field.metadata, getattr(baseline, field.name), getattr(here, field.name))
        for field in dataclasses.fields(Fingerprint)
        if getattr(baseline, field.name) != getattr(here, field.name)
    ]
    return [(about["group"], f"{about['words']} {_said(then)} then, {_said(now)} now") for about, then, now in changed]


def _said(value: str | int | bool | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
