"""Warnings about tasks that publish at the same time, if one of them can make another fail."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.tasks.declare import task_of
from perago.workflows.check import neighbours_that_refuse
from perago.workflows.definition_json import from_json


class Nothing(BaseModel):
    pass


def declared(name, spec):
    @task(name=name, owner_email="ada@example.org", workspace=WorkspaceSpec(**spec))
    def body(workspace: Path, params: Nothing) -> Nothing:
        return Nothing()

    return task_of(body)


@pytest.fixture
def warned():
    """The warnings on a fork of tasks with these workspaces, by name."""

    def warnings(**specs):
        workspace = "${workflow.input.workspace}"
        inputs = {"workspace": workspace, "params": {}}
        branches = [
            [{"name": name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": inputs}] for name in specs
        ]
        fork = {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": branches}
        join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": list(specs)}
        graph = from_json({"name": "flow", "version": 1, "tasks": [fork, join]})
        return neighbours_that_refuse(graph, {name: declared(name, spec) for name, spec in specs.items()})

    return warnings


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"prefix": "data"}, {"prefix": "models"}),
        ({"prefix": "data"}, {"prefix": "data2"}),
        ({"prefix": "data/a"}, {"prefix": "data/b"}),
        ({"isolation": "snapshot"}, {"isolation": "snapshot"}),
        ({}, {"read_only": True}),
    ],
)
def test_tasks_that_cannot_refuse_each_other_are_not_warned_of(warned, left, right):
    assert warned(left=left, right=right) == []


@pytest.mark.parametrize(
    ("left", "right", "refused"),
    [
        ({}, {}, "'left', 'right' will"),
        ({"prefix": "data"}, {"prefix": "data/a"}, "'left', 'right' will"),
        ({"prefix": "data"}, {"prefix": "data", "isolation": "snapshot"}, "these, 'left' will"),
        ({"prefix": "data", "isolation": "exclusive"}, {"prefix": "models"}, "these, 'left' will"),
    ],
)
def test_tasks_that_can_be_refused_are_named(warned, left, right, refused):
    (warning,) = warned(left=left, right=right)
    assert refused in warning
    assert "'left', 'right' publish at the same time in fork 'fork'" in warning


def test_who_is_beside_the_others_is_not_named(warned):
    (warning,) = warned(one={"prefix": "data"}, other={"prefix": "data"}, elsewhere={"prefix": "models"})
    assert "elsewhere" not in warning
