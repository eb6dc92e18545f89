"""The `@task` decorator, and the definition that it makes of a function."""

from __future__ import annotations

import functools
import inspect
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import ParamSpec, TypeVar

from pydantic import BaseModel

from perago.errors import TaskDefinitionError
from perago.tasks.context import TaskContext
from perago.tasks.controls import TaskControls
from perago.tasks.metrics import MetricRecorder, MetricSpec
from perago.tasks.signature import STANDARD_ORDER, Slot, definition_fault, read_signature
from perago.values.spec import WorkspaceSpec

TASK_ATTRIBUTE = "__perago_task__"
"""Where a decorated function carries its definition."""

MAX_DECLARED = 10_000
"""Definitions of one module that are remembered, the newest; a program may make tasks without end."""

_declared: dict[str, dict[tuple[str, str], TaskDefinition]] = {}
"""By module, and then by the qualified name of the function and the task's name: what has both replaces the older."""

_Function = TypeVar("_Function", bound=Callable[..., object])
_Options = ParamSpec("_Options")


@dataclass(frozen=True)
class TaskDefinition:
    """One task, as its author declared it.

    Attributes:
        name: as engines know the task.
        owner_email: whom to ask about it.
        fn: the function, as it was written; `async def` too.
        params_model, output_model: what goes in and what comes out.
        strict_params: fields of params that the model does not know are refused, at every depth; else ignored.
        description: for people; None: none given.
        workspace: None for a free task.
        metrics: None: the task records none of its own.
        controls: what it asks of its engine.
        slots: what the function's parameters are filled with, in order. Default: the standard order.
    """

    name: str
    owner_email: str
    fn: Callable[..., object]
    params_model: type[BaseModel]
    output_model: type[BaseModel]
    strict_params: bool = False
    description: str | None = None
    workspace: WorkspaceSpec | None = None
    metrics: MetricSpec | None = None
    controls: TaskControls = field(default_factory=TaskControls)
    slots: tuple[Slot, ...] = ()

    def __post_init__(self) -> None:
        if not self.slots:
            given = {Slot.PARAMS: True, Slot.WORKSPACE: self.has_workspace, Slot.METRICS: self.metrics is not None}
            object.__setattr__(self, "slots", tuple(slot for slot in STANDARD_ORDER if given[slot]))

    @property
    def has_workspace(self) -> bool:
        return self.workspace is not None

    @property
    def is_async(self) -> bool:
        """Calling the function gives a coroutine."""
        return inspect.iscoroutinefunction(self.fn)

    @property
    def target(self) -> str:
        """`module:function`, `module:Class.function`, or `module:task-name` where a factory made several.

        `load_module_task` finds it by that.
        """
        return f"{self.fn.__module__}:{addresses([self, *_declared_beside(self)])[0]}"

    def arguments(
        self,
        workspace: Path | None,
        params: BaseModel,
        metrics: MetricRecorder | None,
        context: TaskContext,
    ) -> tuple[object, ...]:
        """The arguments of one call of `fn`.

        Args:
            workspace: None for a free task.
            metrics: None: what the body records is discarded.
        """
        recorder = MetricRecorder() if metrics is None else metrics
        with suppress(AttributeError):  # a subclass that was written for 0.6 has a property of its own there
            recorder.context = context
        values: dict[Slot, object] = {
            Slot.WORKSPACE: workspace,
            Slot.PARAMS: params,
            Slot.METRICS: recorder,
            Slot.CONTEXT: context,
        }
        return tuple(values[slot] for slot in self.slots)


def _naming_the_function(
    decorator: Callable[_Options, Callable[[_Function], _Function]],
) -> Callable[_Options, Callable[[_Function], _Function]]:
    """Let a call with wrong arguments fail as any wrong declaration does, rather than with Python's TypeError."""
    signature = inspect.signature(decorator)

    @functools.wraps(decorator)
    def checked(*args: _Options.args, **options: _Options.kwargs) -> Callable[[_Function], _Function]:
        try:
            signature.bind(*args, **options)
        except TypeError as exc:
            fault = f"@task is given wrong arguments: {exc}"
        else:
            return decorator(*args, **options)
        mend = 'write @task(name="features.build", owner_email="team@example.org", ...), all by keyword'
        if args and callable(args[0]):  # @task without parentheses
            raise definition_fault(args[0], fault, mend)

        def fail(fn: _Function) -> _Function:
            raise definition_fault(fn, fault, mend)

        return fail

    return checked


@_naming_the_function
def task(
    *,
    name: str,
    owner_email: str,
    description: str | None = None,
    workspace: WorkspaceSpec | None = None,
    metrics: MetricSpec | None = None,
    controls: TaskControls | None = None,
    strict_params: bool = False,
) -> Callable[[_Function], _Function]:
    """Declare a function to be a task. The function stays what it was, and carries a `TaskDefinition`.

    A task function is `(workspace: Path, params: Model) -> Model`, or `(params: Model) -> Model` without a workspace,
    where Model is a pydantic model class. It may be `async def`, or a static method of a class. It may take
    `metrics: MetricRecorder` last, and anywhere a parameter annotated `TaskContext`.

    Args:
        name: as engines know the task; neither blank, nor with a path separator or a control character.
        owner_email: whom to ask about it; not blank.
        description: for people.
        workspace: the part of a repository that the task works on. Default: none, a free task.
        metrics: which metrics are recorded. Default: none, and no `metrics` parameter.
        controls: retries, timeouts, limits. Default: those of `TaskControls`.
        strict_params: refuse unknown fields in params, at every depth, instead of ignoring them.

    Raises:
        TaskDefinitionError: when the function is decorated; names the function, the fault and the mend.
    """
    declared = TaskControls() if controls is None else controls

    def declare(fn: _Function) -> _Function:
        function = _plain_function(fn)
        _check_texts(function, name, owner_email, description)
        _check_kinds(function, workspace=workspace, metrics=metrics, controls=declared, strict_params=strict_params)
        signature = read_signature(function, has_workspace=workspace is not None, has_metrics=metrics is not None)
        definition = TaskDefinition(
            name=name,
            owner_email=owner_email,
            fn=function,
            params_model=signature.params_model,
            output_model=signature.output_model,
            strict_params=strict_params,
            description=description,
            workspace=workspace,
            metrics=metrics,
            controls=declared,
            slots=signature.slots,
        )
        setattr(function, TASK_ATTRIBUTE, definition)
        if _is_being_run(function.__globals__):
            _remember(function, definition)
        return fn

    return declare


