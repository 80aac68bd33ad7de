"""One comment a pull request: made once, then overwritten, and nobody else's is touched."""

import json
import os
import sys

import pytest

from bench.harness.output import pull_request_comment
from bench.harness.output.markdown import MARKER
from bench.harness.output.pull_request_comment import AUTHOR, existing_comment

# Stands in for GitHub's program: comments are a JSON file beside it.
GH = """#!{python}
import json, sys
from pathlib import Path

store = Path(__file__).with_name("comments.json")
comments = json.loads(store.read_text())
api, *rest = sys.argv[1:]
assert api == "api"
if rest[0] == "--paginate":
    assert rest[1:] == ["repos/o/n/issues/7/comments?per_page=100", "--jq", ".[] | {{id, body, author: .user.login}}"]
    for found in comments:
        print(json.dumps(found))
else:
    method, address = rest[1:3]
    assert rest == ["--method", method, address, "--input", "-"]
    body = json.load(sys.stdin)["body"]
    if method == "POST":
        assert address == "repos/o/n/issues/7/comments"
        comments.append({{"id": 100 + len(comments), "body": body, "author": "github-actions[bot]"}})
    else:
        (wanted,) = [found for found in comments if address == f"repos/o/n/issues/comments/{{found['id']}}"]
        wanted["body"] = body
    store.write_text(json.dumps(comments))
"""


@pytest.fixture
def github(tmp_path, monkeypatch):
    program = tmp_path / "gh"
    program.write_text(GH.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    store = tmp_path / "comments.json"

    def say(*comments):
        store.write_text(json.dumps(comments))
        return lambda: [found["body"] for found in json.loads(store.read_text())]

    return say


def post(tmp_path, text):
    file = tmp_path / "summary.md"
    file.write_text(text, encoding="utf-8")
    return pull_request_comment.main([str(file), "--repository", "o/n", "--pull", "7"])


def test_the_comment_is_made_once_and_then_overwritten(tmp_path, github):
    bodies = github({"id": 3, "body": "nice", "author": "alice"})
    for verdict in ("slower → 1", "same", "faster"):
        assert post(tmp_path, f"{MARKER}\n{verdict}") == 0
        assert bodies() == ["nice", f"{MARKER}\n{verdict}"]


def test_a_quoted_marker_is_left_alone(tmp_path, github):
    others = [
        {"id": 3, "body": f"{MARKER}\nmine", "author": "alice"},
        {"id": 4, "body": f"> {MARKER}\nwhy?", "author": AUTHOR},
    ]
    bodies = github(*others)
    assert existing_comment(others) is None
    post(tmp_path, f"{MARKER}\nsame")
    assert bodies() == [f"{MARKER}\nmine", f"> {MARKER}\nwhy?", f"{MARKER}\nsame"]


def test_a_file_without_the_marker_is_not_posted(tmp_path, github, capsys):
    bodies = github()
    with pytest.raises(SystemExit) as error:
        post(tmp_path, "hello")
    assert error.value.code == 2
    assert "summary.md: no Markdown of verdicts; give what" in capsys.readouterr().err
    assert bodies() == []
