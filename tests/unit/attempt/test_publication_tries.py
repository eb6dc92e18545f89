"""Tries of one task that are live at once, or after another completed: a rerun hands out again what had failed."""

import pytest

from attempt_world import World, nothing, ref_of, said_of, say, with_params
from perago.attempt import stamp as stamps
from perago.values.models import RuntimeTaskResult

FAILED = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck")


@pytest.fixture(params=["serializable", "snapshot"])
def world(request, tmp_path):
    return World(tmp_path / "root", isolation=request.param)


def poll(world, name):
    attempt = world.engine.poll(reference_task_name=name)
    assert attempt is not None
    return attempt


def fail(world, name):
    world.engine.report_result(poll(world, name), FAILED)


@pytest.fixture
def two(world):
    """The first and the second try of `left`, both handed out: a rerun of `right` has removed the third."""
    world.schedule("left")
    world.schedule("right")
    for name in ("left", "right", "left"):
        fail(world, name)
    right = poll(world, "right")
    world.engine.terminate()
    world.engine.rerun(right.task_id)
    first, second = poll(world, "left"), poll(world, "left")
    assert (first.retry_count, second.retry_count) == (0, 1)
    return first, second


@pytest.mark.parametrize("turn", [1, -1])
def test_what_one_of_them_published_the_other_adopts(world, two, turn):
    one, other = two[::turn]
    published = ref_of(world.attempt(one, report=False))
    world.result = "another time"
    adopted = world.attempt(other)
    assert (ref_of(adopted), said_of(adopted), world.runs) == (published, "hello", 1)
    seal, *line = world.line
    assert line == [published, world.input_ref]
    assert world.store.stamp_of(seal).completes == published


@pytest.mark.parametrize("turn", [1, -1])
def test_what_cannot_be_adopted_of_one_the_other_does_not_replace(world, two, turn):
    """It may be about to be reported."""
    one, other = two[::turn]
    published = ref_of(world.attempt(one, report=False))
    refused = world.attempt(with_params(other, text="other"))
    assert refused.status == "FAILED"
    assert published[:12] in refused.reason_for_incompletion
    assert (world.runs, world.line) == (1, [published, world.input_ref])
    assert "isolation=" not in refused.reason_for_incompletion  # none would help


def test_what_one_published_that_has_failed_meanwhile_is_replaced(world, two):
    one, other = two
    left = ref_of(world.attempt(one, report=False))
    world.engine.report_result(one, FAILED)
    replaced = world.attempt(with_params(other, text="other"))
    assert world.line == [ref_of(replaced), left, world.input_ref]
    assert world.files["out.txt"] == b"other"


@pytest.mark.parametrize("turn", [1, -1])
def test_what_completed_since_a_try_was_scheduled_counts_whatever_its_code(world, two, turn, monkeypatch):
    """Nobody has asked for this try anew: it failed before, and is handed out over a sibling's rerun."""
    one, other = two[::turn]
    completed = world.attempt(one)
    monkeypatch.setattr(stamps, "code_digest", lambda task: "sha256:of another release")
    same = world.attempt(other)
    assert (same.status, ref_of(same), world.runs) == ("COMPLETED", ref_of(completed), 1)
    assert world.line == [ref_of(completed), world.input_ref]


def test_a_no_op_beside_another_try_is_sealed(world):
    """It was cancelled before anybody had it, and is no retry; but its retry may be about to publish."""
    world.schedule("left")
    world.schedule("right")
    poll(world, "right")
    world.engine.terminate()
    world.engine.retry_workflow()
    right = poll(world, "right")
    world.engine.terminate()
    world.engine.rerun(right.task_id)
    first = poll(world, "left")
    assert (first.retry_count, first.poll_count) == (0, 1)
    world.body = nothing
    assert ref_of(world.attempt(first)) == world.input_ref
    assert world.store.stamp_of(world.head).completes == world.input_ref


def test_what_its_own_task_has_replaced_is_no_sibling_s_to_keep(tmp_path):
    """The first try is live again, but its commit is not its task's newest: nobody can adopt it any more."""
    world = World(tmp_path / "root", isolation="snapshot")
    world.schedule("left")
    world.schedule("right")
    first, right = poll(world, "left"), poll(world, "right")
    world.attempt(first, report=False)
    world.engine.report_result(first, FAILED)
    world.attempt(with_params(poll(world, "left"), text="other"), report=False)
    world.engine.terminate()
    world.engine.rerun(right.task_id)
    world.body = lambda workspace, params: (workspace / "right.txt").write_text("right")
    world.attempt(poll(world, "right"))
    assert world.files == {"in.txt": b"input", "right.txt": b"right"}
    world.body = say
    again = world.attempt(with_params(poll(world, "left"), text="third"))
    assert again.status == "COMPLETED", again.reason_for_incompletion
    assert world.files == {"in.txt": b"input", "right.txt": b"right", "out.txt": b"third"}
