"""What the body changed: the manifest against the workspace as it is now. Pure but for the digests it asks for."""

from __future__ import annotations

from collections.abc import Callable

from perago.errors import WorkspaceContentError
from perago.values.models import Changes
from perago.values.names import show_name
from perago.workspace.digest import algorithm_of
from perago.workspace.manifest import Manifest, ManifestEntry
from perago.workspace.scan import FileStat, Scan, listed

Digest = Callable[[str, str, int], str]
"""(path, algorithm, size in bytes) -> `<algorithm>:<hex>` of the file's content now."""


def diff(manifest: Manifest, now: Scan, digest: Digest) -> Changes:
    """Compare a workspace with its manifest.

    A file is read only where nothing else tells: its size is the same, but its stat is not, or is racy.

    Args:
        manifest: taken before the body ran.
        now: the workspace after it, scanned with the same selection.
        digest: reads a file; asked for no other file than those.

    Raises:
        WorkspaceContentError: a directory stands where a file was: a store could not tell whether the files below it
            are meant to take its place, and an empty one could not be stored at all.
    """
    before = manifest.entries
    turned = sorted(before.keys() & now.directories)
    if turned:
        shown = [show_name(path) for path in turned]
        raise WorkspaceContentError(
            f"a directory stands where a file was: {listed(shown, len(shown))}. In the task, give the directory "
            f"another name"
        )
    modified = [
        path
        for path, stat in now.files.items()
        if path in before and _is_modified(path, before[path], stat, manifest, digest)
    ]
    return Changes(
        added=tuple(sorted(now.files.keys() - before.keys())),
        modified=tuple(sorted(modified)),
        deleted=tuple(sorted(before.keys() - now.files.keys())),
    )


def _is_modified(path: str, entry: ManifestEntry, stat: FileStat, manifest: Manifest, digest: Digest) -> bool:
    if stat.size != entry.stat.size or stat.executable != entry.stat.executable:
        return True
    if stat == entry.stat and not manifest.is_racy(entry.stat):
        return False
    return digest(path, algorithm_of(entry.digest), stat.size) != entry.digest
