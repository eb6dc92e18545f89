"""Every call of taking and leaving a workspace fails, or is the last one of its process: what comes after is right."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
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
CALLS = ("rename", "mkdir", "open", "scandir", "listxattr", "fchmod", "fstat", "lstat", "stat", "write", "unlink")
DEAD = 2**22 - 1


@contextmanager
def fault_at(call: int | None, fault: BaseException, *, lasts: bool) -> Iterator[list[int]]:
    """Raise at one of the calls, counted from 0; if it lasts, at all that follow, too. Yields how many there were."""
    count = [0]

    def faulty(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if call is not None and (count[0] - 1 == call or (lasts and count[0] - 1 > call)):
                raise fault
            return real(*args, **kwargs)

        return act

    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(patch.object(os, name, faulty(getattr(os, name))))
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
        in_keep: Callable[[], Any] = ExitStack,
        in_leave: Callable[[], Any] = ExitStack,
    ) -> None:
        self.number += 1
        identity = AttemptIdentity(workflow_instance_id="wf", task_id=f"t{self.number}", retry_count=0)
        directory = AttemptDirectory.create(self.root, identity, "e", "w", SystemClock())
        stay = self.place.stay(directory, "repository", WorkspaceSpec())
        assert stay is not None
        with stay:
            with in_keep():
                kept = stay.keep(sources_of(commit))
            digests = lay_out(commit, directory.workspace, kept)
            next_tick(directory.path)
            found = tree_of(directory.workspace)
            stay.laid_out(Selection(), digests)
            (directory.workspace / "a").write_bytes(b"body")
            stay.body_ended(frozenset({"a"}))
            with in_leave():
                stay.leave()
        directory.remove()
        assert found == self.cold(commit)

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


def calls_of(tmp_path, where) -> int:
    """How many calls there are without a fault."""
    attempts, counts = Attempts(tmp_path / "counted"), list[list[int]]()
    attempts.run(BEFORE)

    @contextmanager
    def counting() -> Iterator[None]:
        with fault_at(None, Killed(), lasts=False) as count:
            counts.append(count)
            yield

    attempts.run(AFTER, **{where: counting})
    return counts[0][0]


@pytest.mark.parametrize("where", ["in_keep", "in_leave"])
@pytest.mark.parametrize("lasts", [False, True])
def test_a_call_that_fails_costs_time_and_nothing_else(tmp_path, where, lasts):
    total = calls_of(tmp_path, where)
    assert total > 15
    for call in range(total):
        attempts = Attempts(tmp_path / f"root{call}")
        attempts.run(BEFORE)
        failing = partial(fault_at, call, OSError(errno.EIO, "broken"), lasts=lasts)
        attempts.run(AFTER, **{where: failing})
        attempts.run(BEFORE)
        attempts.run(AFTER)
        assert len(entries(attempts.root)) in (1, 2)  # one that could not be taken is still there
        janitor.sweep(attempts.root, 3600, 0)
        assert {path.name for path in attempts.root.iterdir()} == {"warm"}


@pytest.mark.parametrize("where", ["in_keep", "in_leave"])
def test_a_kill_at_any_call_leaves_nothing_wrong(tmp_path, where):
    for call in range(calls_of(tmp_path, where)):
        attempts = Attempts(tmp_path / f"root{call}")
        attempts.run(BEFORE)
        with suppress(Killed):
            attempts.run(AFTER, **{where: lambda call=call: fault_at(call, Killed(), lasts=True)})
        attempts.die()
        assert {path.name for path in attempts.root.iterdir()} <= {"warm"}
        attempts.run(BEFORE)
        attempts.run(AFTER)
