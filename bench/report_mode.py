"""`pytest bench --report FILE`: what this session measured and judged on one page, as `humor report` makes it."""

import time
from typing import Any

import pytest

from .harness.output.files import require_writable
from .harness.output.verdict_table import REFUSED
from .harness.pytest_benchmark_adapter import as_saved
from .harness.quantities import file_path

ADDED = pytest.StashKey[list[Any]]()  # documents of --report-with
STARTED = pytest.StashKey[float]()
WRITTEN = ("verdicts", "compare_precisions_json", "predict_to")  # options that name a document which a session writes


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("humor-bench report", "humor-bench: one page of everything")
    group.addoption("--report", type=file_path, metavar="FILE", help="write an HTML page of what this session found")
    group.addoption(
        "--report-with", type=file_path, nargs="+", default=[], metavar="FILE", help="show these documents on it, too"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Read what is to be added, before minutes of measuring. Raises UsageError."""
    config = session.config
    if config.getoption("--report") is None:
        if config.getoption("--report-with"):
            raise pytest.UsageError("--report-with goes with --report FILE, the page to write; give both.")
        return
    require_writable("--report", config.getoption("--report"))
    from humor.errors import FileError
    from humor.report import read_document

    try:
        config.stash[ADDED] = [read_document(path) for path in config.getoption("--report-with")]
    except FileError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[STARTED] = time.time()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Any:
    result = yield  # a mode has then written what it found
    config = session.config
    if ADDED in config.stash and session.exitstatus != pytest.ExitCode.INTERRUPTED:
        from humor.errors import FileError
        from humor.report import write_page

        out = config.getoption("--report")
        terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
        try:
            write_page([*_measured(config), *_written(config), *config.stash[ADDED]], out)
            terminal.write_line(f"wrote {out}")
        except FileError as error:
            terminal.write_line(f"no report: {error}")
            session.exitstatus = session.exitstatus or REFUSED  # 1 would be a verdict
    return result


def _measured(config: pytest.Config) -> list[Any]:
    """This session's benchmarks, as a saved run."""
    from humor.report import as_document

    saved = as_saved(config)
    return [] if saved is None else [as_document(saved, "this run")]


def _written(config: pytest.Config) -> list[Any]:
    """The documents that options had this session write."""
    from humor.report import read_document

    files = [file for name in WRITTEN if (file := config.getoption(name, None)) is not None]
    return [read_document(file) for file in files if file.is_file() and file.stat().st_mtime >= config.stash[STARTED]]
