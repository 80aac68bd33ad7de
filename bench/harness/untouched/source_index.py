"""The source of a version, taken apart into what can change by itself: functions, and what each import executes."""

import ast
import hashlib
import json
import os
import tomllib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

# What a decorator or a call of a module's statements may be without acting beyond the module; so may classes, whose
# names have a capital.
_PURE = {"cache", "lru_cache", "cached_property", "property", "setter", "staticmethod", "classmethod", "overload"}
_PURE |= {"contextmanager", "dataclass"}
_PURE |= {"override", "abstractmethod", "wraps", "no_grad", "inference_mode", "total_ordering", "field", "compile"}
_PURE |= {"dict", "set", "list", "tuple", "frozenset", "range", "len", "max", "min", "sum", "float", "int", "str"}
_PURE |= {"sorted", "zip", "enumerate", "namedtuple", "array", "tensor", "sqrt", "items", "keys", "values", "join"}
_PURE |= {"slice", "dtype", "eye", "arange", "radians", "partial", "partition", "runtime_checkable", "cpu_count"}
_NO_MATTER = {".pyc", ".md"}
HARNESS = __package__.rpartition(".")[0]  # whose changes count for every case, so that it is not traced
Unit = tuple[str, str]  # a module and the qualified name of a function in it: ("humor.losses", "HumorLoss.forward")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class ModuleSource:
    """One module: a digest of each outermost function, and of everything else that importing it executes."""

    functions: dict[str, str] = field(default_factory=dict)  # qualified name, as in code.co_qualname, to digest
    body: str = ""  # digest of what an import executes
    effects: str = ""  # digest of the part of it that may act beyond the module
    bound: set[str] = field(default_factory=set)  # names that the module binds otherwise than by `def`
    imports: set[str] = field(default_factory=set)  # modules of the same packages, late imports included


@dataclass
class SourceIndex:
    """All modules of some packages in a folder, and the files beside them that every benchmark depends on."""

    modules: dict[str, ModuleSource]
    data: dict[str, str]  # files of the packages that are no source, to their digest
    dependencies: str  # what pyproject.toml says of packages to install

    @classmethod
    def of(cls, folder: Path, packages: Sequence[str], besides: Sequence[Path] = ()) -> "SourceIndex":
        """Read the packages under a folder, and files `besides`. Raises SyntaxError for a file that is no Python."""
        inside = [file for package in packages for file in package_files(folder / package)] + [*besides]
        sources = {module_name(file.relative_to(folder)): file for file in inside if file.suffix == ".py"}
        return cls(
            {name: read_module(name, file, sources.keys()) for name, file in sources.items()},
            {str(file.relative_to(folder)): _digest_of(file) for file in inside if file.suffix != ".py"},
            dependencies_of(folder),
        )

    @property
    def digest(self) -> str:
        """A name for all of it, the same in every process: a set's order is not."""
        known = json.dumps(asdict(self), default=sorted, sort_keys=True)
        return hashlib.sha256(known.encode()).hexdigest()

    def closure(self, modules: Iterable[str]) -> set[str]:
        """The modules that are executed where these are imported, and by what their functions import."""
        reached: set[str] = set()
        waiting = [name for name in modules if name in self.modules]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += (self.modules[name].imports | {name.rpartition(".")[0]}) & self.modules.keys()
        return reached


def package_files(package: Path) -> list[Path]:
    """The files of a package that what runs may depend on, those in linked folders too, which can be imported."""
    files: list[Path] = []
    for name, folders, names in os.walk(package, followlinks=True):
        folder = Path(name)
        above = {path.resolve() for path in (folder, *folder.parents)}
        # A link to a folder that it lies in would be entered without end.
        folders[:] = [each for each in folders if each != "__pycache__" and (folder / each).resolve() not in above]
        files += [folder / each for each in names]
    return sorted(file for file in files if file.suffix not in _NO_MATTER and file.is_file())


