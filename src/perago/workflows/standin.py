"""Stand-ins: what a workflow function handles in place of values that are known only when the workflow runs."""

from __future__ import annotations

import contextlib
import os
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from perago.errors import WorkflowDefinitionError
from perago.workflows.expressions import Expression, Step
from perago.workflows.wiring import model_of, no_such, type_name, type_within

_OURS = (str(Path(__file__).parent) + os.sep, contextlib.__file__)
"""Files that a workflow function calls: those of this room, and that of its context managers."""


@dataclass(frozen=True)
class Scope:
    """A branch of a fork or a case of a switch.

    Attributes:
        block: number of the fork or switch.
        part: number of the branch or case in it.
        is_case: of a switch, so that it may not have run.
    """

    block: int
    part: int
    is_case: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a value before the workflow runs.

    Attributes:
        path: where it is when the workflow runs.
        kind: its type.
        of: what it belongs to, for messages: "the result of task 'clean'".
        place: the line that made that.
        scopes: the branches and cases that it is made in, from the outside in.
    """

    path: tuple[Step, ...]
    kind: Any
    of: str
    place: str
    scopes: tuple[Scope, ...] = field(default=())

    @property
    def name(self) -> str:
        """The value in words."""
        inner = ".".join(str(step) for step in self.path[_HEAD.get(str(self.path[0]), 3) :])
        return f"{inner} of {self.of}" if inner else self.of

    def within(self, step: Step, kind: Any) -> Facts:
        return Facts(path=(*self.path, step), kind=kind, of=self.of, place=self.place, scopes=self.scopes)


_HEAD = {"workflow": 3}
"""Steps before the fields: `workflow.input.params`, `clean.output.result`."""


class StandIn:
    """A value that is known when the workflow runs. Its fields are stand-ins, too.

    It has no value to compare, count or print: what depends on one is chosen by `Flow.when`, or done within a task.
    """

    __slots__ = ("_perago",)
    _perago: Facts

    def __init__(self, facts: Facts) -> None:
        object.__setattr__(self, "_perago", facts)

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("_"):
            raise AttributeError(name)
        facts = self._perago
        kind = None if model_of(facts.kind) is None else type_within(facts.kind, name)
        if kind is None:
            raise WorkflowDefinitionError(f"{here()}: {facts.name} ({facts.place}) {no_such(facts.kind, name)}")
        return StandIn(facts.within(name, kind[0]))

    def __setattr__(self, name: str, value: object) -> None:
        raise self._refused(f"its field {name} cannot be set", "give the task that needs it another param")

    def __getitem__(self, key: int | str) -> StandIn:
        facts = self._perago
        kind = type_within(facts.kind, key) if model_of(facts.kind) is None else None
        if kind is None:
            raise WorkflowDefinitionError(
                f"{here()}: {facts.name} ({facts.place}) is of type {type_name(facts.kind)} and has no item {key!r}; a "
                f"list has positions from 0 on, a mapping has keys"
            )
        return StandIn(facts.within(key, kind[0]))

    def __repr__(self) -> str:
        return f"<{self._perago.name}, {Expression(self._perago.path)}>"

    __hash__ = object.__hash__

    def _refused(self, what: str, instead: str) -> WorkflowDefinitionError:
        facts = self._perago
        return WorkflowDefinitionError(
            f"{here()}: {facts.name} ({facts.place}) is known only when the workflow runs, so {what} here; {instead}"
        )

    def _compare(self, *_: object) -> NoReturn:
        raise self._refused(
            "it cannot be compared", "write `with flow.when(value) as it: with it.case(...)`, or compare it in a task"
        )

    def _compute(self, *_: object) -> NoReturn:
        raise self._refused("nothing can be computed from it", "compute it in a task, and return it")

    def _loop(self, *_: object) -> NoReturn:
        raise self._refused(
            "its items cannot be counted or looped over", "write flow.map(task, over=value, as_='name_of_the_param')"
        )

    def _write(self, *_: object) -> NoReturn:
        raise self._refused("it cannot be written as text", "give it to a task as a param of its own")

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _compare
    __iter__ = __len__ = __contains__ = __reversed__ = _loop
    __str__ = __format__ = _write
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _compute
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __and__ = __or__ = _compute
    __neg__ = __pos__ = __abs__ = __int__ = __float__ = __index__ = __round__ = _compute
    __call__ = _compute


def facts_of(value: object) -> Facts | None:
    """What is known of a stand-in; None if the value is none."""
    return value._perago if type(value) is StandIn else None  # noqa: SLF001 - its fields are those of the value


def holds_stand_in(value: object) -> bool:
    """Whether a value is a stand-in, or holds one."""
    match value:
        case StandIn():
            return True
        case str() | bytes():
            return False
        case Mapping():
            return any(map(holds_stand_in, value.values()))
        case Sequence():
            return any(map(holds_stand_in, value))
        case _:
            return False


def here() -> str:
    """The line of the workflow function that is running, as `penguins.py:12`."""
    frame = sys._getframe(1)  # noqa: SLF001 - documented despite its name
    found: types.FrameType | None = frame
    while found is not None and found.f_code.co_filename.startswith(_OURS):
        found = found.f_back
    frame = found or frame
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
