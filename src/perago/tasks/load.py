"""Finds a task by the import path of its module."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pydantic
from pydantic import ValidationError

from perago.errors import TaskDefinitionError
from perago.tasks.controls import ExecutionLimits, PublishBudget, RetryPolicy, TaskControls, TimeoutPolicy
from perago.tasks.declare import TaskDefinition, addresses, declared_in, task_of
from perago.tasks.import_path import LIBRARIES, WITHOUT_FILE
from perago.tasks.metrics import MetricSpec
from perago.tasks.params import describe_arguments
from perago.values.redaction import mask_text
from perago.values.spec import WorkspaceSpec

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_PART = r"(?:[^\W\d][\w-]*|<locals>|<lambda>)"  # of a function's qualified name, or of a task's name
_TARGET = re.compile(rf"(?P<module>{_DOTTED})(?::(?P<function>{_PART}(?:\.{_PART})*))?")
_NOTEBOOK = ".ipynb"
_SHOWN = 5
_ARGUMENTS = {
    model.__name__: model.model_fields.keys()
    for model in (
        ExecutionLimits,
        MetricSpec,
        PublishBudget,
        RetryPolicy,
        TaskControls,
        TimeoutPolicy,
        WorkspaceSpec,
    )
}
_OURS = (f"{Path(__file__).parents[1]}{os.sep}", f"{Path(pydantic.__file__).parent}{os.sep}")
_LOADERS = (*_OURS, importlib.__file__, *WITHOUT_FILE)


def load_module_task(module_target: str, workflows: Sequence[str] = ()) -> TaskDefinition:
    """Import a module and find its task.

    Args:
        module_target: `pkg.module` of a module that declares one task, or `pkg.module:function`, for a static method
            `pkg.module:Class.function`. A task belongs to the module that defines its function; an imported task is
            only found by `module:function`. If no name of the module is a task, tasks count that it declared and keeps
            elsewhere, such as in a list or an instance.
        workflows: targets of the module's workflows, which an error lists too.

    Raises:
        TaskDefinitionError: the target is not a module name, there is no such module, importing it fails (the module's
            error is the `__cause__`), or it has no such function, no task, or several.
    """
    match = _TARGET.fullmatch(module_target)
    if match is None or module_target.endswith(".py"):
        raise _not_an_import_path(module_target)
    module = _import(match["module"])
    if match["function"] is not None:
        return _named_task(module, match["function"], workflows)
    own = _own_tasks(module)
    distinct = {id(task): name for name, task in reversed(own)}  # a task with two names counts once
    if len(distinct) == 1:
        return own[0][1]
    if not distinct:
        raise _no_task(module)
    raise TaskDefinitionError(
        f"module {module.__name__!r} declares {len(distinct)} tasks; name one of them: "
        f"{_targets(module, sorted(distinct.values()))}"
    )


def load_module_tasks(target: str) -> list[TaskDefinition]:
    """As `load_module_task`, but return all tasks of a module that declares several, in order.

    Raises:
        TaskDefinitionError: as there, except for several tasks.
    """
    try:
        return [load_module_task(target)]
    except TaskDefinitionError:
        module = sys.modules.get(target)
        own = [] if module is None else _own_tasks(module)
        if len(own) < 2:
            raise
        return list({id(task): task for _, task in own}.values())


def _own_tasks(module: ModuleType) -> list[tuple[str, TaskDefinition]]:
    """The tasks of a module with their names. Those kept elsewhere count only if none has a name in the module."""
    found = [(name, task) for name, task in module_tasks(module).items() if task.fn.__module__ == module.__name__]
    return found or _kept_elsewhere(module)


def _kept_elsewhere(module: ModuleType) -> list[tuple[str, TaskDefinition]]:
    """All tasks that a module has declared, with their addresses, which may repeat."""
    declared = declared_in(module)
    return list(zip(addresses(declared), declared, strict=True))


def module_tasks(module: ModuleType) -> dict[str, TaskDefinition]:
    """All tasks with a name in a module, including imported ones, in order.

    Tasks in its own classes have the name `Class.function`.
    """
    found = ((name, task_of(value)) for name, value in _values(module))
    return {name: task for name, task in found if task is not None}


def _values(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The values in a module and in the classes that it defines, by dotted name. Runs no code of the values."""
    seen: set[int] = set()

    def walk(prefix: str, names: Mapping[str, object]) -> Iterator[tuple[str, object]]:
        for name, value in names.items():
            yield prefix + name, value
            members = _members(value)
            if members is not None and members.get("__module__") == module.__name__ and id(value) not in seen:
                seen.add(id(value))
                yield from walk(f"{prefix}{name}.", members)

    yield from walk("", dict(vars(module)))


def _members(value: object) -> Mapping[str, object] | None:
    """A class's own attributes; None if the value is not a class."""
    # Like `vars`, but without code of a metaclass.
    return type.__dict__["__dict__"].__get__(value) if issubclass(type(value), type) else None


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except TaskDefinitionError:
        raise
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{name}.".startswith(f"{exc.name}."):
            raise _no_module(name, exc.name) from None
        raise _import_failed(name, exc) from exc
    except (Exception, SystemExit) as exc:  # a module may raise anything
        raise _import_failed(name, exc) from exc


