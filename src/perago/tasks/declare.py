"""The `@task` decorator and the definition that it creates."""

from __future__ import annotations

import functools
import inspect
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Literal, ParamSpec, TypeVar

from pydantic import BaseModel

from perago.errors import TaskDefinitionError
from perago.tasks.caching import check_cache, read_cache
from perago.tasks.context import TaskContext
from perago.tasks.controls import TaskControls
from perago.tasks.metrics import MetricRecorder, MetricSpec
from perago.tasks.patterns import check_patterns
from perago.tasks.signature import STANDARD_ORDER, Slot, definition_fault, read_signature
from perago.values.cache import CacheSpec
from perago.values.credentials import LAKEFS_SECRET
from perago.values.sandbox import SANDBOX_MODES, SandboxMode, SandboxSpec
from perago.values.spec import WorkspaceSpec

TASK_ATTRIBUTE = "__perago_task__"
"""Attribute of a decorated function that holds its definition."""

BUILTIN_TASKS = frozenset({"perago.map", "perago.gather", "perago.begin", "perago.end"})
"""Names of the tasks that Perago itself declares, in `perago.workflows`."""

MAX_DECLARED = 10_000
"""Newest definitions of one module that are remembered: a program may create tasks without end."""

_DECLARED = "__perago_tasks__"
"""Name in a module's own namespace for what it has declared: (qualified name of the function, name of the task) ->
definition. A newer one replaces an older one. Held by the module alone, or Python could not delete its objects at exit.
"""

_Function = TypeVar("_Function", bound=Callable[..., object])
_Options = ParamSpec("_Options")


@dataclass(frozen=True)
class TaskDefinition:
    """One declared task.

    Attributes:
        name: its name in engines.
        owner_email: address of its owner.
        fn: the undecorated function; may be `async def`.
        params_model, output_model: models of params and result.
        strict_params: refuse unknown fields of params, at every depth, instead of ignoring them.
        description: for people, or None.
        workspace: None for a free task.
        metrics: None if the task records none of its own.
        controls: retries, timeouts and limits.
        environment: credentials of the worker that the body sees, and in a sandbox further variables.
        sandbox: what the body may reach.
        cache: how its results may be used again; None if they may not.
        slots: kinds of the function's parameters, in order. Default: the standard order.
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
    environment: tuple[str, ...] = ()
    sandbox: SandboxSpec = field(default_factory=SandboxSpec)
    cache: CacheSpec | None = None
    slots: tuple[Slot, ...] = ()

    def __post_init__(self) -> None:
        if not self.slots:
            given = {Slot.PARAMS: True, Slot.WORKSPACE: self.has_workspace, Slot.METRICS: self.metrics is not None}
            object.__setattr__(self, "slots", tuple(slot for slot in STANDARD_ORDER if given[slot]))

    @property
    def has_workspace(self) -> bool:
        return self.workspace is not None

    @property
    def is_builtin(self) -> bool:
        """Whether Perago itself declares it."""
        return self.name in BUILTIN_TASKS

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.fn)

    @property
    def target(self) -> str:
        """`module:function`, `module:Class.function`, or `module:task-name` if a factory made several.

        `load_module_task` finds the task by it.
        """
        declared = _declared_beside(getattr(self.fn, "__globals__", {}))
        others = [other for about, other in declared.items() if about != (self.fn.__qualname__, self.name)]
        return f"{self.fn.__module__}:{addresses([self, *others])[0]}"

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
            metrics: None discards what the body records.
        """
        recorder = MetricRecorder() if metrics is None else metrics
        with suppress(AttributeError):  # a subclass written for 0.6 may have a property there
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
    """Turn wrong arguments into a declaration error that names the function, instead of Python's TypeError."""
    signature = inspect.signature(decorator)

    @functools.wraps(decorator)
    def checked(*args: _Options.args, **options: _Options.kwargs) -> Callable[[_Function], _Function]:
        try:
            signature.bind(*args, **options)
        except TypeError as exc:
            fault = f"@task has wrong arguments: {exc}"
        else:
            return decorator(*args, **options)
        remedy = 'write @task(name="features.build", owner_email="team@example.org", ...), with keywords only'
        if args and callable(args[0]):  # @task without parentheses
            raise definition_fault(args[0], fault, remedy)

        def fail(fn: _Function) -> _Function:
            raise definition_fault(fn, fault, remedy)

        return fail

    return checked


