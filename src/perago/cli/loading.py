"""Loads task modules for the commands."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perago.cli.output import stdout_to_stderr
from perago.errors import TaskDefinitionError

if TYPE_CHECKING:
    from perago.tasks.declare import TaskDefinition
    from perago.workflows.load import Declared

tasks_option = click.option(
    "--tasks",
    metavar="MODULE",
    multiple=True,
    help="A module with tasks and workflows that a workflow in a JSON file names. Repeatable.",
)

workflows_option = click.option(
    "--workflows",
    metavar="FILE",
    multiple=True,
    help="A JSON file with a sub-workflow of the workflow in another file. Repeatable.",
)

module_argument = click.argument("module", metavar="MODULE[:FUNCTION]")


def load_task(target: str) -> TaskDefinition:
    """The one task that a target names. Modules in the current directory are found.

    Raises:
        TaskDefinitionError: there is none, or several.
    """
    from perago.tasks.load import load_module_task

    find_modules_here(target)
    with stdout_to_stderr():
        return load_module_task(target)


def declared_by(target: str, modules: Sequence[str] = (), files: Sequence[str] = ()) -> Declared:
    """The task or workflow that a target names, or all those of a module.

    Args:
        modules: of the tasks and sub-workflows that a file names.
        files: with definitions of such sub-workflows.

    Raises:
        TaskDefinitionError, WorkflowDefinitionError: there is none, or one is wrong.
        UsageError: modules or files are given for a target that is no file.
    """
    from perago.workflows.load import is_file, load_declared

    if (modules or files) and not is_file(target):
        option = "--tasks" if modules else "--workflows"
        raise click.UsageError(f"{option} is for a workflow in a file; {target} names its tasks itself")
    find_modules_here(*(modules if is_file(target) else [target]))
    with stdout_to_stderr():
        return load_declared(target, modules, files)


def expect_names_of_their_own(tasks: Sequence[TaskDefinition]) -> None:
    """Refuse two tasks with the same name.

    Raises:
        TaskDefinitionError
    """
    seen: dict[str, TaskDefinition] = {}
    for task in tasks:
        other = seen.setdefault(task.name, task)
        if other is not task:
            raise TaskDefinitionError(
                f"{other.target} and {task.target} are both named {task.name!r}, but a server keeps one TaskDef per "
                f"name. Rename one of them"
            )


def expect_no_namesakes(target: str, tasks: Sequence[TaskDefinition]) -> None:
    """Refuse a task if another one of its module has the same name.

    Raises:
        TaskDefinitionError
    """
    from perago.tasks.load import module_tasks

    name, names = target.partition(":")[0], {task.name for task in tasks}
    own = [task for task in module_tasks(sys.modules[name]).values() if task.fn.__module__ == name]
    expect_names_of_their_own([*(other for other in own if other.name in names), *tasks])


def find_modules_here(*targets: str) -> None:
    """Make modules in the current directory importable, unless another user could have written them.

    They are found before installed ones, as by a Python script, except those that Perago itself needs.

    Args:
        targets: the modules to be imported.

    Raises:
        TaskDefinitionError: a module is only in a directory that another user can write, or has the name of a package
            that Perago needs.
    """
    from perago.files.private_directory import fault_of_source
    from perago.tasks.import_path import PACKAGES, prefer_installed

    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    names = {re.split("[.:]", target)[0] for target in targets}
    in_path = here in sys.path or "" in sys.path
    fault = None if in_path else fault_of_source(Path(here), os.environ)
    if not in_path and fault is None:
        sys.path.insert(0, here)
    prefer_installed(here)
    for name in sorted(name for name in names if _is_here(name)):
        if fault is not None and not _is_elsewhere(name):
            raise TaskDefinitionError(f"module {name!r} is not imported from {here}: the directory {fault}")
        if fault is None and name in PACKAGES:
            raise TaskDefinitionError(
                f"module {name!r} in {here} has the name of a package that Perago needs; rename it"
            )


def _is_here(name: str) -> bool:
    return bool(name) and (Path(f"{name}.py").is_file() or Path(name).is_dir())


def _is_elsewhere(name: str) -> bool:
    """Whether a module is found without the current directory."""
    try:
        return name in sys.modules or find_spec(name) is not None
    except (ImportError, ValueError):
        return False
