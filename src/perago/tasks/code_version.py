"""The git commit of a task's code, and whether the code differs from it.

libgit2 reads the repository. It runs no hook, filter or `core.fsmonitor`, so the repository's own configuration
cannot start a program. The libraries are loaded only if there is a `.git` above the code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from perago.files.private_directory import fault_of_source
from perago.tasks.code import MAX_ENTRIES, MAX_FILES, functions_of, source_folders, source_of
from perago.tasks.declare import TaskDefinition
from perago.values.code import CodeVersion

if TYPE_CHECKING:
    import pygit2

_GIT = ".git"


def code_version(task: TaskDefinition) -> CodeVersion | None:
    """The checked-out commit of the git work tree that a task's code is in. Read once per process and task function.

    The code is what `code_digest` covers. It is compared byte for byte, so a checkout that converts line ends is dirty.
    Other files of the work tree do not count.

    Returns:
        None if the code is in no work tree or in several, if the commit has none of its files, as for a package that is
        installed below a work tree, or if another user could change the repository.
    """
    return _version_of(functions_of(task))


def forget_versions() -> None:
    """Look again for the next tasks, as `code.forget_digests` does."""
    _version_of.cache_clear()


@lru_cache(maxsize=1024)
def _version_of(functions: tuple[Callable[..., object], ...]) -> CodeVersion | None:
    sources = [source_of(function) for function in functions]
    files = {Path(os.path.realpath(path)) for source in sources for _, path in source or ()}
    if not files or any(source is None for source in sources):
        return None
    folders = {Path(os.path.realpath(folder)) for function in functions for folder in source_folders(function)}
    roots = {work_tree_of(path) for path in files | folders}
    root = roots.pop()
    if roots or root is None:
        return None
    if any(fault_of_source(path, os.environ) is not None for path in (root, root / _GIT)):
        return None
    import pygit2

    try:
        repository = pygit2.Repository(str(root))
        try:
            return _compared(repository, root, files, folders)
        finally:
            repository.free()
    except (pygit2.GitError, OSError, KeyError, ValueError):
        return None


def work_tree_of(path: Path) -> Path | None:
    """The nearest directory above a file that has a `.git`; None if there is none."""
    return next((folder for folder in path.parents if (folder / _GIT).exists()), None)


def origin_of(root: Path) -> str | None:
    """The URL of the remote `origin` of a work tree for which `code_version` has found a version; None without one."""
    import pygit2

    try:
        repository = pygit2.Repository(str(root))
        try:
            return str(repository.remotes["origin"].url)
        finally:
            repository.free()
    except (pygit2.GitError, KeyError, ValueError):
        return None


def _compared(repository: pygit2.Repository, root: Path, files: set[Path], folders: set[Path]) -> CodeVersion | None:
    import pygit2

    if repository.is_bare or repository.head_is_unborn:
        return None
    if fault_of_source(Path(repository.path), os.environ) is not None:  # the `.git` of a linked work tree is a file
        return None
    commit = repository.head.peel(pygit2.Commit)
    known: dict[str, str] = {}
    for path in files:
        name = path.relative_to(root).as_posix()
        with suppress(KeyError):
            known[name] = str(commit.tree[name].id)
    if not known:
        return None
    for folder in folders:
        known |= _sources_below(commit.tree, folder.relative_to(root).as_posix())
    return CodeVersion(str(commit.id), is_dirty=known != _on_disk(root, files))


def _sources_below(tree: pygit2.Tree, folder: str) -> Mapping[str, str]:
    """The source files that a commit has below a folder, within the limits of a code digest."""
    import pygit2

    found: dict[str, str] = {}
    waiting: list[tuple[str, pygit2.Object]] = [(folder, tree if folder == "." else tree[folder])]
    for _ in range(MAX_ENTRIES):
        if not waiting or len(found) > MAX_FILES:
            break
        name, entry = waiting.pop()
        if isinstance(entry, pygit2.Tree):
            waiting += [("/".join(part for part in (name, str(one.name)) if part != "."), one) for one in entry]
        elif name.endswith(".py"):
            found[name] = str(entry.id)
    return found


def _on_disk(root: Path, files: set[Path]) -> Mapping[str, str]:
    return dict(_hashed(root, files))


def _hashed(root: Path, files: set[Path]) -> Iterator[tuple[str, str]]:
    import pygit2

    for path in files:
        yield path.relative_to(root).as_posix(), str(pygit2.hash(path.read_bytes()))
