"""The content of a workspace on disk: the selected files with their `stat`, and the directories.

Links are not followed, and content is not read. What cannot be stored is refused here, before any comparison.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from perago.errors import ObjectNameError, WorkspaceContentError, WorkspaceError
from perago.files.beneath import DIRECTORY, REPLACED, Beneath
from perago.files.storage import storage_error
from perago.values.names import FOR_TASKS, Words, name_fault, show_name
from perago.workspace.patterns import Selection
from perago.workspace.reading import open_workspace

MAX_LISTED = 10
"""Number of faults that one error names; the others are counted."""

MAX_LEFT_OUT = 1000
"""Limit for entries examined in directories without selected files, and for the number of such directories."""

MAX_HELD_OPEN = 8
"""Nested directories that are open at a time. Deeper ones are opened from the root again."""

MAX_PATH_CHARACTERS = 4096
"""Directories with longer paths are not entered: Linux cannot open them in one call, and no store takes such names."""

_READABLE_BY_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_EFFECTIVE = os.access in os.supports_effective_ids


class FileStat(NamedTuple):
    """What shows that a file may have changed.

    Attributes:
        size: bytes.
        mtime_ns, ctime_ns: nanoseconds since the epoch, by the file system's clock.
        inode: number of the file on its file system.
        executable: whether its owner may execute it, which git records.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    executable: bool

    @classmethod
    def of(cls, status: os.stat_result) -> FileStat:
        return cls(
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            bool(status.st_mode & stat.S_IXUSR),
        )

    def is_that_of(self, status: os.stat_result) -> bool:
        """As a comparison with `of`, in half its time."""
        executable = bool(status.st_mode & stat.S_IXUSR)
        return self == (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, executable)


Known = Callable[[str, os.stat_result], FileStat | None]
"""The stat of a file, by its path, if it is known to be one that can be stored, and that nothing has changed since."""


def _nothing_known(_path: str, _status: os.stat_result) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Scan:
    """A workspace on disk.

    Attributes:
        files: path relative to the workspace, POSIX style -> stat; only selected files.
        directories: paths of all directories that may contain selected files, even empty ones, without the root.
        left_out: the first paths of files that are neither included nor excluded.
        left_out_count: number of such files that were seen.
        left_out_more: there may be more, because not everything was examined.
    """

    files: dict[str, FileStat]
    directories: frozenset[str]
    left_out: tuple[str, ...] = ()
    left_out_count: int = 0
    left_out_more: bool = False


def listed(items: list[str], total: int) -> str:
    """The first of many faults, for a message."""
    shown = "; ".join(items[:MAX_LISTED])
    more = total - min(len(items), MAX_LISTED)
    return f"{shown}; and {more} more" if more else shown


def scan(root: Path, selection: Selection, words: Words = FOR_TASKS, known: Known = _nothing_known) -> Scan:
    """Examine everything selected below `root`. Other entries are only counted.

    A symbolic link to a directory counts as a directory. It is refused if selected files could be below it.

    Raises:
        ObjectNameError: files with names that cannot be stored.
        WorkspaceContentError: symbolic links, sockets, FIFOs, devices, unreadable entries; or the root is missing.
        WorkspaceStorageError: the disk failed.
    """
    with open_workspace(root, words) as opened:
        walk = _Walk(root, opened, selection, words, known)
        walk.run()
        walk.faults.raise_if_any(words)
        walk.count_left_out()
    return Scan(walk.files, frozenset(walk.directories), tuple(walk.left_out), walk.left_out_count, walk.left_out_more)


def scan_files(root: Path, selection: Selection) -> dict[str, FileStat]:
    """The files that `scan` finds. Skips what cannot be stored or examined, and raises nothing."""
    found: dict[str, FileStat] = {}
    with suppress(WorkspaceError), open_workspace(root) as opened:
        walk = _Walk(root, opened, selection, FOR_TASKS, _nothing_known)
        found = walk.files
        walk.run()
    return found


@dataclass(slots=True)
class _Faults:
    """What is wrong with a workspace: the first few faults by name, and the number of each kind."""

    shown: list[str] = field(default_factory=list)
    total: int = 0
    names: int = 0

    def add(self, path: str, fault: str) -> None:
        self.total += 1
        if len(self.shown) < MAX_LISTED:
            self.shown.append(f"{show_name(path)} {fault}")

    def add_name(self, path: str, fault: str) -> None:
        self.names += 1
        self.add(path, fault)

    def raise_if_any(self, words: Words) -> None:
        if not self.total:
            return
        only_names = self.names == self.total
        error: type[WorkspaceError] = ObjectNameError if only_names else WorkspaceContentError
        mend = "rename them" if only_names else "leave readable regular files, under names that can be stored,"
        raise error(
            f"{words.place} contains files that cannot be stored: {listed(self.shown, self.total)}. "
            f"{words.where}, {mend} or remove them, or {words.leave_out('them')}"
        )


