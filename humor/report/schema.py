"""JSON read into frozen dataclasses, whose fields and their types are the schema."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Number = float | int | None  # null stands for a number that is not known
T = TypeVar("T")


class MismatchError(ValueError):
    """JSON that does not have the schema; the message names the place, what is there and what is expected."""


def parse(kind: type[T], content: Any) -> T:
    """What came from JSON as an instance of a dataclass. Raises MismatchError.

    Fields may be text, `Number`, `object` (anything), a dataclass, `tuple[kind, ...]` for a list of any length and
    `Mapping[str, kind]` for an object with any names. A field with a default may be missing or null; names in the JSON
    that are no fields are passed over.
    """
    parsed: T = _parsed(kind, content, "")
    return parsed


def _parsed(kind: Any, found: Any, place: str) -> Any:
    if kind is object:
        return found
    if kind is str:
        return _require(isinstance(found, str), found, place, "text")
    if kind == Number:
        return _require(_is_number(found), found, place, "a number or null")
    if typing.get_origin(kind) is tuple:
        (entry,) = (each for each in typing.get_args(kind) if each is not ...)
        _require(isinstance(found, list), found, place, "a list")
        return tuple(_parsed(entry, value, f"{place}[{at}]") for at, value in enumerate(found))
    _require(isinstance(found, dict), found, place, "an object")
    if typing.get_origin(kind) is Mapping:
        _, entry = typing.get_args(kind)
        return {name: _parsed(entry, value, f"{place}[{name}]") for name, value in found.items()}
    return kind(**_fields(kind, found, place))


def _fields(kind: Any, found: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The arguments of a dataclass."""
    hints, arguments = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        inner = f"{place}.{field.name}" if place else field.name
        optional = field.default is not dataclasses.MISSING
        if optional and found.get(field.name) is None:
            continue
        if field.name not in found:
            raise MismatchError(f"{inner} is missing")
        arguments[field.name] = _parsed(hints[field.name], found[field.name], inner)
    return arguments


def _is_number(found: Any) -> bool:
    if found is None:
        return True
    return isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < math.inf


def _require(fits: bool, found: Any, place: str, expected: str) -> Any:
    if fits:
        return found
    text = repr(found)
    shown = text if len(text) <= 40 else text[:39] + "…"
    raise MismatchError(f"{place or 'its content'} is {shown}, expected {expected}")
