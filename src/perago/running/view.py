"""Shows a workflow while it runs: keeps the states of its tasks, for a terminal, a notebook, or plain lines."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from perago.ports import Event, Phase
from perago.running.progress import describe_cache, describe_counts, describe_progress
from perago.running.rows import Row, rows_of
from perago.running.task_state import TaskState, item_text, state_of
from perago.running.text import log_line, printable
from perago.telemetry.logs import warning_for
from perago.values.record import WITHIN, TryStatus
from perago.values.redaction import mask_text
from perago.worker.process.messages import Log

_SHORT_COMMIT = 12


class WorkflowView(ABC):
    """Shows a workflow: it keeps the states of the tasks, and a subclass says how they are shown. For any thread."""

    def __init__(self, states: Iterable[TaskState] = ()) -> None:
        self._lock = threading.RLock()  # a line may be told while it is held
        self._states = {state.reference_name: state for state in states}

    def schedule(self, reference_names: Iterable[str]) -> None:
        """Tasks are due. May be called again for the same tasks."""
        with self._lock:
            for name in reference_names:
                state_of(self._states, name)

    def retry(self, reference_name: str, seconds: float) -> None:
        """The next try of a task is due in some seconds. May be called again for the same try."""
        with self._lock:
            self._states[reference_name].retry_at = time.monotonic() + seconds

    def choose(self, taken: Mapping[str, str | None]) -> None:
        """Switches have taken cases, by their reference names; None is the default case."""
        with self._lock:
            for state in self._states.values():
                state.is_left_out = any(taken.get(switch, case) != case for switch, case in state.cases)

    def begin(self, reference_name: str, number: int, input_data: Mapping[str, Any] | None = None) -> None:
        """A try begins, the first, second, …

        Args:
            input_data: of the task; names the item of a map.
        """
        with self._lock:
            state = self._begin(reference_name, number, input_data)
        if state.kind != "builtin":
            self._tell_start(state)

    def recall(
        self,
        reference_name: str,
        number: int,
        status: TryStatus,
        *,
        input_data: Mapping[str, Any],
        ref: str | None,
        reason: str | None,
        seconds: float | None,
    ) -> None:
        """The last try of a task of a resumed run. Prints nothing."""
        with self._lock:
            state = self._begin(reference_name, number, input_data)
            if not status.is_live:
                _ended(state, status, ref, reason, seconds)

    def _begin(self, reference_name: str, number: int, input_data: Mapping[str, Any] | None) -> TaskState:
        state = state_of(self._states, reference_name)
        _begun(state, number)
        if state.within is not None and input_data is not None:
            state.item = item_text(self._states[state.within].param, input_data)
        return state

    def show(self, reference_name: str, event: Event) -> None:
        """Something happened in a try."""
        with self._lock:
            state = self._states[reference_name]
            if not state.is_running:
                return  # its sub-workflow has ended
            _take(state, event)
        caution = warning_for(event.phase, event.attributes) if event.kind == "progress" else None
        if caution is not None:
            self.warn(f"{reference_name}: warning: {caution}")
        if event.kind == "completed" and event.attributes.get("cache") in ("miss", "unproven"):
            self._tell_miss(reference_name, describe_cache(event.attributes) or "")

    def end(
        self,
        reference_name: str,
        status: TryStatus,
        ref: str | None,
        reason: str | None,
        *,
        seconds: float | None = None,
    ) -> None:
        """A try has ended.

        Args:
            ref: the commit that it completed with.
            seconds: that it took. Default: since it began here.
        """
        with self._lock:
            state = self._states[reference_name]
            if not state.is_running:
                return  # its sub-workflow has ended, and this with it
            within = [one for name, one in self._states.items() if name.startswith(reference_name + WITHIN)]
            left = [one for one in within if one.is_running]
            for one in left:  # what is told of them later is left out
                _ended(one, TryStatus.CANCELED, None, None, None)
            _ended(state, status, ref, reason, seconds)
        for one in (*left, state):
            if one.kind != "builtin" or one.status is not TryStatus.COMPLETED:
                self._tell_end(one)

    def with_items(self, reason: str | None) -> str | None:
        """A reason that names failed tasks of maps by their items, too: `task 'fetch' for 'b.csv' (fetch_2) is …`."""
        if reason is None:
            return None
        with self._lock:
            failed = [state for state in self._states.values() if state.has_failed and state.item]
        for state in failed:
            for name in (state.reference_name, state.reference_name.rpartition(WITHIN)[2]):  # on a server, here
                told = f"task {name.rpartition('_')[0]!r} for {state.item!r} ({name}) "
                reason = reason.replace(f"task {name!r} ", told)
        return reason

    def rows(self) -> list[Row]:
        """A row for each task, and for each map."""
        with self._lock:
            return rows_of(self._states.values(), time.monotonic())

    def refresh(self) -> None:  # noqa: B027 - lines do not move, and a terminal has a thread of its own
        """Called a few times a second by the thread that waits for the run."""

    def printed(self, reference_name: str, line: str) -> None:
        """A body has printed or logged a line."""
        with self._lock:
            is_over = not self._states[reference_name].is_running
        if not is_over:
            self.line(f"{reference_name}: {line}")

    def logged(self, reference_name: str, message: Log) -> None:
        """A body has logged."""
        self.printed(reference_name, mask_text(log_line(message)))

    @abstractmethod
    def line(self, text: str) -> None:
        """See `Lines.line`."""

    def warn(self, text: str) -> None:
        """Show a warning."""
        self.line(text)

    def _tell_start(self, state: TaskState) -> None:  # noqa: B027 - a tree shows it anyway
        """Tell of a try that has begun."""

    def _tell_miss(self, reference_name: str, text: str) -> None:  # noqa: B027 - a tree has no room for it
        """Tell why a body runs although its task has a cache."""

    @abstractmethod
    def _tell_end(self, state: TaskState) -> None:
        """Tell of a try that has ended."""


class LineView(WorkflowView):
    """Plain lines: the start and the end of each try.

    Args:
        tell: prints a line.
    """

    def __init__(self, tell: Callable[[str], None], states: Iterable[TaskState] = ()) -> None:
        super().__init__(states)
        self._tell = tell

    def line(self, text: str) -> None:
        self._tell(text)

    def _tell_start(self, state: TaskState) -> None:
        how = "started" if state.tries == 1 else f"try {state.tries} started"
        self._tell(f"{state.told_name}: {how}")

    def _tell_miss(self, reference_name: str, text: str) -> None:
        self._tell(f"{reference_name}: {printable(text)}")

    def _tell_end(self, state: TaskState) -> None:
        behind = f", {state.text}" if state.text else ""
        self._tell(f"{state.told_name}: {state.status} in {state.seconds or 0:.1f} s{behind}")


class TaskDisplay:
    """The part of a view that shows one task. See `progress.Display`."""

    def __init__(self, view: WorkflowView, reference_name: str) -> None:
        self._view = view
        self._reference_name = reference_name

    def __call__(self, event: Event, /) -> None:
        self._view.show(self._reference_name, event)

    def line(self, text: str) -> None:
        self._view.line(f"{self._reference_name}: {text}")


def _begun(state: TaskState, number: int) -> None:
    state.status, state.since, state.seconds = TryStatus.IN_PROGRESS, time.monotonic(), None
    state.tries, state.text, state.counts, state.retry_at, state.cached_from = number, "", {}, None, None


def _take(state: TaskState, event: Event) -> None:
    if event.kind == "started":
        state.text = str(event.phase)
        if event.phase is Phase.BODY:
            state.cached_from = None
    elif event.kind == "progress":
        state.text = f"{event.phase}: {describe_progress(event)}"
    elif event.kind == "completed" and event.phase is Phase.DIFF:
        state.counts = event.attributes
    elif event.kind == "completed":
        state.cached_from = event.attributes.get("cached_from", state.cached_from)


def _ended(state: TaskState, status: TryStatus, ref: str | None, reason: str | None, seconds: float | None) -> None:
    state.status, state.seconds = status, time.monotonic() - state.since if seconds is None else seconds
    done = [] if state.cached_from is None else [f"cached from {state.cached_from[:_SHORT_COMMIT]}"]
    done += [describe_counts(state.counts)] if state.counts else []
    done += [f"commit {ref[:_SHORT_COMMIT]}"] if ref is not None else []
    state.text = ", ".join(done) if status is TryStatus.COMPLETED else printable(reason or "")
