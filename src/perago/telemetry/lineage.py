"""Converting an attempt's facts to lineage: plain values that `openlineage` sends.

docs/lineage-events.md says what they mean, and how jobs, runs and data sets are named.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Literal

from perago import errors
from perago.ports import Phase
from perago.telemetry.facts import Execution, Outcome, PhaseFact, WorkflowFact
from perago.values.code import TaskSource
from perago.values.redaction import mask_json, mask_text
from perago.values.stores import DatasetSource

State = Literal["START", "COMPLETE", "FAIL", "ABORT", "OTHER"]
TestStatus = Literal["pass", "fail", "skip"]

RUNS = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/perago")
"""Namespace of the ids of runs."""

_STATES: Mapping[Outcome, State] = {
    Outcome.COMPLETED: "COMPLETE",
    Outcome.FAILED: "FAIL",
    Outcome.FAILED_WITH_TERMINAL_ERROR: "FAIL",
    Outcome.CANCELLED: "ABORT",
    Outcome.GIVEN_BACK: "OTHER",  # the same try begins again elsewhere
}
_WILDCARDS = frozenset("*?[")
_GUARD_PHASES = {"pre": Phase.PRE_GUARDS.value, "post": Phase.POST_GUARDS.value}
_VIOLATIONS = frozenset({errors.PreGuardrailViolation.__name__, errors.PostGuardrailViolation.__name__})


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A directory of a branch, at a commit.

    Attributes:
        name: branch and directory.
        version: full commit id.
        patterns: those that select its files, from the root of the repository; empty for all.
        files, bytes: that were read or written; None if that is not known.
    """

    source: DatasetSource
    name: str
    version: str
    patterns: tuple[str, ...] = ()
    files: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class GuardResult:
    """What became of a guard."""

    name: str
    kind: str
    status: TestStatus


@dataclass(frozen=True)
class WorkflowRun:
    """A run of a workflow: its id, and the job."""

    run_id: str
    job: str


@dataclass(frozen=True)
class Parent:
    """The workflow run that an attempt belongs to.

    Attributes:
        root: the outermost one, which may be the same; None if it is not known.
    """

    run: WorkflowRun
    root: WorkflowRun | None


@dataclass(frozen=True, kw_only=True)
class LineageEvent:
    """One event of an attempt, or of a workflow run.

    Attributes:
        task: name of the task definition; None of a workflow.
        reason: why it did not complete.
        about: what the standard has no name for.
    """

    state: State
    time: datetime
    run_id: str
    job: str
    task: str | None
    parent: Parent | None = None
    source: TaskSource | None = None
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    guards: tuple[GuardResult, ...] = ()
    reason: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def run_id_of(*names: str | int) -> str:
    """The id of a run: always the same for these names. A single name that is a UUID stays as it is."""
    if len(names) == 1:
        try:
            return str(uuid.UUID(str(names[0])))
        except ValueError:
            pass
    return str(uuid.uuid5(RUNS, "/".join(map(str, names))))


def directory_of(pattern: str) -> str:
    """The directory of all that a pattern can match: the segments before the first wildcard, without the last one."""
    return "/".join(takewhile(_WILDCARDS.isdisjoint, pattern.split("/")[:-1]))


def by_directory(patterns: Iterable[str]) -> dict[str, list[str]]:
    """Patterns by their directory, in the order in which they are declared."""
    found: dict[str, list[str]] = defaultdict(list)
    for pattern in patterns:
        found[directory_of(pattern)].append(pattern)
    return dict(found)


def declared_directory(directory: str, declared: Iterable[str]) -> str:
    """The innermost declared directory that has a directory; the directory itself if none has, or only the whole."""
    above = [each for each in declared if each and (directory == each or directory.startswith(f"{each}/"))]
    return max(above, key=len, default=directory)


