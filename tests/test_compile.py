"""The whole step up to the loss compiles as one graph, and gives the same gradients."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_network_and_loss_compile_as_one_graph_with_the_same_gradients():
    command = [sys.executable, str(ROOT / "tests" / "compiled_step.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
