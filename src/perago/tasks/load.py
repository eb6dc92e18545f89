"""Finding a task by the import path of its module."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pydantic
from pydantic import ValidationError

from perago.errors import TaskDefinitionError
from perago.tasks.declare import TaskDefinition, addresses, declared_in, task_of
from perago.tasks.params import describe_arguments
from perago.values.redaction import mask_text

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_PART = r"(?:[^\W\d][\w-]*|<locals>|<lambda>)"  # of a function's qualified name, or of a task's name
_TARGET = re.compile(rf"(?P<module>{_DOTTED})(?::(?P<function>{_PART}(?:\.{_PART})*))?")
_NOTEBOOK = ".ipynb"
_SHOWN = 5
_LIBRARIES = (f"{Path(__file__).parents[1]}{os.sep}", f"{Path(pydantic.__file__).parent}{os.sep}", "<frozen ")


def load_module_task(module_target: str) -> TaskDefinition:
    """Import a module, and find its task.

    Args:
        module_target: `pkg.module` of a module that declares one task, or `pkg.module:function`, which is
            `pkg.module:Class.function` for a static method. A task counts for the module that its function is defined
            in; one that is imported from elsewhere is found by `module:function` only. Where no name of the module
            leads to a task, what it declared and keeps elsewhere counts, in a list or an instance say.

    Raises:
        TaskDefinitionError: the target is no import path, there is no such module, importing it fails (the module's own
            error is the `__cause__`), it has no such function, no task, or several.
    """
    match = _TARGET.fullmatch(module_target)
    if match is None or module_target.endswith(".py"):
        raise _not_an_import_path(module_target)
    module = _import(match["module"])
    if match["function"] is not None:
        return _named_task(module, match["function"])
    own = _own_tasks(module)
    distinct = {id(task): name for name, task in reversed(own)}  # a task with two names counts once
    if len(distinct) == 1:
        return own[0][1]
    if not distinct:
        raise _no_task(module)
    raise TaskDefinitionError(
        f"module {module.__name__!r} declares {len(distinct)} tasks; name the one that is meant: "
        f"{_targets(module, sorted(distinct.values()))}"
    )


def load_module_tasks(target: str) -> list[TaskDefinition]:
    """As `load_module_task`, but all the tasks of a module that declares several, in order.

    Raises:
        TaskDefinitionError: as there, but several are fine.
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
    """The tasks that count for a module, and what names them; those kept elsewhere only where it has none by name."""
    found = [(name, task) for name, task in module_tasks(module).items() if task.fn.__module__ == module.__name__]
    return found or _kept_elsewhere(module)


def _kept_elsewhere(module: ModuleType) -> list[tuple[str, TaskDefinition]]:
    """What a module has declared, and what names it; two may have one name."""
    declared = declared_in(module)
    return list(zip(addresses(declared), declared, strict=True))


def module_tasks(module: ModuleType) -> dict[str, TaskDefinition]:
    """All tasks that a module has, by the name that it has them under, imported ones too, in order.

    Those of its own classes stand under `Class.function`.
    """
    found = ((name, task_of(value)) for name, value in _values(module))
    return {name: task for name, task in found if task is not None}


def _values(module: ModuleType) -> Iterator[tuple[str, object]]:
    """What a module and the classes that it defines have, by dotted name. Nothing of their own code is run."""
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
    """What a class has by itself; None: it is no class."""
    # As `vars` does, but past a metaclass that has code of its own for it.
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


def _named_task(module: ModuleType, function: str) -> TaskDefinition:
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
        else f"{module.__name__}:{function} is no task; decorate it with @perago.task(...)"
    )
    tasks = module_tasks(module)
    there = f"its tasks are {_targets(module, sorted(tasks))}" if tasks else "it has no task at all"
    raise TaskDefinitionError(f"{fault}; {there}")


def _kept_as(module: ModuleType, name: str) -> TaskDefinition | None:
    found = [task for address, task in _kept_elsewhere(module) if address == name]
    if len(found) > 1:
        fault = f"declares {len(found)} tasks that {module.__name__}:{name} may mean"
        raise TaskDefinitionError(f"module {module.__name__!r} {fault}; give one of them another name")
    return found[0] if found else None


def _no_task(module: ModuleType) -> TaskDefinitionError:
    imported = module_tasks(module)
    mend = "decorate a function with @perago.task(...)"
    if imported:
        homes = ", ".join(sorted({task.fn.__module__ for task in imported.values()}))
        mend = f"it only imports some, from {homes}; name the one that is meant: {_targets(module, sorted(imported))}"
    return TaskDefinitionError(f"module {module.__name__!r} declares no task; {mend}")


def _targets(module: ModuleType, names: list[str]) -> str:
    return ", ".join(f"{module.__name__}:{name}" for name in names)


def _notebook(file: str) -> TaskDefinitionError:
    name = Path(file.replace("\\", "/")).stem
    example = name if re.fullmatch(_DOTTED, name) else "features"
    return TaskDefinitionError(
        f"{file!r} is a notebook, which cannot be imported: put the task into a module, such as by "
        f"`jupyter nbconvert --to script {shlex.quote(file)}`, and write {example} or {example}:function"
    )


def _not_an_import_path(target: str) -> TaskDefinitionError:
    if target.partition(":")[0].endswith(_NOTEBOOK):
        return _notebook(target.partition(":")[0])
    path = target.partition(":")[0].removeprefix("./").removesuffix(".py").strip("/")
    dotted = path.replace("/", ".").replace("\\", ".")
    example = dotted if re.fullmatch(_DOTTED, dotted) else "app.features"
    return TaskDefinitionError(
        f"{target!r} is no import path of a module; write {example} or {example}:function, as an import statement "
        f"would, not the path of a file"
    )


def _no_module(name: str, missing: str) -> TaskDefinitionError:
    if name.endswith(_NOTEBOOK):
        return _notebook(name)
    looked = [entry for entry in sys.path if entry]
    more = len(looked) - _SHOWN
    where = ", ".join(looked[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    parent, _, last = name.rpartition(".")
    hint = f" If {last!r} is a function, write {parent}:{last}." if parent and missing == name else ""
    near: list[str] = []
    with suppress(OSError):  # a current directory that is gone
        near = difflib.get_close_matches(name, [path.stem for path in Path().glob("*.py")], n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return TaskDefinitionError(
        f"there is no module {missing!r}{meant}{hint} Python looked in {where}; the current directory is {_cwd()}. "
        f"Run in the directory that holds {name.partition('.')[0]!r}, install it, or put its directory on PYTHONPATH"
    )


def _import_failed(name: str, exc: BaseException) -> TaskDefinitionError:
    if isinstance(exc, ValidationError):
        return TaskDefinitionError(
            f"module {name!r} is there, but importing it failed at {_place_of(exc)}: {exc.title}(...) is given what it "
            f"does not take: {mask_text(describe_arguments(exc))}. Mend it there"
        )
    what = f"{type(exc).__name__}: {mask_text(str(exc))}" if str(exc) else type(exc).__name__
    return TaskDefinitionError(
        f"module {name!r} is there, but importing it failed: {what}; try `python -c 'import {name}'`"
    )


def _place_of(exc: BaseException) -> str:
    """The line of the module that led to an error, not that of a library it called."""
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else "an unknown line"


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "gone"
