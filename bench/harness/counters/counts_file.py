"""What counts are, how two of them compare, and the files in `bench/counts` that hold them. No clock, no pytest."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What is counted of a case, section by section, each a table of names and numbers; and how a sentence calls a name.
SECTIONS = {
    "totals": "{}",
    "operators": "operator {}",
    "casts": "cast {}",
    "cast bytes": "bytes of cast {}",
    "host syncs": "host sync {}",
    "graph breaks": "graph break: {}",
    "python calls": "call of {}",
}
KIND = "counts"
Counts = Mapping[str, Mapping[str, int]]


class CountsError(Exception):
    """Counts that cannot be compared: what was found, what is wanted, how to mend it."""


@dataclass
class CountsFile:
    """The counts of one benchmark file's cases, and the PyTorch that they hold for."""

    torch: str  # as torch_version
    cases: dict[str, Counts] = field(default_factory=dict)


def torch_version(version: str) -> str:
    """A PyTorch version without its build (+cpu, +cu130): operators on a CPU are the same in all of them."""
    return version.partition("+")[0]


def compare_counts(old: Counts, new: Counts) -> list[str]:
    """A sentence for every number that is another now, named things first and totals last."""
    sentences = []
    for section in sorted(SECTIONS, key="totals".__eq__):
        before, after = old.get(section, {}), new.get(section, {})
        for name in sorted(before.keys() | after.keys()):
            was, now = before.get(name, 0), after.get(name, 0)
            told = section == "cast bytes" and old.get("casts", {}).get(name) != new.get("casts", {}).get(name)
            if was == now or told:
                continue
            change = factor(was, now)
            if section == "casts":
                more = new.get("cast bytes", {}).get(name, 0) - old.get("cast bytes", {}).get(name, 0)
                change += f", {megabytes(more)}"
            sentences.append(f"{SECTIONS[section].format(name)}: {was} -> {now} ({change})")
    return sentences


def factor(was: int, now: int) -> str:
    """By what factor a number changed: "x1.08", or the difference where the factor would read as 1."""
    if not was or not now:
        return "new" if now else "gone"
    ratio = f"{now / was:.3g}"
    return f"{now - was:+}" if ratio == "1" else f"x{ratio}"


def megabytes(size: int) -> str:
    """A difference in bytes, with its sign."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(size) >= scale:
            return f"{size / scale:+.3g} {unit}"
    return f"{size:+} bytes"


def changes(old: CountsFile, new: CountsFile) -> list[str]:
    """What changed in the cases that both have: a case's name and, set in, its sentences."""
    lines = []
    for case in sorted(old.cases.keys() & new.cases.keys()):
        sentences = compare_counts(old.cases[case], new.cases[case])
        lines += [case, *(f"  {sentence}" for sentence in sentences)] if sentences else []
    return lines


def unmatched(old: CountsFile, new: CountsFile, known: Collection[str] | None) -> list[str]:
    """A sentence for each case that only one has; cases that are `known` need not have been counted (None: all are)."""
    added = [f"{case}: new, without counts to compare with" for case in sorted(new.cases.keys() - old.cases.keys())]
    lost = [] if known is None else sorted(old.cases.keys() - set(known))
    return added + [f"{case}: has counts, but is no case any more" for case in lost]


def accepted(old: CountsFile, new: CountsFile, known: Collection[str] | None) -> CountsFile:
    """The old file with the new counts in it, without the cases that are not `known`. Raises CountsError."""
    kept = {case: counts for case, counts in old.cases.items() if known is None or case in known}
    if old.torch != new.torch and kept.keys() - new.cases.keys():
        raise CountsError(
            f"the counts were made with PyTorch {old.torch}, and here is {new.torch}: some cases alone cannot be"
            " accepted; run pytest bench --accept-counts without a choice."
        )
    return CountsFile(new.torch, {**kept, **new.cases})


def read_counts(path: Path, torch: str | None = None) -> CountsFile:
    """Read a file, and make sure that it holds for a PyTorch version if one is given. Raises CountsError."""
    again = "run pytest bench --accept-counts"
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
    """Write a file, a number a line, sorted."""
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
