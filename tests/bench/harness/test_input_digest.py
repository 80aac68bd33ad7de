"""Two calls have one digest only where all that they hold is the same, down to the last number."""

import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from bench.harness.untouched.input_digest import digest_inputs


@dataclass
class Batch:
    rows: torch.Tensor
    names: list


class Case:
    """A benchmark's objects; `change` may change one of them before the digest is taken."""

    def __init__(self):
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.batch = Batch(torch.arange(6.0).reshape(2, 3), ["a", "b"])
        self.table = {"x": np.arange(4), "y": {1, 2, 3}}
        self.random = np.random.default_rng(0)
        self.factor = 1.0

    def call(self):
        layer, batch, table, random, factor = self.layer, self.batch, self.table, self.random, self.factor

        def run(scale=2.0):
            return layer(batch.rows) * factor * scale + table["x"][0] + random.random()

        return run


def digest(change=lambda case: None):
    case = Case()
    change(case)
    return digest_inputs(case.call())


def test_the_same_objects_have_the_same_digest():
    assert digest() == digest() != ""


def nudge_a_weight(case):
    with torch.no_grad():
        case.layer.weight[1, 2] += 1e-7


CHANGES = {
    "one number": lambda case: case.batch.rows.view(-1)[5].add_(1e-6),
    "a weight": nudge_a_weight,
    "a layout": lambda case: setattr(case.batch, "rows", case.batch.rows.T.contiguous().T),
    "a dtype": lambda case: setattr(case, "layer", case.layer.double()),
    "whether it trains": lambda case: case.layer.eval(),
    "a gradient": lambda case: case.layer(case.batch.rows).sum().backward(),
    "an entry of a list": lambda case: case.batch.names.append("c"),
    "a key": lambda case: case.table.update(z=1),
    "an array": lambda case: case.table.update(x=np.arange(5)),
    "a set": lambda case: case.table["y"].discard(3),
    "a generator": lambda case: case.random.random(),
    "a plain number": lambda case: setattr(case, "factor", 1.5),
    "which object it is": lambda case: setattr(case.layer, "bias", None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_of_what_a_call_holds_changes_its_digest(change):
    assert digest(change) not in (digest(), "")


def test_arguments_defaults_and_bound_objects_are_held_as_well():
    given = [digest_inputs(partial(max, number)) for number in (1, 1, 2)]
    assert given[0] == given[1] != given[2]
    first, other = Batch(torch.ones(2), []), Batch(torch.zeros(2), [])
    assert digest_inputs(first.__eq__) != digest_inputs(other.__eq__)


UNKNOWN = {
    "a lock": threading.Lock,
    "an iterator": lambda: iter([1]),
    "an array of objects": lambda: np.array([object()]),
    "a tensor with a history": lambda: torch.ones(2, requires_grad=True) * 2,
}


@pytest.mark.parametrize("make", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_is_not_known_has_no_digest(make):
    assert digest_inputs(partial(print, make())) == ""
