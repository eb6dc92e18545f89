"""Stand-ins: what a workflow function handles in place of values that are known only when the workflow runs."""

from __future__ import annotations

import difflib
import os
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

from pydantic import BaseModel

from perago.errors import WorkflowDefinitionError
from perago.workflows.expressions import Expression, Step
from perago.workflows.wiring import field_type, type_name

_OURS = str(Path(__file__).parent) + os.sep


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
        model = _model_of(facts.kind)
        if model is None:
            raise WorkflowDefinitionError(
                f"{here()}: {facts.name} ({facts.place}) is of type {type_name(facts.kind)} and has no field {name!r}"
            )
        kind = _field_of(model, name)
        if kind is None:
            known = [*model.model_fields, *model.model_computed_fields]
            raise WorkflowDefinitionError(
                f"{here()}: {facts.name} ({facts.place}) has no field {name!r}{did_you_mean(name, known)}"
            )
        return StandIn(facts.within(name, kind[0]))

    def __setattr__(self, name: str, value: object) -> None:
        raise self._refused(f"its field {name} cannot be set", "give the task that needs it another param")

    def __getitem__(self, key: int | str) -> StandIn:
        facts = self._perago
        kind = _item_type(facts.kind, key)
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


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The nearest known name, as the end of a sentence."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; it has {', '.join(known)}" if known else "; it has none"


def _plain(kind: Any) -> Any:
    """A type without constraints, and without None beside it."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        others = [choice for choice in get_args(kind) if choice is not type(None)]
        if len(others) == 1:
            return _plain(others[0])
    return kind


def _model_of(kind: Any) -> type[BaseModel] | None:
    plain = _plain(kind)
    return plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None


def _field_of(model: type[BaseModel], name: str) -> tuple[Any] | None:
    """The type of a field, in a tuple; None if there is no such field."""
    if name in model.model_fields:
        return (field_type(model.model_fields[name]),)
    if name in model.model_computed_fields:
        return (model.model_computed_fields[name].return_type,)
    return None


def _item_type(kind: Any, key: int | str) -> tuple[Any] | None:
    """The type of an item, in a tuple; None if the type has no such item."""
    plain = _plain(kind)
    origin, arguments = get_origin(plain) or plain, get_args(plain)
    if isinstance(key, str):
        is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
        return (arguments[1] if len(arguments) == 2 else Any,) if is_mapping else None
    if isinstance(key, bool) or key < 0 or not (isinstance(origin, type) and issubclass(origin, Sequence)):
        return None
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return (arguments[key],) if key < len(arguments) else None
    return None if origin in (str, bytes) else (arguments[0] if arguments else Any,)
