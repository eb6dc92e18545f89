"""Building and writing TaskDefs, where the published package sets no example."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, create_model

from perago import (
    PublishBudget,
    TaskControls,
    TaskDefinitionError,
    TimeoutPolicy,
    WorkspaceSpec,
    build_taskdef,
    forbid_glob,
    require_dir,
    require_file,
    require_glob,
    task,
    write_taskdef,
)
from perago.tasks.params import validate_result


class Empty(BaseModel):
    pass


class Tree(BaseModel):
    children: list[Tree] = []


class Left(BaseModel):
    right: Right | None = None


class Right(BaseModel):
    left: Left | None = None


class Forest(BaseModel):
    trees: list[Left] = []


class WithFunction(BaseModel):
    fn: Callable[[int], int]


class Rows(RootModel[list[int]]):
    pass


class Nested(BaseModel):
    rows: Rows


class WithTitles(BaseModel):
    title: int = 0
    properties: int = 1
    kept: dict[str, Any] = {"title": "x", "description": "y"}
    reference: str = Field("x", alias="$ref")


def declare(params=Empty, result=Empty, workspace=None, **options):
    if workspace is None:

        def fn(params): ...

        annotations = {}
    else:

        def fn(workspace, params): ...

        annotations = {"workspace": Path}
    fn.__annotations__ = {**annotations, "params": params, "return": result}
    declaring = task(name="features.build", owner_email="t@example.org", workspace=workspace, **options)
    return declaring(fn).__perago_task__


def warnings_of(definition):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_taskdef(definition)
    return [str(warning.message) for warning in caught]


def params_schema(model):
    return build_taskdef(declare(model))["inputSchema"]["data"]["properties"]["params"]


@pytest.mark.parametrize("model", [Tree, Left])
def test_a_model_that_refers_to_itself_may_be_anything_as_in_0_6(model):
    assert params_schema(model) == {}
    taskdef = build_taskdef(declare(result=model))
    assert taskdef["outputSchema"]["data"]["properties"]["result"] == {}


def test_within_another_model_one_that_refers_to_itself_is_told_once_and_may_then_be_anything():
    left = params_schema(Forest)["properties"]["trees"]["items"]
    assert left["additionalProperties"] is True
    right = left["properties"]["right"]["anyOf"][0]
    assert right["properties"]["left"]["anyOf"] == [{}, {"type": "null"}]
    assert "$ref" not in json.dumps(left)


class Sides(BaseModel):
    a: int
    b: int = 1

    @computed_field
    @property
    def area(self) -> int:
        return self.a * self.b


class Measured(BaseModel):
    """One whose computed field gives a model that has one, and that nothing else refers to."""

    name: str = "x"

    @computed_field
    @property
    def sides(self) -> list[Sides]:
        return [Sides(a=2)]


SIDES = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "b": {"type": "integer", "default": 1},
        "area": {"type": "integer", "readOnly": True},
    },
    "required": ["a", "area"],
    "additionalProperties": False,
}
MEASURED = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "x"},
        "sides": {"type": "array", "items": SIDES, "readOnly": True},
    },
    "required": ["sides"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(("model", "raw", "schema"), [(Sides, {"a": 3}, SIDES), (Measured, {}, MEASURED)])
def test_what_a_result_s_model_computes_is_in_the_schema_of_the_output_and_not_of_the_input(model, raw, schema):
    definition = declare(params=model, result=model)
    taskdef = build_taskdef(definition)
    assert taskdef["outputSchema"]["data"]["properties"]["result"] == schema
    assert set(validate_result(definition, raw)) == set(schema["properties"])
    assert set(params_schema(model)["properties"]) == set(model.model_fields)


def test_a_model_that_computes_what_json_cannot_hold_keeps_the_schema_of_its_fields():
    class Calling(BaseModel):
        a: int = 1

        @computed_field
        @property
        def call(self) -> Callable[[], int]:
            return int

    taskdef = build_taskdef(declare(result=Calling))
    assert set(taskdef["outputSchema"]["data"]["properties"]["result"]["properties"]) == {"a"}


def output_schema(model):
    return build_taskdef(declare(result=model))["outputSchema"]["data"]["properties"]["result"]


def test_a_field_that_says_of_itself_that_it_is_read_only_is_no_computed_one():
    class Made(BaseModel):
        made: str = Field(
            "now", validation_alias="made_at", serialization_alias="madeAt", json_schema_extra={"readOnly": True}
        )

    class Within(BaseModel):
        inner: Made

    made = {"made_at": {"type": "string", "default": "now", "readOnly": True}}
    assert output_schema(Made)["properties"] == made
    assert output_schema(Within)["properties"]["inner"]["properties"] == made


def test_what_is_computed_stands_in_the_schema_under_the_name_that_it_has_in_the_result():
    class Named(BaseModel):
        @computed_field(alias="theArea")
        @property
        def area(self) -> int:
            return 1

    class Generated(BaseModel):
        model_config = ConfigDict(alias_generator=str.upper, populate_by_name=True)
        side: int = 1

        @computed_field
        @property
        def named(self) -> Named:
            return Named()

    schema = output_schema(Generated)
    assert set(schema["properties"]) == {"SIDE", "named"}
    assert schema["required"] == ["named"]
    assert schema["properties"]["named"] == {
        "type": "object",
        "properties": {"area": {"type": "integer", "readOnly": True}},
        "required": ["area"],
        "additionalProperties": False,
        "readOnly": True,
    }
    assert validate_result(declare(result=Generated), Generated()) == {"side": 1, "named": {"area": 1}}


def test_a_default_that_json_cannot_hold_is_warned_of_once():
    class Odd(BaseModel):
        when: Any = object()

        @computed_field
        @property
        def area(self) -> int:
            return 1

    assert len([said for said in warnings_of(declare(result=Odd)) if "not JSON serializable" in said]) == 1


def test_a_model_that_is_used_twice_does_not_refer_to_itself():
    class Leaf(BaseModel):
        n: int = 0

    class Pair(BaseModel):
        a: Leaf
        b: Leaf

    leaf = {"type": "object", "properties": {"n": {"type": "integer", "default": 0}}, "additionalProperties": True}
    assert params_schema(Pair)["properties"] == {"a": leaf, "b": leaf}


def test_a_schema_that_grows_without_measure_is_refused():
    model = create_model("Level0", n=(int, 0))
    for level in range(1, 20):
        model = create_model(f"Level{level}", a=(model, ...), b=(model, ...))
    with pytest.raises(TaskDefinitionError, match="more than 10000 parts"):
        build_taskdef(declare(model))


def test_a_field_that_json_cannot_hold_is_told():
    with pytest.raises(TaskDefinitionError, match=r"'features\.build': model .*WithFunction has no JSON schema"):
        build_taskdef(declare(WithFunction))


def test_a_model_whose_names_are_not_defined_is_told():
    class Unfinished(BaseModel):
        x: NotDefinedAnywhere  # noqa: F821 - the fault

    with pytest.raises(TaskDefinitionError, match="NotDefinedAnywhere"):
        build_taskdef(declare(Unfinished))


def test_only_schemas_lose_their_titles():
    schema = params_schema(WithTitles)
    assert schema["properties"] == {
        "title": {"type": "integer", "default": 0},
        "properties": {"type": "integer", "default": 1},
        "kept": {"type": "object", "additionalProperties": True, "default": {"title": "x", "description": "y"}},
        "$ref": {"type": "string", "default": "x"},
    }


def test_a_root_model_inside_a_model_is_what_it_holds():
    assert params_schema(Nested)["properties"]["rows"] == {"type": "array", "items": {"type": "integer"}}


def test_guards_prefix_and_budget_never_enter_a_taskdef():
    spec = WorkspaceSpec(
        prefix="hidden-prefix", pre=[require_file("hidden-file")], post=[forbid_glob("hidden-*")], include=["hidden*"]
    )
    controls = TaskControls(publish_budget=budget(), timeout=TimeoutPolicy(response_seconds=999))
    text = json.dumps(build_taskdef(declare(workspace=spec, controls=controls)))
    assert "hidden" not in text
    assert "budget" not in text
    assert text == json.dumps(
        build_taskdef(
            declare(workspace=WorkspaceSpec(), controls=TaskControls(timeout=TimeoutPolicy(response_seconds=999)))
        )
    )


def budget():
    return PublishBudget(
        observed_merge_p99_seconds=10,
        safety_margin_seconds=5,
        lakefs_merge_timeout_seconds=20,
        conductor_completion_timeout_seconds=30,
        worker_shutdown_grace_seconds=40,
        heartbeat_interval_seconds=11,
    )


@pytest.mark.parametrize("response_seconds", [0, 100])
def test_a_response_timeout_shorter_than_the_budget_warns(response_seconds):
    controls = TaskControls(publish_budget=budget(), timeout=TimeoutPolicy(response_seconds=response_seconds))
    with pytest.warns(
        UserWarning, match=f"response_seconds={response_seconds} is shorter than its publish_budget of 101 s"
    ) as caught:
        taskdef = build_taskdef(declare(workspace=WorkspaceSpec(), controls=controls))
    assert taskdef["responseTimeoutSeconds"] == response_seconds
    assert [warning.filename for warning in caught] == [__file__]


def test_a_budget_of_a_task_that_publishes_nothing_is_warned_of():
    controls = TaskControls(publish_budget=budget())
    with pytest.warns(UserWarning, match="publish_budget has no effect, because the task is read_only") as caught:
        build_taskdef(declare(workspace=WorkspaceSpec(read_only=True), controls=controls))
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("response_seconds", [101, 600])
def test_a_response_timeout_that_covers_the_budget_does_not(response_seconds):
    controls = TaskControls(publish_budget=budget(), timeout=TimeoutPolicy(response_seconds=response_seconds))
    assert warnings_of(declare(workspace=WorkspaceSpec(), controls=controls)) == []


@pytest.mark.parametrize(
    ("timeout", "said"),
    [
        (
            {"seconds": 30},
            r"response_seconds \(600\) is longer than timeout.seconds \(30\), .*response_seconds to 20, for example$",
        ),
        (
            {"seconds": 1, "response_seconds": 2},
            r"\(2\) is longer than timeout.seconds \(1\), .*response_seconds to 1, for example$",
        ),
        ({"seconds": 900, "total_seconds": 899}, r"seconds \(900\) is longer than timeout.total_seconds \(899\), "),
    ],
)
def test_a_timeout_that_conductor_refuses_warns(timeout, said):
    controls = TaskControls(timeout=TimeoutPolicy(**timeout))
    with pytest.warns(UserWarning, match=said) as caught:
        build_taskdef(declare(controls=controls))
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    "timeout",
    [
        {"seconds": 600},
        {"total_seconds": 1},
        {"seconds": 30, "response_seconds": 0},
        {"seconds": 600, "total_seconds": 600},
    ],
)
def test_a_timeout_that_conductor_takes_does_not(timeout):
    assert warnings_of(declare(controls=TaskControls(timeout=TimeoutPolicy(**timeout)))) == []


@pytest.mark.parametrize(
    ("guards", "said"),
    [
        ({"pre": [require_file("other/x.csv")]}, r"pre guard require_file\('other/x.csv'\) .* never fetched"),
        ({"post": [require_file("raw/big/x.csv")]}, r"post guard require_file\('raw/big/x.csv'\) .* is not published"),
        ({"post": [require_dir("out")]}, r"post guard require_dir\('out'\) .* is not published"),
        ({"post": [require_glob("out/a.csv")]}, r"post guard require_glob\('out/a.csv'\) .* is not published"),
    ],
)
def test_a_guard_on_what_the_workspace_leaves_out_warns(guards, said):
    spec = WorkspaceSpec(include=["raw/**/*.csv"], exclude=["raw/big"], **guards)
    with pytest.warns(UserWarning, match=said):
        build_taskdef(declare(workspace=spec))


@pytest.mark.parametrize(
    "guard",
    [
        require_file("raw/a.csv"),
        require_dir("raw"),
        require_dir("raw/part"),
        require_glob("**/*.txt"),
        forbid_glob("raw/big/x.csv"),
    ],
)
def test_a_guard_on_what_it_may_hold_does_not(guard):
    spec = WorkspaceSpec(include=["raw/**/*.csv"], exclude=["raw/big"], pre=[guard], post=[guard])
    assert warnings_of(declare(workspace=spec)) == []


def test_what_a_read_only_task_leaves_is_published_nowhere_and_needs_no_warning():
    spec = WorkspaceSpec(include=["raw/*.csv"], read_only=True, post=[require_file("out")])
    assert warnings_of(declare(workspace=spec)) == []


def test_two_taskdefs_share_nothing():
    definition = declare(workspace=WorkspaceSpec())
    first = build_taskdef(definition)
    first["inputSchema"]["data"]["properties"]["workspace"]["properties"]["ref"]["minLength"] = 99
    first["outputSchema"]["data"]["properties"]["workspace"]["required"].clear()
    second = build_taskdef(definition)
    assert second["inputSchema"]["data"]["properties"]["workspace"]["properties"]["ref"]["minLength"] == 1
    assert second["outputSchema"]["data"]["properties"]["workspace"]["required"]
    properties = second["inputSchema"]["data"]["properties"]["workspace"]["properties"]
    assert properties["ref"] is not properties["branch"]


# ---------------------------------------------------------------- writing


def test_a_taskdef_is_written_as_json_with_its_directories(tmp_path):
    definition = declare(description="Größe")
    path = write_taskdef(definition, tmp_path / "generated" / "deep" / "features.build.json")
    assert path == tmp_path / "generated" / "deep" / "features.build.json"
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == build_taskdef(definition)
    assert text.startswith('{\n  "name": "features.build"')
    assert text.endswith("}\n")
    assert "Größe" in text
    assert list(path.parent.iterdir()) == [path]


def test_a_path_may_be_text_and_a_file_is_replaced(tmp_path):
    (tmp_path / "t.json").write_text("old")
    assert write_taskdef(declare(), str(tmp_path / "t.json")) == tmp_path / "t.json"
    assert json.loads((tmp_path / "t.json").read_text())["name"] == "features.build"


@pytest.mark.parametrize("name", ["t.yaml", "t", "t.JSON", ""])
def test_another_kind_of_file_is_refused_and_nothing_is_made(tmp_path, name):
    with pytest.raises(TaskDefinitionError, match=r"ends in \.json"):
        write_taskdef(declare(), tmp_path / "new" / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "example"), [("x.txt", "x.json"), ("x", "x/{task}.json")])
def test_another_kind_of_file_is_refused_with_a_path_that_can_be_written(tmp_path, name, example):
    task = declare()
    path = tmp_path / example.format(task=task.name)
    with pytest.raises(TaskDefinitionError) as caught:
        write_taskdef(task, tmp_path / name)
    assert str(caught.value).endswith(f"such as {str(path)!r}")
    assert write_taskdef(task, path) == path


def test_what_cannot_be_built_leaves_the_file_as_it_is(tmp_path):
    (tmp_path / "t.json").write_text("old")
    with pytest.raises(TaskDefinitionError):
        write_taskdef(declare(WithFunction), tmp_path / "t.json")
    assert (tmp_path / "t.json").read_text() == "old"


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "t.json").mkdir()
    with pytest.raises(IsADirectoryError, match="give a file name") as caught:
        write_taskdef(declare(), tmp_path / "t.json")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "t.json"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]
