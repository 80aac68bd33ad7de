"""What times depend on: they are comparable only where machine, software and settings are the same.

Clocks locked with `nvidia-smi --lock-gpu-clocks` are missing, because the driver does not report them.
"""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any

MACHINE, SOFTWARE, SETTINGS = "on another machine", "with other software", "under other settings"
HOST_NAME_DIGITS = 4  # of a machine's hash that is its host name's


def _field(words: str, group: str) -> Any:
    return dataclasses.field(metadata={"words": words, "group": group})


@dataclass(frozen=True)
class Fingerprint:
    """Everything that is compared, None where it is unknown; `dataclasses.asdict` of it is what JSON holds."""

    machine: str | None = _field("machine", MACHINE)  # hashed
    device: str = _field("device", MACHINE)
    cpu: str = _field("CPU", MACHINE)
    cores: int | None = _field("CPU cores", MACHINE)
    memory_gib: int | None = _field("GiB of memory", MACHINE)

    system: str = _field("system", SOFTWARE)  # and its kernel's release
    driver: str | None = _field("NVIDIA driver", SOFTWARE)
    cuda: str | None = _field("CUDA", SOFTWARE)
    cudnn: int | None = _field("cuDNN", SOFTWARE)
    torch: str = _field("PyTorch", SOFTWARE)
    numpy: str = _field("NumPy", SOFTWARE)
    python: str = _field("Python", SOFTWARE)

    threads: int = _field("threads within an operator", SETTINGS)
    interop_threads: int = _field("threads between operators", SETTINGS)
    omp_num_threads: str | None = _field("OMP_NUM_THREADS", SETTINGS)
    mkl_num_threads: str | None = _field("MKL_NUM_THREADS", SETTINGS)
    environment: str | None = _field("environment variables", SETTINGS)
    affinity: str | None = _field("CPUs to run on", SETTINGS)
    cpu_quota: str | None = _field("CPU quota of the container", SETTINGS)
    matmul_tf32: str = _field("TF32 multiplies", SETTINGS)
    matmul_fp32_precision: str | None = _field("torch.backends.cuda.matmul.fp32_precision", SETTINGS)
    float32_matmul_precision: str = _field("float32 matmul precision", SETTINGS)
    cudnn_tf32: str = _field("cuDNN's TF32", SETTINGS)
    cudnn_benchmark: bool = _field("cuDNN's benchmark mode", SETTINGS)
    cudnn_deterministic: bool = _field("cuDNN's deterministic mode", SETTINGS)
    deterministic: bool = _field("deterministic algorithms", SETTINGS)
    governor: str | None = _field("CPU governor", SETTINGS)
    max_mhz: int | None = _field("highest CPU frequency in MHz", SETTINGS)
    turbo: bool | None = _field("turbo", SETTINGS)
    smt: bool | None = _field("hyper-threading", SETTINGS)
    huge_pages: str | None = _field("transparent huge pages", SETTINGS)
    power_limit: str | None = _field("GPU power limit", SETTINGS)
    graphics_clock: str | None = _field("GPU application clock", SETTINGS)
    memory_clock: str | None = _field("GPU memory application clock", SETTINGS)
    persistence: str | None = _field("GPU persistence mode", SETTINGS)
    ecc: str | None = _field("GPU ECC", SETTINGS)
    mig: str | None = _field("GPU MIG mode", SETTINGS)

    @classmethod
    def read(cls, content: object) -> "Fingerprint":
        """The fingerprint in JSON. Raises ValueError that says what is wrong with it."""
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
    """A phrase for each difference, such as "PyTorch 2.12.0 then, 2.13.0 now"."""
    return [sentence for _, sentence in _differences_by_group(baseline, here)]


def refusal(baseline: object, here: Fingerprint) -> str | None:
    """Why times of a baseline are not comparable here, in one sentence; None where they are.

    `baseline` is the fingerprint in its JSON, or None.
    """
    mend = "measure a new baseline here."
    if baseline is None:
        return f"refused: the baseline does not say where it was measured; {mend}"
    try:
        then = Fingerprint.read(baseline)
    except ValueError as error:
        return f"refused: the baseline's fingerprint cannot be used, {error}; {mend}"
    found = _differences_by_group(then, here)
    groups = [group for group in (MACHINE, SOFTWARE, SETTINGS) if any(group == other for other, _ in found)]
    if not groups:
        return None
    parts = [f"{group}: " + "; ".join(phrase for other, phrase in found if other == group) for group in groups]
    mend = f"set them back, or {mend}" if groups == [SETTINGS] else mend
    if _by_host_name_alone(then, here):
        mend = (
            "the machines are known by their host names, which every container has anew: if it is one machine, give "
            f"both runs one --machine NAME, or docker run --hostname; else {mend}"
        )
    return f"refused: the baseline was measured {'; and '.join(parts)}; {mend}"


def _by_host_name_alone(then: Fingerprint, here: Fingerprint) -> bool:
    """Whether nothing but a hash of a host name tells two machines apart."""
    fields = [field.name for field in dataclasses.fields(Fingerprint) if field.metadata["group"] == MACHINE]
    differing = [name for name in fields if getattr(then, name) != getattr(here, name)]
    lengths = {len(each.machine or "") for each in (then, here)}
    return differing == ["machine"] and HOST_NAME_DIGITS in lengths


def _differences_by_group(baseline: Fingerprint, here: Fingerprint) -> list[tuple[str, str]]:
    changed = [
        (field.metadata, getattr(baseline, field.name), getattr(here, field.name))
        for field in dataclasses.fields(Fingerprint)
        if getattr(baseline, field.name) != getattr(here, field.name)
    ]
    return [
        (about["group"], f"{about['words']} {_format(then)} then, {_format(now)} now") for about, then, now in changed
    ]


def _format(value: str | int | bool | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
