"""The device that the command line names."""

import torch


class DeviceError(ValueError):
    """A device that cannot be used: what was given, and what to give instead."""


def choose_device(name: str | None, require_cuda: bool = False) -> torch.device:
    """The device of a name, or the best one there is. Raises DeviceError where it is not there."""
    if require_cuda and not torch.cuda.is_available():
        raise DeviceError("--require-cuda: there is no CUDA device here; run on a machine that has one.")
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f'--device "{name}" is no device; give cpu, cuda or cuda:0.') from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f'--device "{name}" is not supported; give cpu, cuda or cuda:0.')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f'--device "{name}": there are {torch.cuda.device_count()} CUDA devices here; give cpu.')
    if require_cuda and device.type != "cuda":
        raise DeviceError(f'--require-cuda and --device "{name}" exclude each other; leave one out.')
    if device.index is not None:
        torch.cuda.set_device(device)  # the clock waits for the current device
    return device
