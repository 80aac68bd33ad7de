"""A case is called untouched only where nothing that it runs or depends on was changed."""

import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.harness.untouched.call_trace import CallTrace
from bench.harness.untouched.decide import Change
from bench.harness.untouched.source_index import SourceIndex, package_files
from tests.support.pytest_process import ROOT

LIBRARY = {
    "shop/__init__.py": '"""A shop."""\n\nfrom .prices import total\n',
    "shop/prices.py": '''
"""Prices."""
from functools import cache
from . import taxes

RATES = {"bread": 2.0}

class Basket:
    """What is bought."""
    discount = 0.5
    def __init__(self, *names):
        self.names = names
    def price(self, factor=1.0):
        return factor * sum(map(price_of, self.names))
    @property
    def cheap(self):
        return self.price(self.discount)

def price_of(name):
    return RATES.get(name, 1.0) * table()[0]

@cache
def table():
    return [first()]

def first():
    return 1.0

def total(*names):
    def taxed(value):
        return taxes.add(value)
    return taxed(Basket(*names).price())

def unused(x=3):
    return x
''',
    "shop/taxes.py": """
RATE = 0.1
def add(value):
    return value * (1 + RATE)
def sub(value):
    return value
""",
    "shop/other.py": '''
"""Imported by nobody."""
NUMBER = 1
def other():
    return NUMBER
''',
    "pyproject.toml": '[project]\nname = "shop"\ndependencies = ["numpy"]\n',
}

OTHER, BODY = "statements of shop.other that may act beyond it", "statements of shop.prices"


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """The index of the shop, what importing it enters, and what a purchase of bread enters."""
    folder = write(tmp_path / "base", LIBRARY)
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        monkeypatch.delitem(sys.modules, name)
    index = SourceIndex.of(folder, ["shop"])
    with CallTrace({"shop": folder / "shop"}, index) as trace:
        shop = importlib.import_module("shop")
        shared = trace.take()
        shop.total("bread")
    return index, trace, shared


def changed(tmp_path, old, new, file="shop/prices.py"):
    """The index of the shop with a text of one file replaced."""
    assert old in LIBRARY.get(file, "") or not old
    files = {**LIBRARY, file: LIBRARY[file].replace(old, new) if old else new}
    return SourceIndex.of(write(tmp_path / "head", files), ["shop"])


def reason(traced, head):
    index, trace, shared = traced
    return Change(index, head).reason(trace.entered, shared)


def test_functions_are_recorded_in_the_order_in_which_they_are_entered(traced):
    _, trace, shared = traced
    names = [name for _, name in trace.entered]
    assert names == ["total", "Basket.__init__", "Basket.price", "price_of", "table", "first", "add"]
    assert [module for module, _ in shared] == ["shop", "shop.prices", "shop.taxes"]


@pytest.mark.parametrize(
    ("old", "new", "file", "why"),
    [
        ("return factor * sum", "return 2 * factor * sum", "shop/prices.py", "shop.prices.Basket.price"),
        ("factor=1.0", "factor=2.0", "shop/prices.py", "shop.prices.Basket.price"),
        ("    def price(self", "    @staticmethod\n    def price(self", "shop/prices.py", "shop.prices.Basket.price"),
        ("return taxes.add(value)", "return taxes.add(value + 1)", "shop/prices.py", "shop.prices.total"),
        ("    return 1.0\n", "    return 2.0\n", "shop/prices.py", "shop.prices.first"),
        ("discount = 0.5", "discount = 0.4", "shop/prices.py", "statements of shop.prices"),
        ('"bread": 2.0', '"bread": 3.0', "shop/prices.py", "statements of shop.prices"),
        ("class Basket:", "class Basket(dict):", "shop/prices.py", "statements of shop.prices"),
        ("    @property", "    def __len__(self): return 0\n    @property", "shop/prices.py", BODY),
        ("def unused(x=3)", "def sum(x=3)", "shop/prices.py", "statements of shop.prices"),
        ("import total\n", "import total\ndef other():\n    return 1\n", "shop/__init__.py", "statements of shop"),
        ("RATE = 0.1", "RATE = 0.2", "shop/taxes.py", "statements of shop.taxes"),
        ("from . import taxes", "from . import taxes, other", "shop/prices.py", "statements of shop.prices"),
        ("NUMBER = 1", "import shop.taxes\nshop.taxes.RATE = 1", "shop/other.py", OTHER),
        ("NUMBER = 1", "print(1)", "shop/other.py", OTHER),
        ('"numpy"', '"numpy>=2"', "pyproject.toml", "the packages that pyproject.toml asks for"),
    ],
)  # fmt: skip
def test_a_change_that_a_case_can_see_touches_it_and_is_named(traced, tmp_path, old, new, file, why):
    assert reason(traced, changed(tmp_path, old, new, file)) == why


