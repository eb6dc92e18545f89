"""Notes what a body reaches for outside of what is laid out for it, by Python's audit events."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

MAX_NOTED = 100
"""Paths and addresses of one body that are named; further ones are counted."""

MAX_OPENED = 1_000
"""Files and directories of modules of one body that are named. After the limit, one entry says that there were more."""

MAX_NOTES_BYTES = 2**20
"""Size limit of the notes file. The body's forks write it, and the body itself after it has sent its result."""

_NOTES = "reached"


@dataclass(frozen=True)
class Reach:
    """What a body reached for outside of what is laid out for it.

    Attributes:
        option: the option of `@task` that allows it.
        what: a path, or `host:port`.
    """

    option: Literal["reads", "writes", "network"]
    what: str

    def __str__(self) -> str:
        return f"{_VERBS[self.option]} {self.what}"


_VERBS = {"reads": "read", "writes": "write", "network": "connect to"}


class Watch:
    """Notes what this process opens, lists and connects to outside of what is allowed. Sees what Python does, and not
    native code or other programs.

    Args:
        readable, writable: what is laid out.
        passed_over: what is not noted, because Python itself looks there for modules.
        tcp: whether connections are part of it.
        follows: follow symbolic links in paths. The kernel does, where it refuses.
        sources: real paths of modules and packages that are laid out, though a key of a cache may lack them.
        notes: a private directory for a file of what is noted in forks of this process, and what is noted here once
            `tells_late` is set; see `noted_late`.

    Attributes:
        withheld: variables that were taken out of the environment.
        reached: bounded by `MAX_NOTED`; more: how many more there were.
        opened: real paths of files of `sources` that were opened, and of directories that were listed; bounded by
            `MAX_OPENED`.
        tells_late: the result has been sent; later notes go to the file.
    """

    def __init__(
        self,
        readable: Places | None = None,
        writable: Places | None = None,
        *,
        passed_over: Iterable[str] = (),
        tcp: bool = True,
        follows: bool = False,
        sources: Places | None = None,
        notes: str = "",
    ) -> None:
        self.withheld: tuple[str, ...] = ()
        self.reached: dict[Reach, None] = {}
        self.more = 0
        self.opened: dict[str, None] = {}
        self.tells_late = False
        self._readable, self._writable = readable or Places(), writable or Places()
        self._passed_over = frozenset(passed_over)
        self._tcp = tcp
        self._follows = follows
        self._sources = sources or Places()
        self._notes = notes
        self._owner = os.getpid()
        self._own = threading.local()
        self._events: Mapping[str, Callable[..., None]] = {
            "open": self._opened,
            "os.listdir": self._path,
            "os.scandir": self._path,
            "sqlite3.connect": self._database,
            "os.mkdir": lambda path, _mode, handle: self._changed(path, handle),
            "os.remove": self._changed,
            "os.rmdir": self._changed,
            "os.truncate": lambda path, _length: self._changed(path),
            "os.rename": self._moved,
            "os.link": lambda _source, target, *handles: self._changed(target, handles[-1]),
            "os.symlink": lambda _source, target, handle: self._changed(target, handle),
            "socket.connect": self._address,
            "socket.bind": self._address,
        }

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        take = self._events.get(event)
        if take is None or getattr(self._own, "is_looking", False):
            return
        self._own.is_looking = True
        try:
            take(*arguments)
        except Exception:  # noqa: BLE001 - what looks on breaks nothing
            return
        finally:
            self._own.is_looking = False

    def explain(self, error: BaseException, *, has_key: bool = False) -> str:
        """What was refused before an error, with what allows it; empty if nothing was.

        Args:
            has_key: the task has a cache, whose key has to have all that it reads.
        """
        noted = (reach for reach in self.reached if not _is_held_by_another(reach.what))
        found = dict.fromkeys([*self._of_error(error), *noted])
        if not found:
            return ""
        shown = [*found][:_SHOWN]
        more = f" and {len(found) - _SHOWN + self.more} more" if len(found) > _SHOWN else ""
        addresses = [reach.what for reach in shown if reach.option == "network"]
        what = f"a connection to {', '.join(addresses)}" if addresses else "this"
        if not any(isinstance(one, PermissionError) for one in _chain(error)):  # a program, which says why itself
            what = f"{what} before" if addresses else "an earlier access"
        options = options_for(shown)
        allowed = f"declare @task(..., {options})"
        if has_key:
            files = [reach.what for reach in shown if reach.option == "reads" and Path(reach.what).is_file()]
            allowed = f'declare @task(..., {options}, cache="trusted")'
            if len(files) == len(shown):
                allowed = f"name it for the key, by @task(..., depends={json.dumps(files, ensure_ascii=False)})"
        return f". The sandbox refused {what}{more}. If the task needs it, {allowed}"

    def _of_error(self, error: BaseException) -> Iterator[Reach]:
        for one in _chain(error):
            yield from (Reach("reads", path) for path in _arguments(one) if path not in self._readable)
            if isinstance(one, PermissionError) and isinstance(one.filename, str | bytes):
                path = os.path.realpath(os.fsdecode(one.filename))
                if _is_held_by_another(path):
                    continue  # nothing in a declaration allows it
                if path not in self._readable:
                    yield Reach("reads", path)
                elif path not in self._writable:
                    yield Reach("writes", path)

    def _opened(self, path: object, mode: object = None, flags: object = 0) -> None:
        is_written = (isinstance(mode, str) and not set(mode).isdisjoint("wax+")) or (
            isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        )
        self._path(path, is_written=is_written)

    def _changed(self, path: object, handle: int = -1) -> None:
        if handle < 0:
            self._path(path, is_written=True)

    def _database(self, name: object) -> None:
        if isinstance(name, str) and name.startswith("file:"):  # a URI
            name = name.removeprefix("file:").partition("?")[0]
        if name not in ("", ":memory:"):
            self._changed(name)

    def _moved(self, source: object, target: object, source_handle: int = -1, target_handle: int = -1) -> None:
        self._changed(source, source_handle)
        self._changed(target, target_handle)

    def _path(self, path: object, *, is_written: bool = False) -> None:
        if not isinstance(path, str | bytes | os.PathLike):  # a descriptor
            return
        found = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - follows no links
        if self._follows:
            found = os.path.realpath(found)
        if found in self._passed_over:
            return
        if not is_written and self._sources:
            self._note_opened(found if self._follows else _followed(found))
        if found in (self._writable if is_written else self._readable) and not _is_held_by_another(found):
            return
        if "/__pycache__" in found:  # Python's own business
            return
        if is_written or os.path.lexists(found):
            self._note(Reach("writes" if is_written else "reads", found))

    def _address(self, connection: socket.socket, address: object) -> None:
        if connection.type == socket.SOCK_STREAM and isinstance(address, tuple) and not self._tcp:
            self._note(Reach("network", f"{address[0]}:{address[1]}"))

    def _note_opened(self, path: str) -> None:
        if path not in self._sources:
            return
        path = _source_of(path) if len(self.opened) < MAX_OPENED else _MORE_FILES
        if path not in self.opened:
            self.opened[path] = None
            self._tell_late({"opened": path})

    def _note(self, reach: Reach) -> None:
        if reach in self.reached:
            return
        if len(self.reached) < MAX_NOTED:
            self.reached[reach] = None
            self._tell_late({"reached": str(reach)})
        else:
            self.more += 1

    def _tell_late(self, note: Mapping[str, str]) -> None:
        if self._notes and (self.tells_late or os.getpid() != self._owner):
            with Path(self._notes, _NOTES).open("ab", buffering=0) as file:
                file.write(json.dumps(note).encode() + b"\n")


