"""The values that travel between the layers."""

from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from perago.errors import EngineError
from perago.values.history import CommitFacts, History, Stamp
from perago.values.models import (
    AttemptIdentity,
    Changes,
    RuntimeTaskResult,
    TaskExecution,
    WorkspaceInput,
    WorkspaceOutput,
)
from perago.values.record import InstanceRecord, TryRecord, TryStatus

REF = {"repository": "songs", "branch": "main", "ref": "a" * 40}


def stamp(**changes):
    values = {
        "task": "t", "workflow_instance_id": "wf", "reference_task_name": "r", "task_id": "1", "retry_count": 0,
        "scheduled_time": 1, "poll_count": 1, "execution_id": "e", "input_ref": "0", "params_digest": "p",
        "code_digest": "c", "result_digest": "r",
    }  # fmt: skip
    return Stamp(**{**values, **changes})


@pytest.mark.parametrize("spelling", ["refType", "ref_type"])
def test_the_reference_type_is_answered_in_the_spelling_that_came_in(spelling):
    workspace_input = WorkspaceInput.model_validate({**REF, spelling: "commit"})
    assert workspace_input.refType == workspace_input.ref_type == "commit"
    assert workspace_input.model_dump() == {**REF, spelling: "commit"}
    output = WorkspaceOutput.from_input(workspace_input, "b" * 40)
    assert workspace_input.published_output("b" * 40) == output
    assert output.model_dump() == {**REF, spelling: "commit", "ref": "b" * 40}


@pytest.mark.parametrize(
    "wrong",
    [
        {**REF},
        {**REF, "refType": "branch"},
        {**REF, "refType": "commit", "ref_type": "commit"},
        {**REF, "refType": "commit", "more": 1},
        {**REF, "refType": "commit", "branch": ""},
        {**REF, "refType": "commit", "repository": " \t"},
        {**REF, "refType": "commit", "ref": None},
    ],
)
def test_a_reference_that_is_not_whole_is_refused(wrong):
    with pytest.raises(ValidationError):
        WorkspaceInput.model_validate(wrong)


def test_a_reference_is_frozen():
    workspace_input = WorkspaceInput(refType="commit", **REF)
    with pytest.raises(ValidationError):
        workspace_input.branch = "other"


@pytest.mark.parametrize(
    ("status", "output", "reason"),
    [
        ("COMPLETED", None, None),
        ("COMPLETED", {}, "why"),
        ("FAILED", {}, "why"),
        ("FAILED", None, None),
        ("FAILED", None, ""),
        ("FAILED_WITH_TERMINAL_ERROR", {}, None),
        ("DONE", {}, None),
        ("COMPLETED", "text", None),
        ("COMPLETED", ["row"], None),
    ],
)
def test_a_result_of_mixed_shape_is_refused(status, output, reason):
    with pytest.raises(ValueError, match="result"):
        RuntimeTaskResult(status, output, reason)


@pytest.mark.parametrize("reason", [5, b"why", ValueError("why")])
def test_a_reason_that_is_no_string_is_a_type_error(reason):
    with pytest.raises(TypeError, match=type(reason).__name__):
        RuntimeTaskResult("FAILED", None, reason)


def test_results_of_either_shape():
    completed = RuntimeTaskResult("COMPLETED", output={"result": {}})
    assert completed.output == {"result": {}}
    assert completed.conductor_payload() == {"status": "COMPLETED", "output": {"result": {}}}
    failed = RuntimeTaskResult("FAILED", reason_for_incompletion="why")
    assert failed.output is None
    assert failed.conductor_payload() == {"status": "FAILED", "reasonForIncompletion": "why"}


def test_an_identity_is_read_from_any_object_that_has_the_four_attributes():
    bare = SimpleNamespace(status="IN_PROGRESS", workflow_instance_id="wf", task_id="t", retry_count=2)
    assert AttemptIdentity.of(bare) == AttemptIdentity(workflow_instance_id="wf", task_id="t", retry_count=2)
    bare.scheduled_time, bare.poll_count, bare.reference_task_name = 5, 1, "build"
    identity = AttemptIdentity.of(bare)
    assert (identity.scheduled_time, identity.poll_count, identity.reference_task_name) == (5, 1, "build")


