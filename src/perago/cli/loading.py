"""Loading task modules for the commands."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from perago.cli.output import stdout_to_stderr

if TYPE_CHECKING:
    from perago.tasks.declare import TaskDefinition

module_argument = click.argument("module", metavar="MODULE[:FUNCTION]")


def load_task(target: str) -> TaskDefinition:
    """The one task that a target names; modules in the current directory are found.

    Raises:
        TaskDefinitionError: there is none, or several.
    """
    from perago.tasks.load import load_module_task

    find_modules_here()
    with stdout_to_stderr():
        return load_module_task(target)


def load_tasks(target: str) -> list[TaskDefinition]:
    """As `load_task`, but all the tasks of a module that declares several.

    Raises:
        TaskDefinitionError: there is none.
    """
    from perago.tasks.load import load_module_tasks

    find_modules_here()
    with stdout_to_stderr():
        return load_module_tasks(target)


def find_modules_here() -> None:
    """Have modules in the current directory found, as `python -m` does: a program in a bin directory would not."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
