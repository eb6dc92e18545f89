"""From phases to measurements, without any metrics library."""

from __future__ import annotations

from collections import Counter

import pytest

from perago.telemetry.facts import ALL_GROUPS, Execution, Outcome, PhaseFact
from perago.telemetry.measures import AttemptMeasures, error_type

ABOUT = {
    "task": "t",
    "workflow_instance_id": "w",
    "reference_task_name": "r",
    "task_id": "1",
    "retry_count": 0,
    "execution_id": "e",
}


def totals(*facts, outcome=Outcome.COMPLETED, groups=ALL_GROUPS):
    """Sum of the values by (name, attributes besides the task's)."""
    measures = AttemptMeasures(Execution(**ABOUT, groups=groups))
    found = [*measures.begin(), *(each for fact in facts for each in measures.take(fact)), *measures.end(outcome, 7)]
    assert all(each.attributes["perago.task.name"] == "t" for each in found if each.instrument.attributes)
    sums = Counter()
    for each in found:
        about = tuple(text for name, text in sorted(each.attributes.items()) if name != "perago.task.name")
        sums[each.instrument.name.removeprefix("perago."), about] += each.value
    return sums


def done(phase, seconds=1.0, **attributes):
    return PhaseFact(phase=phase, kind="completed", seconds=seconds, attributes=attributes)


def failed(phase, error, **attributes):
    return PhaseFact(phase=phase, kind="failed", seconds=1.0, error_type=error, attributes=attributes)


def lost(phase):
    return PhaseFact(phase=phase, kind="lost", seconds=1.0, error_type="HeadMovedError")


def progress(phase, **attributes):
    return PhaseFact(phase=phase, kind="progress", attributes=attributes)


def test_an_attempt_has_a_duration_and_is_active_meanwhile():
    found = totals(done("body", 2.5))
    assert found["attempt.duration", ("completed",)] == 7
    assert found["attempt.phase.duration", ("body",)] == 2.5
    assert found["attempt.active", ()] == 0


def test_bytes_and_files_are_those_that_the_store_told_last():
    found = totals(
        progress("materialize", files=1, bytes=10),
        progress("materialize", files=3, bytes=50, cache_hits=2),
        done("materialize", files=9, bytes=900),
        progress("stage", files=1, bytes=5),
        failed("stage", "StoreError"),
    )
    assert found["workspace.io", ("download",)] == 50
    assert found["workspace.files", ("download",)] == 3
    assert found["workspace.io", ("upload",)] == 5
    assert found["cache.lookups", ("hit",)] == 2
    assert found["cache.lookups", ("miss",)] == 1


def test_transfers_have_a_duration_of_their_own_failed_ones_too():
    facts = [done("materialize", 2.5), done("body", 9.0), done("stage", 3.5), failed("stage", "StoreError")]
    found = totals(*facts, groups=frozenset({"workspace_io"}))
    assert found["workspace.duration", ("download",)] == 2.5
    assert found["workspace.duration", ("upload",)] == 3.5
    assert found["workspace.duration", ("StoreError", "upload")] == 1.0
    assert not any(name == "attempt.phase.duration" for name, _ in found)
    others = totals(*facts, groups=ALL_GROUPS - {"workspace_io"})
    assert not any(name.startswith("workspace.") for name, _ in others)


@pytest.mark.parametrize("how", ["published", "merged", "replaced", "adopted", "unchanged"])
def test_a_publication_is_counted_once_by_how_it_came_about(how):
    facts = [done("decide", plan="run", how=None), done("decide", how="published"), done("decide", how=how)]
    assert totals(*facts)["publications", (how,)] == 1
    assert not any(name == "publications" for name, _ in totals(*facts, outcome=Outcome.FAILED))


def test_refusals_lost_swaps_and_lost_leases_are_told_apart():
    found = totals(
        lost("publish"),
        failed("fence", "StaleAttemptError"),
        failed("decide", "PublishFenceError"),
        outcome=Outcome.CANCELLED,
    )
    assert found["swap.losses", ()] == 1
    assert found["attempt.phase.duration", ("publish",)] == 1  # without an error.type
    assert found["fence.refusals", ("attempt",)] == 1
    assert found["fence.refusals", ("publish",)] == 1
    assert found["lease.losses", ()] == 1


def test_posts_after_the_first_are_retries():
    assert totals(done("report", posts=3))["report.retries", ()] == 2
    assert totals(done("report", posts=1))["report.retries", ()] == 0


def test_a_task_that_wants_none_has_none():
    found = totals(done("body"), progress("stage", files=1, bytes=1), done("stage"), groups=frozenset())
    assert not found


def test_the_classes_of_errors_stay_few():
    assert error_type("PublishFenceError") == "PublishFenceError"
    assert error_type("SomebodysError") == error_type(None) == error_type("enum") == "_OTHER"
