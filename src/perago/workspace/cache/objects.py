"""The object cache of a host: objects by their immutable address, for all processes of one user."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from perago.errors import RuntimeConfigError
from perago.files.private_directory import OWNER_ONLY_DIRECTORY, fault_of, make_directory
from perago.files.storage import OWNER_ONLY
from perago.workspace.cache.cloning import open_clone
from perago.workspace.cache.copying import EntryCopy
from perago.workspace.cache.entries import (
    SMALL_BYTES,
    TRAILER_BYTES,
    DamagedEntryError,
    lay_out_large,
    lay_out_small,
    read_entry,
    remove_file,
    write_entry,
)
from perago.workspace.cache.partial import PartialFiles
from perago.workspace.cache.room import Room, Usage

T = TypeVar("T")

TOUCH_SECONDS = 600
"""Precision of an entry's time of last use: within this time it is not updated again."""

FORMAT = "objects-1"
"""Directory of the cache's files, with the version of its format. Other versions ignore it."""
ENTRIES, PARTIAL = "entries", "partial"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# The object cache of Perago. Everything in it can be fetched again, so that backups may leave it out (CACHEDIR.TAG).
"""


def cache_key(*parts: str | int) -> str:
    """The key of an object, from the parts of its immutable address: server, physical address, checksum, size."""
    return "\0".join(str(part) for part in parts)


class ObjectCache:
    """Contents of objects on this host's disk, limited in size, shared by all of a user's processes and threads.

    Size and digest are checked on every use. A damaged entry is removed and counts as a miss. A cache that cannot be
    written, or is full, stores nothing and raises nothing. Files are laid out as a clone of the entry if possible, else
    as a copy; never as a hard link, because a body may write to its files.

    Calls take about 50 µs for content of up to `entries.SMALL_BYTES`. For larger content, the calling thread reads and
    writes all of it. Calls wait for other processes only during a few of their system calls.

    Args:
        directory: parent of the cache's own directory, which is private to the user and created when needed.
        max_bytes: limit for the entries on the disk, in whole blocks; 0 disables the cache.

    Raises:
        RuntimeConfigError: the cache's directory belongs to another user, or is not a directory.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory.absolute()
        self.max_bytes = max_bytes
        self._home = self.directory / FORMAT
        self._entries = f"{self._home}/{ENTRIES}"
        self._partial = PartialFiles(self._home / PARTIAL)
        self._room = Room(self._home, Path(self._entries), self._home / PARTIAL, max_bytes)
        self._lock = threading.Lock()
        self._ready = False
        self._clones: bool | None = None
        self._under_way: set[EntryCopy] = set()
        if max_bytes:
            _check_owner(self._home)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release reserved room, and wait for a running eviction. The cache can still be used."""
        self._forget_directories()
        self._room.close()

    def lay_out(self, key: str, size: int, target: str, mode: int = 0o644, *, dir_fd: int | None = None) -> str | None:
        """Write an object's content to a new file.

        Args:
            key: see `cache_key`.
            size: bytes of the content.
            target: must not exist.
            mode: permissions, reduced by the umask.
            dir_fd: directory that `target` is relative to.

        Returns:
            the digest of the content, `<algorithm>:<hex>`, just verified. None if it is not cached; then nothing was
            written.

        Raises:
            OSError: the target exists or cannot be written; nothing is left of it.
        """
        return self._ask(key, lambda entry, name: self._lay_out(entry, name, size, target, mode, dir_fd))

    def add(self, key: str, content: bytes, digest: str) -> bool:
        """Store an object's content from memory.

        Args:
            key: see `cache_key`.
            digest: `<algorithm>:<hex>` of the content, by any algorithm of `workspace.digest`. With a wrong digest, the
                entry will be a miss.

        Returns:
            whether it is stored. False if there is no room or it cannot be written, which is not an error.
        """
        name = _name(key)
        return self._keep(name, len(content), lambda path: write_entry(path, name, content, digest))

    def read(self, key: str) -> bytes | None:
        """What `add` or `replace` stored, just verified. None if it is not cached."""
        return self._ask(key, read_entry)

    def replace(self, key: str, content: bytes, digest: str) -> bool:
        """As `add`, for a key whose content may change. In between, other processes may have a miss."""
        self.remove(key)
        return self.add(key, content, digest)

    def remove(self, key: str) -> bool:
        """Remove an entry. Returns whether there was one."""
        path = self._path(_name(key))
        try:
            size = os.stat(path, follow_symlinks=False).st_size - TRAILER_BYTES  # noqa: PTH116 - `path` is a str
        except OSError:
            return False
        if not remove_file(path):
            return False
        self._room.give_back(size)
        return True

    def begin(self, source: int, size: int) -> EntryCopy | None:
        """Start to store an object's content while it is moved.

        Args:
            source: descriptor of a regular file that contains the content, or will; open until `end`.
            size: bytes of the content.

        Returns:
            a copy to pass to `end`. None if there is no room or it cannot be written, which is not an error.
        """
        if not self._is_kept(size):
            return None
        try:
            self._prepare()
            if not self._room.take(size):
                return None
            return self._begin(source, size)
        except FileNotFoundError:  # as in `_keep`
            self._forget_directories()
            return None
        except OSError:
            return None

    def end(self, copy: EntryCopy, key: str = "", digest: str = "") -> bool:
        """Store a copy that has a digest; discard one without.

        Args:
            key: see `cache_key`.
            digest: see `add`.

        Returns:
            whether it is stored.
        """
        made = False
        try:
            if not digest:
                return False
            name = _name(key)
            path = self._path(name)
            if not os.path.lexists(path):  # as in `_keep`
                copy.finish(name, digest)
                self._learn(copy.size, cloned=copy.cloned)
                _rename(copy.path, path)
                made = True
        except (OSError, DamagedEntryError):
            return False
        else:
            return True
        finally:
            with self._lock:
                self._under_way.discard(copy)
            copy.close()
            if not made:
                self._room.give_back(copy.size)

    def give_way(self) -> bool:
        """Drop this process's unfinished copies, because the disk is full. Returns whether there were any."""
        with self._lock:
            copies = list(self._under_way)
        dropped = [copy.drop() for copy in copies]
        return any(dropped)

    def usage(self) -> Usage:
        """Count the entries. Takes a second for some hundred thousand."""
        return self._room.count()

    def sweep(self) -> int:
        """Remove unfinished files of killed processes, as each process does before its first entry.

        Returns the number of these processes.
        """
        return self._partial.sweep()

    def clear(self) -> Usage:
        """Remove every entry. Returns what there was. Running processes then have cache misses."""
        self.sweep()
        if not self._home.is_dir():
            return Usage(0, 0)
        return self._room.evict(0, waits=True)

    def _path(self, name: str) -> str:
        return f"{self._entries}/{name[:2]}/{name[2:]}"

    def _ask(self, key: str, question: Callable[[int, str], T]) -> T | None:
        """Ask an entry, by its descriptor and name; None if there is none. A damaged one is removed."""
        if self.max_bytes == 0:
            return None
        name = _name(key)
        path = self._path(name)
        try:
            entry = os.open(path, _READ)
        except OSError:
            return None
        try:
            answer = question(entry, name)
        except DamagedEntryError:
            remove_file(path)
            return None
        else:
            self._touch(entry)
            return answer
        finally:
            os.close(entry)

    def _lay_out(self, entry: int, name: str, size: int, target: str, mode: int, dir_fd: int | None) -> str:
        if size <= SMALL_BYTES:
            return lay_out_small(entry, name, size, target, mode, dir_fd)
        digest, cloned = lay_out_large(entry, name, size, target, mode, dir_fd, clones=self._clones is not False)
        self._learn(size, cloned=cloned)
        return digest

    def _begin(self, source: int, size: int) -> EntryCopy:
        aside = self._new_path()
        try:
            copy = EntryCopy(aside, source, size, clones=size > SMALL_BYTES and self._can_clone(source, aside))
        except BaseException:
            self._room.give_back(size)
            remove_file(aside)
            raise
        with self._lock:
            self._under_way.add(copy)
        return copy

    def _can_clone(self, source: int, aside: str) -> bool:
        """Whether files can be cloned from the source to the cache. Tried once."""
        if self._clones is None:
            made = open_clone(source, aside, OWNER_ONLY)
            self._clones = made is not None
            if made is not None:
                os.close(made)
                remove_file(aside)
        return self._clones

    def _learn(self, size: int, *, cloned: bool) -> None:
        """Remember whether the file system clones, so that it is not tried again if it does not."""
        if size > SMALL_BYTES:
            self._clones = cloned

    @staticmethod
    def _touch(entry: int) -> None:
        now = time.time()
        if now - os.fstat(entry).st_mtime > TOUCH_SECONDS:
            with suppress(OSError):
                os.utime(entry, (now, now))

    def _is_kept(self, size: int) -> bool:
        return self.max_bytes > 0 and size <= self.max_bytes // 2  # a larger one would displace too many others

    def _keep(self, name: str, size: int, write: Callable[[str], None]) -> bool:
        if not self._is_kept(size):
            return False
        try:
            self._prepare()
            path = self._path(name)
            # An existing entry is as good. Replacing it would make ext4 write it to the disk at once, which takes a
            # hundred times as long.
            return os.path.lexists(path) or (self._room.take(size) and self._write(path, size, write))
        except FileNotFoundError:  # the directories were removed: the next entry creates them again
            self._forget_directories()
            return False
        except (OSError, DamagedEntryError):
            return False

    def _write(self, path: str, size: int, write: Callable[[str], None]) -> bool:
        """Write an entry to a temporary file, and rename it into place."""
        aside = self._new_path()
        try:
            write(aside)
            _rename(aside, path)
        except BaseException:
            self._room.give_back(size)
            remove_file(aside)
            raise
        return True

    def _new_path(self) -> str:
        with self._lock:
            return self._partial.new_path()

    def _forget_directories(self) -> None:
        with self._lock:
            self._ready = False
            self._partial.close()

    def _prepare(self) -> None:
        if self._ready:
            return
        with self._lock:
            make_directory(self._home)
            _check_owner(self._home)
            self._home.chmod(OWNER_ONLY_DIRECTORY)
            with suppress(FileExistsError), (self._home / "CACHEDIR.TAG").open("xb") as tag:
                tag.write(_TAG)
            self._partial.sweep()
            self._ready = True


def _name(key: str) -> str:
    """An entry's name. Keys are long, and contain characters that file names cannot."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def _check_owner(directory: Path) -> None:
    """Refuse a directory of another user: its entries could inject content into this user's workspaces.

    Raises:
        RuntimeConfigError
    """
    try:
        found = directory.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise RuntimeConfigError(f"PERAGO_CACHE_DIR: {directory} is not a directory; choose another, or remove it")
    if found.st_uid != os.geteuid():
        raise RuntimeConfigError(
            f"PERAGO_CACHE_DIR: {directory} belongs to user {found.st_uid}, but a cache is for one user only; set "
            f"PERAGO_CACHE_DIR to a directory of your own, or PERAGO_CACHE_MAX_SIZE=0 to work without a cache"
        )
    if (fault := fault_of(directory)) is not None:
        raise RuntimeConfigError(f"PERAGO_CACHE_DIR: {directory} {fault}. Its content may be forged: remove it")


def _rename(aside: str, path: str) -> None:
    try:
        os.rename(aside, path)  # noqa: PTH104 - the most expensive call for a small entry
    except FileNotFoundError:
        Path(path).parent.mkdir(OWNER_ONLY_DIRECTORY, parents=True, exist_ok=True)
        Path(aside).rename(path)
