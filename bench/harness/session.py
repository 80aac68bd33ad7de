"""What the parts of the harness share in a pytest session: the project, the device, the workload, the rule."""

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from .case import BenchmarkCase
from .project import Project
from .quantities import percentage
from .stats.verdict import Rule

if TYPE_CHECKING:
    import torch

    from .environment.fingerprint import Fingerprint

LEFT_OUT = pytest.StashKey[Counter[str]]()  # reasons
COLLECTED = pytest.StashKey[set[str]]()  # every benchmark's node, those left out too
CONCLUDED = pytest.StashKey[bool]()  # a mode came to its exit code
SUMMARIZED = pytest.StashKey[bool]()  # what was found is printed
_PROJECT = pytest.StashKey[Project]()
_DEVICE: "pytest.StashKey[torch.device]" = pytest.StashKey()
_WORKLOAD = pytest.StashKey[Any]()


def project_of(config: pytest.Config) -> Project:
    """The project that conftest.py gives. Raises UsageError where it gives none."""
    if _PROJECT not in config.stash:
        project = config.hook.pytest_bench_project()
        if project is None:
            raise pytest.UsageError("conftest.py gives no project; let its pytest_bench_project() return one.")
        config.stash[_PROJECT] = project
    return config.stash[_PROJECT]


def device_of(config: pytest.Config) -> "torch.device":
    """The device that benchmarks run on. Raises UsageError where it is not there."""
    from .environment.devices import DeviceError, choose_device

    if _DEVICE not in config.stash:
        try:
            config.stash[_DEVICE] = choose_device(config.getoption("--device"), config.getoption("--require-cuda"))
        except DeviceError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_DEVICE]


def fingerprint_of(config: pytest.Config, device: str | None = None) -> "Fingerprint":
    """What times of this run depend on; of another device, where one is given."""
    from .environment.fingerprint_probe import take_fingerprint

    return take_fingerprint(device or str(device_of(config)), machine=config.getoption("--machine"))


def workload_of(config: pytest.Config) -> Any:
    """What the project makes of the options for benchmarks to work on. Raises UsageError for a mistake in one."""
    if _WORKLOAD not in config.stash:
        config.stash[_WORKLOAD] = project_of(config).make_workload(config.getoption, device_of(config))
    return config.stash[_WORKLOAD]


def workload_options(config: pytest.Config) -> dict[str, Any]:
    """The options that another version or process makes its workload of."""
    return {name: config.getoption(name) for name in project_of(config).workload_options}


def not_compared(config: pytest.Config, case: BenchmarkCase) -> str | None:
    """Why no two versions of the library are compared by a case, or None."""
    reason = project_of(config).not_compared(case)
    return reason or ("its time is mostly a pause" if "sleeps" in case.markers else None)


def rule_of(config: pytest.Config, cases: int) -> Rule:
    """What counts as a change in this run, over so many cases. Raises UsageError."""
    return Rule(
        percentage(config.getoption("--slower-than")), percentage(config.getoption("--error-rate")), max(cases, 1)
    )


def rule_for(config: pytest.Config, case: BenchmarkCase, rule: Rule) -> Rule:
    """The rule of a run, with the case's own threshold where the project or a marker gives it one."""
    threshold = project_of(config).slower_than(case)
    threshold = case.slower_than if threshold is None else threshold
    return rule if threshold is None else dataclasses.replace(rule, slower_than=threshold)


def threads_of(config: pytest.Config) -> int | None:
    """How many threads a comparison uses; None for PyTorch's default."""
    given: int | None = config.getoption("--threads")
    return given if given is not None else (1 if device_of(config).type == "cpu" else None)
