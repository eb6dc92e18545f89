"""Bodies that reach for what was not laid out for them: docs/sandbox.md tells what comes of it."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import multiprocessing
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from perago import RetryPolicy, TaskControls, WorkspaceSpec, task
from perago.worker.body.confinement import common_access, system_access

_LIBRARY = ctypes.CDLL(None, use_errno=True)
_PROCESS_VM_READV, _PIDFD_GETFD, _PIDFD_OPEN, _OPENAT2, _IO_URING_SETUP = 310, 438, 434, 437, 425
_PTRACE_ATTACH = 16


class Params(BaseModel):
    """What somebody has planted.

    Attributes:
        secret: text of all the files.
        file: outside; directory: it holds the file; linked: a hard link to it in the same directory.
        neighbour: id of another process of the user, which has the secret in its environment.
        port: a server on loopback; abstract: a name, of a socket that answers with the secret.
        others: further files, by name.
    """

    secret: str = ""
    file: str = ""
    directory: str = ""
    neighbour: int = 0
    port: int = 0
    abstract: str = ""
    others: dict[str, str] = {}
    name: str = ""


class Result(BaseModel):
    value: Any = None


def row(function: Any = None, **options: Any) -> Any:
    controls = TaskControls(retry=RetryPolicy(count=0))
    if function is None:
        return lambda function: row(function, **options)
    declared = {"workspace": WorkspaceSpec(), **options}
    return task(name=function.__name__, owner_email="t@example.org", controls=controls, **declared)(function)


def _listed(directory: str) -> str:
    return " ".join(path.name for path in Path(directory).iterdir())


def _appended(path: str) -> str:
    with Path(path).open("a") as file:
        return str(file.write("x"))


def _native(path: str) -> str:
    """By a program that is no Python."""
    return subprocess.run(["cat", path], capture_output=True, text=True, check=True).stdout


def _raw(path: str) -> str:
    """By system calls, which Python does not see."""
    handle = _LIBRARY.open(os.fsencode(path), os.O_RDONLY)
    if handle < 0:
        raise OSError(ctypes.get_errno(), "open")
    return os.read(handle, 1000).decode()


def _openat2(path: str) -> str:
    how = (ctypes.c_uint64 * 3)(os.O_RDONLY, 0, 0)
    handle = _LIBRARY.syscall(_OPENAT2, -100, ctypes.c_char_p(os.fsencode(path)), how, ctypes.sizeof(how))
    if handle < 0:
        raise OSError(ctypes.get_errno(), "openat2")
    return os.read(handle, 1000).decode()


def _by_thread(path: str) -> str:
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(Path(path).read_text())
        except OSError as exc:
            found.append(exc)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return str(found[0])


def _by_child(path: str) -> str:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return str(pool.apply(Path.read_text, (Path(path),)))


def _by_fresh_child(path: str) -> str:
    code = f"print(open({path!r}).read())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def _mapped(path: str) -> str:
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        return content[:].decode()


def _through_link(workspace: Path, path: str) -> str:
    link = workspace / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    try:
        return link.read_text()
    finally:
        link.unlink()


def _through_hard_link(workspace: Path, path: str) -> str:
    link = workspace / "hard"
    os.link(path, link)
    try:
        return link.read_text()
    finally:
        link.unlink()


def _renamed(workspace: Path, path: str) -> str:
    target = workspace / "moved"
    Path(path).rename(target)
    found = target.read_text()
    target.rename(path)
    return found


def _from_above(workspace: Path, path: str) -> str:
    return Path(workspace, *[".."] * 20, path.lstrip("/")).read_text()


def _swapped(workspace: Path, directory: str) -> str:
    """By a path below a rule, where something else stood when the rule was made."""
    place = workspace / "swapped"
    place.mkdir()
    (place / "secret.txt").touch()
    place.rename(workspace / "moved")
    place.symlink_to(directory)
    try:
        return (place / "secret.txt").read_text()
    finally:
        place.unlink()
        shutil.rmtree(workspace / "moved")


_OUTLIVE = '(while kill -0 $$ 2>/dev/null; do sleep 0.01; done; exec cat "$0") &'


def _by_orphan(path: str) -> str:
    """By a program that outlives the one that has started it."""
    command = ["setsid", "sh", "-c", 'sh -c "$0" "$1"; exit 0', _OUTLIVE, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if done.stderr:
        raise subprocess.CalledProcessError(1, command, stderr=done.stderr)
    return done.stdout


def _process_memory(pid: int) -> str:
    local = ctypes.create_string_buffer(16)

    class Vector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    own = Vector(ctypes.addressof(local), 16)
    theirs = Vector(ctypes.addressof(local), 16)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)  # whole registers, which a plain int does not fill
    done = _LIBRARY.syscall(_PROCESS_VM_READV, pid, ctypes.byref(own), one, ctypes.byref(theirs), one, none)
    if done < 0 and ctypes.get_errno() == 14:  # EFAULT: it may look, and there is nothing at that address
        return "the memory of a neighbour"
    if done < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return "the memory of a neighbour"


def _traced(pid: int) -> str:
    if _LIBRARY.ptrace(_PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0)
    _LIBRARY.ptrace(17, pid, None, None)
    return "traced"


def _descriptor_of(pid: int) -> str:
    handle = _LIBRARY.syscall(_PIDFD_OPEN, pid, 0)
    if handle < 0:
        raise OSError(ctypes.get_errno(), "pidfd_open")
    got = _LIBRARY.syscall(_PIDFD_GETFD, handle, 0, 0)
    if got < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return "a descriptor of a neighbour"


def _signalled(pid: int) -> str:
    os.kill(pid, 0)
    return "a signal"


def _connected(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(100).decode()


def _connected_natively(port: int) -> str:
    code = f"exec 3<>/dev/tcp/127.0.0.1/{port}; head -c 100 <&3"
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout


def _served() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
    return "a server"


def _abstract(name: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + name)
        return connection.recv(100).decode()


def _by_ring(path: str) -> str:
    """By io_uring, as far as the kernel has it: liburing is seldom there, so this drives the ring itself."""
    parameters = (ctypes.c_uint32 * 30)()
    ring = _LIBRARY.syscall(_IO_URING_SETUP, 4, parameters)
    if ring < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    entries = parameters[0]
    submission = parameters[10:20]  # offsets: head, tail, ring_mask, ring_entries, flags, dropped, array, ...
    completion = parameters[20:30]  # offsets: head, tail, ring_mask, ring_entries, overflow, cqes, ...
    size = submission[6] + entries * 4
    size = max(size, completion[5] + parameters[1] * 16)
    rings = mmap.mmap(ring, size, flags=mmap.MAP_SHARED, offset=0)
    done = mmap.mmap(ring, size, flags=mmap.MAP_SHARED, offset=0x8000000)
    slots = mmap.mmap(ring, entries * 64, flags=mmap.MAP_SHARED, offset=0x10000000)
    name = ctypes.create_string_buffer(os.fsencode(path))
    entry = bytearray(64)
    entry[0] = 18  # IORING_OP_OPENAT
    entry[4:8] = (-100).to_bytes(4, "little", signed=True)
    entry[16:24] = ctypes.addressof(name).to_bytes(8, "little")
    slots[0:64] = bytes(entry)
    tail, array = submission[1], submission[6]
    rings[array : array + 4] = (0).to_bytes(4, "little")
    rings[tail : tail + 4] = (1).to_bytes(4, "little")
    entered = _LIBRARY.syscall(426, ring, 1, 1, 1, None, 0)
    if entered < 0:
        raise OSError(ctypes.get_errno(), "io_uring_enter")
    cqes = completion[5]
    result = int.from_bytes(done[cqes + 8 : cqes + 12], "little", signed=True)
    if result < 0:
        raise OSError(-result, "openat by io_uring")
    return os.read(result, 1000).decode()


def _device(workspace: Path) -> str:
    """The memory of the machine, which only root could ask for."""
    device = workspace / "device"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 1))
    device.unlink()
    return "a device"


def _by_handle(path: str) -> str:
    """As root, a file can be opened without its path."""
    handle = ctypes.create_string_buffer((128).to_bytes(4, sys.byteorder), 8 + 128)
    mount = ctypes.c_int()
    if _LIBRARY.name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    opened = _LIBRARY.open_by_handle_at(os.open("/usr", os.O_RDONLY), handle, os.O_RDONLY)
    if opened < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    return os.read(opened, 1000).decode()


def _mounted(workspace: Path, directory: str) -> str:
    target = workspace / "mounted"
    target.mkdir(exist_ok=True)
    if _LIBRARY.mount(os.fsencode(directory), os.fsencode(target), None, 4096, None) != 0:  # a bind mount
        raise OSError(ctypes.get_errno(), "mount")
    found = _listed(str(target))
    _LIBRARY.umount(os.fsencode(target))
    return found


def attempts(workspace: Path, given: Params) -> dict[str, Callable[[], str]]:
    """Each way by its name."""
    file, inside = given.file, dict(given.others)
    ways: dict[str, Callable[[], str]] = {
        "open": lambda: Path(file).read_text(),
        "os.open": lambda: os.read(os.open(file, os.O_RDONLY), 100).decode(),
        "a program": lambda: _native(file),
        "a system call": lambda: _raw(file),
        "openat2": lambda: _openat2(file),
        "io_uring": lambda: _by_ring(file),
        "a mapping": lambda: _mapped(file),
        "a thread": lambda: _by_thread(file),
        "a fork": lambda: _by_child(file),
        "another Python": lambda: _by_fresh_child(file),
        "an orphan": lambda: _by_orphan(file),
        "SQLite": lambda: str(sqlite3.connect(f"file:{file}?mode=ro", uri=True).execute("select 1").fetchall()),
        "a symbolic link": lambda: _through_link(workspace, file),
        "a swapped directory": lambda: _swapped(workspace, given.directory),
        "a hard link": lambda: _through_hard_link(workspace, file),
        "a rename": lambda: _renamed(workspace, file),
        "from above": lambda: _from_above(workspace, file),
        "a listing": lambda: _listed(given.directory),
        "a listing by a program": lambda: (
            subprocess.run(["ls", given.directory], capture_output=True, text=True, check=True).stdout
        ),
        "another's environment": lambda: Path(f"/proc/{given.neighbour}/environ").read_text(),
        "another's environment by a program": lambda: _native(f"/proc/{given.neighbour}/environ"),
        "another's descriptors": lambda: str(Path(f"/proc/{given.neighbour}/fd/0").readlink()),
        "another's files": lambda: Path(f"/proc/{given.neighbour}/fd/0").read_text(),
        "another's files of a thread": lambda: str(
            Path(f"/proc/{given.neighbour}/task/{given.neighbour}/fd/0").readlink()
        ),
        "another's mappings": lambda: Path(f"/proc/{given.neighbour}/maps").read_text(),
        "another's mapped files": lambda: _listed(f"/proc/{given.neighbour}/map_files"),
        "another's auxiliary values": lambda: str(Path(f"/proc/{given.neighbour}/auxv").read_bytes()),
        "another's stack": lambda: Path(f"/proc/{given.neighbour}/stack").read_text(),
        "another's program": lambda: str(Path(f"/proc/{given.neighbour}/exe").readlink()),
        "the memory of the kernel": lambda: str(os.read(os.open("/proc/kcore", os.O_RDONLY), 1)),
        "a device of its own": lambda: _device(workspace),
        "the network's packets": lambda: str(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "a file handle": lambda: _by_handle(file),
        "a mount": lambda: _mounted(workspace, given.directory),
        "another's directory": lambda: _listed(f"/proc/{given.neighbour}/cwd/"),
        "another's root": lambda: Path(f"/proc/{given.neighbour}/root{file}").read_text(),
        "another's memory": lambda: Path(f"/proc/{given.neighbour}/mem").read_bytes()[:1].decode(),
        "process_vm_readv": lambda: _process_memory(given.neighbour),
        "ptrace": lambda: _traced(given.neighbour),
        "pidfd_getfd": lambda: _descriptor_of(given.neighbour),
        "a signal": lambda: _signalled(given.neighbour),
        "TCP": lambda: _connected(given.port),
        "TCP by a program": lambda: _connected_natively(given.port),
        "a TCP server": _served,
        "an abstract socket": lambda: _abstract(given.abstract),
        "writing": lambda: str(Path(file).write_text(given.secret)),
        "appending": lambda: _appended(file),
        "truncating": lambda: str(os.truncate(file, 0)),
        "making a file": lambda: str(Path(given.directory, "made").write_text("x")),
        "making a directory": lambda: str(Path(given.directory, "made").mkdir()),
        "removing": lambda: str(Path(file).unlink()),
        "a file of /tmp": lambda: str(Path("/tmp/perago-made").write_text("x")),
        "a set-uid program": lambda: (
            subprocess.run(
                ["su", "-c", f"cat {file}"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
            ).stdout
        ),
    }
    for name, path in inside.items():
        ways[name] = lambda path=path: Path(path).read_bytes()[:200].decode(errors="replace")
        ways[f"{name}, by a program"] = lambda path=path: _native(path)
    return ways


@row
def reach_for_everything(workspace: Path, params: Params) -> Result:
    """What came of each way: "refused", or what was found."""
    seen: dict[str, str] = {}
    for name, way in attempts(workspace, params).items():
        try:
            seen[name] = f"found {way()!r}"
        except PermissionError:
            seen[name] = "refused"
        except subprocess.CalledProcessError as exc:
            refused = any(word in exc.stderr for word in ("Permission denied", "not permitted"))
            seen[name] = "refused" if refused else f"failed: {exc.stderr}"
        except (OSError, sqlite3.Error) as exc:
            refused = getattr(exc, "errno", None) == errno.EXDEV or "unable to open" in str(exc)
            seen[name] = "refused" if refused else f"failed: {exc!r}"
    return Result(value=seen)


@row
def have_an_own_place(workspace: Path, params: Params) -> Result:
    """It has a home and temporary files of its own, and the environment of any program."""
    for directory in (Path.home(), Path(tempfile.gettempdir()), Path("/dev/shm")):
        name = directory / "perago-own"
        name.write_text("x")
        name.unlink()
    (workspace / "own.txt").write_text("x")
    with tempfile.TemporaryDirectory() as made:
        Path(made, "x").write_text("x")
    unlike = set(os.environ) - {"HOME", "TMPDIR", "PATH", "TRACEPARENT", "PERAGO_SAID"}
    return Result(value=sorted(name for name in unlike if name.startswith(("PERAGO", "AWS", "LAKECTL", "XDG"))))


@row
def change_all_files(workspace: Path, params: Params) -> Result:
    """In place, as what was linked to a file elsewhere would change with it."""
    for path in workspace.rglob("*"):
        if path.is_file():
            with path.open("r+") as file:
                file.truncate()
                file.write("changed")
    return Result()


@row
def import_late(workspace: Path, params: Params) -> Result:
    """Modules beside its own are found, although their directory may not be listed."""
    import confined_late

    return Result(value=confined_late.WORD)


@row
def read_a_file(workspace: Path, params: Params) -> Result:
    return Result(value=Path(params.file).read_text())


@row
def read_a_file_by_a_program(workspace: Path, params: Params) -> Result:
    return Result(value=_native(params.file))


@row
def connect(workspace: Path, params: Params) -> Result:
    return Result(value=_connected(params.port))


@row(network=True)
def connect_as_declared(workspace: Path, params: Params) -> Result:
    return Result(value=_connected(params.port))


@row
def look_up_a_variable(workspace: Path, params: Params) -> Result:
    return Result(value=os.environ["AWS_PLANTED"])


@row(environment=["AWS_PLANTED"])
def look_up_a_variable_as_declared(workspace: Path, params: Params) -> Result:
    return Result(value=os.environ["AWS_PLANTED"])


@row(sandbox="report")
def read_and_be_noted(workspace: Path, params: Params) -> Result:
    return Result(value=Path(params.file).read_text())


@row(sandbox="off")
def be_free(workspace: Path, params: Params) -> Result:
    return Result(value=Path(params.file).read_text())


@row(workspace=WorkspaceSpec(read_only=True))
def write_what_may_only_be_read(workspace: Path, params: Params) -> Result:
    (workspace / "made").write_text("x")
    return Result()


@row
def have_no_stray_descriptor(workspace: Path, params: Params) -> Result:
    """What its descriptors lead to, besides pipes and sockets."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            led = str(descriptor.readlink())
        except OSError:
            continue
        is_own = led.endswith(" (deleted)")  # the flag that tells of a cancellation
        if not is_own and not led.startswith(("pipe:", "socket:", "anon_inode:", "/dev/null", "/proc/")):
            found.append(led)
    return Result(value=json.dumps(found))


@row
def count_looks_at_the_host(workspace: Path, params: Params) -> Result:
    """Of this process and the one that it was forked from: for what the system has, and for modules."""
    return Result(value=[found.cache_info().misses for found in (system_access, common_access)])
