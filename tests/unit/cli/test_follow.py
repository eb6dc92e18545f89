"""What is shown of a workflow that is followed on a server, look by look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conductor_tasks import conductor_task
from perago.cli.run.follow import _Shown, follow
from perago.engines.conductor import ConductorWorkflow
from perago.running.view import LineView
from perago.values.plans import REFUSAL


class Server:
    """A server that has one workflow, which has ended."""

    def __init__(self, workflow: ConductorWorkflow) -> None:
        self.workflow = workflow

    def get_workflow(self, workflow_id: str) -> ConductorWorkflow:
        assert workflow_id == self.workflow.workflow_id
        return self.workflow

    def last_poll(self, queue: str) -> None:
        return None

    def next_command(self, workflow: ConductorWorkflow) -> str:
        return f"`perago submit` starts {workflow.name} anew"


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


@pytest.mark.parametrize(
    ("outputs", "printed"), [({"result": "${a.output.result}"}, "1\n"), ({"workspace": "${a}"}, "")]
)
def test_only_a_workflow_with_a_result_prints_one(outputs, printed, capsys):
    done = replace(RUNNING, status="COMPLETED", output={"result": 1}, definition={"outputParameters": outputs})
    assert follow(Server(done), "w-1", as_json=False) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("FAILED_WITH_TERMINAL_ERROR", f"{REFUSAL}on branch 'main' others have changed it", 3),
        ("FAILED", f"{REFUSAL}on branch 'main' others have changed it", 3),
        ("FAILED_WITH_TERMINAL_ERROR", "ValueError: no", 1),
        ("CANCELED", f"{REFUSAL}on branch 'main' others have changed it", 1),
    ],
)
def test_a_workflow_that_the_publish_fence_refused_ends_the_watching_as_it_ends_a_run(status, reason, code):
    task = replace(conductor_task(1, "publishes", status), reason=reason)
    assert follow(Server(replace(RUNNING, status="FAILED", tasks=(task,))), "w-1", as_json=False) == code
