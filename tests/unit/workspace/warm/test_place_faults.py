"""Every call of taking and leaving a workspace fails, or is the last one of its process: what comes after is right."""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from perago.ports import NOTHING_KEPT, SystemClock
from perago.values.models import AttemptIdentity
from perago.values.spec import WorkspaceSpec
from perago.workspace import janitor
from perago.workspace.directory import AttemptDirectory
from perago.workspace.owner import OwnerMarker
from perago.workspace.patterns import Selection
from perago.workspace.warm.place import WarmPlace, entries
from warm_histories import Here, Killed, lay_out, next_tick, sources_of, tree_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")

BEFORE = {"a": (b"one", False), "d/b": (b"two", True), "d/e/c": (b"three", False), "gone/x": (b"four", False)}
AFTER = {"a": (b"new", False), "d/b": (b"two", True), "d/e/c": (b"three", False)}
CALLS = (
    *((os, name) for name in ("rename", "mkdir", "open", "scandir", "listxattr", "fchmod", "fstat", "lstat", "stat")),
    *((os, name) for name in ("write", "read", "unlink", "rmdir", "utime", "statvfs")),
    (fcntl, "ioctl"),
    (io, "open"),
    (io, "FileIO"),
    (mmap, "mmap"),
)
METHODS = frozenset({"stat", "is_dir", "read", "readline", "readall", "readinto", "write", "writelines"})
"""Of what these return: files, maps, and entries of directories."""
DEAD = 2**22 - 1


class Faulty:
    """A file, a map, a directory being read, or an entry of it; its calls fail, too."""

    def __init__(self, real: Any, fail: Callable[[], None]) -> None:
        self._real = real
        self._fail = fail

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        return faulty(value, self._fail) if name in METHODS else value

    def __enter__(self) -> Faulty:
        self._real.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._real.__exit__(*error)

    def __iter__(self) -> Iterator[Any]:
        return (Faulty(item, self._fail) if isinstance(item, os.DirEntry) else item for item in self._real)

    def __getitem__(self, place: int) -> Any:
        return self._real[place]

    def __setitem__(self, place: int, value: object) -> None:
        self._real[place] = value


def faulty(real: Callable[..., Any], fail: Callable[[], None]) -> Callable[..., Any]:
    def act(*args: Any, **kwargs: Any) -> Any:
        fail()
        made = real(*args, **kwargs)
        return Faulty(made, fail) if hasattr(made, "__enter__") else made

    return act


@contextmanager
def fault_at(call: int | None, fault: BaseException, *, lasts: bool) -> Iterator[list[int]]:
    """Raise at one of the calls, counted from 0; if it lasts, at all that follow, too. Yields how many there were."""
    count = [0]

    def fail() -> None:
        count[0] += 1
        if call is not None and (count[0] - 1 == call or (lasts and count[0] - 1 > call)):
            raise fault

    with ExitStack() as stack:
        for module, name in CALLS:
            stack.enter_context(patch.object(module, name, faulty(getattr(module, name), fail)))
        yield count


