"""Queries nvidia-smi for fields of one GPU, as text."""

import re
import subprocess
from collections.abc import Callable, Sequence

Query = Callable[[Sequence[str]], dict[str, str]]  # names of fields -> values of those that the driver knows

_UNANSWERED = re.compile(r"\[.*\]|N/A|")  # "[N/A]", "[Not Supported]", "[Unknown Error]"
_UNKNOWN_FIELD = re.compile(r'Field "(.+?)" is not a valid field')


def no_gpu(fields: Sequence[str]) -> dict[str, str]:
    """The query where there is no GPU."""
    return {}


def gpu_query(uuid: str | None) -> Query:
    """A query of the GPU with this UUID; `no_gpu` without one.

    A UUID, because CUDA_VISIBLE_DEVICES and nvidia-smi number GPUs differently.
    """
    if uuid is None:
        return no_gpu

    def query(fields: Sequence[str]) -> dict[str, str]:
        pending = list(fields)
        while pending:
            answer = _nvidia_smi(f"--id={uuid}", f"--query-gpu={','.join(pending)}", "--format=csv,noheader")
            unknown = _UNKNOWN_FIELD.search(answer)
            if unknown is None or unknown[1] not in pending:
                return _answered(pending, answer)
            pending.remove(unknown[1])  # an older driver rejects the whole query for one unknown field
        return {}

    return query


def _answered(fields: Sequence[str], answer: str) -> dict[str, str]:
    values = [value.strip() for value in answer.strip().split(",")]
    if len(values) != len(fields):
        return {}
    return {field: value for field, value in zip(fields, values, strict=True) if not _UNANSWERED.fullmatch(value)}


def _nvidia_smi(*arguments: str) -> str:
    try:
        return subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def device_uuid(device: str) -> str | None:
    """The UUID of a CUDA device as nvidia-smi writes it; None for any other device."""
    import torch

    chosen = torch.device(device)
    if chosen.type != "cuda" or not torch.cuda.is_available():
        return None
    return f"GPU-{torch.cuda.get_device_properties(chosen).uuid}"
