"""Finds calls of tasks in a workflow's function, which would run them while the workflow is declared.

`@task` leaves a function as it is, so a call cannot tell where it is made. The source of the workflow's function tells,
before any of it runs.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType

from perago.errors import WorkflowDefinitionError
from perago.tasks.declare import TaskDefinition, task_of


def expect_no_call_of_a_task(fn: Callable[..., object]) -> None:
    """Refuse a workflow's function that calls a task, by its name or that of its module or class.

    The functions that it hands its flow to are read, too. A function without source is not.

    Raises:
        WorkflowDefinitionError: it calls one. Names the line, the task, and what to write.
    """
    _check(inspect.unwrap(fn), set())


def _check(fn: object, seen: set[object]) -> None:
    if not isinstance(fn, FunctionType) or fn in seen:
        return
    seen.add(fn)
    names, flow = _names_of(fn), fn.__code__.co_varnames[:1]
    for call in _calls_in(fn):
        called = _value_of(call.func, names)
        task = task_of(called)
        if task is not None:
            raise WorkflowDefinitionError(
                f"{Path(fn.__code__.co_filename).name}:{call.lineno}: a workflow does not call its tasks, which run "
                f"only when the workflow runs; in place of {ast.unparse(call.func)}(...) write {_instead(call, task)}"
            )
        if any(isinstance(given, ast.Name) and given.id in flow for given in call.args):
            _check(called, seen)


def _instead(call: ast.Call, task: TaskDefinition) -> str:
    fields = task.params_model.model_fields
    given = [each.arg for each in call.keywords if each.arg in fields]
    names = given or [name for name, about in fields.items() if about.is_required()]
    return f"flow.run({', '.join([ast.unparse(call.func), *(f'{name}=...' for name in names)])})"


def _names_of(fn: FunctionType) -> Mapping[str, object]:
    """What the names in a function stand for, without those that it binds itself."""
    code = fn.__code__
    own = {name for each in _codes_in(code) for name in (*each.co_varnames, *each.co_cellvars)}
    found = {name: value for name, value in fn.__globals__.items() if name not in own}
    for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not bound yet
            found.pop(name, None)
    return found


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of the functions and comprehensions in it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes_in(inner)


def _value_of(node: ast.expr, names: Mapping[str, object]) -> object:
    """The value of a name with dots; None for anything else. Runs no code of the values."""
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=owner, attr=name):
            return inspect.getattr_static(_value_of(owner, names), name, None)
        case _:
            return None


def _calls_in(fn: FunctionType) -> Iterator[ast.Call]:
    code = fn.__code__
    linecache.checkcache(code.co_filename)
    try:
        with warnings.catch_warnings(action="ignore"):  # the import has shown them
            tree = ast.parse("".join(linecache.getlines(code.co_filename, fn.__globals__)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # edited since it was imported, or no Python
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first == code.co_firstlineno:
                yield from (each for line in node.body for each in ast.walk(line) if isinstance(each, ast.Call))
