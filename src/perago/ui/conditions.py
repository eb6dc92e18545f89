"""Conditions on runs and commits, as a person types them: `alpha >= 0.3, result.f1 > 0.9`. Plain functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perago.errors import TaskInputError

MAX_LENGTH = 500
"""Longest text of conditions."""

_CONDITION = re.compile(r"\s*([^\s<>=!~,]+)\s*(<=|>=|!=|=|<|>|~)\s*(.*?)\s*")
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


@dataclass(frozen=True)
class Condition:
    """One condition. `~` asks whether a text contains another, in any case."""

    field: str
    operator: str
    value: str

    def holds(self, found: object) -> bool:
        """Whether a value fulfils it. Numbers are compared as numbers, everything else as text."""
        if found is None:
            return self.operator == "!="
        text = text_of(found)
        if self.operator == "~":
            return self.value.casefold() in text.casefold()
        one, other = number_in(found), number_in(self.value)
        if one is not None and other is not None:
            return _OPERATORS[self.operator](one, other)
        return _OPERATORS[self.operator](text, self.value)


def conditions_in(text: str) -> tuple[Condition, ...]:
    """Read conditions, with commas between them.

    Raises:
        TaskInputError: a condition is malformed.
    """
    if len(text) > MAX_LENGTH:
        raise TaskInputError(f"the conditions have {len(text)} characters; at most {MAX_LENGTH} are read")
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        match = _CONDITION.fullmatch(part)
        if match is None:
            raise TaskInputError(f"{part!r} is no condition. Write a name, one of = != < <= > >= ~, and a value: n > 3")
        found.append(Condition(*match.groups()))
    return tuple(found)


def number_in(value: object) -> float | None:
    """A value as a number; None if it is not one, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def text_of(value: object) -> str:
    """A value as a person would type it."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def field_of(name: str, groups: Sequence[tuple[str, Mapping[str, Any]]]) -> object:
    """The value of a field: `params.alpha` of that group, `alpha` of the first group that has it; None if none has.

    Args:
        groups: names and values of groups, such as params and result.
    """
    group, dot, rest = name.partition(".")
    for title, values in groups:
        if dot and group == title and rest in values:
            return values[rest]
    return next((values[name] for _, values in groups if name in values), None)
