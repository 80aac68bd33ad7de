"""The library is built in layers: a module imports its own layer and those below it, never one above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [
    # Lowest first. A name is a module, or a folder with all that is in it.
    ("errors", "io", "rotations", "skeleton"),
    (
        "mannequin",
        "kinematics",
        "skinning",
        "body",
        "state",
        "rollout",
        "mesh_loss",
        "triton_kernels",
        "triton_kinematics",
        "triton_mesh_loss",
    ),
    ("precision",),
    ("model", "losses", "posed_joints"),
    ("data",),
    ("training",),
    ("motion", "lifting", "study", "report"),
    ("cli",),
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FILES = sorted((ROOT / "humor").rglob("*.py"))


def name_of(path):
    """A file's place in the table: the module beside `humor/__init__.py`, or the folder, that it belongs to."""
    return path.relative_to(ROOT / "humor").parts[0].removesuffix(".py")


def imported(path):
    """The names in the table of what a file of humor imports."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            yield from [base[1]] if base[1:] != [""] else [alias.name for alias in node.names]


def outside(path):
    """The packages that a file imports by their name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0]


def test_every_module_and_folder_has_one_layer():
    names = [name for layer in LAYERS for name in layer]
    assert sorted(names) == sorted({name_of(path) for path in FILES} - {"__init__", "__main__"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_its_layer_and_lower_ones_alone(path):
    if name_of(path) not in ("__init__", "__main__"):  # the two doors of the house
        assert [other for other in imported(path) if RANK[other] > RANK[name_of(path)]] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_knows_neither_benchmarks_nor_tests_nor_itself_by_name(path):
    assert not {"bench", "tests", "humor", "pytest"} & set(outside(path))


def test_the_report_reads_what_others_write_and_knows_none_of_them():
    reached = {other for path in FILES if name_of(path) == "report" for other in imported(path)}
    assert reached <= {"report", "errors", "io"}
