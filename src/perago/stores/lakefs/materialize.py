"""Laying out the files of a commit under a directory."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from perago.errors import PrefixNotFoundError
from perago.names import check_object_names
from perago.spec import WHOLE_REPOSITORY, WorkspaceSpec
from perago.stores.lakefs.download import Download
from perago.stores.lakefs.listing import has_any, list_files
from perago.stores.lakefs.sources import Sources
from perago.stores.lakefs.transfer import Transfer
from perago.stores.lakefs.values import ObjectStats
from perago.workspace.cache import ObjectCache
from perago.workspace.folding import probe_folding
from perago.workspace.new_files import EXECUTABLE, FILE, make_directories
from perago.workspace.storage import storage_errors


@dataclass(frozen=True)
class Layout:
    """The files that a commit holds for a workspace.

    Attributes:
        root: what their names have before the path below the prefix.
        files: by name.
    """

    commit_id: str
    root: str
    files: tuple[ObjectStats, ...]


async def plan_layout(transfer: Transfer, commit_id: str, spec: WorkspaceSpec, *, may_be_missing: bool) -> Layout:
    """List what is to be laid out; nothing is written.

    Args:
        commit_id: full id.
        may_be_missing: nothing below the prefix means no files.

    Raises:
        PrefixNotFoundError: there is nothing below the prefix.
        ObjectNameError: the listing cannot get past a name.
        LakeFSError: the server refuses, or cannot be reached.
    """
    client, repository = transfer.client, transfer.repository
    files = await list_files(client, repository, commit_id, spec)
    if files or spec.prefix == WHOLE_REPOSITORY or await has_any(client, repository, commit_id, spec.root):
        return Layout(commit_id, spec.root, files)
    if may_be_missing and not await _leads_through_a_file(transfer, commit_id, spec.prefix):
        return Layout(commit_id, spec.root, ())
    raise PrefixNotFoundError(
        f"commit {commit_id[:12]} of lakeFS repository {repository} holds nothing below {spec.prefix!r}. Give a prefix "
        f"that it has; `lakectl fs ls lakefs://{repository}/{commit_id[:12]}/` lists them"
    )


def check_layout(layout: Layout, target: Path) -> None:
    """Refuse names that the target's file system could not take, or that lead out of it.

    Raises:
        ObjectNameError
    """
    start = len(layout.root)
    check_object_names((stats.path[start:] for stats in layout.files), probe_folding(target))


def lay_out(transfer: Transfer, layout: Layout, target: Path, done: Callable[[int], None]) -> dict[str, str]:
    """Write the files below an existing, empty directory: from the host's cache, else from the server.

    Args:
        done: called with the size of each file that is written; from another thread, one call at a time.

    Returns:
        digest by path, as `ports.FileDigests` has them.

    Raises:
        LakeFSError, DamagedObjectError: as `Download.run`.
        WorkspaceStorageError: the disk refused.
    """
    digests: dict[str, str] = {}
    start = len(layout.root)
    with storage_errors("cannot lay out the workspace in", target):
        make_directories(target, (stats.path[start:] for stats in layout.files))
        missing = list(layout.files)
        if transfer.cache is not None:
            missing = _from_cache(transfer, transfer.cache, layout, target, (digests, done))
        if missing:
            sources = Sources(transfer, layout.commit_id, missing, len(layout.files))
            download = Download(transfer, target, layout.root, sources, digests, done)
            transfer.loop.run(download.run(missing))
    return digests


def _from_cache(
    transfer: Transfer,
    cache: ObjectCache,
    layout: Layout,
    target: Path,
    laid_out: tuple[MutableMapping[str, str], Callable[[int], None]],
) -> list[ObjectStats]:
    """Lay out what the cache has; returns the rest."""
    digests, done = laid_out
    start = len(layout.root)
    missing = []
    for stats in layout.files:
        path = stats.path[start:]
        mode = EXECUTABLE if stats.executable else FILE
        digest = cache.lay_out(transfer.key(stats), stats.size, f"{target}/{path}", mode)
        if digest is None:
            missing.append(stats)
            continue
        digests[path] = digest
        done(stats.size)
    return missing


async def _leads_through_a_file(transfer: Transfer, commit_id: str, prefix: str) -> bool:
    segments = prefix.split("/")
    for length in range(1, len(segments) + 1):
        path = "/".join(segments[:length])
        if await transfer.client.find_object(transfer.repository, commit_id, path) is not None:
            return True
    return False