class _Walk:
    """State of a scan."""

    def __init__(self, root: Path, opened: Beneath, selection: Selection, words: Words, known: Known) -> None:
        self.files: dict[str, FileStat] = {}
        self.directories: list[str] = []
        self.faults = _Faults()
        self.left_out: list[str] = []
        self.left_out_count = 0
        self.left_out_more = False
        self._not_entered: list[str] = []
        self._pending = [""]
        self._root = root
        self._opened = opened
        self._selection = selection
        self._words = words
        self._known = known

    def run(self) -> None:
        """Record everything."""
        while self._pending:
            self._look_into(self._pending.pop())

    def _look_into(self, directory: str, above: int | None = None, level: int = 0) -> None:
        """Record one directory's entries, and everything below it.

        Args:
            directory: "" is the root.
            above: descriptor of its parent; None to open it from the root.
            level: number of open directories above it.
        """
        try:
            if above is None:
                descriptor = self._opened.open(directory or ".", DIRECTORY)
            else:
                descriptor = os.open(directory.rpartition("/")[2], DIRECTORY, dir_fd=above)
            try:
                self._take_entries(descriptor, directory, level)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return  # just removed: as if it had never been there
        except PermissionError:
            self.faults.add(directory or ".", "is a directory that cannot be read")
        except OSError as exc:
            if exc.errno not in REPLACED:
                raise storage_error(exc, "cannot read directory", self._root / directory, self._words) from exc
            self.faults.add(directory, "was a directory a moment ago, and is no longer one")

    def _take_entries(self, descriptor: int, directory: str, level: int) -> None:
        prefix, below = directory + "/" if directory else "", list[str]()
        with os.scandir(descriptor) as entries:
            for entry in entries:
                path = prefix + entry.name
                if not entry.is_dir(follow_symlinks=False):
                    self._take(entry, path, descriptor)
                elif self._selection.enters(path):
                    self.directories.append(path)
                    below.append(path)
                elif not self._selection.excludes(path):
                    self._not_entered.append(path)
        for path in below:
            if len(path) > MAX_PATH_CHARACTERS:
                self.faults.add_name(path, "has a path that is too long for this system")
            elif level == MAX_HELD_OPEN:
                self._pending.append(path)
            else:
                self._look_into(path, descriptor, level + 1)

    def count_left_out(self) -> None:
        """Count files in the directories that were not entered, up to `MAX_LEFT_OUT`."""
        looked_at, directories = 0, 0
        while self._not_entered and not self.left_out_more:
            directory, directories = self._not_entered.pop(), directories + 1
            with suppress(OSError), self._opened.directory(directory) as opened, os.scandir(opened) as entries:
                for entry in entries:
                    looked_at += 1
                    if max(looked_at, directories) > MAX_LEFT_OUT:
                        self.left_out_more = True
                        break
                    path = f"{directory}/{entry.name}"
                    if not entry.is_dir(follow_symlinks=False):
                        self._leave_out(path)
                    elif not self._selection.excludes(path):
                        self._not_entered.append(path)

    def _leave_out(self, path: str) -> None:
        """Count a file that is not selected, unless an exclude pattern matches it."""
        if self._selection.excludes(path):
            return
        self.left_out_count += 1
        if len(self.left_out) < MAX_LISTED:
            self.left_out.append(path)

    def _take(self, entry: os.DirEntry[str], path: str, directory: int) -> None:
        if not self._selection.selects(path):
            self._leave_out(path)
            if entry.is_symlink() and self._selection.enters(path) and _leads_to_directory(entry):
                self.faults.add(path, "is a symbolic link to a directory")
            return
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        except PermissionError:
            self.faults.add(path, "is in a directory that cannot be searched")
            return
        was = self._known(path, status)
        if was is not None:
            self.files[path] = was
        else:
            self._take_file(path, status, directory)

    def _take_file(self, path: str, status: os.stat_result, directory: int) -> None:
        mode = status.st_mode
        name = name_fault(path)
        if name is not None:
            self.faults.add_name(path, name)
        elif not stat.S_ISREG(mode):
            self.faults.add(path, f"is {_kind(mode)}")
        elif not _is_readable(path, mode, directory):
            self.faults.add(path, "cannot be read")
        else:
            self.files[path] = FileStat.of(status)


def _is_readable(path: str, mode: int, directory: int) -> bool:
    """Asks the system only if the mode bits leave a doubt, which is rare."""
    return mode & _READABLE_BY_ALL == _READABLE_BY_ALL or os.access(
        path.rpartition("/")[2], os.R_OK, dir_fd=directory, effective_ids=_EFFECTIVE
    )


def _leads_to_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _kind(mode: int) -> str:
    kinds = [
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a fifo"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    ]
    return next((what for is_kind, what in kinds if is_kind(mode)), "not a regular file")
