"""Reads a task function's signature: the slots of its parameters, and the models of params and result."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from types import FunctionType
from typing import Any

from pydantic import BaseModel, RootModel

from perago.errors import TaskDefinitionError
from perago.tasks.context import TaskContext
from perago.tasks.metrics import MetricRecorder


class Slot(enum.StrEnum):
    """Kind of a parameter. Except for `CONTEXT`, the value is also the parameter's name."""

    WORKSPACE = "workspace"
    PARAMS = "params"
    METRICS = "metrics"
    CONTEXT = "context"


STANDARD_ORDER = (Slot.WORKSPACE, Slot.PARAMS, Slot.METRICS)
"""Order of the parameters recognised by name. A `TaskContext` is recognised by its annotation, at any position."""

_FORMS = (
    "a task function takes (workspace: Path, params: Model) or (params: Model), then metrics: MetricRecorder if "
    "@task has metrics=MetricSpec(...), and at any position a parameter annotated TaskContext"
)


@dataclass(frozen=True)
class Signature:
    """The parsed signature of a task function.

    Attributes:
        slots: one per parameter, in order.
    """

    slots: tuple[Slot, ...]
    params_model: type[BaseModel]
    output_model: type[BaseModel]


def read_signature(fn: FunctionType, *, has_workspace: bool, has_metrics: bool) -> Signature:
    """Read the signature of a task function.

    Args:
        has_workspace, has_metrics: whether `@task` was given `workspace=` and `metrics=`.

    Raises:
        TaskDefinitionError: it is not the signature of a task. Names the first fault from left to right.
    """
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise definition_fault(fn, "it is a generator", "return the result instead of yielding it")
    parameters = list(inspect.signature(fn).parameters.values())
    for index, parameter in enumerate(parameters):
        _check_shape(fn, index, parameter)
    hints = _type_hints(fn)
    slots = tuple(_slot_of(fn, parameter, hints) for parameter in parameters)
    _check_slots(fn, slots, has_workspace=has_workspace, has_metrics=has_metrics)
    _check_annotations(fn, slots, hints)
    return Signature(
        slots=slots,
        params_model=_model_of(fn, hints.get("params", Parameter.empty), "parameter 'params'", "params: MyParams"),
        output_model=_model_of(fn, hints.get("return", Parameter.empty), "the return value", "-> MyResult"),
    )


def definition_fault(fn: object, fault: str, remedy: str) -> TaskDefinitionError:
    """The error for a wrong declaration: the function, the fault, and what to do."""
    return TaskDefinitionError(f"task function {describe_function(fn)}: {fault}; {remedy}")


def describe_function(fn: object) -> str:
    """`module.qualname`, or the `repr` of an object without these names."""
    module = getattr(fn, "__module__", None)
    qualname = getattr(fn, "__qualname__", None)
    return f"{module}.{qualname}" if module and qualname else repr(fn)


def _check_shape(fn: FunctionType, index: int, parameter: Parameter) -> None:
    name = parameter.name
    if index == 0 and name in ("self", "cls"):
        raise definition_fault(fn, f"it is a method (it takes {name!r})", "use a function of the module instead")
    if parameter.kind is Parameter.VAR_POSITIONAL:
        raise definition_fault(fn, f"it takes *{name}", f"name its parameters: {_FORMS}")
    if parameter.kind is Parameter.VAR_KEYWORD:
        raise definition_fault(fn, f"it takes **{name}", "use fields of its params model instead")
    if parameter.kind is Parameter.KEYWORD_ONLY:
        raise definition_fault(fn, f"parameter {name!r} is keyword-only", "remove the '*' before it")
    if parameter.default is not Parameter.empty:
        raise definition_fault(
            fn, f"parameter {name!r} has a default", "remove it; set defaults on the fields of the params model"
        )


# ---------------------------------------------------------------- annotations


def _type_hints(fn: FunctionType) -> dict[str, Any]:
    """The evaluated annotations. `Annotated[X, …]` counts as X."""
    try:
        return typing.get_type_hints(fn, localns=_enclosing_names(fn))
    except NameError as exc:
        raise definition_fault(
            fn,
            f"its annotations use {exc.name!r}, which is not defined",
            "import or define it before the function, at the top of the module and outside 'if TYPE_CHECKING:'",
        ) from exc
    except Exception as exc:
        raise definition_fault(
            fn, f"its annotations cannot be read ({type(exc).__name__}: {exc})", "correct the annotation"
        ) from exc


def _enclosing_names(fn: FunctionType) -> dict[str, Any]:
    """Local names of the running functions and classes that enclose the function.

    A text annotation (`from __future__ import annotations`) is otherwise looked up only in the module, where classes
    defined just above the function in the same scope are missing.
    """
    scopes = fn.__qualname__.split(".")[:-1]
    enclosing = {".".join(scopes[:end]) for end in range(1, len(scopes) + 1)}
    names: dict[str, Any] = {}
    frame = inspect.currentframe() if enclosing else None
    while frame is not None:
        if frame.f_globals is fn.__globals__ and frame.f_code.co_qualname in enclosing:
            names = {**frame.f_locals, **names}  # from the inside out: inner names hide outer ones
        frame = frame.f_back
    return names


