"""Random histories of two hosts: commits, bodies, ends of every kind, evictions, restarts, two slots at once.

A warm workspace must be what a cold one is, byte for byte and mode for mode, for as long as its attempt runs.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import random
import shutil
import stat
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from perago.files.beneath import Beneath
from perago.ports import NOTHING_KEPT, Kept, Source, SystemClock
from perago.testing.contract.store_races import at_once
from perago.values.models import AttemptIdentity
from perago.values.spec import WorkspaceSpec
from perago.workspace.directory import AttemptDirectory
from perago.workspace.manifest import FINE_TICK_NS
from perago.workspace.new_files import make_directories, open_new, write_all
from perago.workspace.patterns import Selection
from perago.workspace.scan import FileStat
from perago.workspace.warm import record
from perago.workspace.warm.place import RECORD_FILE, WARM_DIRECTORY, WarmPlace, WarmStay, entries
from perago.workspace.warm.record import Record

Commit = Mapping[str, tuple[bytes, bool]]
Tree = dict[str, tuple[int, bytes, tuple[str, ...]]]

PATHS = ("a", "b", "d/a", "d/b", "d/e/a", "d/e/b", "x/y/z", "x/y", "d", "ü/ü")
CONTENTS = (b"one", b"two", b"six", b"longer", b"", b"\0" * 9000, b"q" * 5000)


SPECS = (WorkspaceSpec(), WorkspaceSpec(), WorkspaceSpec(include=["**"]), WorkspaceSpec(prefix="p"))
"""Of attempts: they say whose workspaces may be taken, and nothing of what is laid out here."""


class Killed(BaseException):
    """The process is killed: nothing that it would still do is done."""


class Here(Executor):
    """Removes at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn(*args, **kwargs)
        return Future()


def sources_of(commit: Commit) -> dict[str, Source]:
    return {path: Source(hashlib.sha256(content).hexdigest(), x) for path, (content, x) in commit.items()}


def lay_out(commit: Commit, workspace: Path, kept: Kept) -> dict[str, str]:
    """What a store does: what is not kept is laid out."""
    digests = dict(kept.digests)
    missing = [path for path in commit if path not in digests]
    with Beneath(workspace) as opened:
        make_directories(opened, missing, kept.directories)
        for path in missing:
            content, executable = commit[path]
            descriptor = open_new(opened, path, executable=executable)
            write_all(descriptor, content)
            os.close(descriptor)
            digests[path] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return digests


def tree_of(top: Path) -> Tree:
    """Everything in a directory and the directory itself: mode, content, extended attributes."""
    found: Tree = {}
    pending = [(os.fspath(top), ".")]
    while pending:
        path, name = pending.pop()
        status = os.lstat(path)
        content = Path(path).read_bytes() if stat.S_ISREG(status.st_mode) else b""
        attributes = () if stat.S_ISLNK(status.st_mode) else tuple(os.listxattr(path))
        found[name] = (status.st_mode, content, attributes)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as below:
                pending += [(entry.path, f"{name}/{entry.name}".removeprefix("./")) for entry in below]
    return found


def next_tick(directory: Path) -> None:
    """Wait until what was written is older than the clock's tick."""
    probe = directory / "probe"
    probe.write_bytes(b"")
    begun = probe.stat().st_mtime_ns
    time.sleep(FINE_TICK_NS / 1e9)
    os.utime(probe)
    while probe.stat().st_mtime_ns <= begun + FINE_TICK_NS:
        time.sleep(0.001)
        os.utime(probe)
    probe.unlink()


# ---------------------------------------------------------------- bodies


