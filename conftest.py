"""What benchmarks and tests share: the device, the bodies and the motion that the command line asks for."""

from pathlib import Path

import pytest

from bench.workload import Workload, workload_of

# Each after those that it imports.
pytest_plugins = [
    "bench.harness.plugin",
    "bench.harness.modes.counts_mode",
    "bench.predict.predict_mode",
    "bench.harness.modes.self_test",
    "bench.harness.modes.compare_commits",
    "bench.harness.modes.compare_precisions",
    "bench.harness.modes.compare_saved",
    "bench.harness.modes.report_mode",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench", "humor-bench: device, bodies and motion")
    group.addoption("--device", help="cpu, cuda or cuda:N (default: cuda where there is one, else cpu)")
    group.addoption("--require-cuda", action="store_true", help="fail unless there is a CUDA device, and skip nothing")
    group.addoption("--body-model", type=Path, metavar="DIR", help="SMPL+H files of all genders (default: a mannequin)")
    group.addoption("--motion", type=Path, metavar="PATH", help="AMASS .npz file or folder (default: a synthetic gait)")
    group.addoption("--fps", type=float, help="frame rate of motion files that hold none")
    group.addoption("--gender", help="male, female or neutral, for motion files that hold none")
    group.addoption("--up", default="z", help="y or z: the axis that points up in the motion files (default: z)")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    workload_of(session.config)  # before anything is collected or run


def pytest_runtest_setup(item: pytest.Item) -> None:
    import torch

    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and there is none here")


@pytest.fixture(scope="session")
def workload(pytestconfig: pytest.Config) -> Workload:
    """Everything that the command line chose."""
    return workload_of(pytestconfig)


@pytest.fixture(scope="session")
def device(workload):  # type: ignore[no-untyped-def]
    """The device under test."""
    return workload.device


@pytest.fixture(scope="session")
def dtype():  # type: ignore[no-untyped-def]
    """The format of what benchmarks build: networks, bodies, batches. What `--pays` holds them against is float64."""
    import torch

    return torch.float32


@pytest.fixture(scope="session")
def bodies(workload):  # type: ignore[no-untyped-def]
    """A body model for each gender, on the CPU."""
    return workload.bodies


@pytest.fixture(scope="session")
def make_batch(workload):  # type: ignore[no-untyped-def]
    """A function (windows, seed=0) that draws a batch of windows from the motion."""
    return workload.make_batch
