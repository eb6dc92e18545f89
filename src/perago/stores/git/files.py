"""Perago's own files in a repository: no link leads out of it, modes follow `core.sharedRepository`, names are synced.

A repository may come from an archive, or a group may write to it. Anything in it can therefore be a link.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from perago.files.beneath import REPLACED, Beneath
from perago.files.storage import OWNER_ONLY, sync_opened

CHUNK = 1 << 20
"""Bytes per write. Memory use is a few of these, whatever the size of a file."""

_DIRECTORY_MODE = 0o777
_ALL_READ, _ALL_WRITE = 0o444, 0o222


class RepositoryFiles(Beneath):
    """Access to what lies in a repository by paths relative to it, such as `perago/publish.lock`. See `Beneath`.

    Args:
        repository: may itself be reached by a link.
        shared: mode bits that files get for those who share the repository, such as 0o660; see `shared_mode`.
    """

    __slots__ = ("_shared",)

    def __init__(self, repository: Path, shared: int = 0) -> None:
        super().__init__(os.path.realpath(repository))
        self._shared = shared

    def _give_back(self, directory: str, descriptor: int) -> None:
        # Not kept open: git's housekeeping removes empty directories, and others are created in their places.
        if directory:
            os.close(descriptor)

    def make_directories(self, path: str) -> None:
        """Create a directory and its parents, and sync each name."""
        with suppress(FileNotFoundError), self.directory(path):
            return
        above = _parent(path)
        if above:
            self.make_directories(above)
        self.make_directory(path)
        self.sync(above)

    def make_directory(self, path: str) -> None:
        """Create a directory, unless it exists, without a sync."""
        with self.directory(_parent(path)) as parent, suppress(FileExistsError):
            os.mkdir(_name(path), _DIRECTORY_MODE, dir_fd=parent)
            self._share(_name(path), parent)

    def open_regular(self, path: str, flags: int, mode: int = 0) -> int:
        """Open a file that is regular and has no other name. With O_CREAT, those who share the repository may open it.

        A hard link could be a name of any file of this user.

        Raises:
            OSError: as `open`; EINVAL if it is something else.
        """
        descriptor = self.open(path, flags | os.O_NONBLOCK, mode)
        try:
            status = _only_name(descriptor, path)
            mode = self.shared(stat.S_IMODE(status.st_mode))
            if flags & os.O_CREAT and mode != stat.S_IMODE(status.st_mode) and status.st_uid == os.geteuid():
                os.fchmod(descriptor, mode)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def open_temporary(self, directory: str, prefix: str) -> tuple[str, int]:
        """Create a file in a directory, for this user only. Returns its path and its descriptor, open for both."""
        path = f"{directory}/{prefix}{secrets.token_hex(8)}"
        return path, self.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, OWNER_ONLY)

    def rename(self, path: str, to: str) -> None:
        """Rename a file, and replace what has the name."""
        with self.directory(_parent(path)) as source, self.directory(_parent(to)) as target:
            os.rename(_name(path), _name(to), src_dir_fd=source, dst_dir_fd=target)

    def unlink(self, path: str) -> None:
        """Remove a file, or a link itself."""
        with self.directory(_parent(path)) as directory:
            os.unlink(_name(path), dir_fd=directory)

    def touch(self, path: str) -> None:
        """Set the time of a file to now."""
        with self.directory(_parent(path)) as directory:
            os.utime(_name(path), dir_fd=directory, follow_symlinks=False)

    def sync(self, directory: str) -> None:
        """Make the names in a directory survive a crash of the machine, if its file system can."""
        with self.directory(directory) as descriptor:
            sync_opened(descriptor)

    def names(self, directory: str) -> list[str]:
        """The names in a directory; none if it is missing, or something else."""
        try:
            with self.directory(directory) as descriptor:
                return sorted(os.listdir(descriptor))  # noqa: PTH208 - of an open directory
        except OSError as exc:
            if exc.errno in (errno.ENOENT, *REPLACED):
                return []
            raise

    def shared(self, mode: int) -> int:
        """A file's mode with the rights of those who share the repository. Nobody may write what its owner may not."""
        return mode | (self._shared if mode & stat.S_IWUSR else self._shared & ~_ALL_WRITE)

    def share(self, path: str) -> None:
        """Give a file or directory the mode that `core.sharedRepository` asks for, if it is this user's."""
        if self._shared:
            with suppress(FileNotFoundError), self.directory(_parent(path)) as directory:
                self._share(_name(path), directory)

    def _share(self, name: str, directory: int) -> None:
        if not self._shared:
            return
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid():
                return
            mode = self.shared(stat.S_IMODE(status.st_mode))
            if stat.S_ISDIR(status.st_mode):
                mode |= stat.S_ISGID | (mode & _ALL_READ) >> 2  # who may read it may search it
            if mode != stat.S_IMODE(status.st_mode):
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def shared_mode(value: str | None) -> int:
    """Mode bits that `core.sharedRepository` gives to files; 0 if the umask decides, also for an unknown value."""
    text = (value or "").strip().lower()
    if text in ("group", "true", "yes", "on", "1"):
        return 0o660
    if text in ("all", "world", "everybody", "2"):
        return 0o664
    try:
        return int(text, 8) & 0o666 if text.startswith("0") else 0
    except ValueError:
        return 0


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes, with as many calls as needed."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _only_name(descriptor: int, path: str) -> os.stat_result:
    """Refuse what is not a regular file, or has another name."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", path)
    if status.st_nlink > 1:
        raise OSError(errno.EINVAL, "is a hard link", path)
    return status


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]
