"""The verdict file of `pytest bench --against REF --verdicts FILE` as Markdown, the worst first.

`python -m bench.harness.output.markdown verdicts.json` prints it; it ends with 1, and says so, where there is no
verdict to read. It needs only Python's standard library, and escapes all text of the file, because names and messages
come from the measured code.
"""

import argparse
import html
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARKER = "<!-- humor-bench: verdicts -->"  # identifies the comment
WORDS = ("refused", "slower", "unclear", "faster", "passes", "control")  # the order of the table
EXITS = {"refused": {4}, "slower": {1}, "unclear": {3, 0}, "faster": {0}, "passes": {0}, "untouched": {0}}
LIMIT = 60_000  # characters; GitHub takes 65536 in a comment
ENTRIES = 20  # of a list
LISTS = ("cases", "controls", "untouched", "not_run", "failed", "skipped", "only_base", "only_head", "warnings")
TYPES = dict.fromkeys(LISTS, list) | {"versions": dict, "settings": dict, "fingerprint": dict, "reason": str}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the summary of a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])  # -OO strips it
    parser.add_argument("file", type=Path)
    parser.add_argument("--link", help="address of the run, for the last line")
    options = parser.parse_args(arguments)
    try:
        text, code = markdown(read(options.file)), 0
    except ValueError as error:
        text, code = f"{MARKER}\n### refused: no verdict\n\n{plain(str(error))}\n", 1
    link = f"\n[The run]({options.link})\n" if options.link else ""
    sys.stdout.write(text + link)
    return code


def read(file: Path) -> dict[str, Any]:
    """Read and check a file of verdicts. Raises ValueError that says what is wrong with it."""
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file.name}: no such file; the run ended before it had a verdict, see its log.") from None
    except OSError as error:
        raise ValueError(f"{file.name}: cannot be read ({error.strerror}); check the path and its rights.") from None
    except ValueError:
        raise ValueError(f"{file.name}: not JSON; the run ended while it wrote, start it again.") from None
    problem = _problem(report)
    if problem:
        raise ValueError(f"{file.name}: {problem}; it is no document of verdicts, measure again.")
    return report


def _problem(report: Any) -> str | None:
    if not isinstance(report, dict) or report.get("kind") != "verdicts":
        return f"kind {report.get('kind', 'missing') if isinstance(report, dict) else 'missing'}"
    if str(report.get("exit")) not in map(str, EXITS.get(str(report.get("verdict")), ())):
        return f'verdict "{report.get("verdict")}" with exit {report.get("exit")}'
    for key, kind in TYPES.items():
        if not isinstance(report.get(key), kind):
            return f"no {key}"
    for case in (*report["cases"], *report["controls"]):
        if not isinstance(case, dict) or case.get("verdict") not in WORDS or not isinstance(case.get("case"), str):
            return "a case without a name or a verdict"
        for number in ("change", "low", "high", "upper_bound", "base_ms", "head_ms"):
            if not isinstance(case.get(number), int | float | None):
                return f"{number} of {case['case']} is no number"
    return None


def markdown(report: dict[str, Any], limit: int = LIMIT) -> str:
    """The report in at most `limit` characters: rows are left out from the end of the table, and counted."""
    controls = [case | {"verdict": "control"} for case in report["controls"]]
    cases = sorted([*report["cases"], *controls], key=_severity)
    rows = [_row(case) for case in cases]
    before, after = _heading(report, cases), _details(report)
    room = limit - len(before) - len(after) - 200
    shown, used = 0, 0
    while shown < len(rows) and used + len(rows[shown]) + 1 <= room:
        used += len(rows[shown]) + 1
        shown += 1
    more = [f"\n{len(rows) - shown} more cases; see the JSON."] * (shown < len(rows))
    return "\n".join([before, *rows[:shown], *more, "", after])[:limit]  # cuts only lists of escaped characters


def _severity(case: dict[str, Any]) -> tuple[int, float, str]:
    change = case["change"] if _finite(case.get("change")) else math.inf
    return WORDS.index(case["verdict"]), -float(change), case["case"]


