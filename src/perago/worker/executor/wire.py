"""The messages between a supervisor and an executor, over the channel of `process.messages`.

Attempts and records are sent as JSON, because an executor loads no engine client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter

from perago.attempt.output import traceback_in_body
from perago.ports import Event, Phase
from perago.telemetry.facts import ALL_GROUPS, PhaseFact
from perago.telemetry.instruments import Group
from perago.values.cache import RunCacheMode
from perago.values.code import TaskSource
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, EngineTask, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from perago.values.sandbox import SandboxMode
from perago.values.stores import StoreSettings
from perago.worker.process.messages import Cancel, Failure, Load, Log, Message, Metric

CANCEL_GRACE_SECONDS = 3.0
"""Seconds that a cancelled body has to end, and again after SIGTERM. With a check every `watchdog.CHECK_SECONDS` (2 s)
and the time for killing, a body is dead within 10 s of its cancellation."""

# ---------------------------------------------------------------- to the executor


class Configure(Message):
    """The first message to the executor. The zygote reads the one before it, `Load`.

    Attributes:
        load: the modules that its zygote has loaded, or that each of its bodies loads.
        store: None without a store; then only free tasks can run. Secrets are sent only here.
        sandbox: the mode of tasks that declare none.
        free_tasks: how bodies of tasks without a workspace run: forked like all others, or warm, in the executor.
        state_directory: the user's, for the host's queue and its indexes; None if there is none.
        run_cache: which earlier results tasks with a cache may use.
        tells_source: describe the tasks with their sources.
        warm: whether workspaces stay for later attempts.
        warm_max_size: limit for those that stay, in bytes; None for a share of the disk.
    """

    kind: Literal["configure"] = "configure"
    load: Load
    store: StoreSettings | None
    workspace_root: str
    worker_id: str
    failure_reason_max_length: int
    sandbox: SandboxMode = "off"
    free_tasks: Literal["warm", "forked"] = "warm"
    state_directory: str | None = None
    run_cache: RunCacheMode = "off"
    tells_source: bool = False
    warm: Literal["on", "off"] = "off"
    warm_max_size: int | None = None


class Run(Message):
    """Run an attempt.

    Attributes:
        attempt: the fields of `EngineTask`.
        trace: the attempt's trace context, as fields of `TraceContext`; empty without one.
    """

    kind: Literal["run"] = "run"
    attempt: dict[str, Any]
    execution_id: str
    trace: dict[str, str] = Field(default_factory=dict)


class Look(Message):
    """Has another try of the last attempt's logical task completed? See `attempt.report.last_look`."""

    kind: Literal["look"] = "look"


class Discard(Message):
    """Remove the staged work of a killed attempt."""

    kind: Literal["discard"] = "discard"
    attempt: dict[str, Any]
    execution_id: str
    older_than_seconds: float


class Sweep(Message):
    """Remove the staged work of killed attempts of any worker in a repository, and branches of old runs, by age."""

    kind: Literal["sweep"] = "sweep"
    repository: str
    older_than_seconds: float
    runs_older_than_seconds: float


class Answer(Message):
    """Answer to an `Ask`: a value, or the reason why there is none."""

    kind: Literal["answer"] = "answer"
    number: int
    value: dict[str, Any] | None = None
    failure: Failure | None = None


# ---------------------------------------------------------------- from the executor


class DeclaredTask(Message):
    """A task that the executor can run.

    Attributes:
        target: `module:function`.
        taskdef: the TaskDef that must be registered.
        metric_groups: groups of Perago's metrics that are recorded for it; see `MetricSpec`.
        has_metrics: its bodies may record metrics of their own.
        is_builtin: Perago declares it, for workflows; it need not be registered.
        source: of its code, if the supervisor asks for it.
    """

    name: str
    target: str
    has_workspace: bool
    is_read_only: bool
    taskdef: dict[str, Any]
    metric_groups: list[Group] = Field(default_factory=lambda: sorted(ALL_GROUPS))
    has_metrics: bool = False
    is_builtin: bool = False
    source: TaskSource | None = None


class Ready(Message):
    """The modules are loaded."""

    kind: Literal["ready"] = "ready"
    tasks: list[DeclaredTask]


class PhaseEvent(Message):
    """What happened in a phase.

    Attributes:
        traceback: of an error in the body (see `attempt.output`); "" if there is none, or it was raised on purpose.
    """

    kind: Literal["phase"] = "phase"
    fact: PhaseFact
    traceback: str = ""

    @classmethod
    def of(cls, event: Event, attributes: Mapping[str, Any]) -> Self:
        """An event with attributes that can be sent."""
        in_body = traceback_in_body(event.error) if event.phase is Phase.BODY else None
        return cls(fact=PhaseFact.of(event, attributes), traceback=in_body or "")


class Ask(Message):
    """A question to the engine about the running attempt: its present state, or its workflow's record.

    Attributes:
        paths: tasks whose tries the record needs; see `ports.LoadRecord`.
    """

    kind: Literal["ask"] = "ask"
    number: int
    what: Literal["current", "record"]
    paths: tuple[str, ...] = ()


class Done(Message):
    """The end of an attempt, or of a `Look`.

    Attributes:
        status: None if a `Look` found nothing.
        memory_bytes: of the executor's process, after the attempt.
        is_spent: the executor must not run another attempt, because a body left state that cannot be restored.
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
    """The result from its parts; None without a status."""
    match status:
        case "COMPLETED" | "FAILED" | "FAILED_WITH_TERMINAL_ERROR":
            return RuntimeTaskResult(status, output=output, reason_for_incompletion=reason)
        case _:
            return None


_FIELDS = tuple(entry.name for entry in fields(EngineTask))
_TRY_FIELDS = tuple(entry.name for entry in fields(TryRecord))


def attempt_to_json(attempt: Attempt, *, with_input: bool = True) -> dict[str, Any]:
    """The fields of `EngineTask` that the engine's object has.

    Args:
        with_input: include the input. The attempt fence does not need it.
    """
    names = _FIELDS if with_input else [name for name in _FIELDS if name != "input_data"]
    values = {name: getattr(attempt, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def record_to_json(record: InstanceRecord) -> dict[str, Any]:
    """An engine's record as a JSON value."""
    return {
        "workflow_instance_id": record.workflow_instance_id,
        "parts": dict(record.parts),
        "unread": dict(record.unread),
        "params": record.params,
        "workflow": record.workflow,
        # dataclasses.asdict would copy each output deeply, only to encode it
        "tries": [{name: getattr(entry, name) for name in _TRY_FIELDS} for entry in record.tries],
    }


def record_from_json(value: Mapping[str, Any]) -> InstanceRecord:
    """The inverse of `record_to_json`."""
    tries = tuple(map(_try_from_json, value["tries"]))
    return InstanceRecord(
        value["workflow_instance_id"],
        tries,
        value["parts"],
        value["unread"],
        params=value["params"],
        workflow=value["workflow"],
    )


def _try_from_json(entry: Mapping[str, Any]) -> TryRecord:
    return TryRecord(**{**entry, "status": TryStatus(entry["status"]), "input_refs": tuple(entry["input_refs"])})
