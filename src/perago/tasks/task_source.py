"""Where the code of a task is, for lineage: its text, and its place in a git repository with a public name."""

from __future__ import annotations

import inspect
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from perago.tasks.code_version import code_version, work_tree_of
from perago.tasks.declare import TaskDefinition
from perago.values.code import TaskSource
from perago.values.redaction import mask_text

if TYPE_CHECKING:
    import pygit2

MAX_CHARACTERS = 16 * 1024
"""Limit for the text of a function."""

_SCP = re.compile(r"(?P<host>[^/:@]+):(?P<path>[^/].*)")


def task_source(task: TaskDefinition) -> TaskSource | None:
    """The source of a task; None for a task of Perago's own."""
    if task.is_builtin:
        return None
    text = _text_of(task)
    version = code_version(task)
    file = inspect.getsourcefile(inspect.unwrap(task.fn))
    root = None if file is None else work_tree_of(Path(os.path.realpath(file)))
    repository = None if root is None or version is None else _origin_of(root)
    if file is None or root is None or repository is None:
        return TaskSource(text=text)
    path = Path(os.path.realpath(file)).relative_to(root).as_posix()
    return TaskSource(text=text, repository=repository, path=path, version=version)


def _text_of(task: TaskDefinition) -> str | None:
    with suppress(OSError, TypeError):
        text = inspect.getsource(task.fn)
        return mask_text(text) if len(text) <= MAX_CHARACTERS else None
    return None


def _origin_of(root: Path) -> str | None:
    """The URL of a work tree's remote `origin`. `code_version` has checked that no other user could change it."""
    import pygit2

    try:
        repository: pygit2.Repository = pygit2.Repository(str(root))
        try:
            return public_url(str(repository.remotes["origin"].url))
        finally:
            repository.free()
    except (pygit2.GitError, KeyError, ValueError):
        return None


def public_url(remote: str) -> str | None:
    """The URL of a remote without credentials; None for a path of this machine, which tells others nothing."""
    if "://" not in remote:
        found = _SCP.fullmatch(remote.rpartition("@")[2])
        return None if found is None else f"ssh://{found['host']}/{found['path']}"
    parts = urlsplit(remote)
    if parts.scheme == "file" or not parts.hostname:
        return None
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, f"{parts.hostname}{port}", parts.path, "", ""))
