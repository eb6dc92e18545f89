"""The messages between a supervisor and an executor, over the channel of `process.messages`.

Attempts and records travel as JSON, because an executor loads no engine's client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, TypeAdapter, field_serializer

from perago.attempt.output import traceback_in_body
from perago.ports import Event, Phase
from perago.telemetry.facts import ALL_GROUPS
from perago.telemetry.instruments import Group
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from perago.values.redaction import text_of
from perago.worker.process.messages import Cancel, Failure, Load, Log, Message, Metric

CANCEL_GRACE_SECONDS = 3.0
"""How long a cancelled body may take to end once told, and again once it has been sent SIGTERM. With a look every
`watchdog.CHECK_SECONDS` (2 s) and the time that killing takes, a body is dead within 10 s of its cancellation."""

# ---------------------------------------------------------------- to the executor


class GitSettings(Message):
    """The embedded store: a bare git repository."""

    kind: Literal["git"] = "git"
    path: str

    def secrets(self) -> list[str]:
        return []


class LakeFSSettings(Message):
    """A lakeFS server; the secret travels here and nowhere else."""

    kind: Literal["lakefs"] = "lakefs"
    endpoint_url: str
    access_key_id: str
    secret_access_key: SecretStr
    fence: Literal["exact", "cooperative"] = "exact"
    checksums: Literal["md5", "opaque"] = "md5"
    cache_dir: str | None = None
    cache_max_size: int = 0

    @field_serializer("secret_access_key")
    def _reveal(self, secret: SecretStr) -> str:
        return secret.get_secret_value()

    def secrets(self) -> list[str]:
        """What no log or error may show."""
        return [self.access_key_id, self.secret_access_key.get_secret_value()]


StoreSettings = Annotated[GitSettings | LakeFSSettings, Field(discriminator="kind")]


class Configure(Message):
    """The first message to the executor itself; the one before it, `Load`, is read by the process that forks it.

    Attributes:
        load: what its zygote has loaded, or what each of its bodies loads.
        store: None: there is none, and only free tasks can be run.
        free_tasks: how bodies of tasks without a workspace run: forked as all others, or warm, in the executor itself.
    """

    kind: Literal["configure"] = "configure"
    load: Load
    store: StoreSettings | None
    workspace_root: str
    worker_id: str
    failure_reason_max_length: int
    free_tasks: Literal["warm", "forked"] = "warm"


class Run(Message):
    """Run an attempt.

    Attributes:
        attempt: the fields of `ExecutorAttempt`.
        trace: the attempt's place in its trace, the fields of `TraceContext`; empty: it has none.
    """

    kind: Literal["run"] = "run"
    attempt: dict[str, Any]
    execution_id: str
    trace: dict[str, str] = Field(default_factory=dict)


class Look(Message):
    """Did another try of the last attempt's logical task complete meanwhile? See `attempt.report.last_look`."""

    kind: Literal["look"] = "look"


class Discard(Message):
    """Remove what an attempt staged that was killed."""

    kind: Literal["discard"] = "discard"
    attempt: dict[str, Any]
    execution_id: str
    older_than_seconds: float


class Sweep(Message):
    """Remove what killed attempts of anybody staged in a repository, by age."""

    kind: Literal["sweep"] = "sweep"
    repository: str
    older_than_seconds: float


class Answer(Message):
    """To an `Ask`: a value, or why there is none."""

    kind: Literal["answer"] = "answer"
    number: int
    value: dict[str, Any] | None = None
    failure: Failure | None = None


# ---------------------------------------------------------------- from the executor


class DeclaredTask(Message):
    """A task that the executor can run.

    Attributes:
        target: `module:function`.
        taskdef: as it has to be registered.
        metric_groups: of Perago's own metrics that are recorded for it; see `MetricSpec`.
    """

    name: str
    target: str
    has_workspace: bool
    is_read_only: bool
    taskdef: dict[str, Any]
    metric_groups: list[Group] = Field(default_factory=lambda: sorted(ALL_GROUPS))


class Ready(Message):
    """The modules are loaded."""

    kind: Literal["ready"] = "ready"
    tasks: list[DeclaredTask]


