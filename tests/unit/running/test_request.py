"""Which command goes on after a run that failed, by what failed it."""

import pytest

from perago.engines.local import LocalRun, WorkflowRun
from perago.errors import (
    PreGuardrailViolation,
    PublishFenceError,
    StaleAttemptError,
    TaskFailed,
    TaskInputError,
    TaskTerminalError,
    UnsettledFenceError,
)
from perago.running.request import resume_options

TASK, WORKFLOW = object.__new__(LocalRun), object.__new__(WorkflowRun)
RESUME, ONTO_HEAD = (), ("--onto-head",)


@pytest.mark.parametrize(
    ("error", "task", "workflow"),
    [
        (None, RESUME, RESUME),
        (TaskFailed("a"), RESUME, RESUME),
        (TaskInputError("a bad param"), None, None),
        (PreGuardrailViolation("a"), None, None),
        (TaskTerminalError("a"), None, RESUME),
        (StaleAttemptError("a"), None, RESUME),
        (UnsettledFenceError("a"), None, RESUME),
        (PublishFenceError("a"), ONTO_HEAD, ONTO_HEAD),
    ],
)
def test_a_run_is_resumed_unless_it_would_fail_again(error, task, workflow):
    assert resume_options(TASK, error) == task
    assert resume_options(WORKFLOW, error) == workflow
