"""What a report is made of: each JSON file as a typed document, and the folders of training runs and studies."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileError, HumorError
from ..io.run_tables import EPOCHS_TABLE, STUDY_PLAN, RunCurves, epochs_finished, read_runs, study_run_name
from .document_types import KINDS, Content, SavedRun, Training
from .schema import MismatchError, parse

EXPECTED = (
    "give JSON that humor profile, pytest bench (--compare-precisions-json, --predict-to, --verdicts or "
    "--benchmark-json) or python -m bench.studies.crossover wrote, or the folder of humor train or humor study"
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # what no page and no SVG may hold


@dataclass(frozen=True)
class Document:
    """One input of a report: its file's name, and what it holds."""

    name: str
    content: Content


def read_document(path: Path) -> Document:
    """Read a file or a folder of any kind that a report takes. Raises FileError."""
    if path.is_dir():
        return Document(_clean(path.name or str(path)), Training(read_training(path)))
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); {EXPECTED}.") from None
    except (ValueError, RecursionError):
        raise FileError(f"{path}: not JSON; {EXPECTED}.") from None
    return as_document(content, str(path))


def as_document(content: Any, path: str) -> Document:
    """Check and type what was read from JSON. Raises FileError naming the place that is wrong."""
    content = _clean(content)
    kind, name = _kind(content)
    if kind is None:
        raise FileError(f"{path}: none of the documents that a report knows; {EXPECTED}.")
    try:
        return Document(_clean(Path(path).name), parse(kind, content))
    except MismatchError as error:
        raise FileError(f"{path}: as {name}, {error}; write it again with this version.") from None


def _kind(content: Any) -> tuple[type[Content] | None, str]:
    """The type of a document, and its name in a message."""
    if not isinstance(content, dict):
        return None, ""
    if "kind" in content:
        name = content["kind"]
        return (KINDS.get(name), f"a document of kind {name}") if isinstance(name, str) else (None, "")
    return (SavedRun, "a saved run of pytest-benchmark") if "benchmarks" in content else (None, "")


def _clean(content: Any) -> Any:
    """The same without characters that no page may hold."""
    if isinstance(content, str):
        return CONTROL.sub("�", content)
    if isinstance(content, list):
        return [_clean(entry) for entry in content]
    if isinstance(content, dict):
        return {_clean(key): _clean(value) for key, value in content.items()}
    return content


def read_training(folder: Path) -> RunCurves:
    """The curves of a run, or of the runs of a study that have begun for every precision. Raises FileError."""
    try:
        runs = _run_folders(folder)
        if not any(runs.values()):
            raise FileError(f"{folder}: no epoch is finished yet; let the run go on, or leave it out.")
        return read_runs(runs)
    except FileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, HumorError) as error:
        raise FileError(f"{folder}: its tables are damaged ({error}); go on with the run, or leave it out.") from None


def _run_folders(folder: Path) -> dict[str, list[Path]]:
    """The folders to read by precision, or by the run's name."""
    if (folder / STUDY_PLAN).is_file():
        plan = json.loads((folder / STUDY_PLAN).read_text(encoding="utf-8"))
        names = [_clean(str(name)) for name in plan["precisions"]]
        seeds = [
            seed
            for seed in range(plan["seeds"])
            if all(epochs_finished(folder / study_run_name(name, seed)) for name in names)
        ]
        return {name: [folder / study_run_name(name, seed) for seed in seeds] for name in names}
    if (folder / EPOCHS_TABLE).is_file():
        return {_clean(folder.resolve().name): [folder] * bool(epochs_finished(folder))}
    raise FileError(f"{folder}: neither a run ({EPOCHS_TABLE}) nor a study ({STUDY_PLAN}); {EXPECTED}.")