def test_ids_that_are_no_texts_are_read_as_their_texts():
    numbered = SimpleNamespace(status="IN_PROGRESS", workflow_instance_id=4, task_id=7, retry_count=2)
    numbered.reference_task_name, numbered.task_def_name = 5, None
    identity = AttemptIdentity.of(numbered)
    assert (identity.workflow_instance_id, identity.task_id) == ("4", "7")
    assert (identity.reference_task_name, identity.task_def_name, identity.retry_count) == ("5", None, 2)


@pytest.mark.parametrize("name", ["workflow_instance_id", "task_id"])
def test_a_task_without_an_id_is_no_attempt(name):
    attempt = SimpleNamespace(status="IN_PROGRESS", workflow_instance_id="wf", task_id="t", retry_count=2)
    setattr(attempt, name, None)
    with pytest.raises(EngineError, match=f"has no {name}"):
        AttemptIdentity.of(attempt)


def test_an_execution_has_every_attribute_of_its_attempt():
    attempt = SimpleNamespace(status="IN_PROGRESS", workflow_instance_id="wf", task_id="t", retry_count=2, domain="eu")
    execution = TaskExecution(attempt=attempt, identity=AttemptIdentity.of(attempt), execution_id="e-1")
    for name, value in vars(attempt).items():
        assert getattr(execution, name) == value
    assert execution.execution_id == "e-1"
    with pytest.raises(AttributeError):
        _ = execution.unheard_of


def test_changes_are_true_when_there_are_any():
    assert not Changes()
    assert all([Changes(added=("a",)), Changes(modified=("a",)), Changes(deleted=("a",))])
    assert Changes(added=("a",), modified=("b",), deleted=("c",)).written == ("a", "b")


def test_changes_can_be_narrowed_to_paths_that_begin_alike():
    changes = Changes(added=("a/b", "b"), modified=("a/bc", "c"), deleted=("a/c", "d"))
    assert changes.beginning_with("a/b") == Changes(added=("a/b",), modified=("a/bc",))
    assert changes.beginning_with("") == changes
    assert not changes.beginning_with("e")


def test_a_stamp_counts_only_where_its_expected_head_is_the_first_parent():
    own = stamp(expected_head="p")
    assert CommitFacts("x", "p", own).counting_stamp is own
    assert CommitFacts("x", "q", own).counting_stamp is None
    assert CommitFacts("x", "p").counting_stamp is None


def test_a_seal_is_ours_and_empty_and_says_what_it_completes_with():
    seal = stamp(expected_head="p", completes="c")
    assert CommitFacts("x", "p", seal, empty=True).is_seal
    assert not CommitFacts("x", "p", seal, empty=False).is_seal
    assert not CommitFacts("x", "q", seal, empty=True).is_seal
    assert not CommitFacts("x", "p", stamp(expected_head="p"), empty=True).is_seal


def test_between_is_oldest_first_without_seals():
    person, seal = CommitFacts("1", "0"), CommitFacts("2", "1", stamp(expected_head="1", completes="1"), empty=True)
    history = History("3", "0", (CommitFacts("3", "2"), seal, person))
    assert [commit.id for commit in history.between] == ["1", "3"]


@pytest.mark.parametrize("output", [None, {}, {"workspace": None}, {"workspace": {"ref": 3}}, {"result": {}}])
def test_an_output_without_a_commit_has_no_ref(output):
    entry = TryRecord(
        task_id="1", reference_task_name="r", retry_count=0, scheduled_time=1, poll_count=1,
        status=TryStatus.COMPLETED, output=output,
    )  # fmt: skip
    assert entry.output_ref is None


def test_a_record_is_asked_by_task_and_by_name():
    first, second = (
        TryRecord(
            task_id=task_id, reference_task_name=name, retry_count=0, scheduled_time=1, poll_count=1,
            status=TryStatus.IN_PROGRESS,
        )
        for task_id, name in (("1", "a"), ("2", "b"))
    )  # fmt: skip
    record = InstanceRecord("wf", (first, second))
    assert record.find("2") is second
    assert record.find("3") is None
    assert record.of("a") == (first,)


def test_which_statuses_are_live_and_which_end_a_task_without_an_outcome():
    assert {status for status in TryStatus if status.is_live} == {"SCHEDULED", "IN_PROGRESS"}
    assert {status for status in TryStatus if status.ends_task} == {"COMPLETED_WITH_ERRORS", "SKIPPED"}