@pytest.mark.parametrize(
    ("old", "new", "file"),
    [
        ("return x", "return x + 1", "shop/prices.py"),
        ("def unused(x=3):", "def unused(x=4):", "shop/prices.py"),
        ("def unused", "def renamed", "shop/prices.py"),
        ("def total(*names):\n", 'def total(*names):\n    """What is to be paid."""\n', "shop/prices.py"),
        ('"""What is bought."""', '"""What was bought."""  # a comment', "shop/prices.py"),
        ("def total", "\n\ndef more():\n    return 1\n\n\ndef total", "shop/prices.py"),
        ("return self.price(self.discount)", "return 0", "shop/prices.py"),
        ("    return value\n", "    return -value\n", "shop/taxes.py"),
        ("NUMBER = 1", "NUMBER = 2", "shop/other.py"),
        ("return NUMBER", "return 7", "shop/other.py"),
    ],
)  # fmt: skip
def test_a_change_that_no_case_can_see_touches_none(traced, tmp_path, old, new, file):
    assert reason(traced, changed(tmp_path, old, new, file)) is None


def test_a_module_that_is_there_now_touches_who_tried_to_import_it(tmp_path):
    tries = "try:\n    from . import fast\nexcept ImportError:\n    fast = None\ndef pay():\n    return fast\n"
    base, head = ({**LIBRARY, "shop/pay.py": tries, **more} for more in ({}, {"shop/fast.py": "SPEED = 2\n"}))
    versions = (SourceIndex.of(write(tmp_path / name, files), ["shop"]) for name, files in (("a", base), ("b", head)))
    change = Change(*versions)
    assert change.reason([("shop.pay", "pay")]) == "statements of shop.fast"
    assert change.reason([("shop.taxes", "add")]) is None


def test_what_is_run_as_a_program_has_no_effect_on_what_imports(tmp_path):
    base, head = ({**LIBRARY, "shop/__main__.py": text} for text in ("print(1)\n", "print(2)\n"))
    versions = (SourceIndex.of(write(tmp_path / name, files), ["shop"]) for name, files in (("a", base), ("b", head)))
    assert Change(*versions).everywhere is None


def test_a_data_file_touches_every_case_and_a_text_none(traced, tmp_path):
    assert reason(traced, changed(tmp_path, "", "[1, 2]", "shop/table.json")) == "the file shop/table.json"
    (tmp_path / "head" / "shop" / "table.json").unlink()
    assert reason(traced, changed(tmp_path, "", "# A shop", "shop/README.md")) is None


def test_the_same_source_is_an_empty_change(traced, tmp_path):
    index, _, _ = traced
    same = changed(tmp_path, '"""Prices."""', '"""Our prices."""\n# as of today')
    assert Change(index, same).is_empty
    assert not Change(index, changed(tmp_path, "return x", "return x + 1")).is_empty


def test_a_digest_is_the_same_in_every_process(tmp_path):
    """Sets of text have another order in each, by which traces were never found again."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("".join(f"name_{number} = {number}\n" for number in range(30)))
    says = "import sys; from pathlib import Path; from bench.harness.untouched.source_index import SourceIndex; "
    says += "print(SourceIndex.of(Path(sys.argv[1]), ['shop']).digest)"
    command = [sys.executable, "-c", says, str(tmp_path)]
    seen = {
        subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": str(seed)}, check=True, capture_output=True, cwd=ROOT
        ).stdout
        for seed in range(3)
    }
    assert len(seen) == 1
    (package / "__init__.py").write_text("name_1 = 2\n")
    assert subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout not in seen


def test_threads_are_traced(traced):
    index, _, _ = traced
    shop = sys.modules["shop"]
    folder = Path(shop.__file__).parent
    with CallTrace({"shop": folder}, index) as trace:
        thread = threading.Thread(target=shop.prices.unused)
        thread.start()
        thread.join()
    assert list(trace.entered) == [("shop.prices", "unused")]


def test_nothing_is_traced_once_it_is_over(traced):
    _, trace, _ = traced
    trace.take()
    sys.modules["shop"].prices.unused()
    assert trace.take() == []
    assert sys.getprofile() is None


def test_the_files_of_linked_folders_are_a_packages_and_loops_end(tmp_path):
    (tmp_path / "elsewhere/__pycache__").mkdir(parents=True)
    (tmp_path / "shop").mkdir()
    for name in ("shop/__init__.py", "elsewhere/taxes.py", "elsewhere/__pycache__/taxes.pyc"):
        (tmp_path / name).touch()
    (tmp_path / "shop/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "shop")
    found = package_files(tmp_path / "shop")
    assert [str(file.relative_to(tmp_path)) for file in found] == ["shop/__init__.py", "shop/more/taxes.py"]
