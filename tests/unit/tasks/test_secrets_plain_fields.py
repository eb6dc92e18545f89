"""Which fields of a model have no place for a secret, by their types."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, Secret, SecretBytes, SecretStr, create_model

from perago.tasks.secrets import plain_fields


class Mode(enum.StrEnum):
    A = "a"


class Plain(BaseModel):
    number: int
    below: list[Plain] = []


class Holder(BaseModel):
    name: str
    password: SecretStr | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Custom:
    pass


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (int, True),
        (str | None, True),
        (Mode, True),
        (datetime, True),
        (Path, True),
        (Literal["a", 1], True),
        (list[dict[str, tuple[int, ...]]], True),
        (Mapping[str, Plain], True),
        (Annotated[int, Field(gt=0)], True),
        (Plain, True),
        (SecretStr, False),
        (SecretBytes, False),
        (Secret[int], False),
        (list[SecretStr | None], False),
        (dict[str, Holder], False),
        (Annotated[SecretStr, Field()] | None, False),
        (Open, False),
        (Any, False),
        (list, False),
        (list[Any], False),
        (object, False),
    ],
    ids=str,
)
def test_a_field_is_plain_only_if_its_type_is_known_to_be(kind: Any, *, plain: bool) -> None:
    made = create_model("Made", given=(kind, ...), other=(int, 0))
    assert plain_fields(made) == (["given", "other"] if plain else ["other"])
