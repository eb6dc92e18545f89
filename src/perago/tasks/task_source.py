"""Where the code of a task is, for lineage: its text, and its place in a git repository with a public name."""

from __future__ import annotations

import inspect
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from perago.tasks.code_version import code_version, origin_of, work_tree_of
from perago.tasks.declare import TaskDefinition
from perago.values.code import TaskSource
from perago.values.redaction import mask_text

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
    remote = None if root is None or version is None else origin_of(root)
    repository = None if remote is None else public_url(remote)
    if file is None or root is None or repository is None:
        return TaskSource(text=text)
    path = Path(os.path.realpath(file)).relative_to(root).as_posix()
    return TaskSource(text=text, repository=repository, path=path, version=version)


def _text_of(task: TaskDefinition) -> str | None:
    with suppress(OSError, TypeError):
        text = inspect.getsource(task.fn)
        return mask_text(text) if len(text) <= MAX_CHARACTERS else None
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
