"""Fields of the params in the patterns of a workspace."""

from __future__ import annotations

import enum
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from perago import WorkspaceSpec, require_file, task
from perago.errors import TaskDefinitionError, TaskInputError
from perago.tasks.patterns import filled


class Kind(enum.Enum):
    SMALL = "small"


class Params(BaseModel):
    shard: Any = "a"
    token: str = "t"
    hidden: SecretStr = SecretStr("h")


class Result(BaseModel):
    pass


def declare(**spec: Any) -> None:
    @task(name="t", owner_email="ada@example.org", workspace=WorkspaceSpec(**spec))
    def body(workspace: Path, params: Params) -> Result:
        return Result()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"include": ["raw/{shart}"]}, "did you mean 'shard'"),
        (
            {"outputs": ["made/{of_nobody}"]},
            "has no field 'of_nobody'; its fields are shard, token, hidden; write {{of_nobody}}",
        ),
        ({"pre": [require_file("{of_nobody}")]}, "has no field 'of_nobody'"),
        ({"include": ["raw/{token}"]}, "{token}, which is a secret"),
        ({"include": ["raw/{hidden}"]}, "{hidden}, which is a secret"),
        ({"include": ["made/a", "made/b/**"], "outputs": ["made/**"]}, "cover everything that it reads"),
    ],
)
def test_what_cannot_be_filled_or_leaves_nothing_to_read_is_refused_at_its_declaration(spec, told):
    with pytest.raises(TaskDefinitionError) as caught:
        declare(**spec)
    assert told in str(caught.value)


def test_what_has_no_field_is_declared_as_before():
    declare(include=["{1..3}/{}", "{{shart}}"])
    declare(include=["made/**", "raw"], outputs=["made/b/**"])
    declare(include=["raw/**"], outputs=["raw/??"])


@pytest.mark.parametrize(("value", "text"), [("a b", "a b"), (7, "7"), (1.5, "1.5"), (Kind.SMALL, "small"), ("é", "é")])
def test_text_and_numbers_are_filled_in(value, text):
    spec = WorkspaceSpec(include=["raw/{shard}"], outputs=["made/{shard}/**"])
    found = filled(spec, "t", Params(shard=value))
    assert (found.include, found.outputs) == ([f"raw/{text}"], [f"made/{text}/**"])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "is a NoneType, and must be a text or a number"),
        (True, "is a bool"),
        (["a"], "is a list"),
        (date(2026, 11, 29), "is a date"),
        ("", "must be one segment"),
        ("..", "must be one segment"),
        ("a/b", "must be one segment"),
        ("a\\b", "must be one segment"),
        ("a\0", "must be one segment"),
        ("*", "wildcard"),
        ("a?", "wildcard"),
        ("[a]", "wildcard"),
        ("{shard}", "brace"),
        ("x" * 300, "has 300 bytes, and a name at most 255"),
    ],
)
def test_a_value_that_could_lead_elsewhere_is_refused(value, told):
    with pytest.raises(TaskInputError, match=r"params\.shard, which a pattern of its workspace names") as caught:
        filled(WorkspaceSpec(include=["raw/{shard}"]), "t", Params(shard=value))
    assert told in str(caught.value)