@dataclass
class Body:
    """What one body does to its workspace, and what it leaves behind elsewhere."""

    workspace: Path
    outside: Path
    chance: random.Random
    descriptors: list[int] = field(default_factory=list)

    def run(self) -> None:
        for _ in range(self.chance.choice([0, 1, 1, 2, 4])):
            with suppress(OSError, ValueError):
                self.chance.choice(self.deeds())()

    def deeds(self) -> list[Callable[[], object]]:
        return [
            self.write_same_size,
            self.write_same_size,
            self.append,
            self.truncate,
            self.replace,
            self.rename,
            self.swap,
            self.chmod,
            self.link,
            self.link_outside,
            self.sparse,
            self.map,
            self.to_directory,
            self.new_directory,
            self.directory_again,
            self.symlink,
            self.fifo,
            self.attribute,
            self.remove,
            self.new_file,
            self.hold_open,
            self.swap_directories,
        ]

    def file(self) -> Path:
        files = sorted(path for path in self.workspace.rglob("*") if path.is_file() and not path.is_symlink())
        return self.chance.choice(files) if files else self.workspace / "none"

    def directory(self) -> Path:
        return self.chance.choice(
            sorted(path for path in self.workspace.rglob("*") if path.is_dir()) or [self.workspace]
        )

    def other(self, size: int) -> bytes:
        return self.chance.randbytes(size)

    @contextmanager
    def same_times(self, path: Path) -> Iterator[os.stat_result]:
        """Sets mtime and atime back, as a program does that hides what it did."""
        before = path.stat()
        yield before
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def write_same_size(self) -> None:
        path = self.file()
        with self.same_times(path) as before, path.open("r+b") as file:
            file.write(self.other(before.st_size))

    def append(self) -> None:
        with self.file().open("ab") as file:
            file.write(b"more")

    def truncate(self) -> None:
        os.truncate(self.file(), self.chance.randrange(4))

    def replace(self) -> None:
        path = self.file()
        with self.same_times(path) as before:
            aside = path.with_name("aside")
            aside.write_bytes(self.other(before.st_size))
            aside.chmod(before.st_mode)
            aside.replace(path)

    def rename(self) -> None:
        self.file().rename(self.file())

    def swap(self) -> None:
        one, other, aside = self.file(), self.file(), self.workspace / "swap"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)

    def swap_directories(self) -> None:
        one, other, aside = self.directory(), self.directory(), self.workspace / "swap"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)

    def chmod(self) -> None:
        path = self.chance.choice([self.file(), self.directory(), self.workspace])
        path.chmod(self.chance.choice([0o755, 0o644, 0o600, 0o700, 0o777, 0o1755]))

    def link(self) -> None:
        os.link(self.file(), self.workspace / f"link{self.chance.randrange(3)}")

    def link_outside(self) -> None:
        os.link(self.file(), self.outside / f"link{self.chance.randrange(10**6)}")

    def sparse(self) -> None:
        path = self.file()
        with self.same_times(path) as before:
            os.truncate(path, 1 << 20)
            os.truncate(path, before.st_size)

    def map(self) -> None:
        path = self.file()
        with self.same_times(path), path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0] ^= 1
            mapped.flush()

    def to_directory(self) -> None:
        path = self.file()
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / "below").write_bytes(content)
        if self.chance.random() < 0.5:
            shutil.rmtree(path)
            path.write_bytes(content)

    def new_directory(self) -> None:
        (self.directory() / "new" / "empty").mkdir(parents=True)

    def directory_again(self) -> None:
        path = self.directory()
        aside = self.outside / "again"
        shutil.copytree(path, aside)
        shutil.rmtree(path)
        shutil.copytree(aside, path)
        shutil.rmtree(aside)

    def symlink(self) -> None:
        path = self.file()
        target = self.outside / "target"
        target.write_bytes(path.read_bytes())
        path.unlink()
        path.symlink_to(target)

    def fifo(self) -> None:
        os.mkfifo(self.directory() / "fifo")

    def attribute(self) -> None:
        os.setxattr(self.chance.choice([self.file(), self.directory()]), "user.mine", b"1")

    def remove(self) -> None:
        self.file().unlink()

    def new_file(self) -> None:
        (self.directory() / "new").write_bytes(b"new")

    def hold_open(self) -> None:
        """A program that the body has handed a file goes on with it when the attempt has ended."""
        self.descriptors.append(os.open(self.file(), os.O_RDWR))


# ---------------------------------------------------------------- histories


@dataclass
class Running:
    directory: AttemptDirectory
    stay: WarmStay | None
    before: Tree
    commit: Commit


@dataclass(frozen=True)
class Host:
    """One that shares its disk with others, such as a container; each has a root of its own.

    Attributes:
        boot_id: of its kernel.
    """

    root: Path
    boot_id: str


class _Here(threading.local):
    """The boot id that this thread sees."""

    boot_id = ""


_HERE = _Here()
_SLOTS = {0: 0, 1: 0, 2: 1}
"""The host of each slot."""

Call = Callable[[], Any]
Step = Generator[Call, Any, None]
"""What a slot does next. Yields the call that may fail, be killed, or be made at once with another slot's. It is sent
what that returns; None if the process was killed."""


