"""What is shown of a workflow that is followed on a server, look by look."""

from __future__ import annotations

from dataclasses import replace

from conductor_tasks import conductor_task
from perago.cli.run.follow import _Shown
from perago.engines.conductor import ConductorWorkflow
from perago.running.view import LineView

RUNNING = ConductorWorkflow.of({"workflowId": "w-1", "workflowName": "root", "status": "RUNNING"})


def test_tasks_that_end_with_their_sub_workflow_between_two_looks_have_completed():
    lines: list[str] = []
    shown = _Shown(LineView(lines.append))
    paths = ("around", "around/inner", "around/inner/last", "behind")
    for status in ("IN_PROGRESS", "COMPLETED"):
        shown.take(
            replace(RUNNING, tasks=tuple(conductor_task(number, path, status) for number, path in enumerate(paths)))
        )
    assert lines[len(paths) :] == [
        "around/inner/last: COMPLETED in 1.0 s",
        "around/inner: COMPLETED in 1.0 s",
        "around: COMPLETED in 1.0 s",
        "behind: COMPLETED in 1.0 s",
    ]
