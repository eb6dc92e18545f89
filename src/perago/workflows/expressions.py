"""Conductor's expressions, `${clean.output.result.kept}`: read, checked, and replaced by values as the server does it.

Of JSONPath only names and positions are taken: `.name`, `['name']`, `[0]`. The server knows more of it, which is
refused here by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perago.errors import WorkflowDefinitionError
from perago.workflows.unknown import Unknown, unknowns_in

_EXPRESSION = re.compile(r"(?<!\$)\$\{(?P<path>[^{}]*)\}")
_BEGINNING = re.compile(r"(?<!\$)\$\{")
"""`$${` stands for a literal `${`."""

_STEP = re.compile(r"\.?(?P<name>[\w\-]+)|\[(?P<position>\d+)\]|\['(?P<quoted>[^']*)'\]|\[\"(?P<double>[^\"]*)\"\]")

WORKFLOW = "workflow"
"""What an expression begins with that takes a value of the workflow itself."""

WORKFLOW_FIELDS = ("input", "variables", "workflowId", "workflowType", "version")
TASK_FIELDS = ("input", "output", "status", "referenceTaskName")
"""What an expression may take of the workflow and of a task."""

RESULTS = "_results"
"""The end of the name of the task that gathers the results of a map, behind that of the map."""

Step = str | int


@dataclass(frozen=True)
class Expression:
    """A value that is known when the workflow runs.

    Attributes:
        path: what it begins with, a reference name or `workflow`, then field names and positions.
    """

    path: tuple[Step, ...]

    @property
    def begins_with(self) -> str:
        return str(self.path[0])

    def __str__(self) -> str:
        return "${" + str(self.path[0]) + "".join(_written(step) for step in self.path[1:]) + "}"

    @property
    def in_python(self) -> str:
        """As a workflow function has it: `params.files`, `clean.kept` for a field of the result of task `clean`."""
        match self.path:
            case ("workflow", "input", "params", *steps):
                name = "params"
            case (str(gather), "output", "result", "results", *steps) if gather.endswith(RESULTS):
                name = gather.removesuffix(RESULTS)
            case (str(name), "output", "result", *steps):
                pass
            case _:
                return str(self)
        return name + "".join(map(_written, steps))


def expression(*path: Step) -> str:
    """The text of an expression."""
    return str(Expression(path))


def parse(text: str) -> Expression:
    """The path between `${` and `}`.

    Raises:
        WorkflowDefinitionError: it is more than names and positions.
    """
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or (at == 0 and match["name"] is None):
            raise WorkflowDefinitionError(
                f"expression ${{{text}}} is not understood at {text[at:]!r}; write a name and a path of names and "
                f"positions, such as ${{clean.output.result.kept}}"
            )
        steps.append(_step(match))
        at = match.end()
    if not steps:
        raise WorkflowDefinitionError("an expression is empty; write a path, such as ${workflow.input.params}")
    return Expression(tuple(steps))


def expressions_in(value: object, where: str = "") -> Iterator[tuple[str, Expression]]:
    """All expressions in a JSON value, each with its place in it.

    Raises:
        WorkflowDefinitionError: one is not understood; names its place.
    """
    match value:
        case str():
            try:
                yield from ((where, found) for found in _parsed(value))
            except WorkflowDefinitionError as exc:
                raise WorkflowDefinitionError(f"{where}: {exc}" if where else str(exc)) from None
        case Mapping():
            for name, item in value.items():
                yield from expressions_in(item, f"{where}.{name}" if where else str(name))
        case Sequence():
            for index, item in enumerate(value):
                yield from expressions_in(item, f"{where}[{index}]")


def _parsed(text: str) -> list[Expression]:
    if len(_BEGINNING.findall(text)) != len(_EXPRESSION.findall(text)):
        raise WorkflowDefinitionError(f"{text!r} has an expression within another, or one that does not end")
    return [parse(match["path"]) for match in _EXPRESSION.finditer(text)]


def whole_expression(value: object) -> Expression | None:
    """The expression that a value is, with nothing before or after it; else None."""
    match = _EXPRESSION.fullmatch(value) if isinstance(value, str) else None
    return None if match is None else parse(match["path"])


def replaced(value: Any, look_up: Callable[[Expression], Any]) -> Any:
    """A JSON value with its expressions replaced, as the server does it.

    A text that is one expression becomes its value, of any type. Within a longer text, the value is written as text.

    Args:
        look_up: gives the value of an expression; None if there is none.
    """
    match value:
        case str():
            return _replaced_in(value, look_up)
        case Mapping():
            return {name: replaced(item, look_up) for name, item in value.items()}
        case Sequence():
            return [replaced(item, look_up) for item in value]
        case _:
            return value


def escaped(value: Any) -> Any:
    """A JSON value with its texts escaped, so that none is an expression."""
    return _with_texts(value, lambda text: text.replace("${", "$${"))


def unescaped(value: Any) -> Any:
    """The inverse of `escaped`."""
    return _with_texts(value, lambda text: text.replace("$${", "${"))


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case Mapping():
            return {key: _with_texts(item, change) for key, item in value.items()}
        case list():
            return [_with_texts(item, change) for item in value]
        case _:
            return value


def value_at(document: Any, path: Sequence[Step]) -> Any:
    """The value at a path of a JSON document; None if there is none. All of what is unknown is unknown."""
    for step in path:
        match document:
            case Unknown():
                return document
            case Mapping() if isinstance(step, str):
                document = document.get(step)
            case list() | tuple() if isinstance(step, int) and step < len(document):
                document = document[step]
            case _:
                return None
    return document


def with_value_at(document: Any, path: Sequence[Step], value: Any) -> Any:
    """A copy of a JSON document with another value at a path that it has."""
    if not path:
        return value
    inner = with_value_at(document[path[0]], path[1:], value)
    if isinstance(document, Mapping):
        return {**document, path[0]: inner}
    return [inner if index == path[0] else item for index, item in enumerate(document)]


def _replaced_in(text: str, look_up: Callable[[Expression], Any]) -> Any:
    whole = whole_expression(text)
    if whole is not None:
        return look_up(whole)
    values = [look_up(parse(match["path"])) for match in _EXPRESSION.finditer(text)]
    unknown = unknowns_in(values)
    if unknown:
        return Unknown(unknown)
    told = map(_as_text, values)
    return _EXPRESSION.sub(lambda _: next(told), text).replace("$${", "${")


def _as_text(value: Any) -> str:
    """As Java writes it within a text."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return "{" + ", ".join(f"{name}={_as_text(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_as_text, value)) + "]"
        case _:
            return str(value)


def _step(match: re.Match[str]) -> Step:
    if match["position"] is not None:
        return int(match["position"])
    return next(match[kind] for kind in ("name", "quoted", "double") if match[kind] is not None)


def _written(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if re.fullmatch(r"[\w\-]+", step) else f"['{step}']"
