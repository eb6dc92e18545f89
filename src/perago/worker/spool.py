"""Results that could not be delivered yet, each in a file of its own: they outlive the worker.

A file holds what the engine is to be told, for its owner alone (mode 0600). Its name is a digest and tells nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from perago.engines.local.files import record_errors, write_durably
from perago.errors import EngineError
from perago.models import Attempt, AttemptIdentity, RuntimeTaskResult
from perago.ports import Phase
from perago.private_directory import make_directory, make_private
from perago.record import TryStatus
from perago.workspace.storage import opened_file, sync_directory

_LOGGER = logging.getLogger("perago.worker")

VERSION: Final = 1
SPOOL_DIRECTORY = "undelivered"
"""In the supervisor's own directory."""

SUFFIX = ".json"
DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True, kw_only=True)
class KeptAttempt:
    """An execution as its result was kept: an attempt, with every attribute of its identity."""

    workflow_instance_id: str
    task_id: str
    retry_count: int
    reference_task_name: str | None = None
    task_def_name: str | None = None
    scheduled_time: int | None = None
    poll_count: int | None = None
    seq: int | None = None
    iteration: int | None = None
    worker_id: str = ""

    @classmethod
    def of(cls, attempt: Attempt) -> KeptAttempt:
        return cls(**asdict(AttemptIdentity.of(attempt)), worker_id=getattr(attempt, "worker_id", ""))

    @property
    def status(self) -> str:
        """As it was when its result was made."""
        return TryStatus.IN_PROGRESS.value

    def fields(self) -> dict[str, Any]:
        """Whose it is, for a log line; see `job.Job.fields`."""
        return {
            "workflow": self.workflow_instance_id,
            "task": self.task_def_name,
            "reference": self.reference_task_name,
            "task_id": self.task_id,
            "attempt": self.retry_count,
            "phase": Phase.REPORT.value,
        }

    @property
    def execution(self) -> tuple[str, int, int | None, int | None]:
        """What tells executions apart."""
        return (self.task_id, self.retry_count, self.scheduled_time, self.poll_count)


@dataclass(frozen=True, kw_only=True)
class KeptResult:
    """A result that is still to be delivered.

    Attributes:
        kept_at: milliseconds since the epoch.
    """

    attempt: KeptAttempt
    result: RuntimeTaskResult
    kept_at: int
    version: Literal[1] = VERSION

    @classmethod
    def of(cls, attempt: Attempt, result: RuntimeTaskResult, now: datetime) -> KeptResult:
        return cls(attempt=KeptAttempt.of(attempt), result=result, kept_at=round(now.timestamp() * 1000))

    @property
    def file_name(self) -> str:
        identity = json.dumps(self.attempt.execution)
        return hashlib.sha256(identity.encode()).hexdigest()[:32] + SUFFIX


class ResultSpool:
    """A directory of results. One process writes in it.

    Args:
        directory: made when something is kept.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep(self, kept: KeptResult) -> None:
        """Write a result, in the place of an earlier one of its execution; a crash of the machine does not undo it.

        Raises:
            EngineError: it cannot be written, or is no JSON.
        """
        try:
            text = json.dumps(kept, default=_plain)
        except (TypeError, ValueError, RecursionError) as exc:
            raise EngineError(f"a result that cannot be written as JSON cannot be kept: {exc}") from exc
        with record_errors("cannot keep a result in", self.directory):
            if not self.directory.is_dir():
                make_directory(self.directory)
                sync_directory(self.directory.parent)
            write_durably(self.directory / kept.file_name, text)

    def forget(self, kept: KeptResult) -> None:
        """Remove a result that was delivered, or is void; where the disk refuses, the next start finds it void."""
        with suppress(OSError):
            (self.directory / kept.file_name).unlink()

    def load(self) -> list[KeptResult]:
        """All results that are kept, oldest first.

        A file that holds no result is put aside as `*.damaged`. One that the disk does not give now stays as it is.

        Raises:
            EngineError: the directory cannot be read.
            RuntimeConfigError: another user can change it.
        """
        if not self.directory.exists():
            return []
        with record_errors("cannot list", self.directory):
            make_private(self.directory, "the directory of kept results")
            paths = list(self.directory.iterdir())
        for half_written in (path for path in paths if path.name.startswith(".")):
            with suppress(OSError):
                half_written.unlink()  # a killed writer's; there is one writer, and this is it
        found = [kept for path in paths if path.suffix == SUFFIX and (kept := _read(path)) is not None]
        return sorted(found, key=lambda entry: (entry.kept_at, entry.file_name))


def _read(path: Path) -> KeptResult | None:
    try:
        with opened_file(path) as file:
            text = file.readall()
    except FileNotFoundError:
        return None
    except OSError as exc:
        _LOGGER.warning("a result that was kept cannot be read now, and is left for the next start: %s", exc)
        return None
    try:
        return _KEPT.validate_json(text)
    except ValueError:
        with suppress(OSError):
            path.rename(path.with_suffix(DAMAGED_SUFFIX))
        return None


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, KeptResult | KeptAttempt | RuntimeTaskResult):
        return vars(value)  # dataclasses.asdict would copy the output, all the way down, and not every mapping can be
    raise TypeError(f"a {type(value).__name__} is no JSON")


_KEPT = TypeAdapter(KeptResult)
assert {field.name for field in fields(AttemptIdentity)} < {field.name for field in fields(KeptAttempt)}
