"""Whether a failure is final: what a worker tells the engine, so that no retry is made that cannot help."""

from __future__ import annotations

from perago.attempt.output import status_for_exception
from perago.errors import EngineError, PeragoError, TaskInputError
from perago.models import Attempt, AttemptIdentity, ResultStatus
from perago.ports import LoadRecord
from perago.record import InstanceRecord


def status_to_report(exc: BaseException, attempt: Attempt, load_record: LoadRecord) -> ResultStatus:
    """FAILED_WITH_TERMINAL_ERROR where no retry can help, on no worker; else FAILED, which the engine retries.

    Args:
        load_record: the engine's; asked about an input that is wrong.
    """
    if is_final(exc) and not (isinstance(exc, TaskInputError) and _may_be_made_better(attempt, load_record)):
        return "FAILED_WITH_TERMINAL_ERROR"
    return "FAILED"


def is_final(exc: BaseException) -> bool:
    """Whether no retry can help, going by the error's class."""
    if isinstance(exc, PeragoError) and not exc.retry_can_help:
        return not exc.retry_elsewhere_can_help
    return status_for_exception(exc) == "FAILED_WITH_TERMINAL_ERROR"


def is_made_amid_retries(record: InstanceRecord, identity: AttemptIdentity) -> bool:
    """Whether another task of the workflow was being tried again when this one's input was made, or since.

    An engine makes a try's input of the newest tries of other tasks. One that is still under way has no output, so that
    what the input takes from there is missing. Conductor gets there where a task's timeout and its result race: the
    task is COMPLETED, and has a retry all the same.
    """
    made = identity.scheduled_time or 0
    others = [entry for entry in record.tries if entry.reference_task_name != identity.reference_task_name]
    late = [entry for entry in others if entry.status.is_live or (entry.ended_time or 0) >= made]
    return any(len(record.of(entry.reference_task_name)) > 1 for entry in late)


def _may_be_made_better(attempt: Attempt, load_record: LoadRecord) -> bool:
    """Whether the next try's input, which is made anew, may be another; yes where the engine does not say."""
    try:
        return is_made_amid_retries(load_record(attempt), AttemptIdentity.of(attempt))
    except EngineError:
        return True
