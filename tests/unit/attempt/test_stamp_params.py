"""What of the params goes into stamps and records: everything but secrets."""

import math
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Secret, SecretStr, computed_field, field_serializer, model_serializer

from perago.attempt.stamp import describe_params


class Opaque:
    """Has no JSON form."""

    def __repr__(self) -> str:
        return "Opaque()"


class Params(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    text: str
    harmless: SecretStr
    thing: Any = None


def test_a_secret_type_is_masked_whatever_its_name():
    params = Params(text="a", harmless=SecretStr("hunter2"))
    assert describe_params(params) == {"text": "a", "harmless": "**********", "thing": None}


def test_a_secret_is_masked_too_where_the_params_have_no_json_form():
    described = describe_params(Params(text="a", harmless=SecretStr("hunter2"), thing=Opaque()))
    assert "hunter2" not in str(described)
    assert described["text"] == "'a'"
    assert described["thing"] == "Opaque()"


class Limits(BaseModel):
    limit: float = math.inf
    floor: list[float] = [-math.inf, 1.5]


def test_infinities_are_described_as_text():
    assert describe_params(Limits()) == {"limit": "Infinity", "floor": ["-Infinity", 1.5]}


class Shown(Secret[date]):
    def _display(self) -> str:
        return f"{self.get_secret_value().year}-**-**"


class Whole(BaseModel):
    token: SecretStr

    @model_serializer
    def written(self) -> str:
        return f"Whole {self.token.get_secret_value()}"


class Revealing(BaseModel):
    """Writes its secrets, as programs do that hand them on."""

    token: SecretStr
    day: Shown
    pins: list[dict[str, Secret[int] | None]]
    whole: Whole
    user: str = "abc"

    @field_serializer("token", when_used="json")
    def revealed(self, token: SecretStr) -> str:
        return token.get_secret_value()

    @computed_field
    def dsn(self) -> str:
        return f"db://{self.user}/{self.token.get_secret_value()}"


def test_secrets_are_masked_whatever_their_serializers_write():
    token = SecretStr("abc+12")
    params = Revealing(
        token=token, day=Shown(date(1984, 4, 4)), pins=[{"a": Secret(1234), "b": None}], whole=Whole(token=token)
    )
    assert describe_params(params) == {
        "token": "**********",
        "day": "**********",
        "pins": [{"a": "**********", "b": None}],
        "whole": "**********",
        "user": "abc",
        "dsn": "**********",
    }
    assert describe_params(Params(text="a", harmless=SecretStr("")))["harmless"] == ""


class Tagged(BaseModel):
    tags: set[str]
    groups: list[frozenset[tuple[int, str]]] = []
    limits: set[float] = set()
    keys: set[SecretStr] = set()


def test_the_items_of_a_set_are_sorted_and_secret_ones_masked():
    tags = [f"tag{number}" for number in range(9)]
    params = Tagged(
        tags=set(tags),
        groups=[frozenset((number, "a") for number in range(99))],
        limits={math.inf, 1.5},
        keys={SecretStr("hunter2"), SecretStr("hunter3")},
    )
    described = describe_params(params)
    assert described["tags"] == tags
    assert described["groups"] == [sorted([[number, "a"] for number in range(99)], key=str)]
    assert described["limits"] == ["Infinity", 1.5]
    assert described["keys"] == "**********"
