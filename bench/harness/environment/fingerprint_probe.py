"""Reads the fingerprint of this machine from its files, PyTorch and nvidia-smi."""

import hashlib
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .fingerprint import HOST_NAME_DIGITS, Fingerprint
from .nvidia import Query, device_uuid, gpu_query

# Environment variables that change how PyTorch, its libraries or the allocator work.
VARIABLES = (
    "ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME", "LD_PRELOAD", "MALLOC_CONF",
    "MKL_DYNAMIC", "NVIDIA_TF32_OVERRIDE", "OMP_PLACES", "OMP_PROC_BIND", "OMP_WAIT_POLICY", "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_NUM_THREADS", "PYTHONOPTIMIZE", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip


def take_fingerprint(
    device: str = "cpu", root: Path = Path("/"), gpu: Query | None = None, machine: str | None = None
) -> Fingerprint:
    """What times on a device depend on now, on a machine of a name, if it is given one.

    `root` is the folder of proc, sys and etc, `gpu` queries the driver.
    """
    ask = gpu_query(device_uuid(device)) if gpu is None else gpu
    parts = (_machine(device, root, machine), _software(), _threads(root), _switches(), _cpu(root), _gpu(ask))
    return Fingerprint(**{name: value for part in parts for name, value in part.items()})


def describe_machine(device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """A document's `machine`: CPU, device, PyTorch and threads (default: those in use) of a measurement, and now."""
    here = take_fingerprint(device)
    return {
        "name": here.cpu,
        "device": here.device,
        "torch": here.torch,
        "threads": threads or here.threads,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _line(file: Path, name: str) -> str | None:
    """The value of "name : value" in a file such as /proc/cpuinfo."""
    for line in (_text(file) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _machine(device: str, root: Path, name: str | None) -> dict[str, Any]:
    import torch

    kilobytes = _line(root / "proc/meminfo", "MemTotal")
    on_gpu = torch.device(device).type == "cuda"
    return {
        "machine": machine_hash(_text(root / "etc/machine-id") if name is None else name, platform.node()),
        "device": torch.cuda.get_device_name(device) if on_gpu else device,
        "cpu": _line(root / "proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(kilobytes.split()[0]) / 2**20) if kilobytes else None,
    }


def machine_hash(machine_id: str | None, host: str) -> str | None:
    """Distinguishes machines without naming them: of a host name, which could be guessed, only 16 bits are kept."""
    if machine_id:
        return hashlib.sha256(b"humor-bench " + machine_id.encode()).hexdigest()[:12]
    return hashlib.sha256(b"humor-bench " + host.encode()).hexdigest()[:HOST_NAME_DIGITS] if host else None


def _software() -> dict[str, Any]:
    import numpy
    import torch

    return {
        "system": f"{platform.system()} {platform.release()}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }


def _threads(root: Path) -> dict[str, Any]:
    import torch

    variables = [(name, os.environ[name]) for name in VARIABLES if os.environ.get(name)]
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "mkl_num_threads": os.environ.get("MKL_NUM_THREADS"),
        "environment": " ".join(f"{name}={_without_folders(value)}" for name, value in variables) or None,
        "affinity": ranges(allowed_cpus()) if hasattr(os, "sched_getaffinity") else None,
        "cpu_quota": _quota(_text(root / "sys/fs/cgroup/cpu.max")),
    }


def _without_folders(value: str) -> str:
    return ":".join(part.rpartition("/")[2] for part in value.split(":"))


def allowed_cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def ranges(numbers: set[int]) -> str:
    """Numbers as Linux writes CPU lists: {0, 1, 2, 5} is "0-2,5"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _quota(limit: str | None) -> str | None:
    """The quota in cgroup v2's "quota period", both in microseconds."""
    if limit is None or limit.startswith("max"):
        return None
    quota, period = limit.split()
    return f"{int(quota) / int(period):g} cores"


def _switches() -> dict[str, Any]:
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "matmul_tf32": _switch(lambda: matmul.allow_tf32),
        "matmul_fp32_precision": getattr(matmul, "fp32_precision", None),  # PyTorch 2.9 and later
        "float32_matmul_precision": _switch(torch.get_float32_matmul_precision),
        "cudnn_tf32": _switch(lambda: cudnn.allow_tf32),
        "cudnn_benchmark": bool(cudnn.benchmark),
        "cudnn_deterministic": bool(cudnn.deterministic),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _switch(read: Callable[[], Any]) -> str:
    """One of the older switches; PyTorch raises RuntimeError where a newer one has been set too."""
    try:
        value = read()
    except RuntimeError:
        return "overruled"
    return {True: "on", False: "off"}.get(value, str(value))


def _cpu(root: Path) -> dict[str, Any]:
    cpus = root / "sys/devices/system/cpu"
    policies = [cpus / f"cpu{number}/cpufreq" for number in sorted(allowed_cpus())]
    governors = sorted({governor for policy in policies if (governor := _text(policy / "scaling_governor"))})
    highest = [int(value) for policy in policies if (value := _text(policy / "scaling_max_freq"))]  # kHz
    return {
        "governor": "/".join(governors) or None,
        "max_mhz": max(highest) // 1000 if highest else None,
        "turbo": _turbo(cpus),
        "smt": {"1": True, "0": False}.get(_text(cpus / "smt/active") or ""),
        "huge_pages": _chosen(_text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
    }


def _turbo(cpus: Path) -> bool | None:
    switched_off = _text(cpus / "intel_pstate/no_turbo")
    if switched_off is not None:
        return switched_off == "0"
    return {"1": True, "0": False}.get(_text(cpus / "cpufreq/boost") or "")


def _chosen(options: str | None) -> str | None:
    """The bracketed one of "always [madvise] never"."""
    return next((word.strip("[]") for word in (options or "").split() if word.startswith("[")), None)


GPU_FIELDS = {
    "driver": "driver_version",
    "power_limit": "power.limit",
    "graphics_clock": "clocks.applications.graphics",
    "memory_clock": "clocks.applications.memory",
    "persistence": "persistence_mode",
    "ecc": "ecc.mode.current",
    "mig": "mig.mode.current",
}


def _gpu(ask: Query) -> dict[str, Any]:
    answers = ask(list(GPU_FIELDS.values()))
    return {name: answers.get(field) for name, field in GPU_FIELDS.items()}
