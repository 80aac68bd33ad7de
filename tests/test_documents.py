"""What the pages for readers promise: the first is short, links lead somewhere, code and options are real."""

import re
import runpy
from pathlib import Path

import pytest

from tests.support.pytest_process import run

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "bench/README.md", "humor/README.md"]


def test_the_first_page_can_be_read_in_ten_minutes():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_the_repository_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        if "://" not in target:
            name, _, heading = target.partition("#")
            file = (ROOT / page).parent / name if name else ROOT / page
            assert file.exists(), target
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE) if heading else []
            assert not heading or heading in [
                re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings
            ]


def test_the_example_of_the_library_runs_as_it_stands(tmp_path):
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "example.py").write_text(code)
    found = runpy.run_path(str(tmp_path / "example.py"))
    assert found["posed"].vertices.shape == (60, 6890, 3)
    assert found["posed"].vertices.isfinite().all()
    assert found["total"].isfinite()


def test_the_list_of_options_holds_every_option_of_the_suite_and_no_other():
    groups = re.findall(r"^((?:benchmarks|humor-bench): .*?)(?=^\S|\Z)", run("bench", "--help").stdout, re.M | re.S)
    added = {name for group in groups for name in re.findall(r"^  (--[a-z-]+)", group, re.MULTILINE)}
    page = (ROOT / "bench" / "README.md").read_text()
    listed = re.findall(r"`(--[a-z-]+)", page.partition("## Options")[2].partition("\n## ")[0])
    assert added
    assert {name for name in listed if not name.startswith("--benchmark")} == added


def test_every_folder_of_the_map_is_there_and_every_folder_is_on_it():
    rows = re.findall(r"^\| `([a-z_/]+)/`(?: |,)", (ROOT / "humor" / "README.md").read_text(), re.MULTILINE)
    folders = sorted(path.parent.name for path in (ROOT / "humor").glob("*/__init__.py"))
    assert sorted(rows) == folders
