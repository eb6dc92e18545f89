"""Status of a worker: a file in its workspace root that `perago status` reads."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from perago.files.storage import opened_file, write_whole
from perago.worker.attempts.journal import progress_text
from perago.worker.supervisor.health import WATCH_STALL_SECONDS, Check
from perago.worker.supervisor.lock import is_locked, supervisor_directory
from perago.worker.supervisor.slot import Slot

STATUS_FILE = "status.json"
MAX_STATUS_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Status of a current attempt.

    Attributes:
        begun_at: seconds since the epoch.
        progress: the last progress that the body reported, or "".
        ending: why the attempt is being ended, or None.
    """

    workflow: str
    task: str
    reference: str | None
    task_id: str
    attempt: int
    execution: str
    phase: str
    progress: str
    begun_at: float
    ending: str | None


@dataclass(frozen=True, kw_only=True)
class SlotStatus:
    """Status of a slot.

    Attributes:
        since: when its state began, seconds since the epoch.
        deaths: executors that died in a row.
        memory_bytes: memory of the executor after its last attempt; 0: not known.
    """

    slot: int
    state: str
    since: float
    deaths: int
    memory_bytes: int
    job: JobStatus | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """Status of a worker.

    Attributes:
        state: "gone" if the worker no longer runs.
        started_at, written_at, polled_at: seconds since the epoch; polled_at None: no poll was answered yet.
        undelivered: number of results that wait to be delivered.
        live, ready, checks: health when the file was written; see `health`.
    """

    worker_id: str
    pid: int
    state: Literal["running", "draining", "gone"]
    execution_mode: str
    tasks: list[str]
    domain: str | None
    started_at: float
    polled_at: float | None
    undelivered: int
    slots: list[SlotStatus]
    live: bool = False
    ready: bool = False
    checks: list[Check] = field(default_factory=list)
    written_at: float = field(default_factory=time.time)


_STATUS = TypeAdapter(WorkerStatus)


def slot_statuses(slots: Sequence[Slot]) -> list[SlotStatus]:
    """The status of each slot."""
    return [_slot_status(slot) for slot in slots]


def write_status(directory: Path, status: WorkerStatus) -> None:
    """Write the file atomically.

    Raises:
        OSError: the disk refused.
    """
    write_whole(directory / STATUS_FILE, [json.dumps(asdict(status), indent=1) + "\n"])


def read_status(root: Path) -> WorkerStatus | None:
    """Status of the worker of a workspace root, or None."""
    try:
        with opened_file(supervisor_directory(root) / STATUS_FILE) as file:
            found = _STATUS.validate_json(file.read(MAX_STATUS_BYTES))
    except (OSError, ValidationError):
        return None
    if is_locked(root):
        return found if time.time() - found.written_at <= WATCH_STALL_SECONDS else _stalled(found)
    return _STATUS.validate_python(
        {**asdict(found), "state": "gone", "slots": [], "live": False, "ready": False, "checks": []}
    )


def _stalled(found: WorkerStatus) -> WorkerStatus:
    """Status of a worker that runs but has stopped writing: it should write every few seconds."""
    seconds = time.time() - found.written_at
    check = Check("supervision", ok=False, detail=f"nothing was written for {seconds:.0f} s")
    return replace(found, live=False, ready=False, checks=[check])


def _slot_status(slot: Slot) -> SlotStatus:
    job = slot.job
    found: JobStatus | None = None
    if job is not None:
        fields: dict[str, Any] = {**job.fields(), "task": job.attempt.task_def_name}
        ending = job.ending
        found = JobStatus(
            **fields,
            progress=progress_text(job.progress) if job.progress else "",
            begun_at=job.begun_at.timestamp(),
            ending=None if ending is None else ending[0].value,
        )
    return SlotStatus(
        slot=slot.number,
        state=slot.state.value,
        since=slot.since,
        deaths=slot.deaths,
        memory_bytes=slot.memory_bytes,
        job=found,
    )