def workflow_event(fact: WorkflowFact, time: datetime) -> LineageEvent:
    """The event of a workflow run that has begun or ended. What it read and wrote, its tasks tell."""
    reason = None if fact.outcome in (None, Outcome.COMPLETED) else mask_text(fact.reason or fact.outcome.value)
    return LineageEvent(
        state="START" if fact.outcome is None else _STATES[fact.outcome],
        time=time,
        run_id=run_id_of(fact.run_id),
        job=fact.workflow,
        task=None,
        reason=reason,
    )


class AttemptLineage:
    """The events of one attempt, from its facts in their order.

    Args:
        source_of: where the data sets of a repository are; None without a store.
        now: the current time, UTC.
    """

    def __init__(
        self,
        execution: Execution,
        source_of: Callable[[str], DatasetSource] | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._execution = execution
        self._source_of = source_of
        self._now = now
        self._began = now()
        self._is_started = False
        self._reads: Mapping[str, Any] | None = None
        self._target: str | None = None
        self._read: tuple[int, int] | None = None
        self._changed: Mapping[str, Any] | None = None
        self._how: str | None = None
        self._cached_from: str | None = None
        self._commit: str | None = None
        self._root: WorkflowRun | None = None
        self._ended: dict[str, PhaseFact] = {}
        self._error: str | None = None

    def take(self, fact: PhaseFact) -> LineageEvent | None:
        """Take one event. Returns the START of the attempt when it is known what it reads."""
        if fact.kind in ("started", "progress"):
            return None
        self._ended[fact.phase] = fact
        self._learn(fact)
        return self._start() if fact.phase == Phase.PARSE and not self._is_started else None

    def end(self, outcome: Outcome, reason: str | None) -> list[LineageEvent]:
        """The event of the attempt's end; with its START, if it has ended before that."""
        started = [] if self._is_started else [self._start()]
        state = _STATES[outcome]
        about = {**self._about(), "outcome": outcome.value, "how": self._how, "cachedFrom": self._cached_from}
        if outcome is not Outcome.COMPLETED:
            about |= {"error": self._error, "how": None, "cachedFrom": None}
        ended = self._event(
            state,
            self._now(),
            outputs=self._outputs() if outcome is Outcome.COMPLETED else (),
            guards=tuple(self._guards()),
            reason=None if outcome is Outcome.COMPLETED else mask_text(reason or outcome.value),
            about={name: value for name, value in about.items() if value is not None},
        )
        return [*started, ended]

    def _learn(self, fact: PhaseFact) -> None:
        told = fact.attributes
        if fact.kind == "failed":
            self._error = fact.error_type
        if fact.kind != "completed":
            return
        self._how = told.get("how", self._how)
        self._cached_from = told.get("cached_from", self._cached_from)
        match fact.phase:
            case Phase.PARSE if isinstance(told.get("reads"), Mapping):
                self._reads = mask_json(dict(told["reads"]))
                self._target = told.get("target")
            case Phase.MATERIALIZE if "files" in told and "bytes" in told:
                self._read = (told["files"], told["bytes"])
            case Phase.DIFF:
                self._changed = mask_json(dict(told))
            case Phase.DECIDE if "plan" in told:
                self._commit = told.get("completes")
                if "root_workflow" in told:
                    self._root = WorkflowRun(run_id_of(told["root"]), told["root_workflow"])
            case Phase.PUBLISH if self._commit is None:
                self._commit = told.get("ref")

    def _start(self) -> LineageEvent:
        self._is_started = True
        return self._event("START", self._began, about=self._about())

    def _event(
        self,
        state: State,
        time: datetime,
        *,
        about: Mapping[str, Any],
        outputs: tuple[Dataset, ...] = (),
        guards: tuple[GuardResult, ...] = (),
        reason: str | None = None,
    ) -> LineageEvent:
        execution = self._execution
        return LineageEvent(
            state=state,
            time=time,
            run_id=run_id_of(execution.workflow_instance_id, execution.task_id, execution.retry_count),
            job=_job_of(execution),
            task=execution.task,
            parent=_parent_of(execution, self._root),
            source=execution.source,
            inputs=tuple(self._inputs()),
            outputs=outputs,
            guards=guards,
            reason=reason,
            about=about,
        )

    def _about(self) -> dict[str, Any]:
        execution = self._execution
        selection = {} if self._reads is None else self._reads["selection"]
        return {
            "workflowInstanceId": execution.workflow_instance_id,
            "taskId": execution.task_id,
            "retryCount": execution.retry_count,
            "executionId": execution.execution_id,
            **({"exclude": selection["exclude"]} if selection.get("exclude") else {}),
        }

    def _inputs(self) -> Iterable[Dataset]:
        reads = self._reads
        if reads is None or self._source_of is None:
            return
        include = by_directory(reads["selection"].get("include", ())) or {"": []}
        files, size = (None, None) if self._read is None or len(include) > 1 else self._read
        for directory, patterns in include.items():
            yield self._dataset(directory, patterns, reads["branch"], reads["ref"], files, size)

    def _outputs(self) -> tuple[Dataset, ...]:
        """What the attempt has on the branch: nothing if it changed nothing."""
        reads, changed, commit = self._reads, self._changed, self._commit
        if reads is None or commit is None or reads["read_only"] or self._how in (None, "unchanged"):
            return ()
        counts = {} if changed is None else {name: changed[name] for name in ("added", "modified", "deleted")}
        if self._how == "cached" and not any(counts.values()):
            return ()
        outputs = by_directory(reads["selection"].get("outputs", ()))
        declared = outputs or by_directory(reads["selection"].get("include", ()))
        directories = (changed or {}).get("directories") or list(outputs) or [""]
        names = sorted({declared_directory(directory, declared) for directory in directories})
        written = counts["added"] + counts["modified"] if counts and len(names) == 1 else None
        branch = self._target or reads["branch"]
        found = (self._dataset(name, outputs.get(name, ()), branch, commit, written) for name in names)
        return tuple(found) if self._source_of is not None else ()

    def _dataset(
        self,
        directory: str,
        patterns: Iterable[str],
        branch: str,
        commit: str,
        files: int | None,
        size: int | None = None,
    ) -> Dataset:
        reads = self._reads or {}
        source = (self._source_of or _nowhere)(reads["repository"])
        prefix = reads["selection"].get("prefix", "").strip("/")
        return Dataset(
            source=source,
            name="/".join(filter(None, (branch, prefix, directory))),
            version=commit,
            patterns=tuple("/".join(filter(None, (prefix, pattern))) for pattern in patterns),
            files=files,
            bytes=size,
        )

    def _guards(self) -> Iterable[GuardResult]:
        for when, phase in _GUARD_PHASES.items():
            guards = [] if self._reads is None else self._reads["guards"][when]
            yield from _results(guards, self._ended.get(phase))


def _results(guards: Iterable[Mapping[str, str]], ended: PhaseFact | None) -> Iterable[GuardResult]:
    """What became of the guards of a phase. If guards on names are violated, the functions are not called."""
    violated = ended is not None and ended.error_type in _VIOLATIONS
    named = {guard["name"]: ended is not None and f"{guard['name']} " in ended.error for guard in guards}
    stopped = violated and any(named[guard["name"]] for guard in guards if guard["kind"] != "function")
    for guard in guards:
        status: TestStatus = "skip"
        if ended is not None and ended.kind == "completed":
            status = "pass"
        elif violated:
            status = "fail" if named[guard["name"]] else "skip" if stopped and guard["kind"] == "function" else "pass"
        yield GuardResult(guard["name"], guard["kind"], status)


def _job_of(execution: Execution) -> str:
    if execution.workflow is None:
        return execution.task
    return f"{execution.workflow}.{execution.reference_task_name or execution.task}"


def _parent_of(execution: Execution, root: WorkflowRun | None) -> Parent | None:
    if execution.workflow is None:
        return None
    run = WorkflowRun(run_id_of(execution.workflow_instance_id), execution.workflow)
    return Parent(run, run if execution.is_whole else root)


def _nowhere(repository: str) -> DatasetSource:
    return DatasetSource(repository, repository)
