"""What a report is made of: JSON files told apart by what they hold, and the folders of training runs and studies."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileError, HumorError
from ..study.trainings import PLAN, StudyResult, read_runs, run_name
from ..training.log import read_table

NUMBER, TEXT, NAMES = "a number", "text", "names with numbers"  # null stands for a number that is not known
MATRIX = [[NUMBER]]
# What each kind must hold; a list has any number of what it shows. `humor profile` and `pytest bench` write them.
SHAPES: Mapping[str, Any] = {
    "profile": {
        "batch": NUMBER,
        "runs": [{
            "width": NUMBER, "precision": TEXT, "step": NUMBER, "step_low": NUMBER, "step_high": NUMBER,
            "peak_bytes": NUMBER, "phases": [{"host": NUMBER, "device": NUMBER, "first": NUMBER}],
        }],
        "linear": [{
            "size": NUMBER, "rows": NUMBER, "precision": TEXT,
            "casts": NUMBER, "launch": NUMBER, "kernel": NUMBER, "total": NUMBER,
        }],
    },
    "precisions": {
        "cases": [{
            "case": TEXT, "precision": TEXT, "verdict": TEXT, "reason": TEXT, "seconds": NUMBER,
            "speedup": NUMBER, "low": NUMBER, "high": NUMBER, "error": NUMBER, "bound": NUMBER,
        }],
    },
    "crossover": {
        "sizes": [NUMBER], "rows": [NUMBER], "precisions": [{"speedup": MATRIX, "low": MATRIX, "high": MATRIX}],
    },
    "prediction": {
        "gpu": TEXT,
        "published": [{
            "table": NUMBER, "width": NUMBER, "phase": TEXT, "precision": TEXT,
            "published_ms": NUMBER, "predicted_ms": NUMBER,
        }],
        "cases": [{
            "case": TEXT, "precision": TEXT, "predicted": NUMBER, "bound_by": TEXT,
            "flops": NUMBER, "bytes": NUMBER, "kernels": NUMBER,
        }],
    },
    "roofline": {
        "peaks": NAMES, "bandwidth": NUMBER,
        "points": [{"case": TEXT, "precision": TEXT, "flops": NUMBER, "bytes": NUMBER, "seconds": NUMBER}],
    },
    "verdicts": {
        "verdict": TEXT, "reason": TEXT, "warnings": [TEXT],
        "cases": [{
            "case": TEXT, "verdict": TEXT, "change": NUMBER, "low": NUMBER, "high": NUMBER,
            "base_ms": NUMBER, "head_ms": NUMBER,
        }],
    },
    "saved run": {
        "datetime": TEXT,
        "benchmarks": [{"name": TEXT, "stats": {"median": NUMBER, "q1": NUMBER, "q3": NUMBER, "rounds": NUMBER}}],
    },
}  # fmt: skip
EXPECTED = (
    "give JSON that humor profile, pytest bench --pays, --predict-to, --verdicts or --benchmark-json, or "
    "python -m bench.studies.crossover wrote, or the folder of humor train or humor study"
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # what no page and no SVG may hold


@dataclass(frozen=True)
class Document:
    """One input of a report: its kind, a name to show, and what it holds."""

    kind: str  # of SHAPES, or "training"
    name: str
    content: Mapping[str, Any]


def read_document(path: Path) -> Document:
    """A file or folder of any kind that a report takes. Raises FileError."""
    if path.is_dir():
        return Document("training", _clean(path.name or str(path)), {"result": read_training(path)})
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); {EXPECTED}.") from None
    except (ValueError, RecursionError):
        raise FileError(f"{path}: not JSON; {EXPECTED}.") from None
    return as_document(content, str(path))


def as_document(content: Any, path: str) -> Document:
    """What was read from JSON, checked. Raises FileError naming the place that is wrong."""
    content = _clean(content)
    kind = _kind(content)
    if kind is None:
        raise FileError(f"{path}: none of the documents that a report knows; {EXPECTED}.")
    problem = mismatch(content, SHAPES[kind]) or (_uneven(content) if kind == "crossover" else None)
    if problem:
        raise FileError(f"{path}: a {kind} with {problem}; write it again with this version.")
    return Document(kind, _clean(Path(path).name), content)


def table_of(content: Any, *names: str) -> Mapping[str, Any]:
    """A table within tables, which need not be there; empty then."""
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _kind(content: Any) -> str | None:
    if not isinstance(content, dict):
        return None
    if "kind" in content:
        return next((kind for kind in SHAPES if kind == content["kind"]), None)
    return "saved run" if "benchmarks" in content else None


def mismatch(found: Any, shape: Any, place: str = "") -> str | None:
    """Where something differs from its shape, as a phrase; None where it does not."""
    if isinstance(shape, str):
        return None if _is(found, shape) else f"{place or 'content'} {_short(found)}, not {shape}"
    if isinstance(shape, list):  # of a table by name, too, every value has the one shape
        if not isinstance(found, list | dict):
            return f"{place} {_short(found)}, not a list"
        entries = found.items() if isinstance(found, dict) else enumerate(found)
        return next(filter(None, (mismatch(entry, shape[0], f"{place}[{key}]") for key, entry in entries)), None)
    if not isinstance(found, dict):
        return f"{place or 'content'} {_short(found)}, not a table"
    missing = next((name for name in shape if name not in found), None)
    if missing is not None:
        return f"no {place}{'.' * bool(place)}{missing}"
    inner = (mismatch(found[name], part, f"{place}{'.' * bool(place)}{name}") for name, part in shape.items())
    return next(filter(None, inner), None)


def _is(found: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(found, str)
    if kind == NAMES:
        return isinstance(found, dict) and all(_is(value, NUMBER) for value in found.values())
    return found is None or (isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < math.inf)


def _uneven(content: Mapping[str, Any]) -> str | None:
    wanted = (len(content["sizes"]), len(content["rows"]))
    for name, tables in content["precisions"].items():
        for part, table in tables.items():
            if len(table) != wanted[0] or any(len(line) != wanted[1] for line in table):
                return f"a {part} of {name} that is not {wanted[0]} sizes by {wanted[1]} rows"
    return None


def _short(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 40 else text[:39] + "…"


def _clean(content: Any) -> Any:
    """The same without characters that no page may hold."""
    if isinstance(content, str):
        return CONTROL.sub("�", content)
    if isinstance(content, list):
        return [_clean(entry) for entry in content]
    if isinstance(content, dict):
        return {_clean(key): _clean(value) for key, value in content.items()}
    return content


def read_training(folder: Path) -> StudyResult:
    """The curves of a run, or of the runs of a study that have begun for every precision. Raises FileError."""
    try:
        runs = _runs_of(folder)
        if not any(runs.values()):
            raise FileError(f"{folder}: no epoch is finished yet; let the run go on, or leave it out.")
        return read_runs(runs)
    except FileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, HumorError) as error:
        raise FileError(f"{folder}: its tables are damaged ({error}); go on with the run, or leave it out.") from None


def _runs_of(folder: Path) -> dict[str, list[Path]]:
    if (folder / PLAN).is_file():
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        names = [_clean(str(name)) for name in plan["precisions"]]
        seeds = [seed for seed in range(plan["seeds"]) if all(_begun(folder / run_name(name, seed)) for name in names)]
        return {name: [folder / run_name(name, seed) for seed in seeds] for name in names}
    if (folder / "epochs.csv").is_file():
        return {_clean(folder.resolve().name): [folder] * _begun(folder)}
    raise FileError(f"{folder}: neither a run (epochs.csv) nor a study ({PLAN}); {EXPECTED}.")


def _begun(folder: Path) -> bool:
    """Whether a run has finished an epoch."""
    return (folder / "epochs.csv").is_file() and len(read_table(folder / "epochs.csv")["epoch"]) > 0
