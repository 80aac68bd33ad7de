"""Runs of pytest in a process of their own, from the root of this checkout."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments):
    """`pytest` with arguments: its exit code and what it printed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_a_run_is_saved_with_its_work_and_compared(tmp_path):
    storage = f"--benchmark-storage=file://{tmp_path}"
    first = run("bench", *LIGHT, storage, "--benchmark-autosave")
    assert first.returncode == 0, first.stdout
    (saved,) = tmp_path.rglob("*.json")
    content = json.loads(saved.read_text())
    (benchmark,) = content["benchmarks"]
    assert benchmark["group"] == "linear 1024, 80 rows, forward"
    info = benchmark["extra_info"]
    assert (info["precision"], info["device"], info["rows"]) == ("fp32", "cpu", 80)
    assert info["flops"] == 2 * 80 * 1024 * 1024
    assert info["bytes"] >= 4 * (1024 * 1024 + 2 * 80 * 1024)
    assert content["machine_info"]["torch"] == torch.__version__
    second = run("bench", *LIGHT, storage, "--benchmark-compare")
    assert second.returncode == 3, second.stdout  # how far runs drift apart was never measured here
    assert "(0001_" in second.stdout
