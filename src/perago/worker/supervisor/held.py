"""Record on disk which executions a worker holds, so that the next worker can give back those of a killed one.

Otherwise the engine would hand such a task out again only after its response timeout, which can be hours.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from perago.errors import EngineError, TaskNotFoundError
from perago.ports import Clock, SystemClock, WorkerEngine
from perago.values.models import Attempt
from perago.worker.attempts.journal import Journal
from perago.worker.supervisor.delivery import Delivery, KeptAttempt, pause_before_round
from perago.workspace import janitor

HELD_FILE = "held"
"""In the supervisor's own directory."""

RECORD_BYTES = 4096
"""Size of one record. Ids and names need a few hundred bytes. An execution that needs more is not recorded."""

MAX_FILE_BYTES = 1024 * RECORD_BYTES

DYING_SECONDS = 30.0
"""How long to wait for the executors of a killed worker. They end with it, within milliseconds. If one is stuck in the
kernel, the lease of its task has to run out."""


class HeldTasks:
    """A file with one fixed-size record for each held execution. Only one process may write it, from any thread.

    Writes are not synced: a killed process loses nothing. After a crash of the machine, or if the disk refuses, the
    lease of a task has to run out.

    Args:
        directory: the supervisor's own.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / HELD_FILE
        self._lock = threading.Lock()
        found = _read(self._path)
        self._inherited = {attempt.execution: attempt for attempt in found.values()}
        self._places = {attempt.execution: place for place, attempt in found.items()}
        self._next_place = max(found, default=-1) + 1
        self._free = [place for place in range(self._next_place) if place not in found]

    @property
    def inherited(self) -> list[KeptAttempt]:
        """Executions that an earlier worker held and that are not released yet."""
        with self._lock:
            return list(self._inherited.values())

    def add(self, attempt: Attempt) -> None:
        """Record an execution that was just taken."""
        kept = KeptAttempt.of(attempt)
        text = json.dumps(asdict(kept)).encode()
        with self._lock:
            if len(text) > RECORD_BYTES or kept.execution in self._places:
                return
            place = self._free.pop() if self._free else self._next_place
            self._next_place = max(self._next_place, place + 1)
            self._places[kept.execution] = place
            self._write(place, text.ljust(RECORD_BYTES))

    def release(self, attempt: Attempt) -> None:
        """Remove an execution: its result was reported or kept, or its task was given back."""
        execution = KeptAttempt.of(attempt).execution
        with self._lock:
            self._inherited.pop(execution, None)
            place = self._places.pop(execution, None)
            if place is not None:
                self._free.append(place)
                self._write(place, b" ")  # no valid record begins with a space

    def _write(self, place: int, data: bytes) -> None:
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.pwrite(descriptor, data, place * RECORD_BYTES)
            finally:
                os.close(descriptor)


@dataclass(kw_only=True)
class Inheritance:
    """Gives back the tasks that a killed worker held, once its executors are gone. See `supervisor.Loop`.

    Attributes:
        delivery: delivers the kept results; their tasks are not given back.
        root: workspace root. Markers in it tell which executors are alive.
    """

    engine: WorkerEngine
    held: HeldTasks
    delivery: Delivery
    root: Path
    journal: Journal
    clock: Clock = field(default_factory=SystemClock)
    _rounds: int = field(default=0, init=False)
    _began: float | None = field(default=None, init=False)

    def turn(self) -> float | None:
        """Give back what can be given back; returns the seconds until the next turn. None: nothing is left."""
        inherited = self.held.inherited
        if not inherited:
            return None
        self._began = self.clock.monotonic() if self._began is None else self._began
        living = self._living()
        for attempt in inherited:
            if self.delivery.keeps(attempt):
                self.held.release(attempt)
            elif attempt.task_id in living:
                self._wait_for_its_end(attempt)
            else:
                self._give_back(attempt)
        self._rounds += 1
        return pause_before_round(self._rounds) if self.held.inherited else None

    def _living(self) -> set[str]:
        """Ids of tasks whose attempt processes are alive."""
        judged = [janitor.judge(path) for path in janitor.attempt_directories(self.root)]
        return {found.marker.task_id for found in judged if found and found.marker and found.owner == "alive"}

    def _wait_for_its_end(self, attempt: KeptAttempt) -> None:
        if self._began is not None and self.clock.monotonic() - self._began >= DYING_SECONDS:
            self.held.release(attempt)
            text = "not given back: a process of the killed worker still runs it. Its lease has to run out"
            self._tell(logging.WARNING, text, attempt)

    def _give_back(self, attempt: KeptAttempt) -> None:
        was_ours = False
        try:
            was_ours = self.engine.give_back(attempt)
        except TaskNotFoundError:
            pass  # its workflow was restarted or removed
        except EngineError as exc:
            if self._rounds == 0:
                text = f"a task of a killed worker cannot be given back now; this is retried: {exc}"
                self._tell(logging.WARNING, text, attempt)
            return
        self.held.release(attempt)
        done = "given back" if was_ours else "not given back, because the engine has ended or reassigned it"
        self._tell(logging.INFO, f"{done}: a worker on this workspace root was killed while it ran", attempt)

    def _tell(self, level: int, text: str, attempt: KeptAttempt) -> None:
        self.journal.tell(level, text, **{**attempt.fields(), "phase": ""})


def _read(path: Path) -> dict[int, KeptAttempt]:
    """The valid records of a file by their places."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
    except OSError:
        return {}
    found = {}
    for place in range(len(content) // RECORD_BYTES + 1):
        with suppress(ValidationError):
            record = content[place * RECORD_BYTES : (place + 1) * RECORD_BYTES]
            found[place] = _KEPT.validate_json(record)
    return found


_KEPT = TypeAdapter[KeptAttempt](KeptAttempt)
