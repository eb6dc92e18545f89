"""What is shown of a workflow's params where their types are unknown."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, SecretStr

from perago import Flow, workflow
from perago.values.redaction import MASK
from perago.values.workflow_params import has_result, params_in, showable_params, without_names
from perago.workflows.definition import workflow_of
from perago.workflows.definition_json import differences, from_json, to_json
from workflow_pipeline import OWNER, count


class Given(BaseModel):
    kept: int
    phrase: SecretStr
    password: str = ""
    anything: object = None


@workflow(name="with_secrets", owner_email=OWNER)
def with_secrets(flow: Flow, params: Given) -> None:
    flow.run(count, kept=params.kept)


@pytest.mark.parametrize(
    ("outputs", "is_declared", "has"),
    [
        ({"result": "${count.output.result}"}, True, True),
        ({"result": "${count.output.result}"}, False, True),
        ({"workspace": "${count.output.workspace}"}, False, False),
        ({}, True, False),
        ({}, False, True),  # a server gives the output of the last task
        ({"rows": "${count.output.result.rows}"}, False, True),
    ],
)
def test_a_definition_without_a_result_has_none_to_show(outputs, is_declared, has) -> None:
    definition = to_json(workflow_of(with_secrets).graph) | {"outputParameters": outputs}
    assert has_result(definition if is_declared else without_names(definition)) is has


def test_a_definition_names_the_params_that_are_no_secrets_and_the_others_are_masked() -> None:
    definition = to_json(workflow_of(with_secrets).graph)
    given = {"kept": 1, "phrase": "qr+9", "password": "ab+1", "anything": [1], "unknown": "cd+2"}
    shown = showable_params(definition, {"params": given, "workspace": {}})
    assert shown == {"kept": 1, "phrase": MASK, "password": MASK, "anything": MASK, "unknown": MASK}


def test_without_the_names_nothing_is_shown() -> None:
    definition = to_json(workflow_of(with_secrets).graph)
    strange = ({}, {"metadata": None}, {"metadata": {"perago": [1]}}, {"metadata": {"perago": {"plain_params": 1}}})
    for one in strange:
        assert showable_params({**definition, "metadata": {}, **one}, {"params": {"kept": 1}}) is None
    assert showable_params(definition, {"kept": 1}) is None
    assert showable_params(definition, {"params": {}}) is None


def test_the_names_change_nothing_in_what_runs() -> None:
    """A workflow that an earlier version of Perago has registered does not count as different."""
    graph = workflow_of(with_secrets).graph
    definition = to_json(graph)
    assert differences(graph, {name: value for name, value in definition.items() if name != "metadata"}) == []
    assert from_json(definition) == graph


def test_params_are_what_is_beside_the_workspace_if_none_are_called_so() -> None:
    workspace = {"repository": "r"}
    assert params_in({"workspace": workspace, "params": {"a": 1}}) == {"a": 1}
    assert params_in({"workspace": workspace, "a": 1, "traceparent": "00"}) == {"a": 1}
    assert params_in({"workspace": workspace}) is None
