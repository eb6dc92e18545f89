"""Facts of an attempt as lineage: names, and one event for each kind of end."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from perago.telemetry.facts import Execution, Outcome, PhaseFact, WorkflowFact
from perago.telemetry.lineage import (
    AttemptLineage,
    WorkflowRun,
    declared_directory,
    directory_of,
    run_id_of,
    workflow_event,
)
from perago.values.stores import DatasetSource

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
INPUT, PUBLISHED, EARLIER = "a" * 40, "b" * 40, "c" * 40
GUARDS = {
    "pre": [{"name": "require_file('raw/p.csv')", "kind": "require_file"}],
    "post": [
        {"name": "require_glob('clean/*.csv')", "kind": "require_glob"},
        {"name": "is_sound", "kind": "function"},
    ],
}
SELECTION = {"include": ["raw/**"], "outputs": ["clean/**", "reports/*.md"]}


def execution(**given) -> Execution:
    named = {
        "workflow": "nightly",
        "is_whole": True,
        "reference_task_name": "clean_it",
        "retry_count": 0,
        "execution_id": "e",
        **given,
    }
    return Execution(task="clean", workflow_instance_id="run-1", task_id="run-1-1", **named)


def lineage(**given) -> AttemptLineage:
    return AttemptLineage(execution(**given), lambda name: DatasetSource(f"lakefs://{name}", "http://l"), lambda: NOW)


def reads(**given):
    told = {
        "repository": "birds",
        "branch": "main",
        "ref": INPUT,
        "selection": SELECTION,
        "guards": GUARDS,
        "read_only": False,
        **given,
    }
    return done("parse", reads=told)


def done(phase: str, **attributes) -> PhaseFact:
    return PhaseFact(phase=phase, kind="completed", attributes=attributes)


def failed(phase: str, error_type: str, error: str) -> PhaseFact:
    return PhaseFact(phase=phase, kind="failed", error_type=error_type, error=error)


def changed(*directories: str, added: int = 2):
    return done("diff", added=added, modified=0, deleted=0, directories=list(directories))


def events(*facts: PhaseFact, outcome=Outcome.COMPLETED, reason=None, **given):
    """All events of an attempt with these facts."""
    attempt = lineage(**given)
    told = [event for fact in facts if (event := attempt.take(fact)) is not None]
    return [*told, *attempt.end(outcome, reason)]


def places(datasets) -> list[tuple[str, str]]:
    return [(dataset.name, dataset.version) for dataset in datasets]


@pytest.mark.parametrize(
    ("pattern", "directory"),
    [
        ("raw/**", "raw"),
        ("clean/*.csv", "clean"),
        ("raw/2026/p.csv", "raw/2026"),
        ("p.csv", ""),
        ("**/*.csv", ""),
        ("a/*/b/c.csv", "a"),
        ("a/b[12]/c.csv", "a"),
        ("a/b?/c.csv", "a"),
    ],
)
def test_a_data_set_is_the_directory_before_the_first_wildcard(pattern, directory):
    assert directory_of(pattern) == directory


def test_a_changed_file_belongs_to_the_innermost_declared_directory():
    assert declared_directory("clean/eu/x", ["clean", "clean/eu", ""]) == "clean/eu"
    assert declared_directory("cleaner", ["clean"]) == "cleaner"
    assert declared_directory("clean", [""]) == "clean"
    assert declared_directory("", ["clean"]) == ""


def test_a_run_has_the_same_id_wherever_it_is_told_from():
    assert run_id_of("w", "t", 0) == run_id_of("w", "t", 0) == "48a01286-6b8a-5d2d-b020-2300176cfd28"
    assert len({run_id_of("w", "t", 0), run_id_of("w", "t", 1), run_id_of("w", "u", 0), run_id_of("v", "t", 0)}) == 4
    instance = "6a1f2ef0-9a7c-4a52-8c39-5d4a4c0f3f11"
    assert run_id_of(instance) == instance
    assert UUID(run_id_of("20261129-120000-abcdef")).version == 5


def test_a_delivery_of_the_same_try_is_the_same_run_and_a_retry_is_another():
    first, again, retry = (
        events(reads(), execution_id=name, retry_count=count)[0].run_id
        for name, count in (("one", 0), ("two", 0), ("three", 1))
    )
    assert first == again != retry


def test_a_publication_is_a_run_from_input_to_output():
    start, end = events(
        reads(),
        done("materialize", files=3, bytes=120),
        done("pre_guards"),
        done("body"),
        done("post_guards"),
        changed("clean"),
        done("decide", plan="publish", how="published"),
        done("publish", ref=PUBLISHED),
    )
    assert (start.state, end.state) == ("START", "COMPLETE")
    assert start.run_id == end.run_id
    assert (start.job, start.parent.run.job, start.parent.root) == ("nightly.clean_it", "nightly", start.parent.run)
    assert places(start.inputs) == [("main/raw", INPUT)]
    assert start.outputs == ()
    assert places(end.inputs) == [("main/raw", INPUT)]
    assert (end.inputs[0].files, end.inputs[0].bytes) == (3, 120)
    assert places(end.outputs) == [("main/clean", PUBLISHED)]
    assert (end.outputs[0].patterns, end.outputs[0].files) == (("clean/**",), 2)
    assert end.inputs[0].source.namespace == "lakefs://birds"
    assert [guard.status for guard in end.guards] == ["pass", "pass", "pass"]
    assert (end.about["how"], end.about["outcome"], end.reason) == ("published", "completed", None)


def test_the_outermost_workflow_is_told_once_it_is_known():
    decided = done("decide", plan="publish", how="published", root="run-0", root_workflow="weekly")
    start, end = events(reads(), decided, is_whole=False)
    assert (start.parent.root, end.parent.root) == (None, WorkflowRun(run_id_of("run-0"), "weekly"))
    assert start.parent.run == end.parent.run == WorkflowRun(run_id_of("run-1"), "nightly")


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (None, "START", None),
        (Outcome.COMPLETED, "COMPLETE", None),
        (Outcome.FAILED, "FAIL", "task 'clean' is FAILED"),
        (Outcome.CANCELLED, "ABORT", "cancelled"),
    ],
)
def test_a_workflow_run_has_events_of_its_own_and_is_the_parent_of_its_tasks(outcome, state, reason):
    told = reason if outcome is Outcome.FAILED else None
    event = workflow_event(WorkflowFact(workflow="nightly", run_id="run-1", outcome=outcome, reason=told), NOW)
    assert (event.state, event.job, event.reason, event.time) == (state, "nightly", reason, NOW)
    (start, *_) = events(reads())
    assert start.parent.run == WorkflowRun(event.run_id, event.job)


def test_a_prefix_is_part_of_names_and_patterns():
    selection = {"prefix": "team", "include": ["raw/*.csv"], "exclude": ["raw/old.csv"]}
    _, end = events(
        reads(selection=selection),
        changed("", "made/x"),
        done("decide", plan="merge", how="merged"),
        done("publish", ref=PUBLISHED),
    )
    assert places(end.inputs) == [("main/team/raw", INPUT)]
    assert end.inputs[0].patterns == ("team/raw/*.csv",)
    assert places(end.outputs) == [("main/team", PUBLISHED), ("main/team/made/x", PUBLISHED)]
    assert end.about["exclude"] == ["raw/old.csv"]


def test_a_task_that_declares_nothing_reads_the_branch_and_writes_where_it_wrote():
    _, end = events(
        reads(selection={}),
        changed("clean"),
        done("decide", plan="publish", how="published"),
        done("publish", ref=PUBLISHED),
    )
    assert places(end.inputs) == [("main", INPUT)]
    assert places(end.outputs) == [("main/clean", PUBLISHED)]
    assert end.outputs[0].patterns == ()


@pytest.mark.parametrize(
    "facts",
    [
        [changed(added=0), done("decide", plan="complete", how="unchanged", completes=INPUT)],
        [
            changed(added=0),
            done("decide", plan="seal", how="unchanged", completes=INPUT),
            done("publish", ref=PUBLISHED),
        ],
        [changed(added=0), done("decide", plan="complete", how="cached", completes=INPUT, cached_from=EARLIER)],
        [done("decide", how="cached", cached_from=EARLIER)],
    ],
    ids=["no-op", "sealed no-op", "cached, there already", "cached, read only"],
)
def test_an_attempt_that_changed_nothing_has_no_output(facts):
    read_only = "diff" not in {fact.phase for fact in facts}
    _, end = events(reads(read_only=read_only), *facts)
    assert (end.state, end.outputs) == ("COMPLETE", ())
    assert end.about["how"] in ("unchanged", "cached")


def test_a_cached_result_names_the_commit_that_it_was_taken_from():
    _, end = events(
        reads(),
        done("decide", cache="hit", cached_from=EARLIER),
        changed("clean", "reports"),
        done("decide", plan="publish", how="cached"),
        done("publish", ref=PUBLISHED),
    )
    assert places(end.outputs) == [("main/clean", PUBLISHED), ("main/reports", PUBLISHED)]
    assert (end.about["how"], end.about["cachedFrom"]) == ("cached", EARLIER)
    assert [guard.status for guard in end.guards] == ["skip", "skip", "skip"]


def test_an_adopted_commit_is_the_output_although_a_seal_was_published():
    _, end = events(
        reads(), done("decide", plan="seal", how="adopted", completes=EARLIER), done("publish", ref=PUBLISHED)
    )
    assert places(end.outputs) == [("main/clean", EARLIER), ("main/reports", EARLIER)]


def test_after_a_lost_swap_the_last_decision_counts():
    _, end = events(
        reads(),
        changed("clean"),
        done("decide", plan="publish", how="published"),
        PhaseFact(phase="publish", kind="lost", error_type="HeadMovedError"),
        done("decide", plan="merge", how="merged"),
        done("publish", ref=PUBLISHED),
    )
    assert (places(end.outputs), end.about["how"]) == ([("main/clean", PUBLISHED)], "merged")
    assert "error" not in end.about


def test_a_refused_publication_fails_without_output():
    _, end = events(
        reads(),
        changed("clean"),
        failed("decide", "PublishFenceError", "Not published: others"),
        outcome=Outcome.FAILED,
        reason="Not published: others",
    )
    assert (end.state, end.outputs, end.reason) == ("FAIL", (), "Not published: others")
    assert (end.about["error"], "how" in end.about) == ("PublishFenceError", False)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.CANCELLED, "ABORT"),
        (Outcome.GIVEN_BACK, "OTHER"),
        (Outcome.FAILED_WITH_TERMINAL_ERROR, "FAIL"),
    ],
)
def test_an_end_that_is_no_completion(outcome, state):
    _, end = events(reads(), outcome=outcome)
    assert (end.state, end.reason, end.about["outcome"]) == (state, outcome.value, outcome.value)


def test_guards_that_do_not_hold_are_told_one_by_one():
    fault = "1 of 2 post guards did not hold: require_glob('clean/*.csv') matched nothing"
    _, end = events(
        reads(), done("pre_guards"), failed("post_guards", "PostGuardrailViolation", fault), outcome=Outcome.FAILED
    )
    assert [guard.status for guard in end.guards] == ["pass", "fail", "skip"]
    raised = "1 of 2 post guards did not hold: is_sound raised ValueError: odd"
    _, end = events(
        reads(), done("pre_guards"), failed("post_guards", "PostGuardrailViolation", raised), outcome=Outcome.FAILED
    )
    assert [guard.status for guard in end.guards] == ["pass", "pass", "fail"]
    _, end = events(
        reads(), failed("pre_guards", "TaskCancelledError", "cancelled"), outcome=Outcome.CANCELLED, reason="cancelled"
    )
    assert [guard.status for guard in end.guards] == ["skip", "skip", "skip"]


def test_an_attempt_that_dies_before_it_knows_its_input_has_both_events():
    start, end = events(outcome=Outcome.FAILED, reason="its executor died")
    assert (start.state, end.state) == ("START", "FAIL")
    assert (start.inputs, end.inputs, end.guards) == ((), (), ())
    start, end = events(failed("parse", "TaskInputError", "params"), outcome=Outcome.FAILED, reason="params")
    assert (start.state, end.state, end.about["error"]) == ("START", "FAIL", "TaskInputError")


def test_a_task_alone_has_no_parent():
    start, _ = events(workflow=None)
    assert (start.job, start.parent) == ("clean", None)


def test_the_end_of_a_transactional_run_leads_from_its_branch_to_the_target():
    start, end = events(
        done("parse"),
        done("parse", reads=reads(branch="perago-run-1", selection={}).attributes["reads"], target="main"),
        changed("clean"),
        done("decide", plan="publish", how="published"),
        done("publish", ref=PUBLISHED),
    )
    assert start.inputs == ()
    assert places(end.inputs) == [("perago-run-1", INPUT)]
    assert places(end.outputs) == [("main/clean", PUBLISHED)]


def test_secrets_are_masked_in_names_and_reasons():
    told = reads(branch="main", selection={"include": ["raw/https://someone:hunter22@host/x"]})
    _, end = events(told, outcome=Outcome.FAILED, reason="could not read https://someone:hunter22@host/x")
    assert "hunter22" not in repr(end)