def _slot_of(fn: FunctionType, parameter: Parameter, hints: Mapping[str, Any]) -> Slot:
    if hints.get(parameter.name) is TaskContext:
        return Slot.CONTEXT
    if parameter.name in STANDARD_ORDER:
        return Slot(parameter.name)
    if parameter.name == "context" or TaskContext in typing.get_args(hints.get(parameter.name)):
        raise definition_fault(
            fn, f"parameter {parameter.name!r} is not annotated TaskContext", f"write {parameter.name}: TaskContext"
        )
    raise definition_fault(fn, f"parameter {parameter.name!r} is unknown", _remedy_for_name(parameter, hints))


def _remedy_for_name(parameter: Parameter, hints: Mapping[str, Any]) -> str:
    annotation = hints.get(parameter.name)
    if annotation is Path and Slot.WORKSPACE not in hints:
        return "rename it to 'workspace'"
    if annotation is MetricRecorder and Slot.METRICS not in hints:
        return "rename it to 'metrics'"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and Slot.PARAMS not in hints:
        return "rename it to 'params'"
    return _FORMS


def _check_slots(fn: FunctionType, slots: tuple[Slot, ...], *, has_workspace: bool, has_metrics: bool) -> None:
    if slots.count(Slot.CONTEXT) > 1:
        raise definition_fault(fn, "it takes more than one TaskContext", "keep one of them")
    if Slot.PARAMS not in slots:
        raise definition_fault(
            fn, "it has no parameter 'params'", "add params: MyParams, a pydantic model; it may have no fields"
        )
    by_name = [slot for slot in slots if slot is not Slot.CONTEXT]
    in_order = [slot for slot in STANDARD_ORDER if slot in by_name]
    if by_name != in_order:
        raise definition_fault(
            fn, f"its parameters are in the order {', '.join(by_name)}", f"use the order {', '.join(in_order)}"
        )
    if has_workspace and Slot.WORKSPACE not in slots:
        raise definition_fault(
            fn,
            "@task has workspace=..., but it has no parameter 'workspace'",
            "add workspace: Path, or remove workspace=",
        )
    if not has_workspace and Slot.WORKSPACE in slots:
        raise definition_fault(
            fn, "it takes a workspace, but @task has no workspace=", "add workspace=WorkspaceSpec() to @task"
        )
    if has_metrics and Slot.METRICS not in slots:
        raise definition_fault(
            fn,
            "@task has metrics=..., but it has no parameter 'metrics'",
            "add metrics: MetricRecorder, or remove metrics=",
        )
    if not has_metrics and Slot.METRICS in slots:
        raise definition_fault(fn, "it takes metrics, but @task has no metrics=", "add metrics=MetricSpec() to @task")


def _check_annotations(fn: FunctionType, slots: tuple[Slot, ...], hints: Mapping[str, Any]) -> None:
    wanted: tuple[tuple[Slot, type], ...] = ((Slot.WORKSPACE, Path), (Slot.METRICS, MetricRecorder))
    for slot, annotation in wanted:
        if slot in slots and hints.get(slot) is not annotation:
            raise definition_fault(
                fn,
                f"parameter {str(slot)!r} is {_annotated_as(hints.get(slot, Parameter.empty))}",
                f"write {slot}: {annotation.__name__}, the one from {annotation.__module__.partition('.')[0]}",
            )


def _model_of(fn: FunctionType, annotation: Any, what: str, example: str) -> type[BaseModel]:
    model = example.rsplit(maxsplit=1)[-1]
    remedy = f"annotate it with a pydantic model class: {example}, where class {model}(BaseModel)"
    if annotation is Parameter.empty or not isinstance(annotation, type):
        raise definition_fault(fn, f"{what} is {_annotated_as(annotation)}", remedy)
    if not issubclass(annotation, BaseModel):
        if dataclasses.is_dataclass(annotation):
            remedy = f"make it one: class {annotation.__name__}(BaseModel)"
        raise definition_fault(fn, f"{what} is {_annotated_as(annotation)}, which is not a pydantic model", remedy)
    if annotation is BaseModel:
        raise definition_fault(fn, f"{what} is annotated BaseModel itself", remedy)
    if issubclass(annotation, RootModel):
        raise definition_fault(
            fn,
            f"{what} is the RootModel {annotation.__name__}, whose JSON may not be an object",
            "make it a BaseModel with a field for the value",
        )
    return annotation


def _annotated_as(annotation: Any) -> str:
    if annotation is Parameter.empty:
        return "not annotated"
    if isinstance(annotation, type):
        return f"annotated {annotation.__qualname__}"
    return f"annotated {inspect.formatannotation(annotation)}"
