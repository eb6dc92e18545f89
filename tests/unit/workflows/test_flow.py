"""Workflows declared in Python: the graph that they give, and what is refused when they are written."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel, Secret, SecretStr

from perago import Flow, WorkflowDefinitionError, task, workflow
from perago.workflows.definition import workflow_of
from perago.workflows.definition_json import from_json, to_json
from workflow_pipeline import OWNER, Cleaned, CleanParams, Counted, PipeParams, Report, clean, count, look


def declared(fn):
    return workflow_of(workflow(name="pipe", owner_email=OWNER)(fn))


def tasks_of(fn):
    return to_json(declared(fn).graph)["tasks"]


def refused(fn):
    with pytest.raises(WorkflowDefinitionError) as caught:
        declared(fn)
    return str(caught.value)


def a_whole_one(flow: Flow, params: PipeParams) -> Report:
    cleaned = flow.run(clean, islands=params.islands)
    with flow.parallel():
        looked = flow.run(look)
        with flow.branch():
            counted = flow.run(count, kept=cleaned.kept)
            flow.run(count, kept=3, share=counted.mean)
    with flow.when(params.mode) as mode:
        with mode.case("full"):
            flow.run(clean, islands=["a", params.islands[0]])
        with mode.otherwise():
            flow.run(count)
    return flow.output(Report, rows=cleaned.kept, mean=looked.mean)


def test_a_workflow_is_conductors_definition_and_comes_back_from_it():
    definition = declared(a_whole_one)
    document = to_json(definition.graph)
    assert from_json(document) == definition.graph
    first, fork, join, switch = document["tasks"]
    assert first == {
        "name": "pipe.clean",
        "taskReferenceName": "pipe_clean",
        "type": "SIMPLE",
        "inputParameters": {
            "params": {"islands": "${workflow.input.params.islands}"},
            "workspace": "${workflow.input.workspace}",
        },
    }
    (looking,), counting = fork["forkTasks"]
    assert looking["inputParameters"]["workspace"] == "${pipe_clean.output.workspace}"
    assert [task["inputParameters"]["params"] for task in counting] == [
        {"kept": "${pipe_clean.output.result.kept}"},
        {"kept": 3, "share": "${pipe_count.output.result.mean}"},
    ]
    assert join["joinOn"] == ["pipe_look", "pipe_count_2"]
    assert (switch["evaluatorType"], switch["inputParameters"]) == (
        "value-param",
        {"switchCaseValue": "${workflow.input.params.mode}"},
    )
    again, variable = switch["decisionCases"]["full"]
    assert again["inputParameters"]["params"] == {"islands": ["a", "${workflow.input.params.islands[0]}"]}
    assert variable["inputParameters"] == {"when_mode_workspace": "${pipe_clean_2.output.workspace}"}
    assert document["outputParameters"] == {
        "result": {"rows": "${pipe_clean.output.result.kept}", "mean": "${pipe_look.output.result.mean}"},
        "workspace": "${workflow.variables.when_mode_workspace}",
    }
    assert document["inputParameters"] == ["workspace", "params"]
    assert set(definition.tasks) == {"pipe.clean", "pipe.look", "pipe.count"}


def test_params_can_be_given_at_once():
    def one(flow: Flow, params: CleanParams) -> None:
        flow.run(clean, params)
        flow.run(clean, CleanParams(islands=["a"]))

    whole, literal = tasks_of(one)
    assert whole["inputParameters"]["params"] == "${workflow.input.params}"
    assert literal["inputParameters"]["params"] == {"islands": ["a"], "limit": 3}


def test_text_that_looks_like_an_expression_stays_text():
    def one(flow: Flow) -> None:
        flow.run(count, text="${workflow.input.secret}")

    assert tasks_of(one)[0]["inputParameters"]["params"] == {"text": "$${workflow.input.secret}"}


def test_one_writer_among_neighbours_is_what_follows():
    def one(flow: Flow, params: PipeParams) -> None:
        with flow.parallel():
            flow.run(clean, islands=params.islands)
            flow.run(count)
        flow.run(look)

    assert tasks_of(one)[2]["inputParameters"]["workspace"] == "${pipe_clean.output.workspace}"


def test_a_branch_that_ends_with_a_switch_is_waited_for():
    def one(flow: Flow, params: PipeParams) -> None:
        with flow.parallel():
            flow.run(count)
            with flow.when(params.mode) as mode, mode.case("full"):
                flow.run(look)

    _, join = tasks_of(one)
    assert join["joinOn"] == ["pipe_count", "when_mode_done"]


class InnerParams(BaseModel):
    islands: list[str]
    limit: int = 7


@workflow(name="inner", owner_email="team@example.org", version=3)
def inner(flow: Flow, params: InnerParams) -> Cleaned:
    return flow.run(clean, islands=params.islands, limit=params.limit)


@workflow(name="counting", owner_email="team@example.org")
def counting(flow: Flow) -> None:
    flow.run(count)


def test_a_workflow_runs_within_another_as_a_task_does():
    def one(flow: Flow, params: PipeParams) -> Report:
        cleaned = flow.run(inner, islands=params.islands)
        flow.run(counting, ref_="counted")
        looked = flow.run(look)
        return flow.output(Report, rows=cleaned.kept, mean=looked.mean)

    definition = declared(one)
    first, second, third = to_json(definition.graph)["tasks"]
    assert first == {
        "name": "inner",
        "taskReferenceName": "inner",
        "type": "SUB_WORKFLOW",
        "subWorkflowParam": {"name": "inner", "version": 3},
        "inputParameters": {
            "params": {"islands": "${workflow.input.params.islands}", "limit": 7},
            "workspace": "${workflow.input.workspace}",
        },
    }
    assert (second["taskReferenceName"], second["inputParameters"]) == ("counted", {})
    assert third["inputParameters"]["workspace"] == "${inner.output.workspace}"
    assert definition.graph.output["result"]["rows"] == "${inner.output.result.kept}"
    assert set(definition.tasks) == {"pipe.clean", "pipe.count", "pipe.look"}
    whole = from_json(to_json(definition.graph, whole=True))
    assert [graph.name for graph in whole.with_sub_workflows()] == ["pipe", "inner", "counting"]


# ---------------------------------------------------------------- refused


@task(name="pipe.averaged", owner_email=OWNER)
def averaged(params: Counted) -> Counted:
    return params


def inner_without_a_param(flow: Flow) -> None:
    flow.run(inner, limt=3)


def params_for_none(flow: Flow) -> None:
    flow.run(counting, kept=3)


def inner_with_a_field_too_few(flow: Flow, params: PipeParams) -> None:
    flow.run(inner, params)


def inner_field(flow: Flow, params: PipeParams) -> None:
    flow.run(count, kept=flow.run(inner, islands=params.islands).kep)


def an_optional_inner_writer(flow: Flow, params: PipeParams) -> None:
    flow.run(inner, islands=params.islands, optional_=True)


def unknown_param(flow: Flow, params: PipeParams) -> None:
    flow.run(clean, island=params.islands)


def missing_param(flow: Flow) -> None:
    flow.run(clean)


def bad_literal(flow: Flow) -> None:
    flow.run(count, kept="many")


def all_at_once(flow: Flow) -> None:
    flow.run(count, kept="many", textt="x", share="y")


def unknown_field(flow: Flow, params: PipeParams) -> None:
    flow.run(count, kept=flow.run(clean, islands=params.islands).kep)


def misfit(flow: Flow, params: PipeParams) -> None:
    flow.run(count, kept=flow.run(clean, islands=params.islands).names)


def may_be_nothing(flow: Flow, params: PipeParams) -> None:
    flow.run(count, text=flow.run(clean, islands=params.islands).note)


def too_wide(flow: Flow, params: PipeParams) -> None:
    flow.run(count, kept=params.ratio)


def compared(flow: Flow, params: PipeParams) -> None:
    if params.threshold > 3:
        flow.run(count)


def looped(flow: Flow, params: PipeParams) -> None:
    for _ in params.islands:
        flow.run(count)


def written(flow: Flow, params: PipeParams) -> None:
    flow.run(count, text=f"of {params.mode}")


def computed(flow: Flow, params: PipeParams) -> None:
    flow.run(count, kept=params.threshold + 1)


def empty_parallel(flow: Flow) -> None:
    with flow.parallel():
        pass


def no_case(flow: Flow, params: PipeParams) -> None:
    with flow.when(params.mode):
        flow.run(count)


def never_that(flow: Flow, params: PipeParams) -> None:
    with flow.when(params.mode) as mode, mode.case("slow"):
        flow.run(count)


def of_a_neighbour(flow: Flow) -> None:
    with flow.parallel():
        one = flow.run(count)
        flow.run(count, share=one.mean)


def of_another_case(flow: Flow, params: PipeParams) -> None:
    with flow.when(params.mode) as mode:
        with mode.case("full"):
            one = flow.run(count)
        with mode.otherwise():
            flow.run(count, share=one.mean)


def of_a_case_that_may_not_run(flow: Flow, params: PipeParams) -> None:
    with flow.when(params.mode) as mode, mode.case("full"):
        one = flow.run(count)
    flow.run(count, share=one.mean)


def params_of_a_case_that_may_not_run(flow: Flow, params: PipeParams) -> None:
    with flow.when(params.mode) as mode, mode.case("full"):
        one = flow.run(count)
    flow.run(averaged, one)


def result_of_a_case_that_may_not_run(flow: Flow, params: PipeParams) -> Counted:
    found = []
    with flow.when(params.mode) as mode, mode.case("full"):
        found.append(flow.run(count))
    return found[0]


def two_of_one_name(flow: Flow) -> None:
    flow.run(count, ref_="x")
    flow.run(count, ref_="x")


def no_task(flow: Flow) -> None:
    flow.run(len)


def no_tasks(flow: Flow) -> None:
    pass


def a_secret(flow: Flow) -> None:
    flow.run(count, text=SecretStr("hunter2"))


class Held(BaseModel):
    key: Secret[int]
    name: str = ""


class Keys(BaseModel):
    token: SecretStr = SecretStr("")
    keys: list[Held] = []


@task(name="pipe.keys", owner_email="a@example.org")
def keys(params: Keys) -> InnerParams:
    return InnerParams(islands=[])


def a_literal_that_becomes_a_secret(flow: Flow) -> None:
    flow.run(keys, token="hunter2")


def a_secret_in_a_model(flow: Flow) -> None:
    flow.run(keys, Keys(keys=[Held(key=Secret(1234))]))


def a_literal_secret_beside_a_stand_in(flow: Flow, params: PipeParams) -> None:
    flow.run(keys, keys=[{"key": 1234, "name": params.mode}])


def a_literal_secret_in_a_map(flow: Flow) -> None:
    flow.map(keys, over=["hunter2"], as_="token")


def an_optional_writer(flow: Flow) -> None:
    flow.run(clean, islands=[], optional_=True)


def wrong_result(flow: Flow) -> Report:
    return flow.run(count)


def result_field_that_does_not_fit(flow: Flow, params: PipeParams) -> Report:
    counted = flow.run(count)
    return flow.output(Report, rows=counted.mean, mean=1)


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (
            unknown_param,
            r"task 'pipe.clean': it has no param 'island'; did you mean 'islands'\?; param 'islands' is missing",
        ),
        (missing_param, "param 'islands' is missing"),
        (bad_literal, "param 'kept': value"),
        (all_at_once, r"no param 'textt'; did you mean 'text'\?; param 'kept': .*; param 'share': "),
        (
            unknown_field,
            r"the result of task 'pipe_clean' \(test_flow.py:\d+\) has no field 'kep'; did you mean 'kept'\?",
        ),
        (
            misfit,
            r"param 'kept' takes int, but names of the result of task 'pipe_clean' \(test_flow.py:\d+\): it is a list",
        ),
        (may_be_nothing, "param 'text' takes str, but note of .*: it may be null, not text"),
        (too_wide, "param 'kept' takes int, but ratio of the workflow's params .*: it is a number, not a whole number"),
        (compared, "threshold of the workflow's params .* known only when the workflow runs, so it cannot be compared"),
        (looped, "its items cannot be counted or looped over"),
        (written, "it cannot be written as text"),
        (computed, "nothing can be computed from it"),
        (empty_parallel, r"parallel\(\) has no task in it"),
        (no_case, r"when\(\) has no case"),
        (never_that, "is never 'slow'"),
        (of_a_neighbour, "is made beside it, and is not known here"),
        (of_another_case, "is made in another case of the switch"),
        (
            of_a_case_that_may_not_run,
            "param 'share' takes float, but mean of .*: it may be null, not a number, as its case .* may not run",
        ),
        (params_of_a_case_that_may_not_run, "does not fit the params of .*: it may be null, not an object"),
        (result_of_a_case_that_may_not_run, "is not its result Counted: it may be null, not an object"),
        (two_of_one_name, "two tasks have the reference name 'x'"),
        (no_task, "len is no task"),
        (no_tasks, "it runs no task"),
        (a_secret, "is a secret, which a workflow's definition would show"),
        (a_literal_that_becomes_a_secret, "param 'token' is a secret, .*; make it a param of the workflow"),
        (a_secret_in_a_model, "param 'keys' is a secret"),
        (a_literal_secret_beside_a_stand_in, "param 'keys' is a secret"),
        (a_literal_secret_in_a_map, "item 0 is a secret"),
        (an_optional_writer, "cannot be optional"),
        (
            inner_without_a_param,
            r"workflow 'inner': it has no param 'limt'; did you mean 'limit'\?; param 'islands' is missing",
        ),
        (params_for_none, "workflow 'counting' takes no params"),
        (inner_with_a_field_too_few, "has no field 'limit', which workflow 'inner' reads; give its params one by one"),
        (inner_field, "the result of task 'inner' .* has no field 'kep'"),
        (an_optional_inner_writer, "workflow 'inner' writes in its workspace and cannot be optional"),
        (wrong_result, "is not its result Report: it has no field rows"),
        (result_field_that_does_not_fit, "result Report: field 'rows' takes int, but mean of .*: it is a number"),
    ],
)
def test_what_is_refused_says_what_and_where(fn, said):
    told = refused(fn)
    assert re.search(said, told), told
    assert "hunter2" not in told


def test_a_wrong_case_is_located_where_it_is_written():
    code = never_that.__code__
    assert re.search(rf"test_flow\.py:{code.co_firstlineno + 1}: mode of the workflow's params", refused(never_that))


def test_a_wrong_signature_is_refused():
    def no_flow(flow, params: PipeParams) -> Counted: ...
    def no_return(flow: Flow): ...
    def no_model(flow: Flow, params: int) -> None: ...

    assert "not annotated Flow" in refused(no_flow)
    assert "no return annotation" in refused(no_return)
    assert "its params is annotated" in refused(no_model)


def test_what_follows_writers_beside_each_other_takes_a_join_of_them():
    def after_two_writers(flow: Flow, params: PipeParams) -> None:
        flow.run(clean, islands=params.islands, ref_="before")
        with flow.parallel():
            flow.run(clean, islands=params.islands, ref_="left")
            flow.run(look, ref_="reading")
            flow.run(clean, islands=[], ref_="right")
        flow.run(look, ref_="after")

    *_, after = tasks_of(after_two_writers)
    joined = {"join": [f"${{{name}.output.workspace}}" for name in ("before", "left", "right")]}
    assert after["inputParameters"]["workspace"] == joined
    assert to_json(declared(after_two_writers).graph)["outputParameters"] == {"workspace": joined}


def test_a_switch_hands_on_what_its_cases_join():
    def in_a_case(flow: Flow, params: PipeParams) -> None:
        with flow.when(params.mode) as mode, mode.case("full"), flow.parallel():
            flow.run(clean, islands=params.islands, ref_="left")
            flow.run(clean, islands=[], ref_="right")
        flow.run(look)

    switch, after = tasks_of(in_a_case)
    variable = "when_mode_workspace"
    assert after["inputParameters"]["workspace"] == f"${{workflow.variables.{variable}}}"
    joined = ["${workflow.input.workspace}", "${left.output.workspace}", "${right.output.workspace}"]
    assert switch["decisionCases"]["full"][-1]["inputParameters"] == {variable: {"join": joined}}
    assert switch["defaultCase"][-1]["inputParameters"] == {variable: "${workflow.input.workspace}"}
