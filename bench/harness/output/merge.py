"""The verdict files of all shards of a comparison as one table, conclusion and exit code.

`python -m bench.harness.output.merge 1.json 2.json ... [--verdicts OUT]`. The exit codes are those of `--against`; what
cannot be joined is refused, with 4: a shard that is missing, given twice, or of other versions or settings.
"""

import argparse
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import write_json
from .markdown import read
from .verdict_table import REFUSED, CaseVerdict, Findings, format_verdicts

Document = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the conclusion of all files. A mistake or a crash ends with 4: 1 and 2 would be verdicts."""
    try:
        return _merge(arguments)
    except SystemExit as end:  # argparse's, which has said why
        return REFUSED if end.code else 0
    except Exception:
        traceback.print_exc()
        return REFUSED


def _merge(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])  # -OO strips it
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="written by --shard K/N --verdicts FILE")
    parser.add_argument("--verdicts", type=Path, metavar="OUT", help="write the whole as JSON")
    options = parser.parse_args(arguments)
    try:
        documents = {file.name: read(file) for file in options.files}
        if len(documents) < len(options.files):
            raise ValueError("two of the files have one name; give them names that differ.")
        check_shards(documents)
        findings = join(documents)
    except ValueError as error:
        sys.stdout.write(f"refused: {error}\n")
        return REFUSED
    first = next(iter(documents.values()))
    settings = first["settings"]
    conclusion, code = findings.conclusion(bool(settings.get("allow_missing")), bool(settings.get("allow_unclear")))
    seconds = max(document["seconds"] for document in documents.values())
    word = f"refused: {conclusion}" if code == REFUSED else conclusion
    sys.stdout.write("\n".join([*format_verdicts(findings), "", f"{word} ({len(documents)} shards)", ""]))
    if options.verdicts is not None:
        kept = {name: first[name] for name in ("versions", "machine", "fingerprint", "settings")}
        try:
            write_json(options.verdicts, findings.as_json(conclusion, code, **kept, shard=None, seconds=seconds))
        except OSError as error:
            sys.stdout.write(f"refused: {error}\n")
            return REFUSED
    return code


def check_shards(documents: Mapping[str, Document]) -> None:
    """Raise ValueError where these are not all the shards of one comparison."""
    (first, one), *others = documents.items()
    for name, document in documents.items():
        if not document.get("shard"):
            raise ValueError(f"{name}: not of a shard; give what --shard K/N --verdicts FILE wrote.")
    for name, document in others:
        for what, of in (("versions", _versions), ("settings", lambda each: each["settings"]), ("cases", _cases)):
            if of(document) != of(one):
                raise ValueError(f"{name}: other {what} than in {first}; run all shards anew, with the same command.")
    of = one["shard"]["of"]
    numbers = [document["shard"]["number"] for document in documents.values()]
    for number in range(1, of + 1):
        if numbers.count(number) != 1:
            given = "missing" if number not in numbers else f"given {numbers.count(number)} times"
            raise ValueError(f"shard {number} of {of} is {given}; give the file of each shard once.")
    measured = [name for document in documents.values() for name in _measured(document)]
    unmatched = [name for name in one["shard"]["cases"] if measured.count(name) != 1]
    if unmatched and all(document["verdict"] != "refused" for document in documents.values()):
        times = measured.count(unmatched[0])
        raise ValueError(f"{unmatched[0]} was measured by {times} shards; run all shards anew, with the same command.")


def _measured(document: Document) -> list[str]:
    """The touched cases that a shard took, whatever became of them."""
    took = [each["case"] for key in ("cases", "failed", "skipped") for each in document[key]]
    return took + [name.partition(" ")[0] for name in document["only_head"]]


def _versions(document: Document) -> Any:
    return [{name: side.get(name) for name in ("commit", "source")} for side in document["versions"].values()]


def _cases(document: Document) -> Any:
    return document["shard"]["of"], document["shard"]["cases"]


def join(documents: Mapping[str, Document]) -> Findings:
    """Everything that the shards found; what each of them says of untouched cases is said once."""
    findings = Findings()
    for name, document in documents.items():
        findings.results += map(CaseVerdict.of_json, document["cases"])
        findings.controls += map(CaseVerdict.of_json, document["controls"])
        for key in ("untouched", "not_run", "only_base", "only_head"):
            ours = getattr(findings, key)
            ours += [each for each in document[key] if each not in ours]
        findings.failed |= {each["case"]: each["why"] for each in document["failed"]}
        findings.skipped |= {each["case"]: each["why"] for each in document["skipped"]}
        findings.warnings += [f"{name}: {sentence}" for sentence in document["warnings"]]
        if document["verdict"] == "refused" and findings.refused is None:
            findings.refused = f"{name}: {document['reason']}"
    return findings


if __name__ == "__main__":
    sys.exit(main())
