"""The warm workspaces of a workspace root: `<root>/warm/<key>.<bytes>.<number>/` with `workspace/` and its record.

Nobody owns them. Renaming one takes it: exactly one process succeeds, into a directory that has an owner, and whatever
kills that process, the directory is swept with the owner's. A workspace gets here by one rename, too, whole or not at
all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from perago.errors import WorkspaceContentError, WorkspaceStorageError
from perago.files.private_directory import OWNER_ONLY_DIRECTORY
from perago.files.storage import storage_errors
from perago.ports import NOTHING_KEPT, FileDigests, Kept, Source
from perago.values.spec import WorkspaceSpec
from perago.workspace.collector import collector_paused
from perago.workspace.directory import WORKSPACE_DIRECTORY, AttemptDirectory
from perago.workspace.manifest import (
    ENDLESS_TICK_NS,
    Manifest,
    ManifestEntry,
    clock_of_file_system,
    complete_manifest,
    take_manifest,
)
from perago.workspace.patterns import Selection
from perago.workspace.removal import TRASH_PREFIX, delete_tree
from perago.workspace.warm.clock import ClockWatch
from perago.workspace.warm.compare import (
    OddError,
    Rules,
    Stayed,
    bytes_on_disk,
    current_umask,
    has_most,
    prune,
    take_over,
)
from perago.workspace.warm.mounts import TRUSTED, has_mounts, kind_at, mounts
from perago.workspace.warm.record import Record, System

WARM_DIRECTORY = "warm"
RECORD_FILE = "record"

MIN_FILES, MIN_BYTES = 200, 16 * 1024**2
"""Below both, laying out takes less than 20 ms, and nothing stays."""

MAX_ENTRIES = 64
"""Warm workspaces of a root. With one key there are at most as many as attempts ran at a time: each takes one if there
is one."""

SHARE = 0.1
"""Share of the file system that warm workspaces may take by default, and that must stay free: else all of them go."""

LOOKED_AT = 2
"""Records of workspaces with other patterns that are read, newest first: 1 µs for each file of one."""

_NAME = re.compile(r"(?P<key>[0-9a-f]{32})\.(?P<bytes>[0-9]{1,20})\.[0-9a-f]{16}")
_TAKEN = "taken"
_NOT_USABLE = (OddError, OSError, ValueError, WorkspaceContentError, WorkspaceStorageError)


def key_of(repository: str, spec: WorkspaceSpec) -> str:
    """What attempts have in common that can use each other's workspaces: mostly the same files, at the same paths.

    Two halves: of the directory, and of the patterns in it.
    """
    return _hash([repository, spec.root]) + _hash(spec.include)


def _hash(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Entry(NamedTuple):
    """One warm workspace.

    Attributes:
        bytes: its size on the disk, in whole blocks.
        since: when it came here; seconds since the epoch.
    """

    path: Path
    key: str
    bytes: int
    since: float

    def has_directory_of(self, key: str) -> bool:
        """Whether only the patterns of a key differ at most."""
        return self.key[:16] == key[:16]


def entries(root: Path) -> list[Entry]:
    """The warm workspaces of a root, oldest first."""
    found = []
    with suppress(OSError), os.scandir(root / WARM_DIRECTORY) as names:
        for entry in names:
            match = _NAME.fullmatch(entry.name)
            with suppress(OSError):  # another process has just taken it
                if match is not None and entry.is_dir(follow_symlinks=False):
                    since = entry.stat(follow_symlinks=False).st_ctime
                    found.append(Entry(root / WARM_DIRECTORY / entry.name, match["key"], int(match["bytes"]), since))
    return sorted(found, key=lambda entry: entry.since)


def set_aside(path: Path, root: Path) -> Path | None:
    """Rename a directory of Perago's for removal, so that nobody takes it; None if somebody has."""
    aside = root / (TRASH_PREFIX + secrets.token_hex(16))
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def unused_since(root: Path, time: float) -> list[Path]:
    """The warm workspaces of a root that came there before a time, in seconds since the epoch."""
    return [entry.path for entry in entries(root) if entry.since < time]


