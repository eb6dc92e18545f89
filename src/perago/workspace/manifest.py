"""The manifest: each laid out file's stat and digest, and the time by the file system's own clock.

The diff treats a file as unchanged if its stat equals that in the manifest. That is only correct for files whose
timestamps are older than the manifest by more than the clock's tick. A file written twice in one tick has the same stat
(git calls such an entry racy). Therefore the manifest has the time *before* the first file was examined, and racy files
are read again. All files are racy if changes through mmap do not update timestamps (tmpfs).
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from perago.errors import WorkspaceStorageError
from perago.files.beneath import Beneath
from perago.files.storage import OWNER_ONLY, storage_errors, write_whole
from perago.ports import ListedFile
from perago.workspace.collector import collector_paused
from perago.workspace.digest import SHA256, digest_file, is_known
from perago.workspace.patterns import Selection
from perago.workspace.reading import open_workspace
from perago.workspace.scan import FileStat, scan

FINE_TICK_NS = 10_000_000
"""10 ms. The kernel uses the time of its last timer tick, 1 to 10 ms apart (CONFIG_HZ 1000 to 100). File systems with
their own, finer timestamps round to less (NTFS 100 ns), exFAT to 10 ms."""

COARSE_TICK_NS = 2_000_000_000
"""2 s, if timestamps are whole seconds: FAT has even seconds; HFS+, ext3 and some network file systems whole ones."""

ENDLESS_TICK_NS = 1 << 64
"""Longer than all timestamps: if they tell nothing, every file is racy."""

_SECOND_NS = 1_000_000_000
_NO_INODE = -1
_NO_MAPPING = (errno.ENODEV, errno.EINVAL)
_FORMAT = "perago-manifest-1"


class ManifestEntry(NamedTuple):
    """One laid out file; `digest` is `<algorithm>:<hex>` of its content, see `workspace.digest`."""

    stat: FileStat
    digest: str

    @property
    def is_absent(self) -> bool:
        """Whether it is in the input, and was not laid out."""
        return self.stat.inode == _NO_INODE


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a workspace before the body ran.

    Attributes:
        taken_at_ns: the file system's clock before the first file was examined; nanoseconds since the epoch.
        entries: path relative to the workspace -> entry.
        tick_ns: resolution of the file system's clock.
    """

    taken_at_ns: int
    entries: dict[str, ManifestEntry]
    tick_ns: int = FINE_TICK_NS

    @property
    def total_bytes(self) -> int:
        return sum(entry.stat.size for entry in self.entries.values())

    def with_absent(self, files: Mapping[str, ListedFile]) -> Manifest:
        """With files that were not laid out. No file on disk has their stat, so that the content tells."""
        if not files:
            return self
        absent = {
            path: ManifestEntry(FileStat(file.size, -1, -1, _NO_INODE, file.executable), file.digest)
            for path, file in files.items()
        }
        return Manifest(self.taken_at_ns, {**self.entries, **absent}, self.tick_ns)

    def is_racy(self, stat: FileStat) -> bool:
        """Whether a later write could have left the same stat, so that only the content tells.

        Both timestamps count: mtime can be set at will, ctime cannot, but some file systems lack one of them.
        """
        return max(stat.mtime_ns, stat.ctime_ns) >= self.taken_at_ns - self.tick_ns

    def unchanged(self, path: str, status: os.stat_result) -> FileStat | None:
        """The stat of a laid out file that nothing has changed since: see `scan.Known`."""
        was = self.entries.get(path)
        if was is None or not was.stat.is_that_of(status) or self.is_racy(was.stat) or not stat.S_ISREG(status.st_mode):
            return None
        return was.stat

    def save(self, path: Path) -> None:
        """Write the manifest as JSON lines, completely or not at all.

        Raises:
            WorkspaceStorageError: the disk refused.
        """
        with storage_errors("cannot write manifest", path):
            write_whole(path, self._lines())

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a manifest written by `save`.

        Raises:
            WorkspaceStorageError: it cannot be read, or is incomplete.
        """
        with storage_errors("cannot read manifest", path), path.open(encoding="utf-8") as file:
            try:
                return cls._parse(file)
            except (ValueError, TypeError, KeyError, StopIteration, RecursionError) as exc:
                raise WorkspaceStorageError(
                    f"manifest {os.fspath(path)!a} is damaged ({exc}); run the attempt again"
                ) from exc

    def _lines(self) -> Iterator[str]:
        head = {
            "format": _FORMAT,
            "taken_at_ns": self.taken_at_ns,
            "tick_ns": self.tick_ns,
            "files": len(self.entries),
        }
        yield json.dumps(head) + "\n"
        for path, entry in self.entries.items():
            yield json.dumps([path, entry.digest, *entry.stat]) + "\n"

    @classmethod
    def _parse(cls, lines: Iterator[str]) -> Manifest:
        head = json.loads(next(lines))
        if head["format"] != _FORMAT:
            raise ValueError(f"unknown format {head['format']!r}")
        entries = {}
        for line in lines:
            path, digest, size, mtime_ns, ctime_ns, inode, executable = json.loads(line)
            entries[path] = ManifestEntry(FileStat(size, mtime_ns, ctime_ns, inode, executable), digest)
        if len(entries) != head["files"]:
            raise ValueError(f"{len(entries)} of {head['files']} files")
        return cls(head["taken_at_ns"], entries, head["tick_ns"])


@collector_paused()
def take_manifest(root: Path, selection: Selection, digests: object) -> Manifest:
    """Record what is below `root` now. Nothing may write there at the same time.

    Args:
        root: the workspace directory. Its parent must be writable, for a probe of the clock.
        selection: what belongs to the workspace.
        digests: what the download returned. If it is a mapping, path -> digest of what the store wrote there, it is
            trusted, so that those files are not read again. Anything else that a user's callable returns is ignored,
            and so are digests of an algorithm that `workspace.digest` does not know.

    Raises:
        ObjectNameError, WorkspaceContentError: as `scan`.
        WorkspaceStorageError: the disk refused.
    """
    taken_at_ns, tick_ns = clock_of_file_system(root.parent)
    known = digests if isinstance(digests, Mapping) else {}
    found = scan(root, selection).files
    with open_workspace(root) as files:
        entries = {path: _entry(files, path, stat, known.get(path)) for path, stat in found.items()}
    return Manifest(taken_at_ns, entries, tick_ns)


def complete_manifest(root: Path, kept: Mapping[str, ManifestEntry], digests: Mapping[str, str]) -> Manifest:
    """The manifest of a workspace of which most is known. Nothing may write there at the same time.

    Args:
        kept: files that nothing has changed since, and that were older than the clock's tick when they were examined.
        digests: of all files that the workspace has.

    Raises:
        WorkspaceContentError: one of the others is not there.
        WorkspaceStorageError: the disk refused.
    """
    taken_at_ns, tick_ns = clock_of_file_system(root.parent)
    entries = dict(kept)
    with open_workspace(root) as files, storage_errors("cannot examine the files in", root):
        for path in [path for path in digests if path not in entries]:
            entries[path] = _entry(files, path, FileStat.of(files.lstat(path)), digests[path])
    return Manifest(taken_at_ns, entries, tick_ns)


def _entry(files: Beneath, path: str, stat: FileStat, digest: object) -> ManifestEntry:
    """With the digest that is known, or else that of the content."""
    if not isinstance(digest, str) or not is_known(digest):
        digest = digest_file(files, path, SHA256, stat.size)
    return ManifestEntry(stat, digest)


def clock_of_file_system(directory: Path) -> tuple[int, int]:
    """The current time by the file system's clock, which can differ from the system's, and its resolution.

    Raises:
        WorkspaceStorageError: nothing can be written in the directory.
    """
    probe = directory / f".clock.{secrets.token_hex(8)}"
    with storage_errors("cannot write in", directory):
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        try:
            os.write(descriptor, b"\n")  # forces a network file system to set the timestamp now
            now_ns = os.fstat(descriptor).st_mtime_ns
            return now_ns, tick_of(now_ns) if _mapping_is_stamped(descriptor) else ENDLESS_TICK_NS
        finally:
            os.close(descriptor)
            with suppress(OSError):
                probe.unlink()


def _mapping_is_stamped(descriptor: int) -> bool:
    """Whether a change through mmap updates a file's mtime at once. On tmpfs it does not if the page was read before.

    Tested while the file is still mapped, because a returned body may keep its mapping.
    """
    try:
        os.utime(descriptor, ns=(0, 0))
        before = os.fstat(descriptor).st_mtime_ns  # some file systems cannot represent 1970
        with mmap.mmap(descriptor, 1) as content:
            content[0] ^= 1
            return os.fstat(descriptor).st_mtime_ns != before
    except OSError as exc:
        return exc.errno in _NO_MAPPING  # then a body cannot map files either


def tick_of(stamp_ns: int) -> int:
    """The resolution of a clock. A fine timestamp on a whole second is so rare that the extra reading is harmless."""
    return COARSE_TICK_NS if stamp_ns % _SECOND_NS == 0 else FINE_TICK_NS
