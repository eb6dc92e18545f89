"""Results that hold what numpy and pandas make: scalars are converted where JSON has them, the rest is told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from perago import TaskExecutionError, task
from perago.tasks.params import MAX_FAULTS, validate_result


class Anything(BaseModel):
    value: Any = None
    number: float = 0
    numbers: list[float] = []


class DataFrame:
    """As far as a result sees one of pandas: a type that nothing knows how to write as JSON."""


@task(name="t", owner_email="a@example.org")
def made(params: Anything) -> Anything:
    return params


def result(**fields: Any) -> dict[str, Any]:
    return validate_result(made.__perago_task__, fields)


def fault(raw: object) -> str:
    with pytest.raises(TaskExecutionError) as caught:
        validate_result(made.__perago_task__, raw)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("value", "converted"),
    [
        (np.int64(3), 3),
        (np.uint8(200), 200),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.float32("nan"), None),
        ({"best": [np.int32(1), (np.float16(0.5),)]}, {"best": [1, [0.5]]}),
        ({np.int64(7): np.int64(1)}, {"7": 1}),
    ],
)
def test_a_scalar_that_json_can_hold_is_converted(value, converted):
    found = result(value=value)["value"]
    assert found == converted
    assert json.dumps(found) == json.dumps(converted)  # types, too
    model = Anything(value=value)
    assert validate_result(made.__perago_task__, model)["value"] == converted


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.arange(3), "ndarray"),
        (np.array(1.5), "ndarray"),
        (np.complex64(1.5), "complex64"),
        (np.datetime64("2026-01-01"), "datetime64"),
        (DataFrame(), "DataFrame"),
        (object(), "object"),
    ],
)
@pytest.mark.parametrize(
    ("hold", "path"),
    [(lambda value: value, "result.value"), (lambda value: {"a": [0, value]}, "result.value.a.1")],
)
def test_what_json_cannot_hold_is_named_with_its_place_and_what_to_do(value, kind, hold, path):
    assert fault({"value": hold(value)}) == (
        f"task 't': the result cannot be written as JSON: {path} is of type {kind}; return numbers, text, lists or "
        f"mappings of those, and write anything else to a file of the workspace"
    )


def test_what_a_field_cannot_take_is_told_with_its_type():
    assert fault({"number": DataFrame()}) == "task 't': result.number (Input should be a valid number, not DataFrame)"
    assert fault(DataFrame()) == (
        "task 't': result (Input should be a valid dictionary or instance of Anything, not DataFrame)"
    )
    assert fault({"number": "many"}) == (
        "task 't': result.number (Input should be a valid number, unable to parse string as a number)"
    )


def test_what_no_path_leads_to_is_named_all_the_same():
    assert "the result holds a value of type complex64; return" in fault({"value": {np.complex64(1): 1}})


def test_no_more_are_named_than_anybody_reads():
    said = fault({"value": [DataFrame()] * 100})
    assert "result.value.0 is of type DataFrame; result.value.1 is" in said
    assert f"; and {100 - MAX_FAULTS} more; return numbers" in said
