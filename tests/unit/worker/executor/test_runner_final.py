"""Which failures a worker reports as final, class by class, and which inputs may be better at the next try."""

from __future__ import annotations

import pytest

from perago import errors
from perago.attempt.output import status_for_exception
from perago.engines.conductor.failure import ConductorAccessError, ConductorError, ConductorNotFoundError
from perago.stores.lakefs.api.answers import DamagedObjectError, LakeFSAccessError, LakeFSError
from perago.stores.lakefs.publication.draft import ProtectedBranchError
from perago.values.models import AttemptIdentity
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from perago.worker.executor.runner import is_final, is_made_amid_retries, status_to_report

FINAL = {
    errors.TaskDefinitionError,
    errors.WorkflowDefinitionError,
    errors.TaskInputError,
    errors.TaskTerminalError,
    errors.PreGuardrailViolation,
    errors.PublishFenceError,
    errors.WorkspaceError,
    errors.ObjectNameError,
    errors.WorkspaceContentError,
    errors.RepositoryNotFoundError,
    errors.BranchNotFoundError,
    errors.RefNotFoundError,
    errors.PrefixNotFoundError,
    errors.PublishVetoedError,
    errors.FenceUnavailableError,
    errors.RunNotFoundError,
    errors.RunBusyError,
    errors.WorkflowStateError,
    ProtectedBranchError,
}
NOT_FINAL = {
    errors.PeragoError,
    errors.RuntimeConfigError,
    errors.TaskExecutionError,
    errors.TaskFailed,
    errors.TaskCancelledError,
    errors.TaskTimeoutError,
    errors.GuardrailViolation,
    errors.PostGuardrailViolation,
    errors.StaleAttemptError,
    errors.UnsettledFenceError,
    errors.HeadMovedError,
    errors.WorkspaceStorageError,
    errors.StoreError,
    errors.SourceGoneError,
    errors.DirtyBranchError,
    errors.EngineError,
    errors.EngineUnavailableError,
    errors.TaskNotFoundError,
    errors.InternalError,
    LakeFSError,
    LakeFSAccessError,
    DamagedObjectError,
    ConductorError,
    ConductorAccessError,
    ConductorNotFoundError,
}


def test_every_class_of_errors_is_in_the_table():
    ours = {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.PeragoError)
    }
    assert ours <= FINAL | NOT_FINAL
    assert not FINAL & NOT_FINAL


@pytest.mark.parametrize("kind", sorted(FINAL | NOT_FINAL, key=lambda kind: kind.__name__))
def test_a_class_of_errors_is_final_or_not(kind):
    error = kind.__new__(kind)
    assert is_final(error) is (kind in FINAL)
    if status_for_exception(error) == "FAILED_WITH_TERMINAL_ERROR":
        assert is_final(error), "what the seed's functions say is final is final"


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(1), ExceptionGroup("g", [errors.TaskInputError()])])
def test_what_is_not_peragos_is_not_final(error):
    assert not is_final(error)


# ---------------------------------------------------------------- inputs

IDENTITY = AttemptIdentity(
    workflow_instance_id="w", task_id="t", retry_count=0, reference_task_name="mine", scheduled_time=100
)


def entry(task_id, name, status, ended=None):
    return TryRecord(
        task_id=task_id,
        reference_task_name=name,
        retry_count=0,
        scheduled_time=1,
        poll_count=1,
        status=TryStatus(status),
        ended_time=ended,
    )


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        ([], False),
        ([("before", "COMPLETED", 50)], False),
        ([("before", "FAILED", 50), ("before", "COMPLETED", 60)], False),
        ([("before", "COMPLETED", 50), ("before", "SCHEDULED", None)], True),
        ([("before", "COMPLETED", 50), ("before", "IN_PROGRESS", None)], True),
        ([("before", "TIMED_OUT", 50), ("before", "COMPLETED", 150)], True),
        ([("beside", "IN_PROGRESS", None)], False),
        ([("mine", "FAILED", 50), ("mine", "IN_PROGRESS", None)], False),
    ],
)
def test_an_input_made_while_another_task_was_tried_again_may_be_better(tries, expected):
    record = InstanceRecord("w", tuple(entry(str(number), *one) for number, one in enumerate(tries)))
    assert is_made_amid_retries(record, IDENTITY) is expected
    status = status_to_report(errors.TaskInputError("x"), IDENTITY, lambda attempt: record)
    assert status == ("FAILED" if expected else "FAILED_WITH_TERMINAL_ERROR")
    assert status_to_report(errors.RefNotFoundError("x"), IDENTITY, None) == "FAILED_WITH_TERMINAL_ERROR"


def test_where_the_engine_does_not_say_a_wrong_input_is_tried_again():
    def load_record(attempt):
        raise errors.EngineError("away")

    assert status_to_report(errors.TaskInputError("x"), IDENTITY, load_record) == "FAILED"
