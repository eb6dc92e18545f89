"""Shows a workflow while it runs: a tree of its tasks on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from perago.cli.output import is_plain, note, terminal_columns
from perago.cli.progress import MIN_MOVING_COLUMNS
from perago.running.rows import Row
from perago.running.task_state import TaskState, states_of
from perago.running.text import printable_lines
from perago.running.view import LineView, WorkflowView
from perago.values.record import TryStatus
from perago.workflows.graph import WorkflowGraph

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REFRESHES_A_SECOND = 8

MIN_NAME_COLUMNS = 20
"""A shorter name would not be told from its neighbours."""


@contextmanager
def open_view(graph: WorkflowGraph, *, still: bool = False) -> Iterator[WorkflowView]:
    """Open the view that fits stderr.

    Args:
        still: plain lines only, because a body in this process may use the terminal.
    """
    columns = terminal_columns(sys.stderr)
    if still or is_plain(sys.stderr) or columns is None or columns < MIN_MOVING_COLUMNS:
        yield LineView(note, states_of(graph.nodes))
        return
    tree = TreeView(graph, sys.stderr)
    with tree.live():
        yield tree


class TreeView(WorkflowView):
    """The tasks of the workflow, each with its state, and lines above them.

    Whoever draws holds the view's lock first. Two threads that draw at once leave a tree above the lines, and rich's
    own lock, taken first by its refreshing thread, could wait for the view's for ever.
    """

    def __init__(self, graph: WorkflowGraph, stream: TextIO) -> None:
        from rich.console import Console

        super().__init__(states_of(graph.nodes))
        self._console = Console(file=stream, highlight=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the tree on the terminal up to date."""
        from rich.live import Live

        live = Live(
            get_renderable=self._tree,
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        ended = threading.Event()
        refreshing = threading.Thread(target=self._refresh, args=(live, ended), name="perago-tree", daemon=True)
        live.start()
        refreshing.start()
        try:
            yield
        finally:
            ended.set()
            refreshing.join()
            with self._lock:
                live.stop()

    def _refresh(self, live: Live, ended: threading.Event) -> None:
        while not ended.wait(1 / REFRESHES_A_SECOND):
            with self._lock:
                live.refresh()

    def line(self, text: str) -> None:
        with self._lock:
            self._console.print(printable_lines(text), markup=False, highlight=False)

    def _tell_end(self, state: TaskState) -> None:
        if state.status is not TryStatus.COMPLETED and state.text:
            number = f"try {state.tries} " if state.tries > 1 else ""
            self.line(f"{state.told_name}: {number}{state.status}: {state.text}")

    def _tree(self) -> RenderableType:
        from rich.text import Text

        lines = tree_lines(self.rows(), self._console.width)
        return Text("\n").join(Text(line, style="dim" if is_faint else "", no_wrap=True) for line, is_faint in lines)


def tree_lines(rows: Sequence[Row], columns: int) -> list[tuple[str, bool]]:
    """The lines of a tree, and whether each is faint.

    A long name keeps its head and its tail. Sign and time are always whole; the text gets what is left.

    Args:
        columns: width of the terminal.
    """
    from rich.cells import cell_len, set_cell_size

    longest = max((cell_len(row.name) for row in rows), default=0)
    name_columns = min(longest, max(MIN_NAME_COLUMNS, columns * 2 // 5))
    time_columns = max((len(row.took) for row in rows), default=0)
    text_columns = columns - len("✓ ") - name_columns - time_columns - 2

    def lines(row: Row) -> Iterator[str]:
        name = set_cell_size(_middle_out(row.name, name_columns), name_columns)
        text, *others = _packed((row.text, *row.more), text_columns)
        yield f"{row.sign} {name} {row.took:>{time_columns}} {_cut(text, text_columns)}".rstrip()
        indentation = " " * (len(row.name) - len(row.name.lstrip()) + 4)
        while others:
            text, *others = _packed(others, columns - len(indentation))
            yield f"{indentation}{_cut(text, columns - len(indentation))}"

    return [(line, row.is_faint) for row in rows for line in lines(row)]


def _packed(parts: Sequence[str], columns: int) -> list[str]:
    """A line of as many parts of a text as fit, then the other parts."""
    line = parts[0]
    for index, part in enumerate(parts[1:], 1):
        if len(f"{line}, {part}") > columns:
            return [line, *parts[index:]]
        line = f"{line}, {part}"
    return [line]


def _cut(text: str, columns: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else f"{set_cell_size(text, columns - 1)}…"


def _middle_out(name: str, columns: int) -> str:
    """A name with its middle left out, if it is longer than its column."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(name) <= columns:
        return name
    indentation = name[: len(name) - len(name.lstrip())]
    name, columns = name.lstrip(), columns - len(indentation)
    head = (columns - 1) // 2
    tail = name[-(columns - 1 - head) :]
    while cell_len(tail) > columns - 1 - head:  # of wide characters
        tail = tail[1:]
    return f"{indentation}{set_cell_size(name, head).rstrip()}…{tail}"
