"""Which of the params are secrets."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, Secret, SecretBytes, SecretStr

from perago.tasks.secrets import secrets_of


@dataclasses.dataclass
class Plain:
    token: SecretStr
    text: str = "plain"


@dataclasses.dataclass(slots=True)
class Slotted:
    password: str = "in a slot"
    text: str = "plain"


@dataclasses.dataclass
class Derived:
    login: dataclasses.InitVar[str]

    def __post_init__(self, login):
        self.auth_token = f"made of {login}"


class Pair(NamedTuple):
    password: str = "in a named tuple"
    text: str = "plain"


class Names(RootModel[list[str]]):
    def __iter__(self):
        """Over its values, as pydantic's pages advise; other models give names and values."""
        return iter(self.root)


class Inner(BaseModel):
    api_key: str = "by its name"
    text: str = "no secret"


class Params(BaseModel):
    model_config = ConfigDict(extra="allow")

    text: str = "no secret"
    number: int = 12345678
    by_type: SecretStr = SecretStr("by its type")
    as_bytes: SecretBytes = SecretBytes(b"as bytes")
    generic: Secret[str] = Secret("generic")
    db: str = Field(default="by its alias", alias="db_password")
    inner: list[Inner] = [Inner()]
    credentials: dict[str, list[str]] = {"main": ["below its name"]}
    plain: Plain = Plain(SecretStr("in a dataclass"))
    names: Names = Names(["dog", "ab", "password"])
    secret_id: str = "production"
    data: Any = None


ALL = {
    "by its type",
    "as bytes",
    b"as bytes".hex(),
    "generic",
    "by its alias",
    "by its name",
    "below its name",
    "in a dataclass",
}


def test_they_are_found_by_type_and_by_name_as_deep_as_they_lie():
    assert set(secrets_of(Params())) == ALL


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({"data": {"password": "\ud800"}}, {"\ud800"}),
        ({"data": [{"token": [{"a": "x"}]}]}, {"x"}),
        ({"private_key": "an extra field"}, {"an extra field"}),
        ({"data": [Slotted(), Pair()]}, {"in a slot", "in a named tuple"}),
        ({"data": Derived("a login")}, {"made of a login"}),
    ],
)
def test_values_of_any_kind_are_looked_through(given, more):
    assert set(secrets_of(Params.model_validate(given))) == ALL | more


class MadeAnew(Mapping[str, Any]):
    """Makes what it holds whenever it is asked, so that one value can lie where another one has gone."""

    def __init__(self, values):
        self.values_of = values

    def __getitem__(self, name):
        return [f"{self.values_of[name]}"]

    def __iter__(self):
        return iter(self.values_of)

    def __len__(self):
        return len(self.values_of)

    def items(self):
        return ((name, self[name]) for name in self)


def test_what_is_made_anew_whenever_it_is_asked_for_is_found_whole():
    given = {f"password of {number}": f"secret {number}" for number in range(50)}
    held = [MadeAnew({"password": secret}) for secret in given.values()]
    assert set(secrets_of(Params(data=held))) == ALL | set(given.values())


class Node(BaseModel):
    token: str
    parent: Node | None = Field(default=None, exclude=True)
    children: list[Node] = []


def test_models_that_hold_one_another_are_looked_at_once():
    root = Node(token="of the root", children=[Node(token="of the child")])
    root.children[0].parent = root
    assert sorted(secrets_of(root)) == ["of the child", "of the root"]


def test_depth_is_no_matter():
    deep: Any = "deep"
    for _ in range(5_000):
        deep = [deep]
    assert set(secrets_of(Params(data={"token": deep}))) == ALL | {"deep"}


class Own(Secret[date]):
    """A type of the project's own."""


class Kept:
    """A secret whose type is no other's."""

    def __str__(self) -> str:
        return "of a foreign type"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (Secret(12345678), {"12345678"}),
        (Secret(1.5), {"1.5"}),
        (Secret(True), set()),
        (Secret(None), set()),
        (Own(date(1984, 4, 4)), {"1984-04-04"}),
        (Secret(Decimal("1.50")), {"1.50"}),
        (Secret(timedelta(days=1)), {"1 day, 0:00:00", "P1D"}),
        (Secret(Path("a/b")), {"a/b"}),
        (Secret(Kept()), {"of a foreign type"}),
        (Secret({"a": ["b", 12]}), {"b", "12"}),
        (Secret(SecretStr("twice")), {"twice"}),
        (deque([{SecretStr("key"): 1}]), {"key"}),
        ({"pin_password": 1234}, {"1234"}),
        (SecretBytes(b"\xff"), {"\udcff", "ff"}),
    ],
)
def test_a_secret_can_be_of_any_type(value, found):
    assert set(secrets_of(value)) == found
