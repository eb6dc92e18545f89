"""A workspace that is a join: which commit it is, and that everything that asks for a try's input knows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attempt_world import World, nothing, ref_of, say
from perago.attempt.join import resolve_join
from perago.attempt.parse import parse_workspace
from perago.errors import TaskInputError
from perago.values.history import CommitFacts, History
from perago.values.joins import WorkspaceJoin, input_refs, input_repository
from perago.values.models import WorkspaceInput


def workspace(ref: str, branch: str = "main") -> dict[str, str]:
    return {"repository": "data", "branch": branch, "refType": "commit", "ref": ref}


class Line:
    """A branch whose commits are `c0`, `c1`, …, and which grows by one with each read."""

    def __init__(self, head: int) -> None:
        self.head = head
        self.reads = 0

    def read(self, given: WorkspaceInput) -> History:
        self.reads += 1
        base, head = int(given.ref.removeprefix("c")), self.head
        self.head += 1
        commits = [CommitFacts(f"c{number}", f"c{number - 1}") for number in range(head, base, -1)]
        return History(f"c{head}", given.ref, tuple(commits))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=50, unique=True), st.integers(0, 5))
def test_the_newest_of_the_joined_commits_is_the_input(numbers, above):
    line = Line(max(numbers) + above)
    inputs = tuple(WorkspaceInput.model_validate(workspace(f"c{number}")) for number in numbers)
    assert resolve_join(WorkspaceJoin(inputs), line.read).ref == f"c{max(numbers)}"
    lows = sum(number == min(numbers[: place + 1]) for place, number in enumerate(numbers))
    assert line.reads == (0 if len(numbers) == 1 else lows)


@pytest.mark.parametrize(
    "joined",
    [
        [workspace("c1"), workspace("c2")],
        {"left": {"workspace": workspace("c1"), "result": {}}, "right": {"workspace": workspace("c2")}},
        [workspace("c1"), {"left": {"workspace": workspace("c2")}}, {}],
        [{"join": [workspace("c2"), workspace("c1")]}, workspace("c1")],
        {"join": {"join": {"left": {"workspace": {"join": [workspace("c1"), workspace("c2")]}}}}},
    ],
    ids=["workspaces", "outputs of a join", "both", "a join in a list", "joins within joins"],
)
def test_a_join_names_workspaces_joins_and_outputs_of_joins(joined, tmp_path):
    task = World(tmp_path).task
    found = parse_workspace(task, {"join": joined})
    assert isinstance(found, WorkspaceJoin)
    assert {one.ref for one in found.inputs} == {"c1", "c2"}
    assert input_refs({"workspace": {"join": joined}}) == ("c1", "c2")
    assert input_repository({"workspace": {"join": joined}}) == "data"


@pytest.mark.parametrize(
    ("joined", "said"),
    [
        ([], "names no workspace"),
        ({}, "names no workspace"),
        (None, r"workspace\.join \(Input should be a valid dictionary"),
        ([workspace("c1"), None], r"workspace\.join\[1\] \(Input should be a valid dictionary"),
        ({"count": {"result": {}}}, r"workspace\.join\.count\.workspace \(Input should be a valid dictionary"),
        ([workspace("c1"), workspace("c2", "other")], "names commits of data/main, data/other; join commits of one"),
        ([workspace("c1"), {**workspace("c2"), "refType": "tag"}], r"workspace\.join\[1\]\.refType"),
    ],
)
def test_what_cannot_be_joined_is_refused(joined, said, tmp_path):
    with pytest.raises(TaskInputError, match=said):
        parse_workspace(World(tmp_path).task, {"join": joined})


@pytest.fixture
def world(tmp_path):
    """A branch on which `left` and `right` have published beside each other, and a task that is given both."""
    world = World(tmp_path, isolation="snapshot")
    world.published = {}
    for name in ("left", "right"):
        world.body = lambda workspace, params, name=name: (workspace / f"{name}.txt").write_text(name)
        world.schedule(name)
        world.published[name] = ref_of(world.attempt(world.poll()))
    world.body = say
    return world


def schedule_joined(world, *refs: str) -> None:
    joined = {"join": [world.store.input(ref=ref).model_dump() for ref in refs]}
    world.engine.schedule("say", {"workspace": joined, "params": {}}, reference_task_name="after")


def both(world) -> tuple[str, ...]:
    return world.input_ref, world.published["right"], world.published["left"]


def test_a_task_after_a_fork_gets_what_all_branches_have_published(world):
    def see(workspace, params):
        assert (workspace / "left.txt").read_text() + (workspace / "right.txt").read_text() == "leftright"
        say(workspace, params)

    world.body = see
    schedule_joined(world, *both(world))
    ref = ref_of(world.attempt(world.poll()))
    assert world.store.stamp_of(ref).input_ref == world.published["right"]
    assert world.line == [ref, *reversed(world.published.values()), world.input_ref]


def test_the_next_try_of_a_joined_task_adopts_what_the_first_has_published(world):
    schedule_joined(world, *both(world))
    first = world.poll()
    published = ref_of(world.attempt(first, report=False))
    world.person(note_txt="beside")
    world.engine.requeue(first.task_id)
    again = world.poll()
    assert ref_of(world.attempt(again)) == published
    assert world.runs == 3


def test_a_joined_task_that_changes_nothing_completes_with_the_newest(world):
    world.body = nothing
    schedule_joined(world, *both(world))
    assert ref_of(world.attempt(world.poll())) == world.published["right"]


def test_a_commit_that_is_not_on_the_branch_is_named(world):
    elsewhere = world.store.commit("other", {"x.txt": "x"})
    schedule_joined(world, world.input_ref, elsewhere)
    result = world.attempt(world.poll())
    assert result.status != "COMPLETED"
    assert elsewhere[:12] in result.reason_for_incompletion


def test_a_join_needs_the_history(world):
    schedule_joined(world, *both(world))
    result = world.attempt(world.poll(), read_history=None)
    assert result.status == "FAILED"
    assert "pass the store's read_history" in result.reason_for_incompletion
