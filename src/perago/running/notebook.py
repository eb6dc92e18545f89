"""What `perago.run` shows: a cell of a notebook, updated in place; or nothing."""

from __future__ import annotations

import logging
import queue
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from perago.running.task_state import TaskState
from perago.running.text import printable_lines
from perago.running.view import LineView, WorkflowView
from perago.worker.body.run import log_here
from perago.worker.process.messages import Log

UPDATE_SECONDS = 0.25
"""Between two updates of a cell."""

_LOGGER = logging.getLogger("perago.run")


def is_notebook() -> bool:
    """Whether this process runs the cells of a notebook. IPython is not imported for it."""
    found = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(found, "kernel", None) is not None


@contextmanager
def open_view(states: Iterable[TaskState], *, progress: bool | None) -> Iterator[WorkflowView]:
    """Open what shows a run.

    Args:
        progress: None shows it in a notebook only.
    """
    shown = is_notebook() if progress is None else progress
    if shown and not is_notebook():
        yield LineView(lambda text: print(printable_lines(text), file=sys.stderr), states)
        return
    view = CellView(states) if shown else QuietView(states)
    try:
        yield view
    finally:
        view.close()


class QuietView(WorkflowView):
    """Shows what bodies print, and logs warnings.

    It prints in the thread that waits for the run. A notebook cannot assign the output of other threads to a cell.
    """

    def __init__(self, states: Iterable[TaskState]) -> None:
        super().__init__(states)
        self._printed: queue.SimpleQueue[str] = queue.SimpleQueue()

    def refresh(self) -> None:
        with suppress(queue.Empty):
            while True:
                print(self._printed.get_nowait())

    def close(self) -> None:
        """Show what is left."""
        self.refresh()

    def printed(self, reference_name: str, line: str) -> None:  # noqa: ARG002 - a notebook shows what the body shows
        self._printed.put(line)

    def logged(self, reference_name: str, message: Log) -> None:  # noqa: ARG002 - as `printed`
        log_here(message)

    def warn(self, text: str) -> None:
        _LOGGER.warning(text)

    def line(self, text: str) -> None:
        """Show nothing."""

    def _tell_end(self, state: TaskState) -> None:
        """Show nothing."""


class CellView(QuietView):
    """The states of the tasks, in the output of a cell."""

    def __init__(self, states: Iterable[TaskState]) -> None:
        from IPython.display import display

        super().__init__(states)
        self._shown = self._text()
        self._updated = time.monotonic()
        show: Callable[..., Any] = display
        self._handle = show({"text/plain": self._shown}, raw=True, display_id=True)

    def refresh(self) -> None:
        super().refresh()
        if time.monotonic() - self._updated >= UPDATE_SECONDS:
            self._update()

    def close(self) -> None:
        super().close()
        self._update()

    def _update(self) -> None:
        before, self._shown = self._shown, self._text()
        self._updated = time.monotonic()
        if self._shown != before:
            self._handle.update({"text/plain": self._shown}, raw=True)

    def _text(self) -> str:
        rows = self.rows()
        width = max((len(row.name) for row in rows), default=0)
        lines = (f"{row.sign} {row.name:<{width}}  {row.took:>7}  {row.whole_text}".rstrip() for row in rows)
        return printable_lines("\n".join(lines))