class PhaseEvent(Message):
    """An event of the observer.

    Attributes:
        error: class and text of what failed the phase; `error_type` is the class alone.
        traceback: of what failed in the body, see `attempt.output`; "": nothing did, or on purpose.
    """

    kind: Literal["phase"] = "phase"
    phase: str
    event: Literal["started", "progress", "completed", "failed"]
    seconds: float
    attributes: dict[str, Any] = Field(default_factory=dict)
    error: str | None = None
    error_type: str | None = None
    traceback: str = ""

    @classmethod
    def of(cls, event: Event, attributes: dict[str, Any]) -> Self:
        """An event with attributes that can be sent."""
        error = event.error
        in_body = traceback_in_body(error) if event.phase is Phase.BODY else None
        return cls(
            phase=event.phase.value,
            event=event.kind,
            seconds=event.seconds,
            attributes=attributes,
            error=None if error is None else f"{type(error).__name__}: {text_of(error)}",
            error_type=None if error is None else type(error).__name__,
            traceback=in_body or "",
        )


class Ask(Message):
    """A question to the engine about the attempt under way: its present state, or its instance's record."""

    kind: Literal["ask"] = "ask"
    number: int
    what: Literal["current", "record"]


class Done(Message):
    """The attempt has ended, or what was to be looked for was.

    Attributes:
        status: None: nothing was found (by a `Look`).
        memory_bytes: of the executor's process, after it.
        is_spent: the executor should run no other attempt: a body left what cannot be put back.
    """

    kind: Literal["done"] = "done"
    status: Literal["COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"] | None = None
    output: dict[str, Any] | None = None
    reason: str | None = None
    memory_bytes: int = 0
    is_spent: bool = False


ToExecutor = Annotated[
    Configure | Run | Cancel | Look | Discard | Sweep | Answer,
    Field(discriminator="kind"),
]
FromExecutor = Annotated[
    Ready | Failure | PhaseEvent | Log | Metric | Ask | Done,
    Field(discriminator="kind"),
]

TO_EXECUTOR: TypeAdapter[Configure | Run | Cancel | Look | Discard | Sweep | Answer] = TypeAdapter(ToExecutor)
FROM_EXECUTOR: TypeAdapter[Ready | Failure | PhaseEvent | Log | Metric | Ask | Done] = TypeAdapter(FromExecutor)


def result_from(status: str | None, output: JsonObject | None, reason: str | None) -> RuntimeTaskResult | None:
    """The result of its parts; None where there is none."""
    match status:
        case "COMPLETED" | "FAILED" | "FAILED_WITH_TERMINAL_ERROR":
            return RuntimeTaskResult(status, output=output, reason_for_incompletion=reason)
        case _:
            return None


@dataclass(frozen=True, kw_only=True)
class ExecutorAttempt:
    """An engine's task object on the executor's side: what engines say of a task; None: this one does not.

    Times are milliseconds since the epoch.
    """

    status: str
    workflow_instance_id: str
    task_id: str
    retry_count: int
    task_def_name: str
    reference_task_name: str | None = None
    scheduled_time: int | None = None
    poll_count: int | None = None
    seq: int | None = None
    iteration: int | None = None
    input_data: JsonObject = field(default_factory=dict, repr=False)
    response_timeout_seconds: int = 0
    start_time: int | None = None
    worker_id: str | None = None
    retried_task_id: str | None = None
    correlation_id: str | None = None
    domain: str | None = None
    workflow_type: str | None = None


_FIELDS = tuple(entry.name for entry in fields(ExecutorAttempt))
_TRY_FIELDS = tuple(entry.name for entry in fields(TryRecord))


def attempt_to_json(attempt: Attempt, *, with_input: bool = True) -> dict[str, Any]:
    """The fields of `ExecutorAttempt`, as far as the engine's object has them.

    Args:
        with_input: the input goes with it; the attempt fence needs none.
    """
    names = _FIELDS if with_input else [name for name in _FIELDS if name != "input_data"]
    values = {name: getattr(attempt, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def record_to_json(record: InstanceRecord) -> dict[str, Any]:
    """An engine's record as a JSON value."""
    return {
        "workflow_instance_id": record.workflow_instance_id,
        # dataclasses.asdict would copy each output, all the way down, only to have it encoded
        "tries": [{name: getattr(entry, name) for name in _TRY_FIELDS} for entry in record.tries],
    }


def record_from_json(value: Mapping[str, Any]) -> InstanceRecord:
    """The record of `record_to_json`."""
    tries = (TryRecord(**{**entry, "status": TryStatus(entry["status"])}) for entry in value["tries"])
    return InstanceRecord(value["workflow_instance_id"], tuple(tries))
