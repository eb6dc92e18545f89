"""What a run notices: its phases, files that a body writes beside its workspace, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

from perago.attempt.breakpoints import is_quit
from perago.cli.progress import Display
from perago.errors import TaskCancelledError
from perago.ports import Event, Phase

MAX_ENTRIES = 1000
"""Entries of the current directory from which on nobody looks at them."""

MAX_SHOWN = 3

Entries = Mapping[str, tuple[int, int]]
"""Name -> size in bytes, and time of the last change in nanoseconds since the epoch."""


def current_entries() -> Entries | None:
    """What the current directory holds, without what is below its directories. None: too much, or it cannot be read.

    Left out are hidden names, bytecode, and what stdout and stderr are written to.
    """
    own = set()
    for descriptor in (1, 2):
        with suppress(OSError):
            state = os.fstat(descriptor)
            own.add((state.st_dev, state.st_ino))
    found: dict[str, tuple[int, int]] = {}
    try:
        with os.scandir() as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_ENTRIES:
                    return None
                state = entry.stat(follow_symlinks=False)
                if not entry.name.startswith((".", "__pycache__")) and (state.st_dev, state.st_ino) not in own:
                    found[entry.name] = (state.st_size, state.st_mtime_ns)
    except OSError:
        return None
    return found


def written_since(before: Entries | None) -> tuple[str, ...]:
    """Names of the current directory that are new or changed since then, sorted."""
    now = current_entries()
    if before is None or now is None:
        return ()
    return tuple(sorted(name for name, state in now.items() if before.get(name) != state))


def beside_note(names: tuple[str, ...]) -> str:
    """What to tell of them."""
    shown = ", ".join(repr(name) for name in names[:MAX_SHOWN])
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return (
        f"The body wrote in the current directory, which is not its workspace: {shown}{more}. Have it write below the "
        f"path that it is given, such as workspace / {names[0]!r}."
    )


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR = 2


class Interrupts:
    """While it is entered, SIGINT, SIGTERM and SIGHUP cancel instead of ending the process.

    A signal that was ignored before (`nohup`) stays so. To be entered in the main thread.

    Args:
        cancel: called at the first signal, within its handler: it may set a flag, not more.
        at_once: raise KeyboardInterrupt at the first signal already.

    Attributes:
        count: signals that came.
    """

    def __init__(self, cancel: Callable[[], None], *, at_once: bool = False) -> None:
        self.count = 0
        self._cancel = cancel
        self._at_once = at_once
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._at_once or self.count > 1:
            raise KeyboardInterrupt
        self._cancel()
        with suppress(OSError):  # a terminal that has gone
            # Not through sys.stderr: the signal may have come in the middle of a write to it.
            os.write(
                _STDERR, b"\nCancelling: the body is told, and everything is cleaned up. Once more ends at once.\n"
            )


_CANCELLED_AT_START = frozenset(Phase) - {Phase.POLL, Phase.PUBLISH, Phase.REPORT, Phase.CLEAN}
"""From `PUBLISH` on the attempt goes to its end: what is published is better reported too."""

_CANCELLED_UNDER_WAY = frozenset({Phase.MATERIALIZE, Phase.STAGE})
"""A body is cancelled by whoever runs it."""

_AFTERMATH = (Phase.REPORT, Phase.CLEAN)


class RunObserver:
    """What became known of one try.

    Args:
        display: shows the events. If it fails it is not asked again: a terminal that went away fails no attempt.
        cancelled: set: the attempt is to end.

    Attributes:
        error: what failed the try; None: nothing so far.
        plan: the publish fence's newest decision, by the name of its class, in lower case.
        counts: how many files were added, modified, deleted; empty before the diff.
        kept: where the workspace was left; None: it was not.
        beside: what appeared in the current directory while the body ran.
    """

    def __init__(self, display: Display, cancelled: threading.Event) -> None:
        self._display: Display | None = display
        self._cancelled = cancelled
        self.begin()

    def begin(self) -> None:
        """Forget the try before."""
        self.error: BaseException | None = None
        self.plan: str | None = None
        self.counts: Mapping[str, Any] = {}
        self.kept: str | None = None
        self.beside: tuple[str, ...] = ()
        self._entries: Entries | None = None

    def __call__(self, event: Event, /) -> None:
        self._remember(event)
        self._show(event)
        phases = _CANCELLED_AT_START if event.kind == "started" else _CANCELLED_UNDER_WAY
        if event.kind in ("started", "progress") and event.phase in phases and self._cancelled.is_set():
            raise TaskCancelledError(f"cancelled before or in the phase {event.phase}; nothing was published")

    def line(self, text: str) -> None:
        """Show a line that is no event's."""
        if self._display is not None:
            with self._guarded():
                self._display.line(text)

    def _remember(self, event: Event) -> None:
        attributes = event.attributes
        if event.phase is Phase.BODY and event.kind == "started":
            self._entries = current_entries()
        if event.phase is Phase.BODY and event.kind == "completed":
            self.beside = written_since(self._entries)
        if event.kind == "started" and event.phase is Phase.DECIDE:
            self.error = None  # the swap before was lost, and the attempt goes on
        if event.kind == "failed" and event.phase is Phase.BODY and is_quit(event.error):
            self._cancelled.set()  # whoever debugs the body wants no more of it
        if event.kind == "failed" and event.phase not in _AFTERMATH:
            self.error = self.error or event.error
        if event.kind != "completed":
            return
        self.plan = attributes.get("plan", self.plan)
        self.kept = attributes.get("kept", self.kept)
        if event.phase is Phase.DIFF:
            self.counts = attributes

    def _show(self, event: Event) -> None:
        if self._display is not None:
            with self._guarded():
                self._display(event)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001 - whatever a terminal does, the attempt goes on
            self._display = None