def _named_task(module: ModuleType, function: str, workflows: Sequence[str]) -> TaskDefinition:
    missing = object()
    head, *rest = function.split(".")
    value = vars(module).get(head, missing)
    for name in rest:
        value = (_members(value) or {}).get(name, missing)
    task = task_of(value) or _kept_as(module, function)
    if task is not None:
        return task
    fault = (
        f"module {module.__name__!r} has no {function!r}"
        if value is missing
        else f"{module.__name__}:{function} is not a task; decorate it with @perago.task(...)"
    )
    tasks = [f"{module.__name__}:{name}" for name in sorted(module_tasks(module))]
    there = f"its tasks are {', '.join(tasks)}" if tasks else "it has no tasks"
    there += f"; its workflows are {', '.join(workflows)}" if workflows else ""
    known = {target.partition(":")[2]: target for target in (*tasks, *workflows)}
    near = difflib.get_close_matches(function, known, n=1)
    meant = f"; did you mean {known[near[0]]}?" if near else ""
    raise TaskDefinitionError(f"{fault}; {there}{meant}")


def _kept_as(module: ModuleType, name: str) -> TaskDefinition | None:
    found = [task for address, task in _kept_elsewhere(module) if address == name]
    if len(found) > 1:
        fault = f"declares {len(found)} tasks with the address {module.__name__}:{name}"
        raise TaskDefinitionError(f"module {module.__name__!r} {fault}; rename one of them")
    return found[0] if found else None


def _no_task(module: ModuleType) -> TaskDefinitionError:
    imported = module_tasks(module)
    remedy = "decorate a function with @perago.task(...)"
    if imported:
        homes = ", ".join(sorted({task.fn.__module__ for task in imported.values()}))
        remedy = f"it only imports some, from {homes}; name one of them: {_targets(module, sorted(imported))}"
    return TaskDefinitionError(f"module {module.__name__!r} declares no task; {remedy}")


def _targets(module: ModuleType, names: list[str]) -> str:
    return ", ".join(f"{module.__name__}:{name}" for name in names)


def _notebook(file: str) -> TaskDefinitionError:
    name = Path(file.replace("\\", "/")).stem
    example = name if re.fullmatch(_DOTTED, name) else "features"
    return TaskDefinitionError(
        f"{file!r} is a notebook, which cannot be imported. Put the task into a module, for instance with "
        f"`jupyter nbconvert --to script {shlex.quote(file)}`, and use {example} or {example}:function"
    )


def _not_an_import_path(target: str) -> TaskDefinitionError:
    given = target.partition(":")[0]
    if given.endswith(_NOTEBOOK):
        return _notebook(given)
    path = given.removeprefix("./").removesuffix(".py").strip("/")
    dotted = path.replace("/", ".").replace("\\", ".")
    example = dotted if re.fullmatch(_DOTTED, dotted) else "app.features"
    kind = "is a file path" if given.endswith(".py") or dotted != given else "is not a module name"
    return TaskDefinitionError(f"{target!r} {kind}. Use a module name: {example} or {example}:function")


def _no_module(name: str, missing: str) -> TaskDefinitionError:
    if name.endswith(_NOTEBOOK):
        return _notebook(name)
    looked = [entry for entry in sys.path if entry]
    more = len(looked) - _SHOWN
    where = ", ".join(looked[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    parent, _, last = name.rpartition(".")
    hint = f" If {last!r} is a function, write {parent}:{last}." if parent and missing == name else ""
    near: list[str] = []
    with suppress(OSError):  # the current directory no longer exists
        near = difflib.get_close_matches(name, [path.stem for path in Path().glob("*.py")], n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return TaskDefinitionError(
        f"there is no module {missing!r}{meant}{hint} Python looked in {where}; the current directory is {_cwd()}. "
        f"Run in the directory that holds {name.partition('.')[0]!r}, install it, or put its directory on PYTHONPATH"
    )


def _import_failed(name: str, exc: BaseException) -> TaskDefinitionError:
    if isinstance(exc, ValidationError):
        return TaskDefinitionError(
            f"module {name!r} exists, but importing it failed{_place_of(exc)}: "
            f"{mask_text(describe_arguments(exc, _ARGUMENTS.get(exc.title, ())))}"
        )
    what = f"{type(exc).__name__}: {mask_text(str(exc))}" if str(exc) else type(exc).__name__
    return TaskDefinitionError(
        f"module {name!r} exists, but importing it failed{_place_of(exc)}: {what}; try `python -c 'import {name}'`"
    )


def _place_of(exc: BaseException) -> str:
    """The line of the module that led to an error, not one of a library that it called; "" if there is none."""
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(exc.__traceback__)]
    if isinstance(exc, SyntaxError) and exc.lineno and isinstance(exc.filename, str) and exc.filename[:1] != "<":
        lines.append((exc.filename, exc.lineno))
    lines = [line for line in lines if not line[0].startswith(_LOADERS)]
    own = [line for line in lines if not line[0].startswith(LIBRARIES)] or lines  # an installed task is a library's
    return f" at {own[-1][0]}, line {own[-1][1]}" if own else ""


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "deleted"