@_naming_the_function
def task(  # noqa: PLR0913 - the declaration is the published contract
    *,
    name: str,
    owner_email: str,
    description: str | None = None,
    workspace: WorkspaceSpec | None = None,
    metrics: MetricSpec | None = None,
    controls: TaskControls | None = None,
    strict_params: bool = False,
    environment: Sequence[str] = (),
    sandbox: SandboxMode | None = None,
    reads: Sequence[str | Path] = (),
    writes: Sequence[str | Path] = (),
    network: bool = False,
    cache: bool | Literal["trusted"] = False,
    depends: Sequence[ModuleType | str | Path] = (),
    cache_version: str | None = None,
    max_age: timedelta | None = None,
) -> Callable[[_Function], _Function]:
    """Declare a function as a task. Returns the function itself, with a `TaskDefinition` attached.

    A task function is `(workspace: Path, params: Model) -> Model`, or `(params: Model) -> Model` without a workspace,
    where Model is a pydantic model class. It may be `async def`, or a static method of a class. It may take
    `metrics: MetricRecorder` last, and a parameter annotated `TaskContext` at any position.

    Args:
        name: its name in engines; not blank, without path separators and control characters.
        owner_email: address of its owner; not blank.
        description: for people.
        workspace: the part of a repository that the task works on. Default: none, a free task.
        metrics: the metrics to record. Default: none, and no `metrics` parameter.
        controls: retries, timeouts, limits. Default: those of `TaskControls`.
        strict_params: refuse unknown fields in params, at every depth, instead of ignoring them.
        environment: variables with credentials of the worker that the body sees in its environment, such as
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY". Default: none. Variables that are no credentials of Perago's are
            always there, except with `sandbox="enforce"`.
        sandbox: "enforce" refuses the body all that was not laid out for it, "report" notes what else it reaches, and
            "off" does neither. Default: the setting `PERAGO_SANDBOX`. See docs/sandbox.md.
        reads, writes: absolute paths of the host that the body may read or write, with all that is below them.
        network: whether the body may make TCP connections.
        cache: use an earlier result with its outputs, if nothing that it depends on has changed. The body then runs in
            a sandbox, which says so. "trusted" takes your word for it instead. Needs outputs. See docs/cache.md.
        depends: further modules and files of the host (absolute paths) that the result depends on.
        cache_version: stands for the code in place of the code itself: a result is used as long as this is the same.
        max_age: use no result that is older. Default: any.

    Raises:
        TaskDefinitionError: the declaration is wrong. Names the function, the fault and what to do.
    """
    declared = TaskControls() if controls is None else controls

    def declare(fn: _Function) -> _Function:
        function = _plain_function(fn)
        _check_texts(function, name, owner_email, description)
        _check_kinds(function, workspace=workspace, metrics=metrics, controls=declared, strict_params=strict_params)
        _check_environment(function, environment)
        confinement = _read_sandbox(function, sandbox, reads, writes, network=network)
        caching = read_cache(function, cache, depends=depends, cache_version=cache_version, max_age=max_age)
        check_cache(function, caching, workspace, confinement)
        proves = caching is not None and not caching.is_trusted
        signature = read_signature(function, has_workspace=workspace is not None, has_metrics=metrics is not None)
        check_patterns(function, workspace, signature.params_model)
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
            environment=tuple(environment),
            sandbox=replace(confinement, proves=proves),
            cache=caching,
            slots=signature.slots,
        )
        setattr(function, TASK_ATTRIBUTE, definition)
        if _is_being_run(function.__globals__):
            _remember(function, definition)
        return fn

    return declare


def declared_in(module: ModuleType) -> list[TaskDefinition]:
    """The tasks that the last import of a module declared, in order, wherever the module keeps them."""
    found = _declared_beside(vars(module))
    return [definition for definition in found.values() if definition.fn.__module__ == module.__name__]


def addresses(tasks: Sequence[TaskDefinition]) -> list[str]:
    """An address for each task of a module: its function's qualified name, or its own name if a factory made several.

    If such a task's name equals the name of another task's function, that task is addressed by its own name, too.
    """
    made = Counter(task.fn.__qualname__ for task in tasks)
    taken = {task.name for task in tasks if made[task.fn.__qualname__] > 1}
    names = ((task.fn.__qualname__, task.name) for task in tasks)
    return [name if made[function] > 1 or function in taken else function for function, name in names]


def _declared_beside(names: Mapping[str, object]) -> dict[tuple[str, str], TaskDefinition]:
    """What the module with this namespace has declared."""
    found = names.get(_DECLARED)
    return found if isinstance(found, dict) else {}


