"""All metrics of Perago: name, unit, description and attributes.

Names, units and attributes follow OpenTelemetry's semantic conventions. No attribute contains an id, branch or path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram", "updowncounter"]
Group = Literal["attempts", "workspace_io", "worker_capacity"]

TASK = "perago.task.name"
PHASE = "perago.phase"
OUTCOME = "perago.outcome"
DIRECTION = "perago.direction"
HOW = "perago.publication.how"
FENCE = "perago.fence"
STATE = "perago.slot.state"
RESULT = "perago.cache.result"
ERROR_TYPE = "error.type"

SECONDS_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
"""Bucket boundaries for durations from a hundredth of a second to a day."""


@dataclass(frozen=True)
class Instrument:
    """One metric.

    Attributes:
        unit: in UCUM; a word in braces counts things.
        attributes: that distinguish its values.
        group: flag of a task's `MetricSpec` that disables it; None for the worker's own metrics.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    group: Group | None = None


ATTEMPT_DURATION = Instrument(
    "perago.attempt.duration",
    "histogram",
    "s",
    "Duration of attempts, from the poll to the end of the report; its count is that of attempts.",
    (TASK, OUTCOME),
    "attempts",
)
PHASE_DURATION = Instrument(
    "perago.attempt.phase.duration",
    "histogram",
    "s",
    "Duration of an attempt's phases; those that failed have an error.type.",
    (TASK, PHASE, ERROR_TYPE),
    "attempts",
)
PUBLICATIONS = Instrument(
    "perago.publications",
    "counter",
    "{publication}",
    "Attempts of writing tasks that completed: published, merged, replaced, adopted, unchanged.",
    (TASK, HOW),
    "attempts",
)
FENCE_REFUSALS = Instrument(
    "perago.fence.refusals",
    "counter",
    "{attempt}",
    "Attempts that the attempt fence (no longer current) or the publish fence (somebody else's commits) refused.",
    (TASK, FENCE),
    "attempts",
)
SWAP_LOSSES = Instrument(
    "perago.swap.losses",
    "counter",
    "{swap}",
    "Compare-and-swaps of a branch that another writer won; the attempt decides anew.",
    (TASK,),
    "attempts",
)
LEASE_LOSSES = Instrument(
    "perago.lease.losses",
    "counter",
    "{attempt}",
    "Attempts found to be no longer the engine's current execution: cancelled, timed out, given to another.",
    (TASK,),
    "attempts",
)
WORKSPACE_IO = Instrument(
    "perago.workspace.io",
    "counter",
    "By",
    "Bytes of files that were laid out (download; from the host's cache too) or staged (upload).",
    (TASK, DIRECTION),
    "workspace_io",
)
WORKSPACE_DURATION = Instrument(
    "perago.workspace.duration",
    "histogram",
    "s",
    "Duration of laying out (download) or staging (upload) an attempt's files; those that failed have an error.type.",
    (TASK, DIRECTION, ERROR_TYPE),
    "workspace_io",
)
WORKSPACE_FILES = Instrument(
    "perago.workspace.files",
    "counter",
    "{file}",
    "Files that were laid out (download) or staged (upload).",
    (TASK, DIRECTION),
    "workspace_io",
)
CACHE_LOOKUPS = Instrument(
    "perago.cache.lookups",
    "counter",
    "{file}",
    "Files looked for in the host's object cache: hit, miss.",
    (TASK, RESULT),
    "workspace_io",
)
ACTIVE = Instrument(
    "perago.attempt.active",
    "updowncounter",
    "{attempt}",
    "Attempts under way, each of which keeps a slot busy.",
    (TASK,),
    "worker_capacity",
)
SLOTS = Instrument(
    "perago.worker.slots",
    "gauge",
    "{slot}",
    "Slots of the worker by state: starting, idle, busy, waiting (for an executor's replacement), closed.",
    (STATE,),
)
EXECUTOR_DEATHS = Instrument(
    "perago.executor.deaths",
    "counter",
    "{executor}",
    "Executors that died, or could not be started, and were replaced.",
)
REPORT_RETRIES = Instrument(
    "perago.report.retries",
    "counter",
    "{report}",
    "Reports of a result that had to be tried again.",
)
RESULTS_WAITING = Instrument(
    "perago.results.waiting",
    "gauge",
    "{result}",
    "Results on disk that wait for the engine.",
)
VALUES_DROPPED = Instrument(
    "perago.task.values.dropped",
    "counter",
    "{value}",
    "Values recorded by task bodies that were dropped: too many names, or a name of Perago's own.",
    (TASK,),
)
LINEAGE_DROPPED = Instrument(
    "perago.lineage.events.dropped",
    "counter",
    "{event}",
    "OpenLineage events that were dropped: their receiver was too slow, refused them, or was not there.",
)

INSTRUMENTS = (
    ATTEMPT_DURATION,
    PHASE_DURATION,
    PUBLICATIONS,
    FENCE_REFUSALS,
    SWAP_LOSSES,
    LEASE_LOSSES,
    WORKSPACE_DURATION,
    WORKSPACE_IO,
    WORKSPACE_FILES,
    CACHE_LOOKUPS,
    ACTIVE,
    SLOTS,
    EXECUTOR_DEATHS,
    REPORT_RETRIES,
    RESULTS_WAITING,
    VALUES_DROPPED,
    LINEAGE_DROPPED,
)
