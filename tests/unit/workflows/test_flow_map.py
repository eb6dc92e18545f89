"""`flow.map`: what it makes, that each item and param arrives as it was given, and what is refused."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from perago import Flow, TaskDefinitionError, WorkflowDefinitionError, WorkspaceSpec, task, workflow
from perago.errors import TaskTerminalError
from perago.tasks.declare import BUILTIN_TASKS
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.builtin import GatherParams, MapParams, builtin_task, gather, list_tasks
from perago.workflows.check import check_wiring, neighbours_that_refuse
from perago.workflows.decide import Instance, decide
from perago.workflows.definition import workflow_of
from perago.workflows.definition_json import from_json, to_json
from perago.workflows.expressions import whole_expression
from perago.workflows.graph import GATHER_TASK, MAP_TASK, MAX_FORKED
from perago.workflows.load import load_workflow
from perago.workflows.outline import outline
from workflow_pipeline import OWNER, PipeParams, clean, count


class Shard(BaseModel):
    shard: Any
    limit: Any = None
    token: SecretStr = SecretStr("")


class Got(BaseModel):
    shard: Any
    limit: Any = None
    length: int = 0


class Rows(BaseModel):
    rows: list[Got]


class MaybeRows(BaseModel):
    rows: list[Got | None]


class Sum(BaseModel):
    rows: list[Got] = []
    first: Any = None


@task(name="map.score", owner_email=OWNER)
def score(params: Shard) -> Got:
    if params.shard == "bad":
        raise ValueError("bad")
    return Got(shard=params.shard, limit=params.limit, length=len(params.token.get_secret_value()))


@task(name="map.total", owner_email=OWNER)
def total(params: Sum) -> Rows:
    return Rows(rows=params.rows)


@task(name="map.read", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True))
def read(workspace: Path, params: Shard) -> Got:
    raise AssertionError("only wired here")


class Given(BaseModel):
    shards: list[Any] = []
    limit: Any = None
    token: SecretStr = SecretStr("")
    mode: str = "full"
    name: str = "x"
    numbers: list[int] = []
    maybe: list[str] | None = None


def declared(fn):
    return workflow_of(workflow(name="mapped", owner_email=OWNER)(fn))


def tasks_of(fn):
    return to_json(declared(fn).graph)["tasks"]


@dataclass
class Entry:
    task_id: str
    reference_task_name: str
    retry_count: int
    status: TryStatus
    input_data: Any
    output: Any = None
    reason: str | None = None


def ran(definition, **params):
    """The end of a workflow whose bodies run here, and the tries, by name."""
    entries: list[Entry] = []
    policies = {name: one.controls.retry.model_copy(update={"count": 0}) for name, one in definition.tasks.items()}
    graph = from_json(json.loads(json.dumps(to_json(definition.graph))))  # as a server has it
    while True:
        decision = decide(graph, Instance(workflow_id="i", input_data={"params": params}), entries, policies)
        if decision.status is not WorkflowStatus.RUNNING:
            return decision, {entry.reference_task_name: entry for entry in entries}
        for due in decision.due:
            one = definition.tasks[due.task_name]
            entry = Entry(due.reference_task_name, due.reference_task_name, 0, TryStatus.COMPLETED, due.input_data)
            try:
                made = one.fn(one.params_model.model_validate(due.input_data["params"]))
                entry.output = {"result": made.model_dump(mode="json")}
            except Exception as exc:
                entry.status, entry.reason = TryStatus.FAILED, str(exc)
            entries.append(entry)


def over_params(flow: Flow, params: Given) -> Rows:
    rows = flow.map(score, over=params.shards, as_="shard", limit=params.limit, token=params.token)
    return flow.output(Rows, rows=rows)


def test_a_map_is_a_dynamic_fork_over_what_a_task_lists():
    listing, fork, join, gathered = tasks_of(over_params)
    assert [one["type"] for one in (listing, fork, join, gathered)] == ["SIMPLE", "FORK_JOIN_DYNAMIC", "JOIN", "SIMPLE"]
    assert listing["name"] == "perago.map"
    assert listing["inputParameters"]["params"] == {
        "over": "${workflow.input.params.shards}",
        "item": "$${workflow.input.params.shards}",
        "task": "map.score",
        "reference": "map_score",
        "param": "shard",
        "inputs": {"params": {"limit": "$${workflow.input.params.limit}", "token": "$${workflow.input.params.token}"}},
        "optional": False,
    }
    assert fork["inputParameters"]["tasks"] == "${map_score_items.output.result.tasks}"
    assert (gathered["name"], gathered["inputParameters"]["params"]["outputs"]) == (
        "perago.gather",
        "${map_score_join.output}",
    )
    assert set(declared(over_params).tasks) == {"map.score", "perago.map", "perago.gather"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("${}ab.[0]", max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("${}a", max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(items=st.lists(VALUES, max_size=5), limit=VALUES)
def test_each_item_and_param_arrives_as_it_was_given(items, limit):
    decision, tries = ran(declared(over_params), shards=items, limit=limit, token="")
    assert decision.status is WorkflowStatus.COMPLETED, decision.reason
    assert [(row["shard"], row["limit"]) for row in decision.output["result"]["rows"]] == [
        (one, limit) for one in items
    ]
    assert set(tries) == {"map_score_items", *(f"map_score_{n}" for n in range(1, len(items) + 1)), "map_score_results"}


@given(items=st.lists(VALUES, max_size=5), limit=VALUES)
def test_literals_arrive_as_they_are_written(items, limit):
    def one(flow: Flow, params: Given) -> Rows:
        here = [*items, params.name, [params.name]]
        return flow.output(Rows, rows=flow.map(score, over=here, as_="shard", limit=[limit, params.name]))

    decision, tries = ran(declared(one), name="${given}")
    assert decision.status is WorkflowStatus.COMPLETED, decision.reason
    assert [(row["shard"], row["limit"]) for row in decision.output["result"]["rows"]] == [
        (item, [limit, "${given}"]) for item in [*items, "${given}", ["${given}"]]
    ]
    assert not any("items" in name for name in tries)  # what is known needs no task that lists it


def test_results_are_in_the_order_of_the_items_beyond_nine():
    decision, _ = ran(declared(over_params), shards=list(range(25)), limit=1, token="")
    assert [row["shard"] for row in decision.output["result"]["rows"]] == list(range(25))


def test_a_secret_param_reaches_the_tasks_and_not_those_of_perago():
    secret = "open-sesame-says-ali-baba"
    decision, tries = ran(declared(over_params), shards=["a", "b"], limit=1, token=secret)
    assert [row["length"] for row in decision.output["result"]["rows"]] == [len(secret)] * 2
    for name, entry in tries.items():
        assert (secret in json.dumps([entry.input_data, entry.output])) == bool(re.fullmatch(r"map_score_\d", name))


def test_results_that_nothing_takes_are_not_gathered():
    def one(flow: Flow, params: Given) -> Rows:
        with flow.parallel():
            flow.map(score, over=params.shards, as_="shard")
            made = flow.run(total)
        with flow.when(params.mode) as mode, mode.case("full"):
            flow.map(score, over=params.shards, as_="shard", ref_="again")
        return flow.output(Rows, rows=made.rows)

    definition = declared(one)
    assert "perago.gather" not in definition.tasks
    fork, join, _ = to_json(definition.graph)["tasks"]
    assert fork["forkTasks"][0][-1]["taskReferenceName"] == "map_score_join"
    assert join["joinOn"] == ["map_score_join", "map_total"]
    assert ran(definition, shards=["a"], mode="full")[0].status is WorkflowStatus.COMPLETED


def test_a_map_within_blocks_and_over_the_results_of_another():
    def one(flow: Flow, params: Given) -> Rows:
        with flow.parallel():
            with flow.branch():
                first = flow.map(score, over=params.shards, as_="shard", ref_="first")
                flow.map(score, over=first, as_="shard", ref_="second")
            flow.run(total)
        with flow.when(params.mode) as mode:
            with mode.case("full"):
                flow.map(score, over=["x"], as_="shard", ref_="third")
            with mode.otherwise():
                flow.run(total)
        return flow.output(Rows, rows=flow.run(total, rows=first, first=first[0].shard, ref_="last").rows)

    definition = declared(one)
    decision, tries = ran(definition, shards=["a", "b"], mode="full")
    assert [row["shard"] for row in decision.output["result"]["rows"]] == ["a", "b"]
    assert tries["second_2"].input_data["params"]["shard"]["shard"] == "b"
    assert tries["last"].input_data["params"]["first"] == "a"
    assert ("third_1" in tries, "second_results" in tries) == (True, False)


def test_a_failed_task_is_a_failed_workflow_unless_it_is_optional():
    def one(flow: Flow, params: Given) -> MaybeRows:
        rows = flow.map(score, over=params.shards, as_="shard", optional_=True)
        return flow.output(MaybeRows, rows=rows)

    assert ran(declared(over_params), shards=["a", "bad"], limit=1, token="")[0].status is WorkflowStatus.FAILED
    decision, _ = ran(declared(one), shards=["bad", "b", "bad"])
    assert decision.status is WorkflowStatus.COMPLETED
    assert [row and row["shard"] for row in decision.output["result"]["rows"]] == [None, "b", None]


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"a": 1}, "map 'm' takes a list, but ${x.y} is an object"),
        ("abc", "is text"),
        (None, "is null"),
        (3, "is a number"),
        (True, "is true or false"),
        (list(range(MAX_FORKED + 1)), "map 'm' takes at most 1000 items, but ${x.y} has 1001"),
    ],
    ids=str,
)
def test_what_is_no_list_or_too_long_ends_with_a_clear_error(over, said):
    with pytest.raises(TaskTerminalError, match=re.escape(said)):
        list_tasks(MapParams(over=over, item="${x.y}", task="t", reference="m", param="p", inputs={"params": {}}))


def test_the_longest_list_is_taken():
    made = list_tasks(
        MapParams(over=[0] * MAX_FORKED, item="${x.y}", task="t", reference="m", param="p", inputs={"params": {}})
    )
    assert made.tasks[-1] == {
        "name": "t",
        "taskReferenceName": "m_1000",
        "type": "SIMPLE",
        "inputParameters": {"params": {"p": "${x.y[999]}"}},
    }


def test_what_has_no_output_is_gathered_as_nothing():
    made = gather(GatherParams(names=["a_1", "a_2", "a_3"], outputs={"a_1": {"result": {"x": 1}}, "a_2": {}}))
    assert made.results == [{"x": 1}, None, None]


# ---------------------------------------------------------------- names


def test_names_of_other_tasks_are_not_those_of_a_map():
    def one(flow: Flow, params: Given) -> None:
        flow.map(score, over=params.shards, as_="shard")
        flow.run(score, shard=1)
        flow.run(score, shard=1)
        flow.map(score, over=params.shards, as_="shard")

    names = {node.reference_name for node in declared(one).graph.all_nodes()}
    bases = [name.removesuffix("_join") for name in names if name.endswith("_join")]
    forked = {f"{base}_{number}" for base, number in itertools.product(bases, range(1, 1001))}
    assert (len(bases), names & forked) == (2, set())


def taken_before(flow: Flow, params: Given) -> None:
    flow.run(count, ref_="m_3")
    flow.map(score, over=params.shards, as_="shard", ref_="m")


def taken_after(flow: Flow, params: Given) -> None:
    flow.map(score, over=params.shards, as_="shard", ref_="m")
    flow.run(count, ref_="m_3")


# ---------------------------------------------------------------- refused


def no_such_param(flow: Flow, params: Given) -> None:
    flow.map(score, over=params.shards, as_="shrad")


def no_such_shared_param(flow: Flow, params: Given) -> None:
    flow.map(score, over=params.shards, as_="shard", limits=3)


def twice(flow: Flow, params: Given) -> None:
    flow.map(score, over=params.shards, as_="shard", shard=3)


def no_list(flow: Flow, params: Given) -> None:
    flow.map(count, over=params.name, as_="kept")


def other_items(flow: Flow, params: PipeParams) -> None:
    flow.map(count, over=params.islands, as_="kept")


def perhaps_no_list(flow: Flow, params: Given) -> None:
    flow.map(count, over=params.maybe, as_="text")


def a_literal_that_is_no_list(flow: Flow) -> None:
    flow.map(count, over="abc", as_="text")


def literal_items(flow: Flow) -> None:
    flow.map(count, over=[1, "x", 3, None], as_="kept")


def too_many(flow: Flow) -> None:
    flow.map(count, over=range(1001), as_="kept")


def an_optional_writer(flow: Flow, params: Given) -> None:
    flow.map(clean, over=[["a"]], as_="islands", optional_=True)


def in_another_case(flow: Flow, params: Given) -> None:
    with flow.when(params.mode) as mode:
        with mode.case("full"):
            rows = flow.map(score, over=params.shards, as_="shard")
        with mode.otherwise():
            flow.run(total, rows=rows)


def may_have_failed(flow: Flow, params: Given) -> None:
    flow.run(total, rows=flow.map(score, over=params.shards, as_="shard", optional_=True))


def wrong_field(flow: Flow, params: Given) -> None:
    flow.run(count, text=flow.map(score, over=params.shards, as_="shard")[0].shart)


def looped(flow: Flow, params: Given) -> None:
    for _ in flow.map(score, over=params.shards, as_="shard"):
        pass


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (taken_before, "map 'm' and another task have the reference name 'm_3'"),
        (taken_after, "two tasks have the reference name 'm_3'"),
        (no_such_param, r"task 'map.score': it has no param 'shrad'; did you mean 'shard'\?"),
        (no_such_shared_param, r"it has no param 'limits'; did you mean 'limit'\?"),
        (twice, "gets param 'shard' for each item, and once for all of them"),
        (no_list, r"over takes list\[int\], but name of the workflow's params .*: it is text, not a list"),
        (other_items, r"over takes list\[int\], but islands of .*: it\[\] is text, not a whole number"),
        (perhaps_no_list, "but maybe of the workflow's params .*: it may be null, not a list"),
        (a_literal_that_is_no_list, "over is 'abc', which is no list"),
        (literal_items, "does not fit param 'kept': item 1: value .*; item 3: value"),
        (too_many, "over has 1001 items, and at most 1000"),
        (an_optional_writer, "task 'pipe.clean' writes in its workspace and cannot be optional"),
        (in_another_case, "is made in another case of the switch"),
        (may_have_failed, r"but results of map 'map_score' \(test_\S+:\d+\): it\[\] may be null, not an object"),
        (wrong_field, r"results.0 of map 'map_score' \(test_\S+:\d+\) has no field 'shart'; did you mean 'shard'\?"),
        (looped, "its items cannot be counted or looped over"),
    ],
)
def test_what_is_refused_says_what_and_where(fn, said):
    with pytest.raises(WorkflowDefinitionError) as caught:
        declared(fn)
    assert re.search(said, str(caught.value)), caught.value
    assert re.search(r"test_flow_map.py:\d+", str(caught.value))


# ---------------------------------------------------------------- read as JSON, and checked


def on_a_workspace(flow: Flow, params: Given) -> Rows:
    return flow.output(Rows, rows=flow.map(read, over=params.shards, as_="shard"))


@pytest.fixture
def from_file(tmp_path):
    def load(document):
        (tmp_path / "w.json").write_text(json.dumps(document))
        return load_workflow(str(tmp_path / "w.json"), [__name__])

    return load


def test_a_file_finds_the_tasks_of_perago_and_what_is_mapped(from_file):
    document = to_json(declared(on_a_workspace).graph)
    del document["outputParameters"]["workspace"]
    loaded = from_file(document)
    assert {"map.read", MAP_TASK, GATHER_TASK} <= set(loaded.tasks)
    assert (loaded.uses_workspace, loaded.uses_params) == (True, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("map.read", "map.reed"), "tasks 'map.reed' are not found"),
        (('"param": "shard"', '"param": "shart"'), "task 'map_read_1': param 'shard' is missing; .*no param 'shart'"),
        (('"reference": "map_read", ', ""), r"task 'map_read_items' of perago.map: params.reference \(Field required"),
        (("result.results}", "result.results[0].shart}"), "shart"),
    ],
    ids=str,
)
def test_the_wiring_of_a_map_in_a_file_is_checked(from_file, change, said):
    text = json.dumps(to_json(declared(on_a_workspace).graph))
    assert change[0] in text
    with pytest.raises(WorkflowDefinitionError, match=said):
        from_file(json.loads(text.replace(*change)))


def test_literal_lists_in_a_file_are_checked(from_file):
    def one(flow: Flow) -> None:
        flow.map(score, over=[1, 2], as_="shard", limit="${x}")

    text = json.dumps(to_json(declared(one).graph))
    from_file(json.loads(text))
    with pytest.raises(WorkflowDefinitionError, match=r"task 'map_score_2': param 'shard' is missing"):
        from_file(json.loads(text.replace('"shard": 2', '"shart": 2')))


def test_a_task_that_is_listed_and_not_there_ends_the_workflow():
    definition = declared(over_params)
    del definition.tasks["map.score"]
    decision, _ = ran(definition, shards=["a"], limit=1, token="")
    assert decision.status is WorkflowStatus.FAILED
    assert "lists task 'map.score', which is not found" in str(decision.reason)


def test_a_mapped_task_that_will_refuse_its_like_is_told():
    def one(flow: Flow, params: Given) -> None:
        flow.map(clean, over=[["a"], ["b"]], as_="islands")

    definition = declared(one)
    check_wiring(definition.graph, definition.tasks)
    (told,) = neighbours_that_refuse(definition.graph, definition.tasks)
    assert told.startswith("'pipe.clean' runs for several items of 'pipe_clean' at the same time. ")
    assert "Give each item its own files: use {islands} in include= and outputs=" in told
    assert 'isolation="snapshot"' in told


def test_people_see_a_map_as_one_line():
    def one(flow: Flow, params: Given) -> Rows:
        flow.map(score, over=["a", "b"], as_="shard", ref_="known")
        return flow.output(Rows, rows=flow.map(score, over=params.shards, as_="shard"))

    nodes = declared(one).graph.nodes
    assert list(outline(nodes)) == [
        (0, "known (map.score), for each of 2 items"),
        (0, "map_score (map.score), for each item of ${workflow.input.params.shards}"),
    ]
    assert [text for _, text in outline(nodes, in_python=True)] == [
        "known (map.score), for each of 2 items",
        "map_score (map.score), for each item of params.shards",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("${workflow.input.params.of.files[0]}", "params.of.files[0]"),
        ("${clean.output.result.kept}", "clean.kept"),
        ("${clean.output.result}", "clean"),
        ("${score_results.output.result.results[1].rows}", "score[1].rows"),
        ("${clean.output.result.results}", "clean.results"),
        ("${clean.output.workspace}", "${clean.output.workspace}"),
        ("${workflow.workflowId}", "${workflow.workflowId}"),
    ],
)
def test_people_see_a_value_of_a_run_as_their_function_has_it(text, shown):
    expression = whole_expression(text)
    assert expression is not None
    assert expression.in_python == shown


# ---------------------------------------------------------------- the tasks of Perago


def test_the_tasks_of_perago_are_those_whose_names_are_kept():
    assert {builtin_task(name).name for name in BUILTIN_TASKS} == BUILTIN_TASKS
    assert all(builtin_task(name).is_builtin for name in BUILTIN_TASKS)
    assert not any(builtin_task(name).has_workspace for name in (MAP_TASK, GATHER_TASK))


@pytest.mark.parametrize("name", sorted(BUILTIN_TASKS))
def test_other_tasks_do_not_take_their_names(name):
    with pytest.raises(TaskDefinitionError, match=f"name='{name}' is the name of a task of Perago"):

        @task(name=name, owner_email=OWNER)
        def mine(params: Shard) -> Got: ...
