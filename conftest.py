"""Runs benchmarks by the harness under bench/, and what tests and benchmarks share."""

import os

import pytest

from bench.workload import add_options

pytest_plugins = ["bench.harness.plugin", "bench.report_mode"]


def pytest_bench_project():  # type: ignore[no-untyped-def]
    """The project that the harness runs the benchmarks of."""
    from bench.project import PROJECT

    return PROJECT


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`pytest` alone spreads the tests over the cores; what is named, benchmarks above all, runs in this process."""
    return min(4, os.cpu_count() or 1) if config.args_source is config.ArgsSource.TESTPATHS else 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    import torch

    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and there is none here")