def _digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def module_name(file: Path) -> str:
    """The module that a file holds: humor/data/__init__.py is humor.data."""
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dependencies_of(folder: Path) -> str:
    """The packages that a project asks for, as text; nothing where it has no pyproject.toml."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("project", {})
    except FileNotFoundError:
        return ""
    return repr([project.get("requires-python"), project.get("dependencies"), project.get("optional-dependencies")])


def read_module(name: str, file: Path, known: Collection[str]) -> ModuleSource:
    """Take a module apart; `known` are the modules that its imports may be of."""
    tree = ast.parse(file.read_bytes(), str(file))
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    module = ModuleSource(imports=set(_imports(tree, package, known)))
    _drop_docstrings(tree)
    body, effects = _take_apart(tree.body, "", module)
    module.body = _digest(body)
    if effects and not name.endswith("__main__"):  # which nobody imports
        module.effects = _digest(effects)
    return module


def _take_apart(statements: Sequence[ast.stmt], prefix: str, module: ModuleSource) -> tuple[list[str], list[str]]:
    """Fill in the functions; what else is executed, and the part of it that may act beyond the module."""
    body: list[str] = []
    effects: list[str] = []
    for node in statements:
        if isinstance(node, _Function):
            name = prefix + node.name
            module.functions[name] = _digest([module.functions.get(name, ""), ast.dump(node)])
            acts = [ast.dump(each) for each in node.decorator_list if not _is_pure_call(_called(each))]
            acts += [ast.dump(each) for each in _defaults(node) if not _is_pure(each)]
            if prefix or acts:  # a method can take the place of an inherited one
                body += [f"def {name}", *acts]
            effects += acts
        elif isinstance(node, ast.ClassDef):
            inner, inner_effects = _take_apart(node.body, f"{prefix}{node.name}.", module)
            head = [ast.dump(each) for each in (*node.decorator_list, *node.bases, *node.keywords)]
            body += [f"class {prefix}{node.name}", *head, *inner, "end"]
            effects += inner_effects
            effects += [ast.dump(each) for each in node.decorator_list if not _is_pure_call(_called(each))]
        else:
            body.append(ast.dump(node))
            effects += [body[-1]] if _may_act(node) else []
        if not prefix and not isinstance(node, _Function):
            module.bound |= _bound(node)
    return body, effects


def _may_act(node: ast.stmt) -> bool:
    """Whether a statement of a module or class may change something outside of it."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
        return False
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return False
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        elsewhere = any(isinstance(part, ast.Attribute | ast.Subscript) for each in targets for part in ast.walk(each))
        return elsewhere or (node.value is not None and not _is_pure(node.value))
    return not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _is_pure(node: ast.expr) -> bool:
    """Whether an expression, when it is evaluated, calls nothing but what makes a value."""
    if isinstance(node, ast.Lambda):
        return True
    if isinstance(node, ast.Call) and not _is_pure_call(_called(node)):
        return False
    inner = (child.value if isinstance(child, ast.keyword) else child for child in ast.iter_child_nodes(node))
    return all(_is_pure(child) for child in inner if isinstance(child, ast.expr))


def _is_pure_call(name: str) -> bool:
    return name in _PURE or name.lstrip("_")[:1].isupper()


def _called(node: ast.AST) -> str:
    """The last name of what a decorator or a call calls."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _defaults(node: _Function) -> list[ast.expr]:
    return [each for each in (*node.args.defaults, *node.args.kw_defaults) if each is not None]


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement of a module may bind."""
    if isinstance(node, ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(each.asname or each.name).partition(".")[0] for each in node.names}
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


def _imports(tree: ast.Module, package: str, known: Collection[str]) -> Iterator[str]:
    """The modules of the same packages that a module imports, its functions' late imports included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for each in node.names:
                yield from (name for name in (f"{base}.{each.name}", base) if name in known)


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | _Function) and ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