_MORE_FILES = f"more than {MAX_OPENED:,} files"


def noted_late(directory: str) -> tuple[list[str], list[str]]:
    """What a body's forks have reached for, and the body after it was told, in words; and which files of modules they
    have opened. Read it when all of them have ended.

    Args:
        directory: the `notes` of their `Watch`.
    """
    reached, opened = list[str](), list[str]()
    try:
        with Path(directory, _NOTES).open("rb") as file:
            text = file.read(MAX_NOTES_BYTES + 1)
    except FileNotFoundError:
        return reached, opened
    for line in text[:MAX_NOTES_BYTES].splitlines():
        match _json(line):
            case {"opened": str(path)}:
                opened.append(path)
            case {"reached": str(what)}:
                reached.append(what)
            case _:  # the body wrote it
                opened.append(_MORE_FILES)
    if len(text) > MAX_NOTES_BYTES:
        opened.append(_MORE_FILES)
    return list(dict.fromkeys(reached))[:MAX_NOTED], list(dict.fromkeys(opened))


def _json(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _followed(path: str) -> str:
    """The real path of an absolute one. Directories are looked up once, except in /proc, where they change."""
    directory, _, name = path.rpartition("/")
    within = os.path.realpath(directory or "/") if path.startswith("/proc/") else _real_directory(directory or "/")
    real = f"{within.rstrip('/')}/{name}"
    return os.path.realpath(real) if os.path.islink(real) else real  # noqa: PTH114 - at each open; a Path is 5 times as slow


@lru_cache(maxsize=1024)
def _real_directory(path: str) -> str:
    return os.path.realpath(path)


def _source_of(path: str) -> str:
    """The module whose bytecode a file holds, or the file itself."""
    directory, _, name = path.rpartition("/__pycache__/")
    return f"{directory}/{name.partition('.')[0]}.py" if directory and name.endswith(".pyc") else path


_HELD = re.compile(
    r"/proc/(\d+)/(?:task/\d+/)?"
    r"(?:environ|mem|maps|smaps|smaps_rollup|numa_maps|map_files|pagemap|auxv|stack|syscall|fd|fdinfo|cwd|root|exe)(?:/|\Z)"
)


def _is_held_by_another(path: str) -> bool:
    """Whether a path is an entry in /proc that the kernel keeps for the process itself, and those that may trace it."""
    found = _HELD.match(path)
    return found is not None and int(found[1]) != os.getpid()


_SHOWN = 3


def _chain(error: BaseException) -> list[BaseException]:
    """An error with those that it came of."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def _arguments(error: BaseException) -> Iterator[str]:
    """The paths in a failed program's arguments that exist."""
    if type(error).__name__ != "CalledProcessError":  # so that subprocess is not loaded for this
        return
    command = getattr(error, "cmd", ())
    if isinstance(command, str):
        command = command.split()
    for word in [command] if isinstance(command, bytes | os.PathLike) else command:
        path = os.fsdecode(word) if isinstance(word, str | bytes | os.PathLike) else ""
        if path.startswith("/") and os.path.lexists(path):
            yield os.path.realpath(path)


class Places:
    """Paths, and all that is below them."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths = frozenset(path.rstrip("/") for path in paths)

    def __bool__(self) -> bool:
        return bool(self._paths)

    def with_(self, paths: Iterable[str]) -> Places:
        """These and others."""
        return Places((*self._paths, *paths))

    def __contains__(self, path: str) -> bool:
        while path not in self._paths:
            if not path:
                return False
            path = path.rpartition("/")[0]
        return True


def options_for(reached: Iterable[Reach]) -> str:
    """What allows it in a declaration, such as `reads=["/models"], network=True`."""
    by_option: dict[str, list[str]] = {}
    for reach in reached:
        by_option.setdefault(reach.option, []).append(reach.what)
    return ", ".join(
        "network=True" if option == "network" else f"{option}={json.dumps(paths, ensure_ascii=False)}"
        for option, paths in by_option.items()
    )