def _remember(function: FunctionType, definition: TaskDefinition) -> None:
    declared = function.__globals__.setdefault(_DECLARED, {})
    key = (function.__qualname__, definition.name)
    declared.pop(key, None)  # to make it the newest
    declared[key] = definition
    if len(declared) > MAX_DECLARED:
        del declared[next(iter(declared))]


def _is_being_run(names: Mapping[str, object]) -> bool:
    """Whether the module with this namespace is being imported. Otherwise another module calls a factory of it.

    Python names the frame of a module's own code `<module>`.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame is not None and frame.f_globals is names


def task_of(value: object) -> TaskDefinition | None:
    """The definition attached to a value; None if it is not a task. Runs no code of the value."""
    carrier = value.__func__ if type(value) is staticmethod else value
    found = inspect.getattr_static(carrier, TASK_ATTRIBUTE, None)
    return found if isinstance(found, TaskDefinition) else None


def _plain_function(fn: object) -> FunctionType:
    written = fn.__func__ if isinstance(fn, staticmethod) else fn
    if isinstance(written, FunctionType):
        return written
    faults = {
        type: ("it is a class", "decorate a function"),
        classmethod: ("it is a class method", "use a function of the module instead"),
    }
    for kind, (fault, remedy) in faults.items():
        if isinstance(fn, kind):
            raise definition_fault(fn, fault, remedy)
    raise definition_fault(fn, f"it is of type {type(fn).__name__}, not a function", "decorate a function made by def")


def _check_texts(fn: FunctionType, name: object, owner_email: object, description: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise definition_fault(fn, f"name={name!r} is not a name", 'give a text, such as name="features.build"')
    if "/" in name or "\\" in name:
        raise definition_fault(fn, f"name={name!r} has a path separator", "use '.', '-' or '_' instead of '/' and '\\'")
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise definition_fault(fn, f"name={name!r} has a control character", "remove it")
    if name in BUILTIN_TASKS and not fn.__module__.startswith("perago."):
        raise definition_fault(fn, f"name={name!r} is the name of a task of Perago", "give it another name")
    if not isinstance(owner_email, str) or not owner_email.strip():
        raise definition_fault(
            fn, f"owner_email={owner_email!r} is not an address", 'give one, such as owner_email="team@example.org"'
        )
    if description is not None and not isinstance(description, str):
        raise definition_fault(fn, f"description={description!r} is not text", "give a text, or leave it out")


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
            "controls has a publish_budget, but the task has no workspace",
            "add workspace=WorkspaceSpec() to @task, or remove the publish_budget",
        )


def _check_environment(fn: FunctionType, environment: object) -> None:
    if isinstance(environment, str) or not isinstance(environment, Sequence):
        raise _wrong_kind(fn, "environment", environment, f'["{LAKEFS_SECRET}"], a list of names')
    for name in environment:
        if not isinstance(name, str) or not name or "=" in name:
            raise definition_fault(
                fn, f"environment has {name!r}, which is not the name of a variable", f'write such as "{LAKEFS_SECRET}"'
            )


_ONE_OF = f"write one of {', '.join(map(repr, SANDBOX_MODES))}"


def _read_sandbox(fn: FunctionType, mode: object, reads: object, writes: object, *, network: object) -> SandboxSpec:
    if mode is not None and mode not in SANDBOX_MODES:
        raise definition_fault(
            fn,
            f"sandbox={mode!r} is no mode",
            f"write {near[0]!r}" if (near := get_close_matches(str(mode), SANDBOX_MODES, n=1)) else _ONE_OF,
        )
    if not isinstance(network, bool):
        raise _wrong_kind(fn, "network", network, "True or False")
    return SandboxSpec(
        mode=mode,
        reads=_read_paths(fn, "reads", reads),
        writes=_read_paths(fn, "writes", writes),
        network=network,
    )


def _read_paths(fn: FunctionType, option: str, given: object) -> tuple[str, ...]:
    if isinstance(given, str | Path) or not isinstance(given, Sequence):
        raise _wrong_kind(fn, option, given, '["/models/bert-base"], a list of paths')
    for path in given:
        if not isinstance(path, str | Path):
            raise _wrong_kind(fn, option, path, '["/models/bert-base"], a list of paths')
        if not Path(path).is_absolute() or ".." in Path(path).parts:
            raise definition_fault(
                fn, f"{option} has {str(path)!r}, which is not an absolute path", 'write it from "/" on, without ".."'
            )
    return tuple(map(str, given))


def _wrong_kind(fn: FunctionType, option: str, given: object, wanted: str) -> TaskDefinitionError:
    return definition_fault(fn, f"{option} is a {type(given).__name__}", f"write {option}={wanted}")
