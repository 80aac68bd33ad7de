"""Triton's kernels on a CPU: run by its interpreter, or compiled for a GPU that is not there."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest


def needs_triton(interpreter: bool = False) -> None:
    """Skip the test without triton, or without an interpreter whose loops work with every NumPy."""
    version, reason = ("3.7", "no triton from 3.7 on") if interpreter else (None, "triton is not installed")
    pytest.importorskip("triton", minversion=version, reason=reason)


def interpreted(module: str) -> ModuleType:
    """A module of kernels, which Triton's interpreter runs on the CPU."""
    needs_triton(interpreter=True)
    with pytest.MonkeyPatch.context() as put:
        put.setenv("TRITON_INTERPRET", "1")
        return import_module(module)


def run(*words: str, **variables: str) -> None:
    """Run Python in a process of its own, where no shapes are checked, without the interpreter unless it is told to."""
    needs_triton(interpreter="TRITON_INTERPRET" in variables)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, *words], env=environment | variables, check=True, timeout=300)


def compile_for_a_gpu(kernel: str, cache: Path) -> None:
    """Compile a kernel for a GPU, and check what came out."""
    run("-m", "tests.support.compile_kernels", kernel, TRITON_CACHE_DIR=str(cache))
