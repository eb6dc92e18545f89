"""What a body's `TaskContext` tells it, takes from it, and passes on."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from perago import TaskCancelledError, TaskContext
from perago.values.models import AttemptIdentity
from servers.machine import slowness

IDENTITY = AttemptIdentity(
    workflow_instance_id="wf",
    task_id="t-1",
    retry_count=2,
    reference_task_name="ref",
    task_def_name="features.build",
    scheduled_time=1_700_000_000_000,
    poll_count=3,
    seq=4,
    iteration=5,
)


@pytest.fixture
def told():
    return []


@pytest.fixture
def context(told):
    def keep(done, total, message):
        told.append((done, total, message))

    return TaskContext(identity=IDENTITY, execution_id="x-1", task_name="features.build").reporting_to(keep)


def test_a_context_says_who_the_attempt_is(context):
    assert context.identity == IDENTITY
    assert (context.execution_id, context.task_name) == ("x-1", "features.build")
    for name in (
        "workflow_instance_id", "task_id", "retry_count", "reference_task_name", "scheduled_time", "poll_count", "seq",
        "iteration",
    ):  # fmt: skip
        assert getattr(context, name) == getattr(IDENTITY, name)


def test_a_context_cannot_be_changed(context):
    with pytest.raises(AttributeError):
        context.execution_id = "other"


def test_a_body_can_be_called_in_a_test():
    context = TaskContext.for_test("features.build")
    context.progress(1, 2, "files")
    context.raise_if_cancelled()
    assert not context.cancelled
    assert context.task_name == "features.build"
    assert context.retry_count == 0


# ---------------------------------------------------------------- progress


def test_progress_is_passed_on(context, told):
    context.progress(0)
    context.progress(1, 10)
    context.progress(2.5, 10, "files")
    context.progress(12, 10)
    assert told == [(0, None, None), (1, 10, None), (2.5, 10, "files"), (12, 10, None)]


@pytest.mark.parametrize(
    ("done", "total", "what"),
    [
        (-1, None, "done"), (1, -1, "total"), (float("nan"), None, "done"), (1, float("inf"), "total"),
        ("1", None, "done"), (None, None, "done"), (True, None, "done"),
    ],
)  # fmt: skip
def test_progress_that_is_no_amount_is_refused(context, told, done, total, what):
    with pytest.raises(ValueError, match=f"progress: {what} must be a finite number of at least 0"):
        context.progress(done, total)
    assert told == []


# ---------------------------------------------------------------- cancelling


def test_a_context_asks_each_time_whether_it_is_cancelled():
    answers = iter([False, True, True])
    context = TaskContext.for_test("features.build", is_cancelled=lambda: next(answers))
    assert not context.cancelled
    assert context.cancelled
    with pytest.raises(TaskCancelledError, match=r"'features\.build': cancelled"):
        context.raise_if_cancelled()


# ---------------------------------------------------------------- logging


def test_a_log_line_has_the_event_and_its_fields(context, caplog):
    with caplog.at_level(logging.INFO):
        context.logger.info("read", rows=3, path="a b")
    (record,) = caplog.records
    assert record.name == "perago.task.features.build"
    assert record.levelno == logging.INFO
    assert record.getMessage() == "read rows=3 path='a b'"
    assert (record.event, record.fields) == ("read", {"rows": 3, "path": "a b"})
    assert record.attempt == {
        "task": "features.build", "workflow_instance_id": "wf", "reference_task_name": "ref", "task_id": "t-1",
        "retry_count": 2, "execution_id": "x-1",
    }  # fmt: skip


def test_a_log_line_names_the_line_that_logs(context, caplog):
    with caplog.at_level(logging.INFO):
        context.logger.warning("here")
        context.logger.bind(more=1).info("here")
    assert {record.pathname for record in caplog.records} == {__file__}
    assert {record.funcName for record in caplog.records} == {test_a_log_line_names_the_line_that_logs.__name__}


def test_fields_can_be_bound_and_have_any_name(context, caplog):
    with caplog.at_level(logging.INFO):
        context.logger.bind(fold=1).info("read", name="x", message="y", args=2, level="z", attempt=7)
    (record,) = caplog.records
    assert record.fields == {"fold": 1, "name": "x", "message": "y", "args": 2, "level": "z", "attempt": 7}
    assert record.attempt["task_id"] == "t-1"


def test_percent_signs_and_arguments_are_those_of_the_standard_library(context, caplog):
    with caplog.at_level(logging.INFO):
        context.logger.info("100% of %d")
        context.logger.info("%d of %s", 3, "all")
    assert [record.getMessage() for record in caplog.records] == ["100% of %d", "3 of all"]


def test_a_traceback_comes_with_the_record(context, caplog):
    with caplog.at_level(logging.INFO):
        try:
            raise LookupError("gone")
        except LookupError:
            context.logger.exception("failed")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is LookupError


def test_secrets_in_fields_and_addresses_are_masked(context, caplog):
    with caplog.at_level(logging.INFO):
        context.logger.info("get https://me:hunter2@host/", api_key="hunter2", nested={"password": "hunter2"}, n=1)
    (record,) = caplog.records
    assert "hunter2" not in repr(vars(record))
    assert record.fields["n"] == 1


def test_a_level_that_is_off_costs_no_record(context, caplog):
    with caplog.at_level(logging.WARNING):
        context.logger.info("nobody asked")
    assert caplog.records == []


def test_nothing_is_printed_where_no_logging_is_configured():
    program = (
        "from perago import TaskContext\n"
        "TaskContext.for_test().logger.warning('careful', rows=3)\n"
        "TaskContext.for_test().logger.error('worse')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60 * slowness()
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_a_context_that_logs_nothing_loads_no_logging_library():
    program = (
        "import sys; from perago import TaskContext; context = TaskContext.for_test(); context.progress(1)\n"
        "assert 'structlog' not in sys.modules; context.logger; assert 'structlog' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60 * slowness())
