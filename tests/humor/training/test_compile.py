"""The whole step but its update compiles as one graph, and gives the same gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_whole_step_compiles_as_one_graph_with_the_same_gradients():
    command = [sys.executable, str(ROOT / "tests" / "support" / "compiled_step.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
