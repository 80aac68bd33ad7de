"""The house's rule of reading: a file of humor imports only files above it in this list."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    "errors", "files", "arrays", "checkpoints", "rotations", "skeleton", "kinematics",
    "mannequin_shape", "mannequin_mesh", "mannequin_loft", "mannequin_skin", "mannequin", "drawing",
    "skinning", "body", "state", "rollout", "model", "mesh_error", "losses",
    "weight_copies", "fp8", "precision", "half_products", "execution",
    "data.amass", "data.asf", "data.amc", "data.retarget", "data.cmu", "data.footsteps", "data.synthetic",
    "data.clustering", "data.processing", "data.processed", "data.windows", "data.splits", "data.store",
    "data.building", "data.loading", "data.__init__",
    "settings", "draws", "optimizer", "clock", "portions", "training",
    "held_out", "distributed", "runs", "runlog", "progress", "trainer",
    "lifting.networks", "lifting.cameras", "lifting.motion", "lifting.__init__", "lifting.training",
    "verdict", "study", "study_report",
    "tracing", "turns", "profiling", "profile_report",
    "report.numbers", "report.documents", "report.blocks", "report.svg", "report.marks", "report.rows", "report.planes",
    "report.saved", "report.single", "report.measured", "report.judged", "report.foretold", "report.__init__",
    "generation", "motion_page", "observations", "fit_terms", "descent", "fitting", "motion_commands", "train_commands",
    "__init__", "cli", "__main__",
]  # fmt: skip
FILES = {".".join(p.relative_to(ROOT / "humor").with_suffix("").parts): p for p in (ROOT / "humor").rglob("*.py")}


def imported(name):
    """The files of humor that a file imports."""
    package = name.split(".")[:-1]
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                paths = (
                    ".".join([*base, *more]) for more in ([alias.name], [alias.name, "__init__"], [], ["__init__"])
                )
                yield next(path for path in paths if path in FILES)


def outside(name):
    """The packages that a file imports."""
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0]


def test_every_file_has_its_place_in_the_order():
    assert sorted(FILES) == sorted(ORDER)


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_files_above_it(name):
    above = ORDER[: ORDER.index(name)]
    assert [other for other in imported(name) if other not in above] == []


@pytest.mark.parametrize("name", FILES)
def test_the_library_knows_neither_benchmarks_nor_tests_nor_itself_by_name(name):
    assert not {"bench", "tests", "humor", "pytest"} & set(outside(name))
