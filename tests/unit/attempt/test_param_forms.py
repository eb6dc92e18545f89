"""Params in a key: what a body can tell apart differs, and what it is given in two ways does not."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import json
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    FilePath,
    HttpUrl,
    PlainSerializer,
    PostgresDsn,
    create_model,
    field_serializer,
    field_validator,
    model_serializer,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

from perago.attempt.param_forms import form_of
from perago.tasks.sources.untold import UntoldError
from perago.values.stamps import canonical_json


class Color(enum.Enum):
    red = "red"


class Shade(enum.StrEnum):
    red = "red"


class Point(NamedTuple):
    x: float
    y: float


@dataclasses.dataclass
class Plain:
    x: float = 1


@pydantic_dataclass
class Checked:
    x: float = 1


class Sub(BaseModel):
    x: float = 1


class Other(BaseModel):
    x: float = 1


class More(Sub):
    y: int = 0


class Anything(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    value: Any = None


class MyUrl(AnyUrl):
    pass


class Name(str):
    pass


def form(params):
    return canonical_json(form_of(params))


def of(value):
    return form(Anything.model_construct(value=value))


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
DAY = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - no time zone, as a param may have none


@dataclasses.dataclass
class Columns(dict):
    name: str = "x"


def columns(**items):
    made = Columns()
    made.update(items)
    return made


class Slotted:
    __slots__ = ("y",)


@dataclasses.dataclass
class WithSlot(Slotted):
    x: int = 1


# Each two of these differ for a body, although many are equal, or have the same JSON.
APART = [
    *(None, "None", "", 0, 0.0, -0.0, False, "0", 1, 1.0, True, "1", Decimal(1), Decimal("1.0"), Fraction(1), 1 + 0j),
    *(float("inf"), float("nan"), "Infinity", "NaN", b"1", Name("1"), ByteSize(1)),
    *("red", Color.red, Shade.red),
    *([], (), set(), frozenset(), {}, collections.deque(), collections.deque(maxlen=3), collections.OrderedDict()),
    *(collections.defaultdict(int), collections.defaultdict(list), collections.Counter()),
    *(
        [1],
        (1,),
        {1},
        frozenset({1}),
        [1.0],
        [True],
        ["1"],
        [[1]],
        {1: 2},
        {"1": 2},
        {1: "2"},
        [[1, 2]],
        [1, 2],
        (1, 2),
    ),
    *({"x": 1.0}, Sub(x=1.0), Other(x=1.0), More(x=1.0), More(x=1.0, y=1), Plain(1.0), Checked(1.0), Point(1.0, 1.0)),
    *("a", Path("a"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a"), Path("A"), Path("./a/..")),
    *("https://a.b/", HttpUrl("https://a.b/"), AnyUrl("https://a.b/"), MyUrl("https://a.b/"), HttpUrl("https://a.b/?")),
    *(PostgresDsn("postgres://h/a"), PostgresDsn("postgres://h/b")),
    *(re.compile("a"), re.compile("a", re.IGNORECASE), re.compile(b"a"), re.compile("a" * 300), re.compile("a" * 301)),
    *(uuid.UUID(int=1), str(uuid.UUID(int=1)), ipaddress.ip_address("1.2.3.4"), ipaddress.ip_network("1.2.3.4")),
    *(DAY, DAY.date(), DAY.time(), DAY.isoformat(), DAY.replace(fold=1), DAY.replace(tzinfo=BERLIN)),
    *(DAY.replace(tzinfo=dt.timezone(dt.timedelta(hours=hours))) for hours in (0, 1)),
    *(DAY.replace(tzinfo=dt.UTC, hour=1), dt.timedelta(1), dt.timedelta(hours=1), BERLIN),
    ["builtins:list", 1],
    {"builtins:list": 1},
]


def test_what_a_body_can_tell_apart_has_another_form():
    forms = [of(value) for value in APART]
    alike = [(one, other) for at, one in enumerate(APART) for other in APART[:at] if of(one) == of(other)]
    assert not alike
    assert all(json.loads(text) for text in forms)


def test_the_order_of_a_set_and_of_keys_does_not_count():
    assert of({"a": 1, "b": 2}) == of({"b": 2, "a": 1})
    assert of({"a", "b", "c"}) == of({"c", "b", "a"})


class Defaults(BaseModel):
    """Each default is what a field is given elsewhere, but for the type of a number."""

    number: float = 100
    perhaps: float | None = 1
    bounded: Annotated[float, Field(gt=0)] = 2
    several: list[float] = [1, 2]
    pair: tuple[float, float] = (0, 1)
    named: dict[str, float] = {"a": 1}
    at: dict[float, int] = {1: 1}
    sub: Sub = Sub()
    subs: list[Sub] = [Sub(x=2)]
    plain: Plain = Plain(3)
    point: Point = Point(0, 1)
    when: dt.datetime = DAY.replace(tzinfo=dt.UTC)
    renamed: float = Field(default=1, alias="alias", serialization_alias="other")


def test_a_default_has_the_form_of_the_same_value_when_it_is_given():
    given = {"number": 100, "perhaps": 1, "bounded": 2, "several": [1, 2], "pair": [0, 1], "named": {"a": 1}}
    given |= {"at": {"1": 1}, "sub": {"x": 1}, "subs": [{"x": 2}], "plain": {"x": 3}, "point": [0, 1]}
    given |= {"when": "2024-01-01T00:00:00Z", "alias": 1}
    default = Defaults()
    assert form(default) == form(Defaults.model_validate_json(json.dumps(given)))
    assert repr(default.number) == "100", "what the body receives is as it was"
    assert form(Defaults.model_validate_json('{"number": 100}')) == form(default)
    assert form(Defaults(number=101)) != form(default)


class Lowering(BaseModel):
    """A default passes no validator."""

    name: str = "ABC"
    either: int | float = 1
    any: Any = 1
    flag: float = True
    path: Path = "data"  # type: ignore[assignment]
    tags: list[str] = ()  # type: ignore[assignment]
    large: float = 2**53 + 1

    @field_validator("name")
    @classmethod
    def _lowered(cls, name: str) -> str:
        return name.lower()


@pytest.mark.parametrize(
    "given",
    [
        {"name": "ABC"},
        {"either": 1.0},
        {"any": 1.0},
        {"flag": True},
        {"path": "data"},
        {"tags": []},
        {"large": 2**53 + 1},
    ],
)
def test_a_default_that_validation_would_change_keeps_its_own_form(given):
    assert form(Lowering(**given)) != form(Lowering())


def test_a_validator_that_raises_when_it_is_run_again_breaks_nothing():
    class Once(BaseModel):
        number: float = 1
        day: str = "x"

        @field_validator("day")
        @classmethod
        def _once(cls, day: str) -> str:
            raise RuntimeError(day)

    assert form_of(Once()) == {"number": 1, "day": "x"}


@pytest.mark.parametrize(
    ("kind", "given", "other"),
    [
        *((Path, "a", "b"), (FilePath, __file__, pathlib.__file__), (HttpUrl, "https://a.b", "https://a.c")),
        *((re.Pattern[str], "a", "b"), (ipaddress.IPv4Address, "1.1.1.1", "1.1.1.2"), (ByteSize, "1KB", "2KB")),
        *((Sequence[int], [1], [2]), (Mapping[str, int], {"a": 1}, {"a": 2}), (Shade, "red", None)),
        *(
            (collections.defaultdict[str, int], {"a": 1}, {"a": 2}),
            (list[Path], ["a"], ["b"]),
            (Path | None, "a", None),
        ),
        *((collections.deque[int], [1], [2]), (zoneinfo.ZoneInfo, "UTC", "Europe/Berlin"), (Decimal, "1.0", "1.00")),
    ],
)
def test_types_with_serializers_of_pydantic_have_a_form(kind, given, other):
    model = create_model("Model", x=(kind, ...))
    assert form(model(x=given)) == form(model.model_validate_json(json.dumps({"x": given})))
    assert other is None or form(model(x=given)) != form(model(x=other))


class Excluding(BaseModel):
    fine: Path = Path("a")
    number: int = Field(default=1, exclude=True)


class ExcludingSome(BaseModel):
    number: int = Field(default=1, exclude_if=lambda number: number > 5)


class Serializing(BaseModel):
    fine: HttpUrl | None = None
    text: str = ""

    @field_serializer("text")
    def _shorten(self, text: str) -> str:
        return text[:1]


class Outer(BaseModel):
    inner: list[Serializing] = []
    again: Serializing = Serializing()


class Whole(BaseModel):
    text: str = ""

    @model_serializer
    def _written(self) -> str:
        return ""


class Within(BaseModel):
    texts: list[Annotated[str, PlainSerializer(str.lower)]] = []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        (Excluding(), "Excluding.number"),
        (ExcludingSome(), "ExcludingSome.number"),
        (Serializing(), "Serializing.text"),
        (Outer(), "Serializing.text"),
        (Whole(), "Whole"),
        (Within(), "Within.texts"),
    ],
)
def test_a_field_that_its_author_keeps_out_of_json_is_named(params, field):
    with pytest.raises(UntoldError, match=f"in the params, {re.escape(field)} has exclude=True or a serializer"):
        form_of(params)


def test_a_further_field_is_none_of_the_fields():
    class Renamed(BaseModel):
        model_config = ConfigDict(extra="allow")

        x: int = Field(alias="y")

    first, *others = (
        form(Renamed(**given)) for given in ({"y": 1, "x": 2}, {"y": 2, "x": 2}, {"y": 1, "x": 1}, {"y": 1})
    )
    assert first not in others


class Opaque:
    pass


class Labelled(str):
    label = ""


def labelled(text):
    made = Labelled(text)
    made.label = "seen by a body"
    return made


@pytest.mark.parametrize(
    "value",
    [
        Opaque(),
        labelled("a"),
        columns(k=1),
        WithSlot(),
        Plain,
        len,
        type,
        collections.defaultdict(lambda: 1),
        DAY.replace(tzinfo=type("Z", (dt.tzinfo,), {})()),
    ],
)
def test_what_no_form_has_is_named(value):
    with pytest.raises(UntoldError, match=r"'params\.value\.0' holds a value of type"):
        of([value])


def test_a_name_that_a_param_has_brought_along_is_shown_as_one_line():
    with pytest.raises(UntoldError, match=r"'params\.value\.a\\nb' holds a value of type Opaque"):
        of({"a\nb": Opaque()})


def test_a_url_with_a_password_has_no_form():
    for url in (HttpUrl("https://ada:pass@a.b"), PostgresDsn("postgres://ada:pass@h/db")):
        with pytest.raises(UntoldError, match=r"'params\.value' holds a secret") as raised:
            of(url)
        assert "pass" not in str(raised.value)


def test_params_that_refer_to_themselves_have_no_form():
    round_trip: list[object] = []
    round_trip.append(round_trip)
    with pytest.raises(UntoldError, match="too deeply"):
        of(round_trip)


def test_a_body_still_gets_what_can_be_read_once():
    class Streaming(BaseModel):
        numbers: Iterable[int]

    params = Streaming(numbers=iter([1, 2]))
    with pytest.raises(UntoldError, match=r"params\.numbers"):
        form_of(params)
    assert list(params.numbers) == [1, 2]
