"""When an attempt waits for its turn to publish, and what it does before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attempt_world import World, nothing, ref_of
from perago.attempt.context import RunContext
from perago.attempt.publication import LIGHT_BYTES, LIGHT_FILES
from perago.attempt.run import run_attempt
from perago.ports import Event, Turn
from perago.values.models import RuntimeTaskResult, WorkspaceInput


class Watched:
    """A world whose attempts wait in a queue that a test decides on; `told` has phases, turns and lost swaps."""

    def __init__(self, root: Path, **spec: object) -> None:
        self.world = World(root, **spec)
        self.told: list[str] = []
        self.events: list[Event] = []
        self.arrived: Callable[[], object] = lambda: None
        self.world.schedule()

    def attempt(self) -> RuntimeTaskResult:
        world, attempt = self.world, self.world.poll()
        context = RunContext(observer=self._observe, queue=self._queue)
        return run_attempt(
            world.task,
            attempt.input_data,
            attempt,
            context,
            workspace_root=world.root,
            open_store=lambda: world.store,
            engine=world.engine,
        )

    def _observe(self, event: Event) -> None:
        self.events.append(event)
        if event.kind == "started" and event.phase in ("body", "decide", "stage", "publish"):
            self.told.append(event.phase.value)

    @contextmanager
    def _queue(self, target: WorkspaceInput, is_cancelled: Callable[[], bool], /) -> Iterator[Turn]:
        self.told.append(f"wait for {target.branch}")
        self.arrived()
        try:
            yield self
        finally:
            self.told.append("end of turn")

    def lost(self, times: int) -> None:
        self.told.append(f"lost {times}")


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "root", isolation="snapshot")


def test_the_turn_begins_after_the_body_and_before_the_decision(watched: Watched) -> None:
    assert ref_of(watched.attempt()) == watched.world.head
    assert watched.told == ["decide", "body", "wait for main", "decide", "stage", "publish", "end of turn"]


def test_who_has_moved_the_branch_while_an_attempt_waited_costs_it_no_swap(watched: Watched) -> None:
    watched.arrived = lambda: watched.world.person(other_txt="theirs")
    assert ref_of(watched.attempt()) == watched.world.head
    assert watched.told.count("publish") == 1
    assert set(watched.world.files) == {"in.txt", "other.txt", "out.txt"}


def test_what_is_lost_to_others_is_tried_again_within_the_turn(watched: Watched) -> None:
    world, others = watched.world, iter(("one", "two"))

    def publish_before() -> None:
        if (name := next(others, None)) is not None:
            world.person(**{f"{name}_txt": "theirs"})

    stage = world.store.stage_workspace

    def stage_and_lose(*arguments: object) -> object:
        staged = stage(*arguments)
        publish_before()
        return staged

    world.store.stage_workspace = stage_and_lose
    assert ref_of(watched.attempt()) == world.head
    lost = ["decide", "stage", "publish"]
    assert watched.told[2:] == ["wait for main", *lost, "lost 1", *lost, "lost 2", *lost, "end of turn"]
    ends = [event.kind for event in watched.events if event.kind not in ("started", "progress")]
    assert (ends.count("lost"), ends.count("failed")) == (2, 0)
    assert [event.kind for event in watched.events if event.phase == "publish"][1::2] == ["lost", "lost", "completed"]


def many_files(workspace: Path, params: object) -> None:
    for number in range(LIGHT_FILES + 1):
        (workspace / f"{number}").touch()


def large_file(workspace: Path, params: object) -> None:
    with (workspace / "large").open("wb") as file:
        file.truncate(LIGHT_BYTES + 1)


@pytest.mark.parametrize("body", [many_files, large_file])
def test_nobody_waits_for_a_large_upload(watched: Watched, body: Callable[[Path, object], None]) -> None:
    watched.world.body = body
    assert ref_of(watched.attempt()) == watched.world.head
    assert watched.told == ["decide", "body", "decide", "stage", "wait for main", "publish", "end of turn"]


def test_a_large_upload_that_is_late_is_staged_again_in_its_turn(watched: Watched) -> None:
    watched.world.body = large_file
    watched.arrived = lambda: watched.world.person(other_txt="theirs")
    assert ref_of(watched.attempt()) == watched.world.head
    again = ["wait for main", "publish", "lost 1", "decide", "stage", "publish", "end of turn"]
    assert watched.told == ["decide", "body", "decide", "stage", *again]


def test_who_writes_nothing_waits_for_nobody(tmp_path: Path, watched: Watched) -> None:
    watched.world.body = nothing
    assert watched.attempt().status == "COMPLETED"
    assert watched.told == ["decide", "body", "decide"]
    reader = Watched(tmp_path / "reader", read_only=True)
    assert reader.attempt().status == "COMPLETED"
    assert reader.told == ["body"]


def test_an_attempt_that_has_become_stale_in_the_queue_publishes_nothing(watched: Watched) -> None:
    world, before = watched.world, watched.world.head
    watched.arrived = world.engine.terminate
    result = watched.attempt()
    assert "no longer belongs to this attempt" in (result.reason_for_incompletion or "")
    assert world.head == before
    assert watched.told[-2:] == ["decide", "end of turn"]
