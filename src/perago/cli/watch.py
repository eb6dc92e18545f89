"""The observer of `perago run`: shows the phases, remembers what the summary needs, and lets Ctrl-C through."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from perago.attempt.breakpoints import is_quit
from perago.cli.beside import Entries, current_entries, written_since
from perago.cli.progress import Display
from perago.errors import TaskCancelledError
from perago.ports import Event, Phase

_CANCELLED_AT_START = frozenset(Phase) - {Phase.POLL, Phase.PUBLISH, Phase.REPORT, Phase.CLEAN}
"""From `PUBLISH` on the attempt goes to its end: what is published is better reported too."""

_CANCELLED_UNDER_WAY = frozenset({Phase.MATERIALIZE, Phase.STAGE})
"""A body is cancelled by whoever runs it."""

_AFTERMATH = (Phase.REPORT, Phase.CLEAN)


class Watch:
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