def _heading(report: dict[str, Any], cases: list[dict[str, Any]]) -> str:
    counts = [(word, sum(case["verdict"] == word for case in report["cases"])) for word in WORDS]
    counts += [("untouched", len(report["untouched"]))]
    counted = ", ".join(f"{count} {word}" for word, count in counts if count) or "no case was compared"
    failed = f", {len(report['failed'])} failed" if report["failed"] else ""
    versions = " → ".join(_version(report["versions"].get(side)) for side in ("base", "head"))
    seconds = report.get("seconds")
    lines = [MARKER, f"### {report['verdict']}: {counted}{failed}", ""]
    if report["reason"]:
        lines += [plain(report["reason"]), ""]
    lines += [versions + (f", measured in {seconds:.0f} s" if _finite(seconds) else "") + ".", ""]
    if cases:
        lines += ["| verdict | case | head / base | base ms | head ms |", "|---|---|---:|---:|---:|"]
    return "\n".join(lines)


def _version(version: Any) -> str:
    if not isinstance(version, dict):
        return "unknown"
    commit, dirty = str(version.get("commit") or "")[:10], version.get("dirty")
    about = ", ".join([code(commit)] * bool(commit) + ["with changes that are not committed"] * bool(dirty))
    return code(str(version.get("ref"))) + (f" ({about})" if about else "")


def _row(case: dict[str, Any]) -> str:
    ratio, low, high, bound = (
        _number(case.get(name), "{:.3f}", 1.0) for name in ("change", "low", "high", "upper_bound")
    )
    quiet = case["verdict"] in ("passes", "control")
    cells = [
        case["verdict"] if quiet else f"**{case['verdict']}**",
        code(case["case"]),
        f"{ratio} (below {bound})" if quiet else f"{ratio} [{low}, {high}]",
        _number(case.get("base_ms"), "{:.4g}"),
        _number(case.get("head_ms"), "{:.4g}"),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _details(report: dict[str, Any]) -> str:
    touched = {str(case.get("touched_by") or "") for case in report["cases"]} - {""}
    lists = {
        "Failed": [_reason(case) for case in report["failed"]],
        "Skipped": [_reason(case) for case in report["skipped"]],
        "Changed, and run by these cases": [code(each) for each in sorted(touched)],
        "Changed, and run by none of the benchmarks": [code(str(name)) for name in report["not_run"]],
        "Only in the base version": [code(str(name)) for name in report["only_base"]],
        "Only in the head version": [code(str(name)) for name in report["only_head"]],
        "Warnings": [plain(str(sentence)) for sentence in report["warnings"]],
    }
    blocks = [_list(f"**{title}**", entries) for title, entries in lists.items() if entries]
    conditions = {**report["settings"], **{k: v for k, v in report["fingerprint"].items() if v is not None}}
    about = [f"{plain(str(name))}: {code(str(value))}" for name, value in conditions.items()]
    if about:
        details = _list("<details><summary>Settings and machine</summary>", about, most=3 * ENTRIES)
        blocks.append(f"{details}\n</details>\n")
    return "\n".join(blocks)


def _reason(case: Any) -> str:
    if not isinstance(case, dict):
        return plain(str(case))
    return f"{code(str(case.get('case')))}: {plain(str(case.get('why')))}"


def _list(title: str, entries: list[str], most: int = ENTRIES) -> str:
    more = [f"- and {len(entries) - most} more"] * (len(entries) > most)
    return "\n".join([title, "", *(f"- {entry}" for entry in entries[:most]), *more, ""])


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: Any, form: str, add: float = 0.0) -> str:
    return form.format(value + add) if _finite(value) else "?"


def code(text: str, most: int = 200) -> str:
    """Text as one line of Markdown code."""
    return f"`{_line(text, most).replace('`', chr(39)) or ' '}`"


def plain(text: str, most: int = 300) -> str:
    """Text as one line of plain Markdown: without markup, HTML or mentions of users."""
    escaped = re.sub(r"([\\`*_\[\]~|#])", r"\\\1", html.escape(_line(text, most), quote=False))
    return escaped.replace("@", "@\u200b")


def _line(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
