"""A result that is read back is the one that was written."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
    model_validator,
)

from perago import task
from perago.tasks.params import validate_result
from perago.tasks.read_back import read_back


class Inner(BaseModel):
    on: date
    path: Path = Path("a")


class Plain(BaseModel):
    inner: Inner
    share: Decimal
    pair: tuple[int, str] = (1, "a")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    on: date
    pair: tuple[int, str] = (1, "a")


class Tenfold(BaseModel):
    x: int = Field(lt=100)

    @field_validator("x")
    @classmethod
    def multiply(cls, value: int) -> int:
        return value * 10


class Root(RootModel[int]):
    @field_validator("root")
    @classmethod
    def add(cls, value: int) -> int:
        return value + 1


class Around(BaseModel):
    inside: list[Tenfold]
    again: Around | None = None
    named: dict[str, Root] = {}
    limited: Annotated[str, Field(alias="text", max_length=3), AfterValidator(lambda text: f"<{text}>")] = "a"
    metres: Annotated[float, BeforeValidator(lambda text: float(text.removesuffix(" m")))]
    twice: Annotated[int, AfterValidator(lambda value: value * 2)] = 1


class Counting(BaseModel):
    count: int = 0
    inner: Inner

    @model_validator(mode="after")
    def count_up(self) -> Counting:
        self.count += 1
        return self


class Diverged(BaseModel):
    loss: float


@pytest.mark.parametrize(
    ("model", "raw"),
    [
        (Plain, {"inner": {"on": "2026-01-02", "path": "b"}, "share": "0.5"}),
        (Strict, Strict(on=date(2026, 1, 2))),
        (Tenfold, {"x": 5}),
        (Tenfold, {"x": 30}),
        (Around, {"inside": [{"x": 2}, {"x": 50}], "metres": "3 m", "twice": 4, "text": "abc"}),
        (Around, {"inside": [], "again": {"inside": [], "metres": "3 m"}, "metres": "1 m", "named": {"a": 1}}),
        (Counting, {"inner": {"on": "2026-01-02"}}),
    ],
)
def test_its_validators_are_not_applied_to_what_they_made(model, raw):
    built = raw if isinstance(raw, model) else model.model_validate(raw)
    assert read_back(model, written(model, raw)) == built


def test_null_for_a_number_that_is_not_finite_is_none():
    assert read_back(Diverged, written(Diverged, {"loss": math.nan})).loss is None


def written(model: type[BaseModel], raw: object) -> dict[str, Any]:
    def body(params: Inner) -> BaseModel:
        raise NotImplementedError

    body.__annotations__ = {"params": Inner, "return": model}
    return validate_result(task(name="t", owner_email="t@example.org")(body).__perago_task__, raw)
