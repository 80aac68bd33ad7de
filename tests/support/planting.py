"""Faults planted in a copy of the sources: a named function is wrapped, so that its text may change."""

import ast
from pathlib import Path

WRAPPER = """

def _planted(inner):
    def wrapped(*given, **named):
        {lines}
        return inner(*given, **named)

    return wrapped


{name} = _planted({name})
"""


def plant(file: Path, name: str, *lines: str) -> None:
    """Let a function ("f") or a method ("Class.f") of a module run some lines before its own.

    The lines see the function as `inner` and its arguments as `given` and `named`.
    """
    text = file.read_text()
    assert name in functions(ast.parse(text)), f"{file.name} has no {name}: plant elsewhere"
    file.write_text(text + WRAPPER.format(name=name, lines="\n        ".join(lines)))


def functions(tree: ast.Module) -> set[str]:
    """The names of a module's functions, and of its classes' methods after their class."""
    inside = {f"{each.name}.": each.body for each in tree.body if isinstance(each, ast.ClassDef)}
    return {
        prefix + each.name
        for prefix, body in {"": tree.body, **inside}.items()
        for each in body
        if isinstance(each, ast.FunctionDef)
    }
