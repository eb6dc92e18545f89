"""Laying out the files of a commit under a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

from perago.errors import ObjectNameError, PrefixNotFoundError
from perago.files.beneath import Beneath
from perago.files.storage import storage_errors
from perago.ports import NOTHING_KEPT, Kept, ListedFile, Source, StoredFile
from perago.stores.git.lfs import LfsStore, Pointer, may_be_pointer, parse_pointer
from perago.stores.git.objects import SUBMODULE, SYMLINK, Leaf, ObjectReader
from perago.stores.git.repository import BareRepository, git_command
from perago.stores.git.trees import Snapshot, compare, find, walk
from perago.values.names import FOR_EXPORT, FOR_TASKS, Words, check_git_name, check_object_names, show_name
from perago.values.spec import WorkspaceSpec
from perago.workspace.folding import probe_folding
from perago.workspace.new_files import make_directories, open_new, write_all
from perago.workspace.patterns import Selection
from perago.workspace.progress import TransferProgress

_KINDS = {SYMLINK: "a symbolic link", SUBMODULE: "a submodule"}


@dataclass(frozen=True)
class Layout:
    """The files of a commit that belong to a workspace: path below the prefix, and its tree entry."""

    files: tuple[tuple[str, Leaf], ...]


def plan_layout(
    repository: BareRepository, commit_id: str, spec: WorkspaceSpec, *, may_be_missing: bool, words: Words = FOR_TASKS
) -> Layout:
    """List what is to be laid out. Writes nothing.

    Args:
        may_be_missing: accept a prefix that does not exist, as a workspace without files.

    Raises:
        PrefixNotFoundError: the commit has nothing below the prefix.
        ObjectNameError: an entry cannot be laid out.
    """
    files = _list_leaves(repository, commit_id, spec, may_be_missing=may_be_missing)
    for path, leaf in files:
        _check_kind(spec.root + path, leaf, words)
    return Layout(tuple(files))


def list_files(repository: BareRepository, ref: str, spec: WorkspaceSpec) -> list[str]:
    """The names of a commit's regular files below a prefix. See `ports.Repository.files`."""
    leaves = _list_leaves(repository, str(repository.input_commit(ref).id), spec, may_be_missing=False)
    return [spec.root + path for path, leaf in leaves if leaf.is_file]


def find_file(repository: BareRepository, ref: str, path: str) -> StoredFile | None:
    """A regular file of a commit. See `ports.Repository.find_file`."""
    reader = ObjectReader(repository)
    found = find(reader, str(repository.input_commit(ref).tree_id), path)
    return None if found is None else _stored(repository, reader, Leaf(found.mode, found.id), path)


def find_files(repository: BareRepository, ref: str, paths: Sequence[str]) -> Iterator[StoredFile | None]:
    """Regular files of a commit. See `ports.Repository.find_files`. Parses each directory once."""
    reader = ObjectReader(repository)
    snapshot = Snapshot(reader, str(repository.input_commit(ref).tree_id))
    for path in paths:
        leaf = snapshot.leaf(path)
        yield None if leaf is None else _stored(repository, reader, leaf, path)


def _stored(repository: BareRepository, reader: ObjectReader, leaf: Leaf, path: str) -> StoredFile | None:
    if not leaf.is_file:
        return None
    size = reader.blob_size(leaf.id)
    pointer = parse_pointer(reader.blob(leaf.id), path) if may_be_pointer(size) else None
    if pointer is None:
        return StoredFile(size, partial(reader.blob, leaf.id))
    return StoredFile(pointer.size, partial(_read_large, repository, pointer, path))


def _read_large(repository: BareRepository, pointer: Pointer, path: str) -> bytes:
    with storage_errors("cannot read a file in", gettempdir(), FOR_EXPORT), TemporaryFile() as copy:
        LfsStore(repository).lay_out(pointer, path, copy.fileno(), lambda _: None)
        copy.seek(0)
        return copy.read()


def _list_leaves(
    repository: BareRepository, commit_id: str, spec: WorkspaceSpec, *, may_be_missing: bool
) -> list[tuple[str, Leaf]]:
    """The selected entries below the prefix that are not directories, sorted. Arguments as in `plan_layout`."""
    reader = ObjectReader(repository)
    tree_id = str(repository.commit(commit_id).tree_id)
    root = find(reader, tree_id, spec.root.rstrip("/"))
    if root is None and may_be_missing and not _leads_through_a_file(reader, tree_id, spec.root):
        return []
    if root is None or not root.is_directory:
        raise PrefixNotFoundError(
            f"commit {commit_id[:12]} of {repository.path} has no directory {spec.prefix!r}. Give another prefix; "
            f"{git_command(repository.path, 'ls-tree', '-d', '-r', '--name-only', commit_id[:12])} lists them"
        )
    selection = Selection(spec.include, spec.exclude)
    found = walk(reader, root.id, enters=selection.enters)
    return sorted((path, leaf) for path, leaf in found if selection.selects(path))


