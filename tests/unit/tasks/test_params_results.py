"""Results: no unknown fields at any depth, JSON and nothing else, the names of the fields as keys."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Json,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
)

from perago import TaskExecutionError, task
from perago.tasks.params import validate_result


class Leaf(BaseModel):
    a: int = 0


class Longer(Leaf):
    b: int = 5


class Holder(BaseModel):
    leaf: Leaf = Leaf()
    leaves: list[Leaf] = []
    by_name: dict[str, Leaf | None] = {}


class Anything(BaseModel):
    value: Any = None
    number: float = 0


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 0


class Aliased(BaseModel):
    size: int = Field(alias="theSize", default=1)


class TwoAliases(BaseModel):
    size: int = Field(validation_alias="in", serialization_alias="out", default=1)


class ByAlias(BaseModel):
    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)
    size: int = Field(alias="theSize", default=1)


class Colour(enum.Enum):
    RED = "red"


class Rich(BaseModel):
    when: dt.datetime = dt.datetime(2020, 1, 2, 3, 4, tzinfo=dt.UTC)
    colour: Colour = Colour.RED
    where: Path = Path("a/b")
    tags: set[str] = {"x"}
    secret: SecretStr = SecretStr("hunter2")
    parsed: Json[list[int]] = Field(default="[1]", validate_default=True)
    hidden: int = Field(default=1, exclude=True)

    @computed_field
    @property
    def doubled(self) -> int:
        return self.hidden * 2

    @field_serializer("when", when_used="json")
    def _shown(self, value: dt.datetime) -> str:
        return value.strftime("%d/%m/%y")


def declare(model):
    def fn(params): ...

    fn.__annotations__ = {"params": Leaf, "return": model}
    return task(name="t", owner_email="t@example.org")(fn).__perago_task__


def fault_of(model, raw):
    with pytest.raises(TaskExecutionError) as caught:
        validate_result(declare(model), raw)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason.removeprefix("task 't': ")


@pytest.mark.parametrize("raw", [Holder(leaf=Leaf(a=3)), {"leaf": {"a": 3}}, {"leaf": Leaf(a=3)}, {"leaf": {"a": "3"}}])
def test_a_body_returns_the_model_or_a_mapping(raw):
    assert validate_result(declare(Holder), raw) == {"leaf": {"a": 3}, "leaves": [], "by_name": {}}


@pytest.mark.parametrize("raw", [None, [], "{}", 5, [("a", 1)], Leaf])
def test_what_is_neither_is_refused(raw):
    assert fault_of(Leaf, raw).startswith("result (Input should be a valid dictionary")


@pytest.mark.parametrize(
    ("model", "raw", "path"),
    [
        (Leaf, {"zz": 1}, "result.zz"),
        (Leaf, Longer(), "result.b"),
        (Holder, {"leaf": {"zz": 1}}, "result.leaf.zz"),
        (Holder, {"leaves": [{}, {"zz": 1}]}, "result.leaves.1.zz"),
        (Holder, {"by_name": {"x": {"zz": 1}}}, "result.by_name.x.zz"),
        (Open, {"zz": 1}, "result.zz"),
        (Open, Open(zz=1), "result.zz"),
        (Leaf, Holder(), "result.leaf"),
    ],
)
def test_unknown_fields_are_refused_at_every_depth(model, raw, path):
    assert f"{path} (Extra inputs are not permitted)" in fault_of(model, raw)


def test_an_instance_that_was_never_validated_is_validated():
    assert fault_of(Leaf, Leaf.model_construct(a="x")).startswith("result.a (")
    assert fault_of(Holder, Holder.model_construct(leaves=[Leaf(), Leaf.model_construct(a="x")])).startswith(
        "result.leaves.1.a ("
    )
    changed = Leaf()
    changed.a = "x"
    assert fault_of(Leaf, changed).startswith("result.a (")


def test_no_warning_shows_a_value_on_the_way(recwarn):
    fault_of(Leaf, Leaf.model_construct(a="hunter2"))
    assert not recwarn.list


def test_all_faults_are_told_at_once():
    fault = fault_of(Holder, {"leaf": {"a": "x"}, "leaves": [{"b": 1}], "by_name": 5})
    assert [part.partition(" (")[0] for part in fault.split("; ")] == [
        "result.leaf.a",
        "result.leaves.0.b",
        "result.by_name",
    ]


def test_a_nested_subclass_counts_as_the_declared_class():
    assert validate_result(declare(Holder), Holder(leaf=Longer(a=2)))["leaf"] == {"a": 2}


def test_another_class_with_the_same_fields_will_do():
    class Other(BaseModel):
        a: int = 7

    assert validate_result(declare(Leaf), Other()) == {"a": 7}


def test_every_type_becomes_its_json_form():
    result = validate_result(declare(Rich), Rich())
    assert result == {
        "when": "02/01/20", "colour": "red", "where": "a/b", "tags": ["x"], "secret": "**********", "parsed": [1],
        "doubled": 2,
    }  # fmt: skip
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(
    ("model", "raw", "expected"),
    [
        (Aliased, Aliased(theSize=3), {"size": 3}),
        (Aliased, {"theSize": 3}, {"size": 3}),
        (TwoAliases, TwoAliases(**{"in": 3}), {"size": 3}),
        (TwoAliases, {"in": 3}, {"size": 3}),
        (ByAlias, ByAlias(size=3), {"theSize": 3}),
        (ByAlias, {"size": 3}, {"theSize": 3}),
    ],
)
def test_keys_are_the_names_of_the_fields_unless_the_model_says_otherwise(model, raw, expected):
    assert validate_result(declare(model), raw) == expected


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ({"value": ["\ud800"]}, "result.value.0 is text with lone surrogates"),
        ({"value": object()}, "cannot be written as JSON"),
        ({"value": b"\xff"}, "cannot be written as JSON"),
        ({"value": 10**5000}, "cannot be written as JSON"),
    ],
)
def test_what_json_has_no_form_for_is_refused_with_its_path(raw, fault):
    assert fault in fault_of(Anything, raw)
    assert fault in fault_of(Anything, Anything(**raw))


def test_a_value_that_holds_itself_is_refused():
    endless: list[Any] = []
    endless.append(endless)
    assert "cannot be written as JSON" in fault_of(Anything, {"value": endless})


def test_all_values_without_a_form_are_told_at_once():
    fault = fault_of(Anything, {"value": ["\ud800", 1, {"x": "\udfff"}]})
    assert fault == (
        "the result cannot be written as JSON: result.value.0 is text with lone surrogates; "
        "result.value.2.x is text with lone surrogates"
    )


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("raw", "expected", "path"),
    [
        ({"number": NAN}, {"value": None, "number": None}, "result.number"),
        ({"number": -INFINITY}, {"value": None, "number": None}, "result.number"),
        ({"value": [1, {"x": INFINITY}]}, {"value": [1, {"x": None}], "number": 0}, "result.value.1.x"),
        ({"value": {NAN}}, {"value": [None], "number": 0}, "result.value.0"),
        (
            {"value": Anything(number=NAN)},
            {"value": {"value": None, "number": None}, "number": 0},
            "result.value.number",
        ),
    ],
)
def test_a_number_that_is_not_finite_is_null_in_the_result_and_warned_of(caplog, raw, expected, path):
    for returned in (raw, Anything(**raw)):
        caplog.clear()
        result = validate_result(declare(Anything), returned)
        assert json.loads(json.dumps(result, allow_nan=False)) == expected
        assert [(record.name, record.levelname) for record in caplog.records] == [("perago.task.t", "WARNING")]
        assert f": {path}" in caplog.text


def test_one_warning_names_some_of_many_numbers_that_are_not_finite(caplog):
    result = validate_result(declare(Anything), {"value": [NAN] * 100, "number": 1})
    assert result == {"value": [None] * 100, "number": 1}
    assert caplog.text.count("result.value.") == 50
    assert "; and 50 more" in caplog.text


def test_a_model_that_refuses_such_numbers_does_so():
    class Finite(BaseModel):
        number: float = Field(allow_inf_nan=False)

    assert fault_of(Finite, {"number": NAN}).startswith("result.number (")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=json_values)
def test_every_json_value_passes_as_it_is(value):
    assert validate_result(declare(Anything), {"value": value})["value"] == value


@dataclasses.dataclass
class Plain:
    a: int


class WithPlain(BaseModel):
    plain: Plain


def test_dataclasses_inside_a_model_are_objects():
    assert validate_result(declare(WithPlain), WithPlain(plain=Plain(3))) == {"plain": {"a": 3}}
    assert "result.plain" in fault_of(WithPlain, {"plain": {"a": 3, "b": 4}})


class Excluding(BaseModel):
    x: int = Field(exclude=True)


class Spelling(BaseModel):
    x: int

    @field_serializer("x")
    def spell(self, value: int) -> str:
        return f"{value} m"


class Reshaping(BaseModel):
    x: int

    @model_serializer
    def reshape(self) -> dict[str, int]:
        return {"y": self.x}


@pytest.mark.parametrize(("model", "output"), [(Excluding, {}), (Spelling, {"x": "1 m"}), (Reshaping, {"y": 1})])
def test_a_model_that_is_written_otherwise_than_it_is_read_has_to_come_as_a_mapping(model, output):
    """As docs/reference/formats.md says, and as 0.6 does."""
    assert fault_of(model, model(x=1)).startswith("result.x (")
    assert validate_result(declare(model), {"x": 1}) == output


class Tenfold(BaseModel):
    x: int = Field(lt=100)

    @field_validator("x")
    @classmethod
    def multiply(cls, value: int) -> int:
        return value * 10


class Opened(Tenfold):
    inner: Open


class Measured(BaseModel):
    metres: float
    within: Holder = Holder()

    @field_validator("metres", mode="before")
    @classmethod
    def parse(cls, value: str) -> str:
        return value.removesuffix(" m") if value.endswith(" m") else value / 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("model", "raw"),
    [
        (Tenfold, {"x": 30}),
        (Measured, {"metres": "3 m", "within": Holder()}),
    ],
)
def test_validators_are_applied_once(model, raw):
    built = model(**raw)
    assert validate_result(declare(model), built) == validate_result(declare(model), raw) == built.model_dump()


def test_a_model_with_validators_is_still_checked():
    changed = Tenfold(x=1)
    changed.x = "many"
    assert fault_of(Tenfold, changed).startswith("result.x (")
    assert fault_of(Tenfold, Tenfold.model_construct()).startswith("result.x (")
    assert fault_of(Opened, Opened(x=1, inner=Open(zz=1))) == "result.inner.zz (Extra inputs are not permitted)"
