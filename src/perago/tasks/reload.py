"""Loads the modules of tasks anew in a process that has loaded them, after a change of their files."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

from perago.errors import TaskDefinitionError
from perago.tasks.code import source_of
from perago.tasks.declare import TaskDefinition
from perago.tasks.import_path import LIBRARIES
from perago.tasks.load import load_module_task

FileStates = Mapping[Path, tuple[int, int] | None]
"""Of source files: time of the last change, in nanoseconds since the epoch, and size in bytes; None without a file."""


def states_of_files(tasks: Iterable[TaskDefinition]) -> FileStates:
    """The source files that may change what tasks do: of the modules beside theirs, and of their packages."""
    every = list(tasks)
    modules = {Path(str(module.__file__)) for module in _modules_beside(every).values()}
    covered = {path for task in every if task.has_workspace for _, path in source_of(task.fn) or ()}
    return {path: _state(path) for path in sorted(modules | covered)}


def changed_in(states: FileStates) -> list[Path]:
    """The files that are not as they were, sorted."""
    return [path for path, state in states.items() if _state(path) != state]


def load_anew(tasks: Mapping[str, TaskDefinition], targets: Mapping[str, str]) -> dict[str, TaskDefinition]:
    """Load tasks from the present files. What the process holds of the former modules stays as it is.

    Args:
        tasks: as loaded before, by name.
        targets: where each is found, by name.

    Raises:
        TaskDefinitionError: a module cannot be loaded, or has no such task any more. The former modules stay loaded.
    """
    former = _modules_beside(tasks.values())
    for name in former:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        with redirect_stdout(sys.stderr):
            return {name: _loaded(name, target) for name, target in targets.items()}
    except BaseException:
        for name in _modules_beside(tasks.values()):
            del sys.modules[name]
        sys.modules.update(former)
        raise


def _loaded(name: str, target: str) -> TaskDefinition:
    task = load_module_task(target)
    if task.name != name:
        raise TaskDefinitionError(f"{target} is now task {task.name!r}, but this run needs task {name!r}")
    return task


def _modules_beside(tasks: Iterable[TaskDefinition]) -> dict[str, ModuleType]:
    """The loaded modules of the tasks' packages, and those below the directories that hold these, but no libraries."""
    packages = {task.fn.__module__.partition(".")[0] for task in tasks}
    files = [_file_of(sys.modules.get(name)) for name in packages]
    homes = [_home(file) for file in files if file is not None]
    roots = tuple(home for home in homes if not home.startswith(LIBRARIES))
    found = {}
    for name, module in list(sys.modules.items()):
        file, top = _file_of(module), name.partition(".")[0]
        if file is None or top in ("perago", "__main__"):
            continue
        if top in packages or (file.startswith(roots) and not file.startswith(LIBRARIES)):
            found[name] = module
    return found


def _file_of(module: ModuleType | None) -> str | None:
    """The source file of a module, if it has one."""
    name = getattr(module, "__file__", None)
    return name if isinstance(name, str) and name.endswith(".py") else None


def _home(file: str) -> str:
    """The directory that holds a top-level module or package, with a slash."""
    path = Path(file)
    return f"{path.parent.parent if path.name == '__init__.py' else path.parent}{os.sep}"


def _state(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size