def declared_in(module: ModuleType) -> list[TaskDefinition]:
    """What a module has declared when it was imported, wherever it keeps it, in order; not what an older import did."""
    return [
        definition
        for definition in _declared.get(module.__name__, {}).values()
        if definition.fn.__module__ == module.__name__ and not _is_of_older_import(definition.fn, module)
    ]


def addresses(tasks: Sequence[TaskDefinition]) -> list[str]:
    """What is to name each of a module's tasks: its function's qualified name; its own, where a factory made several.

    Where such a name is that of another one's function, that one is named by its own name, too.
    """
    made = Counter(task.fn.__qualname__ for task in tasks)
    taken = {task.name for task in tasks if made[task.fn.__qualname__] > 1}
    names = ((task.fn.__qualname__, task.name) for task in tasks)
    return [name if made[function] > 1 or function in taken else function for function, name in names]


def _declared_beside(task: TaskDefinition) -> list[TaskDefinition]:
    """What else the same import of its module has declared."""
    names = getattr(task.fn, "__globals__", None)
    key = (task.fn.__qualname__, task.name)
    declared = _declared.get(task.fn.__module__, {}).items()
    return [other for about, other in declared if about != key and getattr(other.fn, "__globals__", None) is names]


def _remember(function: FunctionType, definition: TaskDefinition) -> None:
    declared = _declared.setdefault(function.__module__, {})
    key = (function.__qualname__, definition.name)
    declared.pop(key, None)  # so that it becomes the newest
    declared[key] = definition
    if len(declared) > MAX_DECLARED:
        del declared[next(iter(declared))]


def _is_being_run(names: Mapping[str, object]) -> bool:
    """Whether a module of these names is what calls; else another one does, by a factory of it, which may come or not.

    A module's own code runs in a frame that Python names so, whoever imports it and however.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame is not None and frame.f_globals is names


def _is_of_older_import(fn: object, module: ModuleType) -> bool:
    names = getattr(fn, "__globals__", {})
    return names is not vars(module) and names.get("__name__") == module.__name__


def task_of(value: object) -> TaskDefinition | None:
    """The definition that a value carries; None: it is no task. Nothing of the value's own code is run."""
    carrier = value.__func__ if type(value) is staticmethod else value
    found = inspect.getattr_static(carrier, TASK_ATTRIBUTE, None)
    return found if isinstance(found, TaskDefinition) else None


def _plain_function(fn: object) -> FunctionType:
    written = fn.__func__ if isinstance(fn, staticmethod) else fn
    if isinstance(written, FunctionType):
        return written
    mends = {
        type: ("it is a class", "decorate a function"),
        classmethod: ("it is a class method", "declare a function of the module instead"),
    }
    for kind, (fault, mend) in mends.items():
        if isinstance(fn, kind):
            raise definition_fault(fn, fault, mend)
    raise definition_fault(fn, f"it is no function, but of type {type(fn).__name__}", "decorate a function made by def")


def _check_texts(fn: FunctionType, name: object, owner_email: object, description: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise definition_fault(fn, f"name={name!r} is no name", 'give @task a text: name="features.build"')
    if "/" in name or "\\" in name:
        raise definition_fault(
            fn, f"name={name!r} holds a path separator", "join its parts by '.', '-' or '_' instead of '/' and '\\'"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise definition_fault(fn, f"name={name!r} holds a control character", "take it out")
    if not isinstance(owner_email, str) or not owner_email.strip():
        raise definition_fault(
            fn, f"owner_email={owner_email!r} is no address", 'give @task one: owner_email="team@example.org"'
        )
    if description is not None and not isinstance(description, str):
        raise definition_fault(fn, f"description={description!r} is no text", "give @task a text, or leave it out")


def _check_kinds(
    fn: FunctionType, *, workspace: object, metrics: object, controls: object, strict_params: object
) -> None:
    if workspace is not None and not isinstance(workspace, WorkspaceSpec):
        raise _wrong_kind(fn, "workspace", workspace, "WorkspaceSpec(...)")
    if metrics is not None and not isinstance(metrics, MetricSpec):
        raise _wrong_kind(fn, "metrics", metrics, "MetricSpec(...)")
    if not isinstance(controls, TaskControls):
        raise _wrong_kind(fn, "controls", controls, "TaskControls(...)")
    if not isinstance(strict_params, bool):
        raise _wrong_kind(fn, "strict_params", strict_params, "True or False")
    if controls.publish_budget is not None and workspace is None:
        raise definition_fault(
            fn,
            "controls has a publish_budget, but the task has no workspace to publish",
            "add workspace=WorkspaceSpec() to @task, or drop the publish_budget",
        )


def _wrong_kind(fn: FunctionType, option: str, given: object, wanted: str) -> TaskDefinitionError:
    return definition_fault(fn, f"{option} is a {type(given).__name__}", f"write {option}={wanted}")
