"""What of the params goes into stamps and records: everything but secrets."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr

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