class History:
    """Two hosts, and what happens there.

    Attributes:
        kept: files that were taken over, in all.
        faults: where a warm workspace was not what a cold one is.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.kept = 0
        self.faults: list[str] = []
        self._chance = random.Random(seed)
        self._seed = seed
        self._hosts = [Host(directory / f"root{number}", f"boot-{number}") for number in range(2)]
        self._outside = directory / "outside"
        self._outside.mkdir(parents=True)
        self._directory = directory
        self._trees: dict[tuple[tuple[str, tuple[bytes, bool]], ...], Tree] = {}
        self._place = new_place()
        self._slots: dict[int, Running] = {}
        self._descriptors: list[int] = []
        self._number = 0
        self._commits = [self._commit() for _ in range(3)]

    def run(self, steps: int) -> None:
        try:
            with patch.object(record, "boot_id", lambda: _HERE.boot_id):
                for _ in range(steps):
                    self._step()
        finally:
            for running in self._slots.values():
                if running.stay is not None:
                    running.stay.__exit__(None, None, None)
            for descriptor in self._descriptors:
                os.close(descriptor)

    def _commit(self, before: Commit | None = None) -> Commit:
        """A random commit, or one that differs a little from another."""
        chance = self._chance
        commit = dict(before or {})
        for path in PATHS:
            if chance.random() < (0.15 if before else 0.6):
                commit[path] = (chance.choice(CONTENTS), chance.random() < 0.2)
            elif before and chance.random() < 0.1:
                commit.pop(path, None)
        return {
            path: what for path, what in commit.items() if not any(other.startswith(f"{path}/") for other in commit)
        }

    def _step(self) -> None:
        chance = self._chance
        if chance.random() < 0.05:
            self._place.evict_all(chance.choice(self._hosts).root)
        if chance.random() < 0.03:
            self._restart()
        if chance.random() < 0.1:
            self._move()
        if chance.random() < 0.1:
            self._change_elsewhere()
        if chance.random() < 0.2:
            self._commits[chance.randrange(3)] = self._commit(chance.choice(self._commits))
        if chance.random() < 0.2:
            self._take_turns(chance.sample(sorted(_SLOTS), 2))
        else:
            self._take_turns([chance.choice([0, 0, 1, 1, 2])])
        self._meddle()

    def _take_turns(self, slots: list[int]) -> None:
        """The next step of one slot, or of two at once."""
        steps = [self._end(slot) if slot in self._slots else self._begin(slot) for slot in slots]
        calls = [self._on_host(slot, next(step)) for slot, step in zip(slots, steps, strict=True)]
        outcomes = at_once(calls) if len(calls) > 1 else [self._with_fault(calls[0])]
        for step, outcome in zip(steps, outcomes, strict=True):
            with suppress(StopIteration):
                step.send(outcome)

    def _on_host(self, slot: int, call: Call) -> Call:
        def act() -> Any:
            _HERE.boot_id = self._hosts[_SLOTS[slot]].boot_id
            return call()

        return act

    def _with_fault(self, call: Call) -> Any:
        """Mostly without. Else the process is killed at one of the calls, or one of them fails."""
        chance = self._chance
        fault = chance.choice([Killed(), OSError(errno.EIO, "broken"), OSError(errno.ENOSPC, "full")])
        try:
            with fault_at(chance.randrange(60) if chance.random() < 0.2 else None, fault):
                return call()
        except Killed:
            return None

    def _begin(self, slot: int) -> Step:
        chance, commit = self._chance, self._chance.choice(self._commits)
        self._number += 1
        number, root = self._number, self._hosts[_SLOTS[slot]].root
        identity = AttemptIdentity(workflow_instance_id="wf", task_id=f"t{number}", retry_count=0)
        directory = AttemptDirectory.create(root, identity, "e", "w", SystemClock())
        stay = self._place.stay(directory, "repository", chance.choice(SPECS))
        kept = yield (lambda: NOTHING_KEPT) if stay is None else (lambda: stay.keep(sources_of(commit)))
        if kept is None:
            self._sweep(directory, stay)
            return
        try:
            digests = lay_out(commit, directory.workspace, kept)
        except OSError as exc:
            self.faults.append(f"seed {self._seed}, attempt {number}: {exc}")
            self._sweep(directory, stay)
            return
        if chance.random() < 0.5:
            next_tick(directory.path)
        before = tree_of(directory.workspace)
        self._compare(commit, before, f"attempt {number}")
        if stay is not None:
            self._on_host(slot, lambda: stay.laid_out(Selection(), digests))()
        self.kept += len(kept.digests)
        self._slots[slot] = Running(directory, stay, before, commit)

    def _end(self, slot: int) -> Step:
        chance, running = self._chance, self._slots.pop(slot)
        workspace = running.directory.workspace
        self._compare(running.commit, tree_of(workspace), f"attempt {running.directory.path.name}, as it ran")
        body = Body(workspace, self._outside, chance)
        body.run()
        self._descriptors += body.descriptors
        stay = running.stay
        if stay is None or chance.random() < 0.1:  # it fails
            yield lambda: True
        else:
            after = tree_of(workspace)
            written = {path for path, what in after.items() if running.before.get(path) != what and what[1]}
            stay.body_ended(frozenset() if chance.random() < 0.2 else frozenset(written))
            yield stay.leave
        self._sweep(running.directory, stay)

    def _restart(self) -> None:
        """All processes of a host are killed, and begin anew."""
        host = self._chance.randrange(2)
        for slot in [slot for slot in self._slots if _SLOTS[slot] == host]:
            running = self._slots.pop(slot)
            self._sweep(running.directory, running.stay)
        self._place = new_place()

    def _move(self) -> None:
        """Somebody moves a warm workspace from one host to the other, or copies it, with its times."""
        chance = self._chance
        source, target = chance.sample([host.root for host in self._hosts], 2)
        for entry in entries(source)[:1]:
            (target / WARM_DIRECTORY).mkdir(mode=0o700, parents=True, exist_ok=True)
            target.chmod(0o700)
            to = target / WARM_DIRECTORY / f"{entry.key}.{entry.bytes}.{chance.randbytes(8).hex()}"
            if chance.random() < 0.5:
                entry.path.rename(to)
            else:
                shutil.copytree(entry.path, to, symlinks=True)

    def _change_elsewhere(self) -> None:
        """A warm workspace is one of another kernel, another disk or another time: stats say nothing of its files."""
        chance = self._chance
        for entry in entries(chance.choice(self._hosts).root)[-1:]:
            path = entry.path / RECORD_FILE
            known = Record.load(path)
            here = known.system
            elsewhere = chance.choice(
                [
                    here._replace(boot_id="another"),
                    here._replace(boot_id=""),
                    here._replace(device=here.device + 1),
                    here._replace(clock_offset_ns=here.clock_offset_ns + 10**9),
                ]
            )
            files = dict(known.manifest.entries)
            for name in list(files):
                file = entry.path / "workspace" / name
                if file.is_file() and not file.is_symlink():
                    file.write_bytes(chance.randbytes(file.stat().st_size))
                    os.utime(file, ns=(0, 0))
                    files[name] = files[name]._replace(stat=FileStat.of(file.stat()))
            next_tick(entry.path)
            later = time.time_ns() + FINE_TICK_NS
            path.unlink()
            manifest = replace(known.manifest, entries=files, taken_at_ns=later)
            replace(known, system=elsewhere, manifest=manifest).save(path)

    def _meddle(self) -> None:
        """What outlives an attempt writes: through hard links, and open files."""
        chance = self._chance
        living = {
            os.fspath(path) for running in self._slots.values() for path in running.directory.workspace.rglob("*")
        }
        inodes = {os.lstat(path).st_ino for path in living}
        for descriptor in self._descriptors:
            status = os.fstat(descriptor)
            if status.st_ino not in inodes and chance.random() < 0.5:
                os.pwrite(descriptor, chance.randbytes(status.st_size), 0)
                os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
        for link in self._outside.glob("link*"):
            if link.stat().st_ino not in inodes and chance.random() < 0.3:
                with link.open("r+b") as file:
                    file.write(chance.randbytes(link.stat().st_size))

    def _sweep(self, directory: AttemptDirectory, stay: WarmStay | None) -> None:
        """The end of an attempt, or what the janitor does after a killed one."""
        if stay is not None:
            stay.__exit__(None, None, None)
        directory.remove()

    def _compare(self, commit: Commit, found: Tree, whose: str) -> None:
        wanted = self._cold(commit)
        if found != wanted:
            differs = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
            self.faults.append(f"seed {self._seed}, {whose}: {differs}")

    def _cold(self, commit: Commit) -> Tree:
        """What a cold lay-out of a commit makes."""
        key = tuple(commit.items())
        if key not in self._trees:
            cold = self._directory / f"cold-{len(self._trees)}"
            cold.mkdir(0o700)
            lay_out(commit, cold, NOTHING_KEPT)
            self._trees[key] = tree_of(cold)
        return self._trees[key]


def new_place() -> WarmPlace:
    """Where workspaces of any size stay, for a new process."""
    return WarmPlace(min_files=0, min_bytes=0, _removals=Here())


@contextmanager
def fault_at(call: int | None, fault: BaseException) -> Iterator[None]:
    """Raise at one of the calls that change something, counted from 0. A killed process does nothing from there on."""
    if call is None:
        yield
        return
    left = [call]

    def faulty(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == -1 or (left[0] < 0 and isinstance(fault, Killed)):
                raise fault
            return real(*args, **kwargs)

        return act

    names = ("rename", "replace", "mkdir", "unlink", "rmdir", "open", "fchmod", "write")
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(patch.object(os, name, faulty(getattr(os, name))))
        yield


def run_histories(directory: Path, seeds: range, steps: int = 12) -> tuple[int, list[str]]:
    """Run one history for each seed. Returns the files that were kept, and the faults."""
    kept, faults = 0, list[str]()
    for seed in seeds:
        place = directory / str(seed)
        history = History(place, seed)
        history.run(steps)
        shutil.rmtree(place)
        kept += history.kept
        faults += history.faults
    return kept, faults
