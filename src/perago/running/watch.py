"""Observes a run: its phases, files that a body writes outside its workspace, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

from perago.attempt.breakpoints import is_quit
from perago.errors import TaskCancelledError
from perago.ports import PHASES, Event, Phase
from perago.running.progress import Display, warning_of
from perago.worker.process.forks import OwnHandlers

MAX_ENTRIES = 1000
"""Number of entries at which the current directory is no longer compared."""

MAX_SHOWN = 3

Entries = Mapping[str, tuple[int, int]]
"""Name -> (size in bytes, time of the last change in nanoseconds since the epoch)."""


def current_entries() -> Entries | None:
    """Entries of the current directory, not recursive. None if there are too many or it cannot be read.

    Hidden names, bytecode and the files behind stdout and stderr are left out.
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
    """Names in the current directory that are new or changed since `before`, sorted."""
    now = current_entries()
    if before is None or now is None:
        return ()
    return tuple(sorted(name for name, state in now.items() if before.get(name) != state))


def beside_note(names: tuple[str, ...]) -> str:
    """Message about these files."""
    shown = ", ".join(repr(name) for name in names[:MAX_SHOWN])
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return (
        f"The body wrote to the current directory, which is not its workspace: {shown}{more}. Write below the path "
        f"that the body is given, such as workspace / {names[0]!r}."
    )


_STDERR = 2


class Interrupts:
    """While the context is open, signals (SIGINT, SIGTERM and SIGHUP) cancel instead of ending the process.

    See `OwnHandlers` for ignored signals and forks. Enter it in the main thread.

    Args:
        cancel: called at the first signal, in its handler, so that it may only set a flag.
        at_once: raise KeyboardInterrupt at the first signal instead of the second.
        signals: which ones.
        is_silent: say nothing at the first signal.

    Attributes:
        count: signals received.
    """

    def __init__(
        self,
        cancel: Callable[[], None],
        *,
        at_once: bool = False,
        signals: Iterable[signal.Signals] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
        is_silent: bool = False,
    ) -> None:
        self.count = 0
        self._cancel = cancel
        self._at_once = at_once
        self._is_silent = is_silent
        self._handlers = OwnHandlers(self._take, signals)

    def __enter__(self) -> Self:
        self._handlers.install()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handlers.remove()

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._at_once or self.count > 1:
            raise KeyboardInterrupt
        self._cancel()
        if self._is_silent:
            return
        with suppress(OSError):  # the terminal is gone
            # Not through sys.stderr: the signal may have interrupted a write to it.
            os.write(
                _STDERR,
                b"\nCancelling: the body is asked to stop and its files are removed. Press Ctrl-C again to stop now.\n",
            )


def _may_be_cancelled_by(event: Event) -> bool:
    """Not by a warning: it may be told of an earlier phase, while the error of a cancelled body passes."""
    facts = PHASES[event.phase]
    return (
        not facts.may_begin_cancelled
        if event.kind == "started"
        else facts.is_interruptible and event.kind == "progress" and warning_of(event) is None
    )


class RunObserver:
    """Observes one try and remembers its results.

    Args:
        display: shows the events. After an error it is not used again: a closed terminal does not fail an attempt.
        cancelled: set when the attempt should end.
        is_cancelled: whether the attempt should end. Default: if `cancelled` is set.

    Attributes:
        error: the error that failed the try, or None.
        how: how the attempt completes, by the latest decision of the publish fence; None before there is one.
        cached_from: id of the commit whose result was taken in place of the body's; None if none was.
        counts: number of files added, modified and deleted; empty before the diff.
        kept: path of the kept workspace, or None.
        beside: entries of the current directory that are new or changed since the body started.
    """

    def __init__(
        self, display: Display, cancelled: threading.Event, is_cancelled: Callable[[], bool] | None = None
    ) -> None:
        self._display: Display | None = display
        self._cancelled = cancelled
        self._is_cancelled = is_cancelled or cancelled.is_set
        self.begin()

    def begin(self) -> None:
        """Forget the previous try."""
        self.error: BaseException | None = None
        self.how: str | None = None
        self.cached_from: str | None = None
        self.counts: Mapping[str, Any] = {}
        self.kept: str | None = None
        self.beside: tuple[str, ...] = ()
        self._entries: Entries | None = None

    def __call__(self, event: Event, /) -> None:
        self._remember(event)
        self._show(event)
        if _may_be_cancelled_by(event) and self._is_cancelled():
            raise TaskCancelledError(f"nothing was published (stopped in or before the phase {event.phase})")

    def fail(self, error: BaseException) -> None:
        """Remember the error that failed the try. See `RunContext.on_failure`."""
        self.error = error

    def line(self, text: str) -> None:
        """Show a line that belongs to no event."""
        if self._display is not None:
            with self._guarded():
                self._display.line(text)

    def _remember(self, event: Event) -> None:
        attributes = event.attributes
        if event.phase is Phase.BODY and event.kind == "started":
            self._entries = current_entries()
        if event.phase is Phase.BODY and event.kind == "completed":
            self.beside = written_since(self._entries)
        if event.kind == "failed" and event.phase is Phase.BODY and is_quit(event.error):
            self._cancelled.set()  # the user has left the debugger
        if event.kind != "completed":
            return
        self.how = attributes.get("how", self.how)
        self.cached_from = attributes.get("cached_from", self.cached_from)
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
        except Exception:  # noqa: BLE001 - a failing terminal does not fail the attempt
            self._display = None
