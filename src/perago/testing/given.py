"""Inputs of a test: a task, its params, and files as a dict or a directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel

from perago.errors import TaskInputError, WorkspaceContentError
from perago.tasks.declare import TaskDefinition, task_of
from perago.tasks.params import validate_params
from perago.testing.commits import Blob, Tree
from perago.testing.files import lay_out, read_file
from perago.testing.store import MemoryStore
from perago.values.names import check_object_names
from perago.workspace.patterns import Selection
from perago.workspace.reading import open_workspace
from perago.workspace.scan import scan

Files = Mapping[str, bytes | str] | str | os.PathLike[str]
"""Path -> content (text as UTF-8), or the path of a directory, whose files are copied with executable bits."""

_WANTED = 'a dict such as {"in.txt": "text or bytes"}, or the path of a directory'

Params = BaseModel | Mapping[str, Any]
"""A task's params: an instance of its model, or an object as sent by an engine."""


def definition_of(task: TaskDefinition | Callable[..., object]) -> TaskDefinition:
    """The definition of a task in either form.

    Raises:
        TaskInputError: it is not a task.
    """
    definition = task if isinstance(task, TaskDefinition) else task_of(task)
    if definition is None:
        raise TaskInputError(f"{task!r} is not a task; give a function decorated with @task")
    return definition


def expect_params(params: object, task: TaskDefinition) -> None:
    """Refuse files in place of params: most tasks would ignore them and then miss their files.

    Raises:
        TaskInputError
    """
    names = list(params) if isinstance(params, Mapping) else []
    look_like_files = bool(names) and all("." in str(name) or "/" in str(name) for name in names)
    if isinstance(params, str | os.PathLike) or (look_like_files and not _are_for(task, params)):
        raise TaskInputError(f"task {task.name!r} gets files instead of params; give them as workspace=")


def _are_for(task: TaskDefinition, params: object) -> bool:
    """Whether a task's model may accept names that look like file names, by its fields or a validator."""
    model = task.params_model
    known = {name for key, field in model.model_fields.items() for name in _names_of(key, field.validation_alias)}
    if model.model_config.get("extra") == "allow" or (isinstance(params, Mapping) and not known.isdisjoint(params)):
        return True
    try:
        return bool(validate_params(task, params).model_fields_set)
    except TaskInputError:
        return False


def _names_of(name: str, alias: str | AliasPath | AliasChoices | None) -> Iterator[str]:
    """The names under which a field may be given."""
    yield name
    for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        first = choice.path[0] if isinstance(choice, AliasPath) else choice
        if first is not None:
            yield str(first)


def read_given(files: Files) -> Tree:
    """The files by POSIX path.

    Raises:
        TaskInputError: `files` is neither a mapping of path to content nor a path.
        WorkspaceContentError: the directory does not exist, or holds a symbolic link or another special file.
    """
    if isinstance(files, Mapping):
        return {path: Blob(_content(path, given)) for path, given in files.items()}
    if not isinstance(files, str | os.PathLike):
        raise TaskInputError(f"the files of a test are of type {type(files).__name__}; give {_WANTED}")
    directory = Path(files)
    if not directory.is_dir():
        raise WorkspaceContentError(f"there is no directory {str(directory)!r}; give the files of a test as {_WANTED}")
    found = scan(directory, Selection((), ())).files
    with open_workspace(directory) as opened:
        return {path: read_file(opened, path) for path in found}


def _content(path: str, given: object) -> bytes:
    match given:
        case str():
            return given.encode()
        case bytes() | bytearray() | memoryview():
            return bytes(given)
    raise TaskInputError(f"the content of {path!r} is of type {type(given).__name__}; give the files as {_WANTED}")


def commit_given(store: MemoryStore, branch: str, files: Files, *, below: str = "") -> str:
    """Commit the files on a branch; returns the commit's id.

    Args:
        below: prefix of their names in the repository.
    """
    given = {below + path: blob for path, blob in read_given(files).items()}
    contents = {name: blob.content for name, blob in given.items()}
    return store.commit(
        branch, contents, subject="given", executable=[name for name in given if given[name].executable]
    )


def lay_out_given(root: Path, files: Files) -> Path:
    """Write the files to a new directory below the root; returns it.

    Raises:
        ObjectNameError: a path is not valid in a workspace.
    """
    given = read_given(files)
    check_object_names(given)
    root.mkdir(parents=True, exist_ok=True)
    made = Path(mkdtemp(prefix="workspace-", dir=root))
    lay_out(given, made)
    return made


@contextmanager
def directory_for(root: Path | None) -> Iterator[Path]:
    """The root, or a temporary directory that is removed on exit."""
    if root is not None:
        yield root
        return
    with TemporaryDirectory(prefix="perago-test-") as temporary:
        yield Path(temporary)
