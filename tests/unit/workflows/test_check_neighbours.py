"""Warnings about tasks that publish at the same time, if one of them can make another fail."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, task, workflow
from perago.tasks.declare import task_of
from perago.workflows.check import may_refuse_another_item, neighbours_that_refuse, outputs_that_overlap
from perago.workflows.definition import workflow_of
from perago.workflows.definition_json import from_json


class Nothing(BaseModel):
    word: str = "w"
    other: str = "o"


KNOWN_TO_A_RUN = {"word": "${workflow.input.word}", "other": "${workflow.input.other}"}


def declared(name, spec, *, cache=False):
    @task(name=name, owner_email="ada@example.org", workspace=WorkspaceSpec(**spec), cache=cache)
    def body(workspace: Path, params: Nothing) -> Nothing:
        return Nothing()

    return task_of(body)


@pytest.fixture
def warned():
    """The warnings on a fork of tasks with these workspaces, by name."""

    def warnings(**specs):
        inputs = {"workspace": "${workflow.input.workspace}", "params": KNOWN_TO_A_RUN}
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
        ({"include": ["raw/a"], "outputs": ["a/**"]}, {"include": ["raw/a"], "outputs": ["b/**"]}),
        ({"include": ["x/{word}"], "outputs": ["a/{word}"]}, {"include": ["raw/**"], "outputs": ["b/**"]}),
    ],
)
def test_tasks_that_cannot_refuse_each_other_are_not_warned_of(warned, left, right):
    assert warned(left=left, right=right) == []


@pytest.mark.parametrize(
    ("left", "right", "refused"),
    [
        ({}, {}, "any of 'left', 'right'"),
        ({"prefix": "data"}, {"prefix": "data/a"}, "any of 'left', 'right'"),
        ({"prefix": "data"}, {"prefix": "data", "isolation": "snapshot"}, "may refuse 'left' if"),
        ({"prefix": "data", "isolation": "exclusive"}, {"prefix": "models"}, "may refuse 'left' if"),
        ({"include": ["raw"], "outputs": ["a"]}, {"include": ["a/**"], "outputs": ["b"]}, "may refuse 'right' if"),
        ({"include": ["raw"], "outputs": ["a/*"]}, {"include": ["x"], "outputs": ["a/b"]}, "any of 'left', 'right'"),
        ({"outputs": ["a"]}, {"include": ["x"], "outputs": ["b"]}, "may refuse 'left' if"),
        ({"include": ["**/*.csv"], "outputs": ["a"]}, {"include": ["x"], "outputs": ["b/**"]}, "may refuse 'left' if"),
        (
            {"include": ["raw"], "outputs": ["a/{word}"]},
            {"include": ["x"], "outputs": ["a/b"]},
            "any of 'left', 'right'",
        ),
        ({"include": ["raw"], "outputs": ["a"]}, {"include": ["x"]}, "may refuse 'left' if"),
    ],
)
def test_tasks_that_can_be_refused_are_named(warned, left, right, refused):
    (warning,) = warned(left=left, right=right)
    assert refused in warning
    assert "'left', 'right' publish at the same time in fork 'fork'" in warning


@pytest.mark.parametrize(
    ("left", "right", "at"),
    [
        (["made/**"], ["made/b/**"], "made/**"),
        (["made/{word}"], ["made/{word}/x"], "made/{word}"),
        (["made/{word}"], ["made/{word}"], "made/{word}"),
        (["made/b/x"], ["other", "made/b"], "made/b/x"),
        (["made/*.csv"], ["made/*.json"], None),
        (["made"], [], None),
    ],
)
def test_two_tasks_that_declare_the_same_outputs_are_named(left, right, at):
    inputs = {"workspace": "${workflow.input.workspace}", "params": KNOWN_TO_A_RUN}
    names = {"left": left, "right": right}
    nodes = [{"name": n, "taskReferenceName": n, "type": "SIMPLE", "inputParameters": inputs} for n in names]
    graph = from_json({"name": "flow", "version": 1, "tasks": nodes})
    tasks = {name: declared(name, {"include": ["raw"], "outputs": outputs}) for name, outputs in names.items()}
    found = outputs_that_overlap(graph, tasks)
    assert [f"'left' and 'right' both declare outputs at {at!r}" in warning for warning in found] == [True] * bool(at)


def test_who_is_beside_the_others_is_not_named(warned):
    (warning,) = warned(one={"prefix": "data"}, other={"prefix": "data"}, elsewhere={"prefix": "models"})
    assert "elsewhere" not in warning


@pytest.mark.parametrize(
    ("spec", "is_warned"),
    [
        ({"include": ["raw/{word}.csv"], "outputs": ["made/{word}/**"]}, False),
        ({"include": ["data/{word}/**"], "outputs": ["data/{word}/out/**"]}, False),
        ({"include": ["raw/{word}.csv", "made/**"], "outputs": ["made/{word}/**"]}, True),
        ({"include": ["raw/{word}.csv"], "outputs": ["made/**"]}, True),
        ({"include": ["raw"], "outputs": ["made/{word}*"]}, True),  # `a*` has `ab1` of `ab*`
        ({"include": ["raw"], "outputs": ["made/{word}{other}/**"]}, True),  # `a` and `bc`, `ab` and `c`
        ({"outputs": ["made/{word}/**"]}, True),
        ({}, True),
    ],
)
def test_items_of_a_map_are_warned_of_unless_each_has_files_of_its_own(spec, is_warned):
    made = may_refuse_another_item(declared("item", spec).workspace)
    assert made == is_warned


def of(fn):
    definition = workflow_of(workflow(name="flow", owner_email="ada@example.org")(fn))
    return definition.graph, definition.tasks


@pytest.mark.parametrize(
    ("word", "beside", "is_warned"), [("oslo", "bergen", False), ("oslo", "oslo", True), ("w", None, True)]
)
def test_literals_and_defaults_of_the_wiring_are_filled_in(word, beside, is_warned):
    made = declared("made", {"include": ["raw/{word}.csv"], "outputs": ["nc/{word}.txt"]}).fn

    def pair(flow: Flow) -> None:
        with flow.parallel():
            flow.run(made, word=word)
            flow.run(made, **({} if beside is None else {"word": beside}))

    assert len(neighbours_that_refuse(*of(pair))) == is_warned


def test_two_tasks_with_other_literals_have_other_outputs():
    left, right = (declared(name, {"include": ["raw"], "outputs": ["nc/{word}"]}).fn for name in ("left", "right"))

    def pair(flow: Flow) -> None:
        flow.run(left, word="oslo")
        flow.run(right, word="bergen")

    assert outputs_that_overlap(*of(pair)) == []


@pytest.mark.parametrize("nested", [False, True])
def test_tasks_of_different_cases_do_not_delete_each_others_outputs(nested):
    left, right, later = (
        declared(name, {"include": ["raw"], "outputs": ["report/**"]}).fn for name in ("left", "right", "later")
    )

    @workflow(name="inner", owner_email="ada@example.org")
    def inner(flow: Flow) -> None:
        flow.run(right)

    def cases(flow: Flow, params: Nothing) -> None:
        with flow.when(params.word) as word:
            with word.case("left"):
                flow.run(left)
            with word.otherwise():
                flow.run(inner if nested else right)

    def and_later(flow: Flow, params: Nothing) -> None:
        cases(flow, params)
        flow.run(later)

    assert outputs_that_overlap(*of(cases)) == []
    told = outputs_that_overlap(*of(and_later))
    assert [warning.partition(" both")[0] for warning in told] == [
        "tasks 'left' and 'later'",
        "tasks 'right' and 'later'",
    ]


APART = {"include": ["raw"], "outputs": ["made/**"]}


@pytest.mark.parametrize("cache", [False, True])
def test_what_a_warning_recommends_can_be_declared(cache):
    left, right = (declared(name, APART, cache=cache).fn for name in ("left", "right"))

    def pair(flow: Flow) -> None:
        with flow.parallel():
            flow.run(left)
            flow.run(right)
        flow.map(left, over=["a", "b"], as_="word")

    beside, items = neighbours_that_refuse(*of(pair))
    assert 'WorkspaceSpec(include=["raw/a/**"], outputs=["made/a/**"])' in beside
    assert 'WorkspaceSpec(include=["raw/{word}/**"], outputs=["made/{word}/**"])' in items
    assert [('isolation="snapshot"' in warning) for warning in (beside, items)] == [not cache, not cache]