class Attempts:
    """Attempts in one root. The second one is on a later commit, and meets the fault."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = WarmPlace(min_files=0, min_bytes=0, _removals=Here())
        self.number = 0

    def run(
        self,
        commit,
        in_stay: Callable[[], Any] = ExitStack,
        in_keep: Callable[[], Any] = ExitStack,
        in_leave: Callable[[], Any] = ExitStack,
        *,
        is_racy: bool = False,
        include: tuple[str, ...] = (),
    ) -> int:
        """One attempt. Returns the number of files that were there already.

        Args:
            is_racy: its files are as old as its manifest, so that the next attempt reads them.
            include: patterns of its files.
        """
        self.number += 1
        identity = AttemptIdentity(workflow_instance_id="wf", task_id=f"t{self.number}", retry_count=0)
        directory = AttemptDirectory.create(self.root, identity, "e", "w", SystemClock())
        with in_stay():
            stay = self.place.stay(directory, "repository", WorkspaceSpec(include=include))
        with ExitStack() if stay is None else stay:
            kept = NOTHING_KEPT
            if stay is not None:
                with in_keep():
                    kept = stay.keep(sources_of(commit))
            digests = lay_out(commit, directory.workspace, kept)
            if not is_racy:
                next_tick(directory.path)
            found = tree_of(directory.workspace)
            if stay is not None:
                stay.laid_out(Selection(), digests)
                (directory.workspace / "a").write_bytes(b"body")
                stay.body_ended(frozenset({"a"}))
                with in_leave():
                    stay.leave()
        if is_racy:
            next_tick(directory.path)
        directory.remove()
        assert found == self.cold(commit)
        return len(kept.digests)

    def cold(self, commit):
        place = self.root.parent / f"cold-{len(commit)}"
        if not place.exists():
            place.mkdir(0o700)
            lay_out(commit, place, NOTHING_KEPT)
        return tree_of(place)

    def die(self) -> None:
        """The process of the last attempt is dead, and a janitor comes by."""
        for marker in self.root.glob("*/owner.json"):
            owner = OwnerMarker.read(marker)
            assert owner is not None
            marker.unlink()
            dead = OwnerMarker(**{**vars(owner), "pid": DEAD})
            dead.write(marker)
        janitor.sweep(self.root, 3600, 0)


class Scene(NamedTuple):
    """Two attempts, of which the second one meets the fault.

    Attributes:
        least: the fewest calls that there are.
        is_racy, include: of the first attempt, which is on `BEFORE`.
        commit, kept: of the second one, without a fault.
    """

    where: str
    least: int
    is_racy: bool = False
    include: tuple[str, ...] = ()
    commit: Mapping[str, tuple[bytes, bool]] = AFTER
    kept: int = 2

    def first(self, attempts: Attempts) -> None:
        attempts.run(BEFORE, is_racy=self.is_racy, include=self.include)


def calls_of(root, scene: Scene) -> int:
    """How many calls there are without a fault."""
    attempts, counts = Attempts(root), list[list[int]]()
    scene.first(attempts)

    @contextmanager
    def counting() -> Iterator[None]:
        with fault_at(None, Killed(), lasts=False) as count:
            counts.append(count)
            yield

    assert attempts.run(scene.commit, **{scene.where: counting}) == scene.kept
    assert len(entries(attempts.root)) == 1
    assert counts[0][0] >= scene.least
    return counts[0][0]


FAULTS = {
    "fails once": (errno.EIO, False),
    "fails from then on": (errno.EIO, True),
    "is on a full disk from then on": (errno.ENOSPC, True),
    "misses what another process took": (errno.ENOENT, False),
}
SCENES = {
    "before it is laid out": Scene("in_stay", 3),
    "while it takes files": Scene("in_keep", 60),
    "while it reads and takes files": Scene("in_keep", 60, is_racy=True),
    "while it takes those of other patterns": Scene("in_keep", 60, include=("**",), commit=BEFORE, kept=3),
    "while it leaves files": Scene("in_leave", 25),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails_costs_time_and_nothing_else(quick_disk, scene, fault):
    number, lasts = FAULTS[fault]
    for call in range(calls_of(quick_disk / "counted", scene)):
        attempts = Attempts(quick_disk / f"root{call}")
        scene.first(attempts)
        failing = partial(fault_at, call, OSError(number, os.strerror(number)), lasts=lasts)
        attempts.run(scene.commit, **{scene.where: failing})
        attempts.run(BEFORE)
        assert len(entries(attempts.root)) in (1, 2)  # one that could not be taken is still there
        janitor.sweep(attempts.root, 3600, 0)
        assert {path.name for path in attempts.root.iterdir()} == {"warm"}
        for entry in entries(attempts.root):
            assert sorted(path.name for path in entry.path.iterdir()) == ["record", "workspace"]


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_kill_at_any_call_leaves_nothing_wrong(quick_disk, scene):
    for call in range(calls_of(quick_disk / "counted", scene)):
        attempts = Attempts(quick_disk / f"root{call}")
        scene.first(attempts)
        with suppress(Killed):
            attempts.run(scene.commit, **{scene.where: lambda call=call: fault_at(call, Killed(), lasts=True)})
        attempts.die()
        assert {path.name for path in attempts.root.iterdir()} <= {"warm"}
        attempts.run(BEFORE)