def evict(path: Path, root: Path) -> None:
    """Remove a warm workspace, unless an attempt takes it first.

    Raises:
        WorkspaceStorageError: something cannot be deleted; the janitor tries again.
    """
    with storage_errors("cannot remove", path):
        aside = set_aside(path, root)
    if aside is not None:
        delete_tree(aside)


@dataclass
class WarmPlace:
    """Where workspaces stay, for one process. A context manager, which waits for removals on exit.

    Attributes:
        max_bytes: limit for all that are in one root, on the disk. Default: a tenth of the file system.
        min_files, min_bytes: smaller workspaces do not stay.
    """

    max_bytes: int | None = None
    min_files: int = MIN_FILES
    min_bytes: int = MIN_BYTES
    _removals: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="perago-remove"), repr=False
    )

    def __enter__(self) -> WarmPlace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for removals under way."""
        self._removals.shutdown()

    def stay(self, directory: AttemptDirectory, repository: str, spec: WorkspaceSpec) -> WarmStay | None:
        """The stay of an attempt, from before its files are laid out; None where files cannot be trusted.

        Args:
            spec: of what is laid out.
        """
        if sys.platform != "linux":
            return None
        root = directory.path.parent
        try:
            if kind_at(os.fsencode(root), mounts()) not in TRUSTED:
                return None
        except (OSError, ValueError):
            return None
        if self.is_short_of_disk(root):
            self.evict_all(root)
            return None
        return WarmStay(self, directory, key_of(repository, spec))

    @staticmethod
    def is_short_of_disk(root: Path) -> bool:
        """Whether so little is free that nothing may stay."""
        try:
            disk = shutil.disk_usage(root)
        except OSError:
            return True
        return disk.free < disk.total * SHARE

    def make_room(self, root: Path, size: int) -> bool:
        """Remove those that were not used for the longest time. Returns False if there is no room at all."""
        limit = self.max_bytes
        if limit is None:
            limit = int(shutil.disk_usage(root).total * SHARE)
        if size > limit:
            return False
        left = entries(root)
        total = sum(entry.bytes for entry in left)
        for entry in list(left):
            if total + size <= limit and len(left) < MAX_ENTRIES:
                break
            self.discard(entry.path, root)
            left.remove(entry)
            total -= entry.bytes
        return True

    def evict_all(self, root: Path) -> None:
        """Remove all of them, at once: the disk is short of room."""
        for entry in entries(root):
            with suppress(WorkspaceStorageError):
                evict(entry.path, root)

    def discard(self, path: Path, root: Path) -> None:
        """Remove a directory beside the work. What is left of it when this process ends is the janitor's."""
        with suppress(OSError):
            aside = set_aside(path, root)
            if aside is not None:
                self._removals.submit(_delete, aside)


def _renamed(path: Path, taken: Path) -> bool:
    """Rename a workspace; False if another attempt has taken it."""
    try:
        path.rename(taken)
    except OSError:
        return False
    return True


def _is_near(entry: Entry, wanted: Mapping[str, Source]) -> bool:
    try:
        return has_most(wanted, Record.load(entry.path / RECORD_FILE))
    except WorkspaceStorageError:  # it is damaged, or another attempt has just taken it
        return False


def _delete(path: Path) -> None:
    with suppress(WorkspaceStorageError):  # the janitor tries again
        delete_tree(path)


