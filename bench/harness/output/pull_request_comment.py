"""Writes the verdicts as one comment on a pull request, which each run overwrites.

`python -m bench.harness.output.pull_request_comment FILE --pull 7 ...` identifies the comment by the hidden first line
of the file, and uses GitHub's `gh`, which takes GH_TOKEN.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .markdown import MARKER

AUTHOR = "github-actions[bot]"  # of comments that may be overwritten: anyone may quote the marker


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the comment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])  # -OO strips it
    parser.add_argument("file", type=Path, help="Markdown of python -m bench.harness.output.markdown")
    parser.add_argument("--repository", required=True, metavar="OWNER/NAME")
    parser.add_argument("--pull", required=True, type=int, metavar="NUMBER")
    options = parser.parse_args(arguments)
    body = options.file.read_text(encoding="utf-8")
    if not body.startswith(MARKER):
        parser.error(
            f"{options.file}: no Markdown of verdicts; give what python -m bench.harness.output.markdown printed."
        )
    comments = f"repos/{options.repository}/issues/{options.pull}/comments"
    fields = ".[] | {id, body, author: .user.login}"
    listed = gh("--paginate", f"{comments}?per_page=100", "--jq", fields)
    number = existing_comment(json.loads(line) for line in listed.splitlines() if line)
    if number is None:
        method, address = "POST", comments
    else:
        method, address = "PATCH", f"repos/{options.repository}/issues/comments/{number}"
    gh("--method", method, address, "--input", "-", content=json.dumps({"body": body}))
    return 0


def existing_comment(comments: Iterable[dict[str, Any]]) -> int | None:
    """The number of the comment to overwrite, or None."""
    for comment in comments:
        if comment["author"] == AUTHOR and comment["body"].startswith(MARKER):
            return int(comment["id"])
    return None


def gh(*arguments: str, content: str | None = None) -> str:
    """The output of `gh api`. Raises CalledProcessError; gh has then printed the reason to stderr."""
    command = ["gh", "api", *arguments]
    return subprocess.run(command, input=content, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
