"""The host's queue: first come, first served; nobody waits for the dead, the stopped, or for ever."""

from __future__ import annotations

import itertools
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from forks import fork
from perago.ports import no_queue
from perago.testing import ManualClock
from perago.values.models import WorkspaceInput
from perago.workspace.queue import HostQueue, Patience, host_queue
from servers.machine import slowness
from waiting import wait_for

PROGRAM = Path(__file__).with_name("program_queue.py")
FOREVER = Patience(wait=600.0, turn=600.0)


def target(branch: str = "main", repository: str = "data") -> WorkspaceInput:
    return WorkspaceInput(repository=repository, branch=branch, refType="commit", ref="A")


def queue(directory: Path, patience: Patience = FOREVER, *, is_server: bool = True) -> HostQueue:
    return HostQueue(directory, "http://lakefs", is_server, patience=patience)


def tickets(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name != "lock"] if directory.is_dir() else []


class Waiting:
    """A thread that waits for its turn, and keeps it until `leave`."""

    def __init__(self, enter: Callable[[threading.Event], None]) -> None:
        self._left = threading.Event()
        self._thread = threading.Thread(target=enter, args=(self._left,), daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._left.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


class Scene:
    """Those who wait in one directory, in the order in which their turns have come."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.turns: list[str] = []

    def arrive(self, name: str, patience: Patience = FOREVER, is_cancelled: Callable[[], bool] = bool) -> Waiting:
        """Returns when the newcomer has its place."""
        before = len(tickets(self.directory))

        def enter(left: threading.Event) -> None:
            with queue(self.directory, patience)(target(), is_cancelled):
                self.turns.append(name)
                left.wait(60 * slowness())

        waiting = Waiting(enter)
        wait_for(lambda: len(tickets(self.directory)) > before, f"the place of {name}")
        return waiting

    def expect(self, *names: str) -> None:
        wait_for(lambda: self.turns == list(names), lambda: f"{names}; turns so far: {self.turns}")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "queue")


@contextmanager
def holder(directory: Path, branch: str = "main") -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has its turn."""
    command = [sys.executable, str(PROGRAM), str(directory), branch]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_turns_come_in_the_order_of_arrival(scene: Scene) -> None:
    names = [f"writer {number}" for number in range(8)]
    waiting = [scene.arrive(name) for name in names]
    for number, one in enumerate(waiting):
        scene.expect(*names[: number + 1])
        one.leave()
    assert tickets(scene.directory) == []


def test_who_leaves_the_middle_of_the_queue_does_not_let_those_behind_pass(scene: Scene) -> None:
    first = scene.arrive("first")
    cancelled, looks = threading.Event(), itertools.count()
    second = scene.arrive("second", is_cancelled=cancelled.is_set)
    third = scene.arrive("third", is_cancelled=lambda: next(looks) < 0)
    cancelled.set()
    scene.expect("first", "second")  # without waiting longer
    second.leave()
    then = next(looks)
    wait_for(lambda: next(looks) > then + 20, "some looks of the third")
    assert scene.turns == ["first", "second"]
    first.leave()
    scene.expect("first", "second", "third")
    third.leave()


def test_a_killed_holder_frees_its_turn_at_once(scene: Scene) -> None:
    with holder(scene.directory) as process:
        waiting = scene.arrive("next")
        process.kill()
        scene.expect("next")
        waiting.leave()
    assert tickets(scene.directory) == []


def test_whoever_comes_next_removes_the_tickets_of_killed_processes_of_any_branch(scene: Scene) -> None:
    with holder(scene.directory, "elsewhere") as process:
        [left] = tickets(scene.directory)
        process.kill()
        process.wait()
        assert tickets(scene.directory) == [left]
        with queue(scene.directory)(target(), bool):
            assert left not in tickets(scene.directory)
            assert len(tickets(scene.directory)) == 1


def test_a_killed_waiter_is_no_gap(scene: Scene) -> None:
    first = scene.arrive("first")
    command = [sys.executable, str(PROGRAM), str(scene.directory), "main"]
    second = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(tickets(scene.directory)) == 2, "the place of the second")
        third = scene.arrive("third")
    finally:
        second.kill()
        second.communicate()
    assert scene.turns == ["first"]
    first.leave()
    scene.expect("first", "third")
    third.leave()


