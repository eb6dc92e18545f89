"""Laying out the objects of a commit that belong to a workspace in a directory."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from perago.errors import ObjectNameError, PrefixNotFoundError, required
from perago.files.beneath import Beneath
from perago.files.storage import storage_errors
from perago.ports import NOTHING_KEPT, Kept, ListedFile, Source, StoredFile
from perago.stores.lakefs.api.answers import ObjectStats, uri
from perago.stores.lakefs.content.download import Download, ReadSources
from perago.stores.lakefs.content.transfer import Transfer, likely_parts
from perago.stores.lakefs.listing import find_files, has_any
from perago.values.names import (
    FOR_EXPORT,
    FOR_TASKS,
    Words,
    check_object_name,
    check_object_names,
    show_name,
)
from perago.values.spec import WHOLE_REPOSITORY, WorkspaceSpec
from perago.workspace.digest import MD5, MD5_OF_PARTS
from perago.workspace.folding import probe_folding
from perago.workspace.new_files import EXECUTABLE, FILE, make_directories

_MD5 = re.compile(r"[0-9a-f]{32}")


CACHE_THREADS = 2
CACHED_AT_ONCE = 64
"""Threads that lay out cached files, and files per batch. The work is almost only system calls: on an idle host two
threads take two thirds of the time of one, and more do not help. On a busy one they take as long as one, and up to 1.4
times its CPU."""


@dataclass(frozen=True)
class Layout:
    """The files of a commit that belong to a workspace.

    Attributes:
        root: the part of the names before the path below the prefix.
        files: sorted by name.
    """

    commit_id: str
    root: str
    files: tuple[ObjectStats, ...]


async def plan_layout(transfer: Transfer, commit_id: str, spec: WorkspaceSpec, *, may_be_missing: bool) -> Layout:
    """List what is to be laid out. Writes nothing.

    Args:
        commit_id: full id.
        may_be_missing: accept a prefix that does not exist, as a workspace without files.

    Raises:
        PrefixNotFoundError: the commit has nothing below the prefix.
        ObjectNameError: a name blocks the listing.
        LakeFSError: the server refuses, or cannot be reached.
    """
    client, repository = transfer.client, transfer.repository
    files = await find_files(transfer, commit_id, spec)
    if files or spec.prefix == WHOLE_REPOSITORY or await has_any(client, repository, commit_id, spec.root):
        return Layout(commit_id, spec.root, files)
    if may_be_missing and not await _leads_through_a_file(transfer, commit_id, spec.prefix):
        return Layout(commit_id, spec.root, ())
    raise PrefixNotFoundError(
        f"commit {commit_id[:12]} of lakeFS repository {repository} has nothing below {spec.prefix!r}. Give "
        f"another prefix; `lakectl fs ls {uri(repository, commit_id[:12], '')}` lists them"
    )


def check_layout(layout: Layout, target: Path, words: Words = FOR_TASKS) -> None:
    """Refuse names that the target's file system cannot hold, or that lead out of the target.

    Raises:
        ObjectNameError
    """
    start = len(layout.root)
    if layout.files and layout.files[0].path == layout.root:
        raise ObjectNameError(
            f"object name {show_name(layout.root)} ends with '/' but the object is not empty, so it is neither a file "
            f"nor a directory marker. Rename it, or delete it"
        )
    check_object_names((stats.path[start:] for stats in layout.files), probe_folding(target), words)


def list_layout(transfer: Transfer, layout: Layout) -> dict[str, ListedFile]:
    """The files by path. See `ports.ListWorkspace`."""
    start = len(layout.root)
    return {
        stats.path[start:]: ListedFile(stats.size, stats.executable, _digest_of(transfer, stats))
        for stats in layout.files
    }


def _digest_of(transfer: Transfer, stats: ObjectStats) -> str:
    """Of an object's content, by its checksum. Nobody knows it of a checksum that is no MD5, such as that of parts of
    unusual sizes.
    """
    if transfer.checksums == "md5" and _MD5.fullmatch(stats.checksum):
        return f"{MD5}:{stats.checksum}"
    parts = likely_parts(stats.checksum, stats.size) if transfer.checksums == "md5" else []
    return f"{MD5_OF_PARTS}/{parts[0]}:{stats.checksum}" if parts else f"unknown:{stats.checksum}"


def sources(transfer: Transfer, layout: Layout) -> dict[str, Source]:
    """What is laid out at each path. An object's address, size and checksum name its content; they are long."""
    start = len(layout.root)
    return {stats.path[start:]: Source(_short(transfer.key(stats)), stats.executable) for stats in layout.files}


