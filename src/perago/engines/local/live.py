"""What the tries of a run do now, and how long each of their phases took.

The process that holds the run notes it. Others read it in a small file beside the record, on which nothing depends:
it is not synced, is written twice a second at most, and goes when the run ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from perago.ports import Event, Phase
from perago.values.redaction import mask_bounded
from perago.values.timing import Stopwatch

WRITE_SECONDS = 0.5
"""Between two writes, and before the first one: a short run writes none."""

MAX_LINES = 10
"""Last lines of a try that are kept."""

MAX_LINE = 200
"""Characters of a line that are kept."""

MAX_LIVE_BYTES = 1024 * 1024

_PROGRESS = ("done", "total", "files", "total_files", "bytes")
Line = Annotated[str, Field(max_length=4 * MAX_LINE)]


@dataclass(frozen=True, kw_only=True)
class TryNotes:
    """What is known of the work of a try.

    Attributes:
        phases: milliseconds of each phase that has ended and took one or more, in the order of their beginning; those
            of a phase that came more than once are added.
        phase: the one that runs; None between two. since: when it began, milliseconds since the epoch.
        progress, message: attributes of its last progress; see `ports.Event`. seconds: of the phase, then.
        lines: the last ones that the body has printed or logged, masked.
        cached_from: id of the commit whose result was taken in place of a body's.
    """

    phases: Mapping[str, int] = field(default_factory=dict)
    phase: str | None = None
    since: int = 0
    progress: Mapping[str, int | float] = field(default_factory=dict)
    message: str = ""
    seconds: float = 0.0
    lines: tuple[Line, ...] = ()
    cached_from: str | None = None


NO_NOTES = TryNotes()


class _Noting:
    """The notes on one try."""

    def __init__(self) -> None:
        self._stopwatch = Stopwatch()
        self._phase: Phase | None = None
        self._since = 0
        self._progress: dict[str, int | float] = {}
        self._message = ""
        self._seconds = 0.0
        self._lines: deque[str] = deque(maxlen=MAX_LINES)

    def event(self, event: Event) -> None:
        self._stopwatch.note(str(event.phase), event.kind, event.seconds, event.attributes)
        match event.kind:
            case "started":
                self._phase, self._since = event.phase, round(time.time() * 1000)
                self._progress, self._message = {}, ""
            case "progress":
                given = {key: event.attributes.get(key) for key in _PROGRESS}
                self._progress = {key: value for key, value in given.items() if isinstance(value, int | float)}
                self._message = mask_bounded(str(event.attributes.get("message") or ""))[:MAX_LINE]
                self._seconds = event.seconds
            case _:
                self._phase, self._progress, self._message = None, {}, ""

    def line(self, text: str) -> None:
        self._lines.append(mask_bounded(text)[:MAX_LINE])

    def notes(self) -> TryNotes:
        timing = self._stopwatch.timing()
        return TryNotes(
            phases=timing.phases,
            phase=None if self._phase is None else str(self._phase),
            since=self._since,
            progress=self._progress,
            message=self._message,
            seconds=self._seconds,
            lines=tuple(self._lines),
            cached_from=timing.cached_from,
        )


class LiveTries:
    """The notes on the live tries of a run, for any thread.

    Args:
        write: gets their JSON; its `OSError` is ignored.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._tries: dict[str, _Noting] = {}
        self._ended: set[str] = set()
        self._is_dirty = False
        self._written_at = time.monotonic()

    def event(self, task_id: str, event: Event) -> None:
        """Something happened in a try."""
        with self._lock:
            if task_id not in self._ended:
                self._tries.setdefault(task_id, _Noting()).event(event)
                self._is_dirty = True

    def line(self, task_id: str, text: str) -> None:
        """The body of a try has printed or logged a line."""
        with self._lock:
            if task_id in self._tries:
                self._tries[task_id].line(text)
                self._is_dirty = True

    def ended(self, task_id: str) -> TryNotes:
        """The notes on a try that ends now. What happens in it from now on is not noted."""
        with self._lock:
            self._ended.add(task_id)
            self._is_dirty = True
            noting = self._tries.pop(task_id, None)
        return NO_NOTES if noting is None else noting.notes()

    def tell(self) -> None:
        """Write the notes if they have changed and that is due."""
        now = time.monotonic()
        with self._lock:
            if not self._is_dirty or now - self._written_at < WRITE_SECONDS:
                return
            self._is_dirty, self._written_at = False, now
            notes = {task_id: noting.notes() for task_id, noting in self._tries.items()}
        try:
            self._write(_NOTES.dump_json(notes))
        except (OSError, ValueError):  # somebody who looks does not see it; the run goes on
            return


def parse_live(content: bytes) -> Mapping[str, TryNotes]:
    """The notes by the ids of their tries; none if they cannot be read."""
    try:
        return _NOTES.validate_json(content)
    except ValidationError:
        return {}


_NOTES: TypeAdapter[dict[str, TryNotes]] = TypeAdapter(dict[str, TryNotes])
