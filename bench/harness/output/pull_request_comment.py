"""One comment on a pull request, written again at each run.

`python -m bench.harness.output.pull_request_comment FILE --pull 7 ...` writes it. It is found by the hidden first
line of the file. Speaks to GitHub through its `gh`, which takes GH_TOKEN.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .markdown import MARKER

AUTHOR = "github-actions[bot]"  # only its comments are overwritten: anyone may quote the marker


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the comment."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="Markdown of python -m bench.harness.output.markdown")
    parser.add_argument("--repository", required=True, metavar="OWNER/NAME")
    parser.add_argument("--pull", required=True, type=int, metavar="NUMBER")
    options = parser.parse_args(arguments)
    body = options.file.read_text(encoding="utf-8")
    if not body.startswith(MARKER):
        parser.error(
            f"{options.file}: no summary of verdicts; give what python -m bench.harness.output.markdown printed."
        )
    comments = f"repos/{options.repository}/issues/{options.pull}/comments"
    fields = ".[] | {id, body, author: .user.login}"
    found = gh("--paginate", f"{comments}?per_page=100", "--jq", fields)
    number = own_comment(json.loads(line) for line in found.splitlines() if line)
    if number is None:
        method, address = "POST", comments
    else:
        method, address = "PATCH", f"repos/{options.repository}/issues/comments/{number}"
    gh("--method", method, address, "--input", "-", content=json.dumps({"body": body}))
    return 0


def own_comment(comments: Iterable[dict[str, Any]]) -> int | None:
    """The number of the comment to overwrite, None where there is none yet."""
    for comment in comments:
        if comment["author"] == AUTHOR and comment["body"].startswith(MARKER):
            return int(comment["id"])
    return None


def gh(*arguments: str, content: str | None = None) -> str:
    """What `gh api` answers. Raises CalledProcessError; gh has then said why on stderr."""
    command = ["gh", "api", *arguments]
    return subprocess.run(command, input=content, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
