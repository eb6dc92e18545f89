"""What is shown of a workflow that is followed on a server, look by look."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import BaseModel, SecretStr

from conductor_tasks import conductor_task
from perago import Flow, task, workflow
from perago.cli.run.follow import _Shown, follow
from perago.engines.conductor import ConductorWorkflow
from perago.running.view import LineView
from perago.values.plans import REFUSAL
from perago.values.redaction import MASK
from perago.workflows.definition import workflow_of
from perago.workflows.definition_json import to_json


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


@pytest.mark.parametrize(("outputs", "printed"), [({"result": "${a.output}"}, "1\n"), ({"workspace": "${a}"}, "")])
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


class File(BaseModel):
    file: str = ""
    token: str = ""
    phrase: SecretStr = SecretStr("")


class Files(BaseModel):
    files: list[str] = []
    phrases: list[SecretStr] = []


@task(name="get", owner_email="a@example.org")
def get(params: File) -> File:
    return params


def over_files(param: str, item: str) -> ConductorWorkflow:
    """A workflow whose map has failed for its second item."""

    @workflow(name="root", owner_email="a@example.org")
    def mapped(flow: Flow, params: Files) -> None:
        flow.map(get, over=params.phrases if param == "phrase" else params.files, as_=param)

    definition = workflow_of(mapped)
    assert definition is not None
    task = replace(conductor_task(2, "get_2", "FAILED", "no"), input_data={"params": {param: item}})
    failed = replace(RUNNING, status="FAILED", reason="id-2", tasks=(task,), definition=to_json(definition.graph))
    return replace(failed, input_data={"params": {"phrases" if param == "phrase" else "files": ["a.csv", item]}})


@pytest.mark.parametrize(
    ("param", "item", "told"),
    [
        ("file", "b.csv", "task 'get' for 'b.csv' (get_2) (id-2) is FAILED: no"),
        ("file", MASK, "task 'get_2' (id-2) is FAILED: no"),
        ("token", "b.csv", "task 'get_2' (id-2) is FAILED: no"),
        ("phrase", "b.csv", "task 'get_2' (id-2) is FAILED: no"),
    ],
)
def test_the_reason_of_a_workflow_names_the_item_of_a_map_unless_it_is_a_secret(param, item, told, capsys):
    assert follow(Server(over_files(param, item)), "w-1", as_json=False) == 1
    err = capsys.readouterr().err
    assert told in err
    assert ("b.csv" in err) is ("b.csv" in told)
