"""The page of a run: what it was given and made, its tasks as nested boxes, and when each of them ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from perago.engines.local import RunSummary
from perago.engines.local.live import TryNotes
from perago.engines.local.record import RunRecord, TryEntry, workspace_field
from perago.engines.local.record_json import AnyRecord
from perago.engines.local.summary import RUNNING, result_in
from perago.engines.local.workflow_record import WorkflowRecord, WorkflowTry
from perago.errors import RunNotFoundError, StoreError, WorkflowDefinitionError
from perago.running.progress import how_far, progress_in_words
from perago.running.task_state import is_unseen
from perago.ui.boxes import Box, TryFacts, boxes_of, phases_of, rows_in
from perago.ui.source import NoRepositoryError, Source
from perago.ui.timeline import Span, Timeline, timeline_of
from perago.values.record import TryStatus
from perago.workflows.definition_json import from_json

if TYPE_CHECKING:
    from perago.ui.conductor import ConductorRuns

MAX_TRIES = 200
"""Tries on a page, the newest ones."""

MAX_LOOKED_AT = 1_500
"""Commits of a run that are looked at for what it took from the cache."""

NOTHING: Mapping[str, TryNotes] = {}

MAX_OPEN_BOXES = 150
"""Tasks of a workflow that is shown open."""


@dataclass(frozen=True, kw_only=True)
class RunPage:
    """A run.

    Attributes:
        boxes: of a workflow, its tasks in order; empty for a task.
        box_count: number of tasks in them, a map counted as one; is_large: too many to show open.
        tries: newest last; more_tries: how many older ones are left out.
        is_live: it may still change.
        server: URL of the Conductor server that it runs on; None for a run of this machine.
        notice: why what is shown may be old; None if it is not.
        has_series: its bodies have recorded numbers.
    """

    run: RunSummary
    boxes: Sequence[Box]
    box_count: int
    is_large: bool
    tries: Sequence[TryFacts]
    more_tries: int
    timeline: Timeline
    is_live: bool
    server: str | None = None
    notice: str | None = None
    has_series: bool = False


def run_page(source: Source, run_id: str) -> RunPage:
    """See `RunPage`.

    Raises:
        RunNotFoundError, EngineError: there is no such run, its record is damaged, or the server did not answer.
    """
    if source.conductor is not None and source.engine.version(run_id) is None:
        return _on_server(source, source.conductor, run_id)
    record = source.engine.record(run_id)
    summary = source.engine.summary(run_id)
    if summary is None:
        raise RunNotFoundError(f"there is no run {run_id!a} any more")
    cached = {} if _says_what_was_taken(record) else _cached(source, run_id)
    live = source.engine.live(run_id) if summary.status == RUNNING else {}
    page = page_of(record, summary, cached, datetime.now(UTC), live)
    return replace(page, has_series=source.engine.has_series(run_id))


def _on_server(source: Source, server: ConductorRuns, run_id: str) -> RunPage:
    from perago.running.conductor import summary_of  # they need the extra `conductor`
    from perago.ui.instance import Beside, instance_boxes, jobs_of, seen_of, tries_of

    workflow = server.run(run_id)
    beside = Beside(cached=_cached(source, run_id), logs=server.logs(workflow), jobs=jobs_of(source.root))
    tries = tries_of(workflow, beside, datetime.now(UTC))
    boxes = instance_boxes(server.graph(workflow), tries)
    page = _page(summary_of(workflow), seen_of(workflow, tries), boxes, is_live=not workflow.has_ended)
    return replace(page, server=server.url)


def _says_what_was_taken(record: AnyRecord) -> bool:
    """Whether a record has all that the history would say of results that were taken. Older versions recorded less."""
    entries: Sequence[TryEntry] = record.tries
    return all(entry.phases for entry in entries if entry.status is TryStatus.COMPLETED and not _is_unseen(entry))


def _cached(source: Source, run_id: str) -> Mapping[str, str]:
    """By the path of a task of a run, the full id of the commit whose result its newest publication took."""
    found: dict[str, str] = {}
    with suppress(StoreError, NoRepositoryError), source.past() as past:
        for entry in past.of_run(run_id, limit=MAX_LOOKED_AT):
            stamp = entry.stamp
            if stamp is not None and stamp.cached_from is not None:
                found.setdefault(stamp.logical_task[1], stamp.cached_from)
    return found  # without it, the run is shown all the same


def page_of(
    record: AnyRecord,
    summary: RunSummary,
    cached: Mapping[str, str],
    now: datetime,
    live: Mapping[str, TryNotes] = NOTHING,
) -> RunPage:
    """The page of a record.

    Args:
        cached: by the path of a task, the commit whose result it took.
        now: the end of what still runs.
        live: what is known of the tries that run, by their ids.
    """
    is_live = summary.status == RUNNING
    entries: Sequence[TryEntry] = record.tries
    every = [_facts(record, entry, cached, now, live.get(entry.task_id), is_live=is_live) for entry in entries]
    facts = [one for one, entry in zip(every, entries, strict=True) if not _is_unseen(entry)]
    boxes: Sequence[Box] = ()
    if isinstance(record, WorkflowRecord):
        last = {one.task: one for one in every}
        boxes = _boxes(record, last)
    return _page(summary, facts, boxes, is_live=is_live)


def _page(summary: RunSummary, facts: Sequence[TryFacts], boxes: Sequence[Box], *, is_live: bool) -> RunPage:
    count = sum(1 for _ in rows_in(boxes))
    return RunPage(
        run=summary,
        boxes=boxes,
        box_count=count,
        is_large=count > MAX_OPEN_BOXES,
        tries=facts[-MAX_TRIES:],
        more_tries=max(len(facts) - MAX_TRIES, 0),
        timeline=timeline_of(_spans(facts)),
        is_live=is_live,
    )


def _boxes(record: WorkflowRecord, last: Mapping[str, TryFacts]) -> Sequence[Box]:
    try:
        graph = from_json(record.definition)
        return boxes_of(graph.nodes, last)
    except (WorkflowDefinitionError, RecursionError):  # of another version of Perago, or damaged
        return boxes_of((), last)


def _facts(
    record: AnyRecord,
    entry: TryEntry,
    cached: Mapping[str, str],
    now: datetime,
    notes: TryNotes | None,
    *,
    is_live: bool,
) -> TryFacts:
    started = datetime.fromtimestamp(entry.scheduled_time / 1000, UTC)
    duration = None if entry.duration_ms is None else entry.duration_ms / 1000
    status = entry.status.value
    if entry.status.is_live:
        status = entry.status.value if is_live else "killed"
        duration = max((now - started).total_seconds(), 0.0) if is_live else None
    elif duration is None and entry.ended_time is not None:
        duration = max(entry.ended_time - entry.scheduled_time, 0) / 1000
    ref = workspace_field(entry.output, "ref")
    facts = TryFacts(
        task=_name(record, entry),
        number=entry.retry_count + 1,
        status=status,
        started=started,
        duration=duration,
        output_ref=ref,
        result=result_in(entry.output),
        reason=entry.reason,
        cached_from=(entry.cached_from or cached.get(_name(record, entry)))
        if entry.status is TryStatus.COMPLETED
        else None,
        code=None if entry.code is None else entry.code.text,
        worker=f"{entry.host}, process {entry.pid}",
        phases=phases_of(entry.phases),
        lines=entry.lines,
    )
    return facts if notes is None or status != TryStatus.IN_PROGRESS else doing(facts, notes, now)


def doing(facts: TryFacts, notes: TryNotes, now: datetime) -> TryFacts:
    """A try that runs, with what is known of its work."""
    seconds = max(now.timestamp() - notes.since / 1000, 0.0)
    done, total = how_far(notes.progress)
    return replace(
        facts,
        phases=phases_of(notes.phases, notes.phase, seconds),
        phase=(notes.phase or "").replace("_", " "),
        progress=progress_in_words({**notes.progress, "message": notes.message}, notes.seconds),
        share=min(max(done / total, 0.0), 1.0) if total and total > 0 else None,
        lines=notes.lines,
    )


def _name(record: AnyRecord, entry: TryEntry) -> str:
    if isinstance(entry, WorkflowTry):
        return entry.reference_task_name
    return record.task_name if isinstance(record, RunRecord) else ""


def _is_unseen(entry: TryEntry) -> bool:
    return isinstance(entry, WorkflowTry) and is_unseen(entry.task_name, entry.status.value)


def _spans(tries: Iterable[TryFacts]) -> list[Span]:
    return [
        Span(name=one.task, number=one.number, status=one.status, started=one.started, seconds=one.duration or 0.0)
        for one in tries
        if one.started is not None
    ]
