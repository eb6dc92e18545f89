"""Which files of a warm workspace stay for another input, and clearing away everything else.

A file stays if nothing can have changed it since it was laid out, and it is what the input has at its path. It was
changed if any field of its stat differs. A change within a tick of the clock after the stat was taken shows in no
field; such a file is read.
"""

from __future__ import annotations

import enum
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from perago.errors import WorkspaceContentError, WorkspaceStorageError
from perago.files.beneath import Beneath
from perago.ports import Source
from perago.values.names import directories_above
from perago.workspace.digest import algorithm_of, digest_file, is_known
from perago.workspace.manifest import ManifestEntry
from perago.workspace.new_files import EXECUTABLE, FILE
from perago.workspace.warm.record import Record

MAY_BE_LOST = 0.1
"""Share of a workspace with other patterns that an attempt may remove when it takes it."""

_BLOCK_BYTES = 4096
_DIRECTORY = 0o777
_GET_FLAGS = 0x80086601
"""`FS_IOC_GETFLAGS` of ioctl_iflags(2)."""
_ODD_FLAGS = 0x10 | 0x20 | 0x40000000
"""A directory that cannot be changed, that can only be added to, or that folds the case of names."""
_LABELS = ("security.selinux", "security.SMACK64")
"""Attributes that the system gives to every file."""


class Verdict(enum.Enum):
    STAYS = "nothing has changed it, and the input has it"
    IS_READ = "it may have changed within a tick of the clock: its content tells"
    GOES = "it was changed, or the input does not have it"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file or directory is like that was just laid out here.

    Attributes:
        device: number of the file system.
        user: id of its owner.
        top, file, executable, directory: permissions; `top` are those of the workspace itself.
        settled_ns: what is older cannot be changed any more without another time; by the file system's clock.
    """

    device: int
    user: int
    top: int
    file: int
    executable: int
    directory: int
    settled_ns: int

    @classmethod
    def of(cls, fresh: os.stat_result, umask: int, settled_ns: int) -> Rules:
        """The rules of a workspace that this process has just made.

        Args:
            fresh: its stat. Directories in it inherit that they give their group to files.
        """
        return cls(
            device=fresh.st_dev,
            user=os.geteuid(),
            top=stat.S_IMODE(fresh.st_mode),
            file=FILE & ~umask,
            executable=EXECUTABLE & ~umask,
            directory=_DIRECTORY & ~umask | fresh.st_mode & stat.S_ISGID,
            settled_ns=settled_ns,
        )


def current_umask() -> int:
    """The umask of this process, which cannot be read otherwise without changing it.

    Raises:
        OSError, ValueError: the system does not tell.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    raise ValueError("no umask")


def judge(path: str, status: os.stat_result, wanted: Source | None, record: Record, rules: Rules) -> Verdict:
    """Whether a file stays.

    Args:
        status: of the file, by its name now, without following a link.
        wanted: what the input has at its path; None if it has nothing.
    """
    if wanted is None or record.contents.get(path) != wanted.content:
        return Verdict.GOES
    was = record.manifest.entries[path]
    mode = rules.executable if wanted.executable else rules.file
    if (
        not was.stat.is_that_of(status)
        or status.st_mode != stat.S_IFREG | mode
        or (status.st_dev, status.st_uid, status.st_nlink) != (rules.device, rules.user, 1)
        or max(was.stat.mtime_ns, was.stat.ctime_ns) >= rules.settled_ns
    ):
        return Verdict.GOES
    return Verdict.IS_READ if record.manifest.is_racy(was.stat) else Verdict.STAYS


