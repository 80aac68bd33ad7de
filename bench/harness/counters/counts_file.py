"""Counts of cases: their sections, how two compare, and the JSON files that hold the accepted ones."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The sections of a case's counts, each a table of names and numbers, and a name's phrase in a sentence.
SECTIONS = {
    "totals": "{}",
    "operators": "operator {}",
    "casts": "cast {}",
    "cast bytes": "bytes of cast {}",
    "host syncs": "host sync {}",
    "graph breaks": "graph break: {}",
    "python calls": "call of {}",
    "kernels": "kernel {}",  # this and the next on CUDA, beside totals
    "copies": "{}",
}
ACCEPT = "pytest bench --accept-counts"
KIND = "counts"
Counts = Mapping[str, Mapping[str, int]]


class CountsError(Exception):
    """Counts cannot be compared; the message says why and what to do."""


@dataclass
class CountsFile:
    """The counts of the cases of one file of benchmarks, and the PyTorch version that they hold for."""

    torch: str  # as from torch_version, or with its build where they are of a GPU
    cases: dict[str, Counts] = field(default_factory=dict)


def torch_version(version: str) -> str:
    """A PyTorch version without its build (+cpu, +cu130), which does not change the operators on a CPU."""
    return version.partition("+")[0]


def compare_counts(accepted: Counts, counted: Counts) -> list[str]:
    """A sentence for every number that changed, the totals last."""
    sentences = []
    for section in sorted(SECTIONS, key="totals".__eq__):
        before, after = accepted.get(section, {}), counted.get(section, {})
        for name in sorted(before.keys() | after.keys()):
            was, now = before.get(name, 0), after.get(name, 0)
            with_casts = section == "cast bytes" and _count(accepted, "casts", name) != _count(counted, "casts", name)
            if was == now or with_casts:
                continue
            change = format_factor(was, now)
            if section == "casts":
                more = _count(counted, "cast bytes", name) - _count(accepted, "cast bytes", name)
                change += f", {format_bytes(more)}"
            sentences.append(f"{SECTIONS[section].format(name)}: {was} -> {now} ({change})")
    return sentences


def _count(counts: Counts, section: str, name: str) -> int:
    return counts.get(section, {}).get(name, 0)


def format_factor(was: int, now: int) -> str:
    """The factor by which a number changed, "x1.08", or the difference where the factor would read as 1."""
    if not was or not now:
        return "new" if now else "gone"
    ratio = f"{now / was:.3g}"
    return f"{now - was:+}" if ratio == "1" else f"x{ratio}"


def format_bytes(difference: int) -> str:
    """A difference in bytes with its sign: "+1.23 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(difference) >= scale:
            return f"{difference / scale:+.3g} {unit}"
    return f"{difference:+} bytes"


def describe_changes(accepted: CountsFile, counted: CountsFile) -> list[str]:
    """The changes of the cases that both have: each case's name followed by its indented sentences."""
    lines = []
    for case in sorted(accepted.cases.keys() & counted.cases.keys()):
        sentences = compare_counts(accepted.cases[case], counted.cases[case])
        lines += [case, *(f"  {sentence}" for sentence in sentences)] if sentences else []
    return lines


def describe_unmatched(accepted: CountsFile, counted: CountsFile, known: Collection[str] | None) -> list[str]:
    """A sentence for each case that only one has. `known` cases exist though they were not counted; None: any may."""
    added = [
        f"{case}: new, without counts to compare with" for case in sorted(counted.cases.keys() - accepted.cases.keys())
    ]
    lost = [] if known is None else sorted(accepted.cases.keys() - set(known))
    return added + [f"{case}: has counts, but is no case any more" for case in lost]


def merge_counts(
    accepted: CountsFile, counted: CountsFile, known: Collection[str] | None, command: str = ACCEPT
) -> CountsFile:
    """The accepted counts of the `known` cases (None: of all), updated with the counted ones. Raises CountsError."""
    kept = {case: counts for case, counts in accepted.cases.items() if known is None or case in known}
    if accepted.torch != counted.torch and kept.keys() - counted.cases.keys():
        raise CountsError(
            f"the counts were made with PyTorch {accepted.torch}, and here is {counted.torch}: some cases alone cannot"
            f" be accepted; run {command} without a choice."
        )
    return CountsFile(counted.torch, {**kept, **counted.cases})


def read_counts(path: Path, torch: str | None = None, command: str = ACCEPT) -> CountsFile:
    """Read a file and check its PyTorch version if one is given. Raises CountsError with a command that mends it."""
    again = f"run {command}"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise CountsError(f"{path.name}: no such file in {path.parent.name}/; {again} to make it.") from None
    except (OSError, ValueError) as error:
        raise CountsError(f"{path.name}: cannot be read ({error}); restore it, or delete it and {again}.") from None
    if not _is_counts_file(content):
        raise CountsError(f"{path.name}: not a table of cases' counts; restore it, or delete it and {again}.")
    if torch is not None and content["torch"] != torch:
        made = f"{path.name}: made with PyTorch {content['torch']}, and here is {torch}, which may dispatch otherwise"
        raise CountsError(f"{made}; install torch=={content['torch']}, or {again}.")
    return CountsFile(content["torch"], content["cases"])


def write_counts(path: Path, counts: CountsFile) -> None:
    """Write a file, sorted, with one number a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"kind": KIND, "torch": counts.torch, "cases": counts.cases}, indent=1, sort_keys=True)
    path.write_text(text + "\n")


def _is_counts_file(content: Any) -> bool:
    if not isinstance(content, dict) or content.keys() != {"kind", "torch", "cases"}:
        return False
    if content["kind"] != KIND or not isinstance(content["torch"], str) or not isinstance(content["cases"], dict):
        return False
    for case in content["cases"].values():
        if not isinstance(case, dict) or not case.keys() <= SECTIONS.keys():
            return False
        for table in case.values():
            if not isinstance(table, dict) or not all(type(number) is int for number in table.values()):
                return False
    return True
