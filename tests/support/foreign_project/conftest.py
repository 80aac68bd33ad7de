"""Hands the project to the harness."""

pytest_plugins = ["bench.harness.plugin"]


def pytest_bench_project():
    from bench.project import PROJECT

    return PROJECT


def pytest_addoption(parser):
    parser.addoption("--samples", type=int, default=10_000, help="length of the signal (default: 10000)")
