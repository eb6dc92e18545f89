"""Sending the observer's events to the supervisor: progress at a pace that anyone can look at, warnings at once."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

from perago.ports import Event, Phase
from perago.redaction import mask_json
from perago.telemetry.logs import caution_of
from perago.worker.executor_messages import PhaseEvent
from perago.worker.process.outbox import Outbox

PROGRESS_SECONDS = 0.1
"""Between two messages of progress: ten times a second is as fast as anyone looks."""

_MAX_ATTRIBUTES_LENGTH = 16 * 1024


class PhaseSender:
    """An observer for any thread. Progress that is held back is sent a moment later: a body may tell no more for
    long. A fork is mute, as with `Outbox`.

    One thread sees to that, and ends with the process.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._held: Event | None = None
        self._is_held = threading.Event()
        self._sent = float("-inf")
        threading.Thread(target=self._send_what_is_held, name="perago-progress", daemon=True).start()

    def __call__(self, event: Event) -> None:
        if os.getpid() != self._owner:
            return  # the lock may be held for ever here: by a thread that the fork does not have
        with self._lock:
            if event.kind != "progress" or caution_of(event.phase, event.attributes) is not None:
                self._flush()
                self._send(event)
                return
            self._held = event
            if time.monotonic() - self._sent >= PROGRESS_SECONDS:
                self._flush()
            else:
                self._is_held.set()

    def _send_what_is_held(self) -> None:
        while self._is_held.wait():
            time.sleep(PROGRESS_SECONDS)
            with self._lock:
                self._flush()

    def _flush(self) -> None:
        event, self._held = self._held, None
        if event is not None:
            self._is_held.clear()
            self._sent = time.monotonic()
            self._send(event)

    def _send(self, event: Event) -> None:
        """Send an event: a phase's end with what comes next, and its begin if that is known from the order to run."""
        self._outbox.send(
            PhaseEvent.of(event, _json_attributes(event)),
            with_next=event.kind == "completed" or (event.phase is Phase.PARSE and event.kind == "started"),
        )


def _json_attributes(event: Event) -> dict[str, Any]:
    if not event.attributes:
        return {}
    text = json.dumps(mask_json(dict(event.attributes)), default=str)
    attributes: dict[str, Any] = json.loads(text) if len(text) <= _MAX_ATTRIBUTES_LENGTH else {}
    return attributes