def test_a_stopped_holder_is_passed_after_its_time(scene: Scene) -> None:
    with holder(scene.directory) as process:
        process.send_signal(signal.SIGSTOP)
        patience = Patience(wait=600.0, turn=2.0)  # longer than it takes those who wait to show that they live
        first, second = (scene.arrive(name, patience) for name in ("first", "second"))
        scene.expect("first")  # and those behind wait for each other as before
        first.leave()
        scene.expect("first", "second")
        second.leave()


def test_the_wait_is_bounded(scene: Scene) -> None:
    first = scene.arrive("first")
    second = scene.arrive("second", Patience(wait=0.2, turn=600.0))
    scene.expect("first", "second")
    for one in (first, second):
        one.leave()


def test_branches_repositories_and_places_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for where in (target("main"), target("other"), target("main", "more")):
            stack.enter_context(queue(tmp_path)(where, bool))
        stack.enter_context(HostQueue(tmp_path, "http://elsewhere", is_server=True)(target(), bool))
        assert len(tickets(tmp_path)) == 4


def test_a_repository_on_disk_is_one_place_whatever_inputs_call_it(tmp_path: Path) -> None:
    on_disk = queue(tmp_path, Patience(wait=0.0, turn=600.0), is_server=False)
    with on_disk(target(repository="one"), bool), on_disk(target(repository="two"), bool):
        keys = {path.name.partition("-")[0] for path in tickets(tmp_path)}
        assert len(keys) == 1
        assert len(tickets(tmp_path)) == 2


def test_a_linked_path_of_a_repository_is_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "data.git").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data.git")
    places = [host_queue(tmp_path, str(tmp_path / name), is_server=False) for name in ("data.git", "link")]
    assert places[0] == places[1]


def test_the_directory_is_for_this_user_only(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "perago" / "queue"
    with queue(directory)(target(), bool):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert [stat.S_IMODE(path.stat().st_mode) for path in tickets(directory)] == [0o600]


def test_nobody_waits_where_no_ticket_can_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with queue(tmp_path / "file" / "queue")(target(), bool) as turn:
        turn.lost(1)
    directory = tmp_path / "shared"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    with queue(directory)(target(), bool):
        assert list(directory.iterdir()) == []


def test_without_a_state_directory_nobody_waits() -> None:
    waits = host_queue(None, "http://lakefs", is_server=True)
    assert waits is no_queue
    with waits(target(), bool) as turn:
        turn.lost(1)


def test_the_pause_after_a_lost_swap_grows_to_two_seconds(tmp_path: Path) -> None:
    clock = ManualClock()
    waits = HostQueue(tmp_path, "http://lakefs", is_server=True, clock=clock)
    with waits(target(), bool) as turn:
        for times in range(1, 40):
            before = clock.monotonic()
            turn.lost(times)
            assert 0 <= clock.monotonic() - before <= min(2.0, 0.1 * 2.0 ** (times - 1))


def test_a_failure_in_the_turn_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its own"), queue(tmp_path)(target(), bool):
        raise ValueError("its own")
    assert tickets(tmp_path) == []


def test_a_fork_does_not_keep_the_turn(tmp_path: Path) -> None:
    alive, end = os.pipe()
    with queue(tmp_path)(target(), bool):
        child = fork()
        if child == 0:
            os.close(end)
            os.read(alive, 1)
            os._exit(0)
    try:
        began = time.monotonic()
        with queue(tmp_path)(target(), bool):
            assert time.monotonic() - began < 60 * slowness()
    finally:
        os.close(end)
        os.close(alive)
        os.waitpid(child, 0)