class WarmStay:
    """What one attempt takes over from an earlier one, and leaves for a later one. A context manager."""

    def __init__(self, place: WarmPlace, directory: AttemptDirectory, key: str) -> None:
        self._kept: Mapping[str, ManifestEntry] = {}
        self._place = place
        self._directory = directory
        self._root = directory.path.parent
        self._key = key
        self._clock = ClockWatch()
        self._sources: Mapping[str, Source] = {}
        self._record: Record | None = None
        self._written: AbstractSet[str] | None = None

    def __enter__(self) -> WarmStay:
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.__exit__(None, None, None)

    def keep(self, sources: Mapping[str, Source], /) -> Kept:
        """See `ports.KeepFiles`: put the files of a warm workspace that the input has into the attempt's, which is
        empty.
        """
        self._sources = sources
        taken = self._directory.path / _TAKEN
        if not self._take(taken, sources):
            return NOTHING_KEPT
        try:
            stayed = self._take_over(taken, sources)
            (taken / WORKSPACE_DIRECTORY).rename(self._directory.workspace)
        except _NOT_USABLE:
            return NOTHING_KEPT
        finally:
            self._place.discard(taken, self._root)
        self._kept = stayed.files
        return Kept({path: file.digest for path, file in stayed.files.items()}, stayed.directories)

    @property
    def kept(self) -> int:
        """Number of files that were there already."""
        return len(self._kept)

    @collector_paused()
    def laid_out(self, selection: Selection, digests: FileDigests) -> Manifest:
        """Record what is laid out now, before anything can change it. Arguments and errors as of `take_manifest`."""
        workspace = self._directory.workspace
        manifest = (
            complete_manifest(workspace, self._kept, digests)
            if self._kept
            else take_manifest(workspace, selection, digests)
        )
        self._note(manifest)
        return manifest

    def _note(self, manifest: Manifest) -> None:
        is_small = len(manifest.entries) < self._place.min_files and manifest.total_bytes < self._place.min_bytes
        if not is_small and manifest.tick_ns != ENDLESS_TICK_NS:
            with suppress(OSError):
                contents = {path: source.content for path, source in self._sources.items() if path in manifest.entries}
                self._record = Record(System.of(self._directory.workspace), manifest, contents)
        self._sources = {}

    def body_ended(self, written: AbstractSet[str]) -> None:
        """Note that the body has ended well, with all that it started.

        Args:
            written: paths that it has written, as far as known.
        """
        self._written = written

    @collector_paused()
    def leave(self) -> None:
        """Leave the workspace for a later attempt, if it may be trusted. The attempt has ended whole."""
        with suppress(*_NOT_USABLE):
            self._leave()

    def _take(self, taken: Path, sources: Mapping[str, Source]) -> bool:
        """Take the newest with the same patterns, else one with others that has mostly the same files. The tasks of a
        map have such patterns, if these name fields of their params.
        """
        newest_first = entries(self._root)[::-1]
        for entry in newest_first:
            if entry.key == self._key and _renamed(entry.path, taken):
                return True
        others = [entry for entry in newest_first if entry.key != self._key and entry.has_directory_of(self._key)]
        return any(_is_near(entry, sources) and _renamed(entry.path, taken) for entry in others[:LOOKED_AT])

    def _take_over(self, taken: Path, sources: Mapping[str, Source]) -> Stayed:
        """Leave what the input has in a workspace that was taken. Its record is no longer in memory afterwards."""
        warm, record = taken / WORKSPACE_DIRECTORY, Record.load(taken / RECORD_FILE)
        if self._clock.was_set() or not record.system.is_same(System.of(warm)):
            raise OddError("another system, or another time")
        if has_mounts(os.fsencode(taken), mounts()):
            raise OddError("something is mounted in it")
        now_ns, tick_ns = clock_of_file_system(self._directory.path)
        rules = Rules.of(self._directory.workspace.lstat(), current_umask(), now_ns - tick_ns)
        return take_over(warm, taken, record, sources, rules)

    def _leave(self) -> None:
        record, written, path = self._record, self._written, self._directory.path
        if record is None or written is None or self._clock.was_set():
            return
        if self._place.is_short_of_disk(self._root):
            self._place.evict_all(self._root)
            return
        workspace = self._directory.workspace
        if stat.S_IMODE(workspace.lstat().st_mode) & OWNER_ONLY_DIRECTORY != OWNER_ONLY_DIRECTORY:
            return  # it could not be moved
        size = bytes_on_disk(record.manifest.entries.values())
        if not self._place.make_room(self._root, size):
            return
        prune(workspace, self._directory.path, record.contents, written)
        aside = path / WARM_DIRECTORY
        aside.mkdir(OWNER_ONLY_DIRECTORY)
        record.save(aside / RECORD_FILE)
        workspace.rename(aside / WORKSPACE_DIRECTORY)
        place = self._root / WARM_DIRECTORY
        with suppress(FileExistsError):
            place.mkdir(OWNER_ONLY_DIRECTORY)
        aside.rename(place / f"{self._key}.{size}.{secrets.token_hex(8)}")
