"""Params: unknown fields ignored or forbidden at every depth, all faults at once, no value ever repeated."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import math
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from perago import Flow, TaskInputError, WorkflowDefinitionError, build_taskdef, task, workflow
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import MAX_FAULTS, params_as_json, unknown_params, validate_params
from perago.workflows.definition import workflow_of
from perago.workflows.params import workflow_params


class Leaf(BaseModel):
    a: int = 0


class One(BaseModel):
    kind: Literal["one"]
    leaf: Leaf = Leaf()


class Two(BaseModel):
    kind: Literal["two"]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int = 0


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 0


class Row(TypedDict, total=False):
    a: int


@dataclasses.dataclass
class Plain:
    a: int = 0


class Deep(BaseModel):
    leaf: Leaf = Leaf()
    maybe: Leaf | None = None
    leaves: list[Leaf] = []
    by_name: dict[str, Leaf] = {}
    either: One | Two | None = None
    told: Annotated[One | Two, Field(discriminator="kind")] | None = None
    several: tuple[Leaf, ...] = ()
    row: Row = {}
    plain: Plain | None = None
    nested: dict[str, list[Leaf | None]] = {}
    closed: Closed = Closed()
    open: Open = Open()


FULL = {
    "leaf": {"a": 1},
    "maybe": {"a": 1},
    "leaves": [{"a": 1}, {"a": 2}],
    "by_name": {"x": {"a": 1}},
    "either": {"kind": "one", "leaf": {"a": 1}},
    "told": {"kind": "one", "leaf": {"a": 1}},
    "several": [{"a": 1}],
    "row": {"a": 1},
    "plain": {"a": 1},
    "nested": {"x": [None, {"a": 1}]},
    "closed": {"a": 1},
    "open": {"a": 1},
}


def objects(value, path=()):
    """Paths of all objects with fields, in a value like FULL."""
    if isinstance(value, dict):
        if path not in (("by_name",), ("nested",)):
            yield path
        for key, item in value.items():
            yield from objects(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects(item, (*path, index))


def with_unknown(path):
    value = copy.deepcopy(FULL)
    place = value
    for step in path:
        place = place[step]
    place["unknown"] = "hunter2"
    return value


def declare(model, **options):
    def fn(params): ...

    fn.__annotations__ = {"params": model, "return": Leaf}
    return task(name="t", owner_email="t@example.org", **options)(fn).__perago_task__


def fault_of(model, raw, **options):
    with pytest.raises(TaskInputError) as caught:
        validate_params(declare(model, **options), raw)
    return str(caught.value)


@pytest.mark.parametrize("path", list(objects(FULL)), ids=str)
def test_an_unknown_field_is_ignored_at_every_depth_and_refused_if_strict(path):
    assert validate_params(declare(Deep), with_unknown(path)).model_dump() == Deep.model_validate(FULL).model_dump()
    fault = fault_of(Deep, with_unknown(path), strict_params=True)
    assert "unknown" in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize("strict", [False, True])
def test_params_without_unknown_fields_are_taken_either_way(strict):
    validated = validate_params(declare(Deep, strict_params=strict), FULL)
    assert validated.model_dump() == Deep.model_validate(FULL).model_dump()


def test_the_user_s_models_are_left_as_they_are():
    validate_params(declare(Deep, strict_params=True), FULL)
    assert Leaf.model_validate({"b": 1}) == Leaf()
    assert Open.model_validate({"b": 1}).model_extra == {"b": 1}


def test_an_instance_of_the_model_is_taken():
    params = Deep()
    assert validate_params(declare(Deep), params) == params


@pytest.mark.parametrize("raw", [None, [], "{}", 5, Leaf()])
def test_what_is_no_object_is_refused(raw):
    assert fault_of(Deep, raw).startswith("task 't': params (")


class Anything(BaseModel):
    value: Any = None


def test_params_that_are_nested_too_deeply_are_refused_in_words():
    def nested(levels: int) -> dict[str, Any]:
        return {"value": json.loads("[" * levels + "]" * levels)}

    assert validate_params(declare(Anything), nested(199)) == Anything(**nested(199))
    for levels in (200, 900):
        assert fault_of(Anything, nested(levels)).startswith("task 't': params are nested more than 200 deep")
        given = workflow_of(workflow(name="w", owner_email="a@example.org")(takes_anything))
        with pytest.raises(WorkflowDefinitionError, match="workflow 'w': params are nested more than 200 deep"):
            workflow_params(given, nested(levels))
    for params in (nested(900), Anything(**nested(900))):
        with pytest.raises(TaskInputError, match="params cannot be written as JSON"):
            params_as_json(params)


def takes_anything(flow: Flow, params: Anything) -> None:
    flow.run(takes_nothing)


@task(name="nothing", owner_email="a@example.org")
def takes_nothing(params: Anything) -> Anything:
    return params


class Faulty(BaseModel):
    rows: list[Leaf]
    when: dt.date
    size: int = Field(ge=1)


def test_all_faults_are_told_at_once_with_their_paths():
    fault = fault_of(Faulty, {"rows": [{"a": 1}, {"a": "x"}, 5], "size": 0})
    told = fault.removeprefix("task 't': ").split("; ")
    assert [entry.partition(" (")[0] for entry in told] == [
        "params.rows.1.a",
        "params.rows.2",
        "params.when",
        "params.size",
    ]
    assert "Field required" in told[2]


def test_a_great_many_faults_are_counted_but_not_all_told():
    fault = fault_of(Faulty, {"rows": ["x"] * 1000, "when": "2020-01-01", "size": 1})
    assert fault.count("; params.rows.") == MAX_FAULTS - 1
    assert fault.endswith(f"; and {1000 - MAX_FAULTS} more")


def _refuse(value: Any) -> Any:
    raise ValueError(f"what is {value}?")


def _refuse_in_a_class_of_its_own(value: Any) -> Any:
    raise PydanticCustomError("odd", "what is {value}?", {"value": value})


class Secrets(BaseModel):
    password: Annotated[str, AfterValidator(_refuse)]
    api_key: Annotated[str, AfterValidator(_refuse_in_a_class_of_its_own)]
    token: int
    secret: SecretStr = Field(min_length=50)
    credentials: Leaf
    db_password: str


def test_no_secret_is_repeated_but_what_is_missing_is_told():
    raw = dict.fromkeys(("password", "api_key", "token", "secret"), "hunter2") | {"credentials": {"a": "hunter2"}}
    fault = fault_of(Secrets, raw)
    assert "hunter2" not in fault
    for name in ("password", "api_key", "token", "secret", "credentials.a"):
        assert f"params.{name} (not valid, " in fault
    assert "params.db_password (Field required)" in fault


@given(value=st.text(min_size=3).filter(lambda text: text not in str(Faulty.model_json_schema())))
def test_no_value_is_repeated(value):
    marked = f"<<{value}>>"
    assert marked not in fault_of(Faulty, {"rows": [{"a": marked}], "when": marked, "size": marked})


class Aliased(BaseModel):
    size: int = Field(alias="theSize", default=0)


def test_aliases_are_what_comes_in():
    assert validate_params(declare(Aliased, strict_params=True), {"theSize": 3}).size == 3
    assert "params.size" in fault_of(Aliased, {"size": 3}, strict_params=True)


class Renamed(BaseModel):
    text: str = ""
    renamed: str = Field(default="", alias="other-name")


class Named(BaseModel):
    chosen: int = Field(default=0, validation_alias=AliasChoices("one", AliasPath("two", 0)))
    plain: int = 0


class NamedToo(Named, validate_by_name=True):
    renamed: str = Field(default="", alias="other-name")


class Own(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _take_anything(cls, data: object) -> object:
        return {}


@pytest.mark.parametrize(
    ("model", "given", "unknown"),
    [
        (Renamed, ["text", "other-name"], []),
        (Renamed, ["typo"], ["typo"]),
        (Renamed, ["text", "renamed"], ["renamed"]),
        (Renamed, ["typo", "too"], ["typo", "too"]),
        (Named, ["one", "two", "plain"], []),
        (Named, ["chosen"], ["chosen"]),
        (NamedToo, ["chosen", "renamed", "other-name"], []),
        (Own, ["anything"], []),
    ],
)
def test_params_that_the_model_does_not_have_are_found(model, given, unknown):
    task = TaskDefinition(
        name="t", owner_email="a@example.org", fn=lambda params: params, params_model=model, output_model=model
    )
    assert unknown_params(task, dict.fromkeys(given))[0] == unknown


def test_a_task_with_strict_params_refuses_what_it_does_not_know_and_warns_of_nothing():
    task = TaskDefinition(
        name="t",
        owner_email="a@example.org",
        fn=lambda params: params,
        params_model=Renamed,
        output_model=Renamed,
        strict_params=True,
    )
    assert unknown_params(task, {"typo": 1}) == ([], [])
    with pytest.raises(TaskInputError, match=r"params\.txt \(unknown; did you mean 'text'\?\)"):
        validate_params(task, {"txt": "x"})


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: dt.date
    pair: tuple[int, float] = (1, 2)
    kind: Literal["a", "b"] = "a"
    amount: int = 0


def test_a_strict_model_reads_params_as_json():
    strict = declare(Strict)
    wanted = Strict(day=dt.date(2021, 1, 2), pair=(3, 4.5))
    assert validate_params(strict, {"day": "2021-01-02", "pair": [3, 4.5]}) == wanted
    assert validate_params(strict, {"day": dt.date(2021, 1, 2), "pair": (3, 4.5)}) == wanted
    with pytest.raises(TaskInputError) as caught:
        validate_params(strict, {"day": "2021-01-02", "pair": [3, 4], "amount": "5"})
    assert str(caught.value) == "task 't': params.amount (Input should be a valid integer)"


@pytest.mark.parametrize(("number", "text"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_numbers_that_json_does_not_have_are_passed_as_text_which_a_float_reads(number, text):
    class Limits(BaseModel):
        limit: float = number
        limits: dict[str, list[float]] = {}

    given = params_as_json(Limits(limit=number, limits={"a": [number]}))
    assert given == {"limit": text, "limits": {"a": [text]}}
    read = validate_params(declare(Limits), given)
    assert repr([read.limit, *read.limits["a"]]) == repr([number, number])
    schema = build_taskdef(declare(Limits))["inputSchema"]["data"]["properties"]["params"]["properties"]
    assert schema["limit"] == {"type": "number", "default": text}


def test_the_items_of_a_set_are_passed_in_one_order_with_their_secrets():
    class Tagged(BaseModel):
        tags: set[str]
        keys: frozenset[SecretStr]

    tags = [f"tag{number}" for number in range(9)]
    given = params_as_json(Tagged(tags=set(tags), keys=frozenset({SecretStr("b"), SecretStr("a")})))
    assert given == {"tags": tags, "keys": ["a", "b"]}
