"""TaskDefs of many declarations, equal to those of the published package, version 0.6.1 (data/taskdefs.json)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import uuid
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, Json, SecretStr, WithJsonSchema
from typing_extensions import TypedDict

from perago import (
    ExecutionLimits,
    PublishBudget,
    RetryPolicy,
    TaskControls,
    TimeoutPolicy,
    WorkspaceSpec,
    build_taskdef,
    forbid_glob,
    require_file,
    task,
)

PUBLISHED = json.loads((Path(__file__).parent / "data" / "taskdefs.json").read_text())
Value = TypeVar("Value")


class Colour(enum.Enum):
    """Of the bird."""

    RED = "r"
    BLUE = "b"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Leaf(BaseModel):
    """A leaf."""

    title: str = Field("x", title="My title", description="the title", examples=["a"])
    n: int = Field(ge=1, le=5)


class Middle(BaseModel):
    leaf: Leaf
    leaves: list[Leaf] = []
    by_name: dict[str, Leaf] = {}


class Deep(BaseModel):
    """Of several levels.

    And with a second paragraph.
    """

    middle: Middle
    maybe: Middle | None = None
    either: Leaf | int = 1
    colour: Colour = Colour.RED
    rank: Rank = Rank.LOW
    literal: Literal["a", 1] = "a"
    pair: tuple[int, str] = (1, "a")
    numbers: set[int] = set()
    anything: Any = None
    free: dict[str, Any] = {}
    items: list = []
    nested: dict[str, dict[str, Leaf]] = {}
    by_number: dict[int, Colour] = {}
    described: Leaf = Field(description="the leaf described")


class Scalars(BaseModel):
    at: dt.datetime
    day: dt.date
    span: dt.timedelta = dt.timedelta(seconds=5)
    id: uuid.UUID
    where: Path = Path("a")
    raw: bytes = b"x"
    secret: SecretStr = SecretStr("hunter2")
    share: float = Field(1.0, gt=0, lt=2, multiple_of=0.5)
    short: Annotated[str, Field(min_length=1, max_length=3, pattern="^a")] = "a"
    yes: bool
    old: int = Field(0, deprecated=True)
    parsed: Json[int] = "1"
    custom: int = Field(0, json_schema_extra={"foo": 1})


class One(BaseModel):
    kind: Literal["one"]
    a: int


class Two(BaseModel):
    kind: Literal["two"]
    leaf: Leaf


class Told(BaseModel):
    value: Annotated[One | Two, Field(discriminator="kind")]
    values: list[Annotated[One | Two, Field(discriminator="kind")]] = []


class Empty(BaseModel):
    pass


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow", title="Custom", json_schema_extra={"examples": [1], "minProperties": 1})
    x: int


class Both(BaseModel):
    closed: Closed
    open: Open


class Box(BaseModel, Generic[Value]):
    value: Value


class Row(TypedDict):
    """A row."""

    z: int


@dataclasses.dataclass
class Plain:
    """A plain class."""

    q: int = 0


class OfOtherKinds(BaseModel):
    row: Row = {"z": 1}
    plain: Plain = Plain()
    written: Annotated[
        Any, WithJsonSchema({"type": "object", "properties": {"a": {"type": "integer"}}, "minProperties": 1})
    ] = 0


class Aliased(BaseModel):
    size: int = Field(alias="theSize")
    both: int = Field(validation_alias="in", serialization_alias="out", default=1)


def budget(**changed: int) -> PublishBudget:
    return PublishBudget(
        observed_merge_p99_seconds=10,
        safety_margin_seconds=5,
        lakefs_merge_timeout_seconds=20,
        conductor_completion_timeout_seconds=30,
        worker_shutdown_grace_seconds=40,
        heartbeat_interval_seconds=11,
    )


MODELS = (
    Leaf, Middle, Deep, Scalars, Told, Empty, Closed, Open, Both, Box[int], Box[Leaf], OfOtherKinds, Aliased,
)  # fmt: skip
CASES: dict[str, tuple[type[BaseModel], type[BaseModel], dict[str, Any]]] = {
    **{f"free.{model.__name__}": (model, model, {}) for model in MODELS},
    **{f"strict.{model.__name__}": (model, model, {"strict_params": True}) for model in MODELS},
    "workspace": (
        Leaf,
        Middle,
        {"workspace": WorkspaceSpec(prefix="a/b", pre=[require_file("x")], post=[forbid_glob("y")])},
    ),
    "workspace.strict": (Leaf, Middle, {"workspace": WorkspaceSpec(), "strict_params": True}),
    "workspace.read_only": (Leaf, Middle, {"workspace": WorkspaceSpec(read_only=True)}),
    "described": (Empty, Empty, {"description": " Words. "}),
    "described.blank": (Empty, Empty, {"description": ""}),
    " padded ": (Empty, Empty, {}),
    "limits.zero": (Empty, Empty, {"controls": TaskControls(limits=ExecutionLimits(concurrent_exec_limit=0))}),
    "limits.all": (
        Empty,
        Empty,
        {
            "controls": TaskControls(
                limits=ExecutionLimits(
                    concurrent_exec_limit=5, rate_limit_frequency_in_seconds=3, rate_limit_per_frequency=4
                )
            )
        },
    ),
    "controls": (
        Empty,
        Empty,
        {
            "controls": TaskControls(
                retry=RetryPolicy(count=1, logic="LINEAR_BACKOFF", delay_seconds=2, max_delay_seconds=3, jitter_ms=4),
                timeout=TimeoutPolicy(policy="RETRY", seconds=1, response_seconds=2, poll_seconds=3, total_seconds=4),
            )
        },
    ),
    "budget": (Empty, Empty, {"workspace": WorkspaceSpec(), "controls": TaskControls(publish_budget=budget())}),
}


def declare(name: str) -> Any:
    params, result, options = CASES[name]
    annotations: dict[str, Any] = {"params": params, "return": result}
    if "workspace" in options:

        def fn(workspace, params): ...

        annotations["workspace"] = Path
    else:

        def fn(params): ...

    fn.__annotations__ = annotations
    return task(name=name, owner_email="team@example.org", **options)(fn).__perago_task__


@pytest.mark.filterwarnings("ignore:.*Conductor refuses")  # the published package does not tell of it
@pytest.mark.parametrize("name", CASES)
def test_a_taskdef_is_the_published_one(name):
    assert build_taskdef(declare(name)) == PUBLISHED[name]


def test_every_published_case_is_held_to():
    assert set(PUBLISHED) == set(CASES)
