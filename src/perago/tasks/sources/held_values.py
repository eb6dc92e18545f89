"""What functions hold besides their code: the values of their closure, and their defaults.

Two tasks that a factory has made differ by nothing else.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from zoneinfo import ZoneInfo

from perago.tasks.sources.modules import real_name
from perago.tasks.sources.parsing import definitions_in
from perago.tasks.sources.untold import UntoldError

MAX_DEPTH = 20
"""Depth of values within values that are compared."""

MAX_VALUES = 10_000
"""Values of one function that are compared: they are described at each call."""


class Description:
    """Describes values as text that is the same in every process for the same values, and for no others.

    Attributes:
        modules: those that functions, classes and modules among the values come from.
    """

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self._within: list[int] = []
        self._described = 0

    def of(self, value: object) -> str:
        """The text for a value.

        Raises:
            UntoldError: it cannot be compared, or holds such a value.
        """
        self._described += 1
        if len(self._within) >= MAX_DEPTH or self._described > MAX_VALUES:
            raise UntoldError("the function holds too many values to compare them")
        if id(value) in self._within:  # such as a function that calls itself
            return "itself"
        self._within.append(id(value))
        try:
            text = _plain(value)
            return self._compound(value) if text is None else text
        finally:
            self._within.pop()

    def _compound(self, value: object) -> str:
        match value:
            case Enum() if value.name is not None:
                return f"{self._place_of_class(type(value))}.{value.name}"
            case FunctionType() if len(self._within) > 1 and _is_found(value, value.__module__, value.__qualname__):
                return f"function {self._place(value.__module__, value.__qualname__)}"  # what it holds, its source says
            case FunctionType():
                return self._function(value)
            case MethodType():
                return f"method({self.of(value.__func__)}, {self.of(value.__self__)})"
            case functools.partial():
                return f"partial({self.of(value.func)}, {self.of(value.args)}, {self.of(value.keywords)})"
            case BuiltinFunctionType() if _is_found(value, value.__module__, value.__qualname__):
                return f"function {self._place(value.__module__, value.__qualname__)}"
            case ModuleType() if sys.modules.get(value.__name__) is value:
                return f"module {self._name(value.__name__)}"
            case type():
                return self._place_of_class(value)
        return self._collection(value)

    def _collection(self, value: object) -> str:
        # Exact types only: a subclass may have attributes, or another meaning.
        if isinstance(value, tuple | list) and type(value) in (tuple, list):
            return f"{type(value).__name__}({self._all(value)})"
        if isinstance(value, set | frozenset) and type(value) in (set, frozenset):
            return f"{type(value).__name__}({', '.join(sorted(map(self.of, value)))})"
        if isinstance(value, dict) and type(value) is dict:  # code may depend on the order of its keys
            return f"dict({', '.join(f'{self.of(key)}: {self.of(each)}' for key, each in value.items())})"
        raise UntoldError(f"the function holds a {type(value).__qualname__}, which cannot be compared")

    def _all(self, values: Iterable[object]) -> str:
        return ", ".join(map(self.of, values))

    def _function(self, function: FunctionType) -> str:
        """The text for a function: its name and what it holds."""
        place = self._place(function.__module__, function.__qualname__)
        parts = [f"function {place}{self._distinction(function)}"]
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        parts += [f"{name}={self._cell(cell)}" for name, cell in cells]
        if function.__defaults__:
            parts.append(f"defaults={self.of(function.__defaults__)}")
        if function.__kwdefaults__:
            parts.append(f"keywords={self.of(function.__kwdefaults__)}")
        return f"({', '.join(parts)})"

    def _cell(self, cell: CellType) -> str:
        try:
            value = cell.cell_contents
        except ValueError:
            return "empty"
        return self.of(value)

    def _distinction(self, function: FunctionType) -> str:
        """Suffix that distinguishes functions with one name. Empty for the one that the module has under that name.

        A function that another one made, or that a decorator wrapped, gets its place among the functions of its file. A
        line number would change with each comment.
        """
        if _is_found(function, function.__module__, function.__qualname__):
            return ""
        code = function.__code__
        module = self._name(str(function.__globals__.get("__name__")))
        if not has_file(function):
            raise UntoldError(f"the function {code.co_qualname!r} has no source file")
        namesakes = [each for each in definitions_in(code.co_filename, module) if each[0] == code.co_name]
        own = (code.co_name, code.co_firstlineno)
        if own not in namesakes:
            raise UntoldError(f"the file of the function {code.co_qualname!r} has changed since it was loaded")
        if namesakes.count(own) > 1:
            raise UntoldError(
                f"the function {code.co_qualname!r} shares its line with another, from which it cannot be told "
                f"(line {code.co_firstlineno} of module {module!r})"
            )
        return f" at {module}:{code.co_qualname} #{namesakes.index(own)}"

    def _place_of_class(self, kind: type) -> str:
        if not _is_found(kind, kind.__module__, kind.__qualname__):
            raise UntoldError(
                f"the function holds the class {kind.__qualname__!r}, which is not in its module, so that it cannot be "
                f"compared"
            )
        return f"class {self._place(kind.__module__, kind.__qualname__)}"

    def _place(self, module: str, qualified_name: str) -> str:
        return f"{self._name(module)}:{qualified_name}"

    def _name(self, module: str) -> str:
        name = real_name(module)
        self.modules.add(name)
        return name


def has_file(function: FunctionType) -> bool:
    """Whether a function comes from a source file, and not from text that was executed."""
    return Path(function.__code__.co_filename).is_file()


def _plain(value: object) -> str | None:
    """The text for a value that holds no others; None for all others. Exact types, as for collections."""
    if value is None or type(value) in (bool, int, float, str, bytes, date, timedelta, timezone):
        return repr(value)
    if isinstance(value, PurePath) and type(value).__module__.partition(".")[0] == "pathlib":
        return f"{type(value).__name__}({str(value)!r})"
    if isinstance(value, datetime | time) and type(value) in (datetime, time):
        zone = _zone(value.tzinfo)
        return None if zone is None else f"{value.replace(tzinfo=None)!r} {zone}"
    return None


def _zone(zone: tzinfo | None) -> str | None:
    if zone is None or type(zone) is timezone:
        return repr(zone)
    return f"zone {zone.key!r}" if isinstance(zone, ZoneInfo) and zone.key is not None else None


def _is_found(value: object, module: str | None, qualified_name: str) -> bool:
    """Whether a module has that very value by that name. Runs no code of either."""
    found: object = sys.modules.get(module or "")
    for part in qualified_name.split("."):
        found = inspect.getattr_static(found, part, None)
    return (found.__func__ if isinstance(found, staticmethod | classmethod) else found) is value