def bytes_on_disk(files: Iterable[ManifestEntry]) -> int:
    """What files take, in whole blocks."""
    return sum(-(-file.stat.size // _BLOCK_BYTES) * _BLOCK_BYTES for file in files)


def has_most(wanted: Mapping[str, Source], record: Record) -> bool:
    """Whether an input has nearly all of a workspace that was laid out for other patterns: nine tenths of its bytes, on
    the disk. Attempts with those patterns then lose little if this one takes it.
    """
    files = record.manifest.entries
    lost = [files[path] for path, content in record.contents.items() if not _has(wanted, path, content)]
    return bytes_on_disk(lost) <= MAY_BE_LOST * bytes_on_disk(files.values())


def _has(wanted: Mapping[str, Source], path: str, content: str) -> bool:
    source = wanted.get(path)
    return source is not None and source.content == content


class OddError(Exception):
    """Something about a workspace that no lay-out makes, and that removing files does not undo."""


@dataclass
class Stayed:
    """What is in a workspace after it was cleared.

    Attributes:
        files: by path.
        directories: without the root.
    """

    files: dict[str, ManifestEntry] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)


def take_over(workspace: Path, rest: Path, record: Record, wanted: Mapping[str, Source], rules: Rules) -> Stayed:
    """Leave what an input has of a warm workspace, and move everything else away. Directories get their permissions.

    Args:
        rest: a directory of the same file system, for what goes.

    Raises:
        OddError, OSError, WorkspaceContentError, WorkspaceStorageError: it cannot be used.
    """
    stayed = Stayed()
    with Beneath(workspace) as files:

        def stays(path: str, entry: os.DirEntry[str]) -> bool:
            verdict = judge(path, entry.stat(follow_symlinks=False), wanted.get(path), record, rules)
            if verdict is Verdict.GOES:
                return False
            was = record.manifest.entries[path]
            if verdict is Verdict.IS_READ and not _is_as_laid_out(files, path, was):
                return False
            stayed.files[path] = was
            return True

        def enter(path: str, directory: int) -> None:
            _check_directory(directory, rules, rules.directory if path else rules.top)
            if path:
                stayed.directories.append(path)

        clear(files, rest, directories_above(wanted), stays, enter)
    return stayed


def prune(workspace: Path, rest: Path, laid_out: Mapping[str, object], written: AbstractSet[str]) -> None:
    """Move away what was not laid out, and what the body has written, so that a warm workspace has a known size.

    Raises:
        OSError: something cannot be moved.
    """
    directories = directories_above(path for path in laid_out if path not in written)
    with Beneath(workspace) as files:
        clear(files, rest, directories, lambda path, _: path in laid_out and path not in written)


def clear(
    files: Beneath,
    rest: Path,
    directories: AbstractSet[str],
    stays: Callable[[str, os.DirEntry[str]], bool],
    enter: Callable[[str, int], None] = lambda _path, _directory: None,
) -> None:
    """Walk through a workspace, and move away what does not stay. Follows no link.

    Args:
        rest: gets what does not stay, under names of its own.
        directories: paths of the directories that stay.
        stays: whether anything else than a directory stays.
        enter: called with each directory that stays, and the root, and its descriptor.
    """
    pending, moved = [""], 0
    target = os.open(rest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while pending:
            directory = pending.pop()
            prefix = directory + "/" if directory else ""
            with files.directory(directory) as descriptor:
                enter(directory, descriptor)
                with os.scandir(descriptor) as entries:
                    found = list(entries)
                for entry in found:
                    path = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if path in directories:
                            pending.append(path)
                            continue
                    elif stays(path, entry):
                        continue
                    os.rename(entry.name, f"rest-{moved}", src_dir_fd=descriptor, dst_dir_fd=target)
                    moved += 1
    finally:
        os.close(target)


def _is_as_laid_out(files: Beneath, path: str, was: ManifestEntry) -> bool:
    """Whether a file has the content that was laid out, by reading it, and no attributes."""
    if not is_known(was.digest):
        return False
    descriptor = files.open(path)
    try:
        if _attributes(descriptor):
            return False
    finally:
        os.close(descriptor)
    try:
        return digest_file(files, path, algorithm_of(was.digest), was.stat.size) == was.digest
    except (WorkspaceContentError, WorkspaceStorageError):
        return False


def _check_directory(directory: int, rules: Rules, mode: int) -> None:
    """Give a directory its permissions.

    Raises:
        OddError: it has something else that a new one would not have.
    """
    status = os.fstat(directory)
    if (status.st_dev, status.st_uid) != (rules.device, rules.user):
        raise OddError("a directory of another file system or user")
    if _attributes(directory) or _flags(directory) & _ODD_FLAGS:
        raise OddError("a directory with attributes")
    if stat.S_IMODE(status.st_mode) != mode:
        os.fchmod(directory, mode)


def _attributes(descriptor: int) -> list[str]:
    """The extended attributes, among them access control lists, that the system does not give to every file."""
    return [name for name in os.listxattr(descriptor) if name not in _LABELS]


def _flags(directory: int) -> int:
    """The flags of `chattr`; 0 on a file system without them."""
    with suppress(OSError):
        packed = fcntl.ioctl(directory, _GET_FLAGS, struct.pack("L", 0))
        return int(struct.unpack("L", packed)[0] & 0xFFFFFFFF)
    return 0