def has_same_files(repository: BareRepository, refs: tuple[str, str], spec: WorkspaceSpec) -> bool:
    """See `ports.ReusableStore.has_same_files`."""
    before, after = (str(repository.input_commit(ref).tree_id) for ref in refs)
    differs = compare(ObjectReader(repository), before, after, spec.root)
    selection, start = Selection(spec.include, spec.exclude), len(spec.root)
    return not any(selection.selects(path[start:]) for path in differs)


def check_layout(layout: Layout, target: Path, words: Words = FOR_TASKS) -> None:
    """Refuse names that the target's file system cannot hold, or that lead out of the target.

    Raises:
        ObjectNameError
    """
    check_object_names((path for path, _ in layout.files), probe_folding(target), words, check=check_git_name)


def list_layout(repository: BareRepository, layout: Layout) -> dict[str, ListedFile]:
    """The files by path. See `ports.ListWorkspace`."""
    reader = ObjectReader(repository)
    found: dict[str, ListedFile] = {}
    for path, leaf in layout.files:
        size, digest = reader.blob_size(leaf.id), f"git-sha1:{leaf.id}"
        pointer = parse_pointer(reader.blob(leaf.id), path) if may_be_pointer(size) else None
        if pointer is not None:
            size, digest = pointer.size, f"sha256:{pointer.sha256}"
        found[path] = ListedFile(size, leaf.is_executable, digest)
    return found


def sources(layout: Layout) -> dict[str, Source]:
    """What is laid out at each path. A blob's id names its content; that of a pointer names the large file's, too."""
    return {path: Source(leaf.id, leaf.is_executable) for path, leaf in layout.files}


def lay_out(
    repository: BareRepository,
    layout: Layout,
    target: Path,
    progress: TransferProgress,
    words: Words = FOR_TASKS,
    kept: Kept = NOTHING_KEPT,
) -> dict[str, str]:
    """Write the files below an existing directory, which has nothing but what is kept.

    Returns:
        digest by path, as in `ports.FileDigests`.
    """
    reader, lfs = ObjectReader(repository), LfsStore(repository)
    digests = dict(kept.digests)
    large: list[tuple[str, Leaf, Pointer]] = []
    missing = [(path, leaf) for path, leaf in layout.files if path not in digests]
    with storage_errors("cannot lay out the files in", target, words), Beneath(target) as opened:
        make_directories(opened, (path for path, _ in missing), kept.directories)
        for path, leaf in missing:
            data = reader.blob(leaf.id)
            pointer = parse_pointer(data, path)
            if pointer is not None:
                large.append((path, leaf, pointer))
                continue
            _write_file(opened, path, leaf, data)
            digests[path] = f"git-sha1:{leaf.id}"
            progress.add(len(data))
        for path, leaf, pointer in large:
            _write_large(lfs, opened, path, leaf, pointer, progress)
            digests[path] = f"sha256:{pointer.sha256}"
            progress.add(pointer.size)
    return digests


def _leads_through_a_file(reader: ObjectReader, tree_id: str, root: str) -> bool:
    segments = root.rstrip("/").split("/")
    before = Snapshot(reader, tree_id)
    return any(before.leaf("/".join(segments[:length])) is not None for length in range(1, len(segments)))


def _check_kind(path: str, leaf: Leaf, words: Words) -> None:
    if not leaf.is_file:
        kind = _KINDS.get(leaf.mode, f"an entry of mode {leaf.mode:o}")
        raise ObjectNameError(
            f"{show_name(path)} is {kind}, but only regular files can be laid out; replace it in the repository, "
            f"or {words.leave_out('it')}"
        )


def _write_file(target: Beneath, path: str, leaf: Leaf, data: bytes) -> None:
    descriptor = open_new(target, path, executable=leaf.is_executable)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _write_large(
    lfs: LfsStore, target: Beneath, path: str, leaf: Leaf, pointer: Pointer, progress: TransferProgress
) -> None:
    descriptor = open_new(target, path, executable=leaf.is_executable)
    try:
        lfs.lay_out(pointer, path, descriptor, progress.move)
    finally:
        os.close(descriptor)