def _short(key: str) -> str:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def lay_out(
    transfer: Transfer,
    layout: Layout,
    target: Path,
    done: Callable[[int], None],
    hit: Callable[[], None] = lambda: None,
    words: Words = FOR_TASKS,
    kept: Kept = NOTHING_KEPT,
) -> dict[str, str]:
    """Write the files below an existing directory, from the host's cache or else from the server.

    The directory has nothing but what is kept.

    Args:
        done: called with the size of each written file; from another thread, one call at a time.
        hit: called before `done` if the file came from the cache.

    Returns:
        digest by path, as in `ports.FileDigests`.

    Raises:
        LakeFSError, DamagedObjectError: as `Download.run`.
        WorkspaceStorageError: the disk refused.
    """
    digests = dict(kept.digests)
    start = len(layout.root)
    total, missing = len(layout.files), [stats for stats in layout.files if stats.path[start:] not in digests]
    with storage_errors("cannot lay out the files in", target, words), Beneath(target) as opened:
        make_directories(opened, (stats.path[start:] for stats in missing), kept.directories)
        if transfer.cache is not None:
            missing = _from_cache(transfer, replace(layout, files=tuple(missing)), opened, digests, done, hit)
        if missing:
            sources = ReadSources(transfer, layout.commit_id, missing, total)
            download = Download(transfer, opened, layout.root, sources, digests, done)
            transfer.loop.run(download.run(missing))
    return digests


async def find_file(transfer: Transfer, commit_id: str, path: str) -> StoredFile | None:
    """An object of a commit, unless it stands for a directory. See `ports.Repository.find_file`.

    Raises:
        ObjectNameError: the name cannot be that of a file.
    """
    check_object_name(path, FOR_EXPORT, prefix=path)
    stats = await transfer.client.find_object(transfer.repository, commit_id, path)
    return None if stats is None else StoredFile(stats.size, partial(_read, transfer, commit_id, stats))


def _read(transfer: Transfer, commit_id: str, stats: ObjectStats) -> bytes:
    """The content of an object. It goes through a file, as every download."""
    root = stats.path[: stats.path.rfind("/") + 1]
    layout = Layout(commit_id, root, (stats,))
    with (
        storage_errors("cannot read a file in", gettempdir(), FOR_EXPORT),
        TemporaryDirectory(prefix="perago-") as made,
    ):
        lay_out(transfer, layout, Path(made), lambda _: None, words=FOR_EXPORT)
        return (Path(made) / stats.path[len(root) :]).read_bytes()


def cache_threads(load: float, processors: int) -> int:
    """Threads that lay out cached files: one if no processor is idle.

    Args:
        load: of the host, as `os.getloadavg` tells it.
    """
    return 1 if load >= processors else CACHE_THREADS


def _load() -> float:
    """Of the last minute; 0 where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0


def _from_cache(
    transfer: Transfer,
    layout: Layout,
    target: Beneath,
    digests: MutableMapping[str, str],
    done: Callable[[int], None],
    hit: Callable[[], None],
) -> list[ObjectStats]:
    """Lay out the cached files in a few threads. Returns the objects that are not cached."""
    missing: list[ObjectStats] = []
    start, files = len(layout.root), layout.files
    pieces = [files[first : first + CACHED_AT_ONCE] for first in range(0, len(files), CACHED_AT_ONCE)]
    threads = cache_threads(_load(), os.cpu_count() or 1)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="lay-out")
    try:
        for piece, found in zip(pieces, executor.map(partial(_piece, transfer, start, target), pieces), strict=True):
            for stats, digest in zip(piece, found, strict=True):
                if digest is None:
                    missing.append(stats)
                else:
                    digests[stats.path[start:]] = digest
                    hit()
                    done(stats.size)
    finally:
        executor.shutdown(cancel_futures=True)
    return missing


def _piece(transfer: Transfer, start: int, target: Beneath, files: Sequence[ObjectStats]) -> list[str | None]:
    """Lay out the cached ones of some files. Returns the digest of each, None if it is not cached."""
    cache, found = required(transfer.cache, "pieces are laid out from a cache"), list[str | None]()
    for stats in files:
        directory, _, name = stats.path[start:].rpartition("/")
        mode = EXECUTABLE if stats.executable else FILE
        with target.directory(directory) as descriptor:
            found.append(cache.lay_out(transfer.key(stats), stats.size, name, mode, dir_fd=descriptor))
    return found


async def _leads_through_a_file(transfer: Transfer, commit_id: str, prefix: str) -> bool:
    segments = prefix.split("/")
    for length in range(1, len(segments) + 1):
        path = "/".join(segments[:length])
        if await transfer.client.find_object(transfer.repository, commit_id, path) is not None:
            return True
    return False
