"""Shows a workflow while it runs: a tree of its tasks on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from perago.cli.output import is_plain, note, terminal_columns
from perago.cli.progress import MIN_MOVING_COLUMNS
from perago.running.text import printable_lines
from perago.running.view import LineView, TaskState, WorkflowView, states_of
from perago.values.record import TryStatus
from perago.workflows.graph import WorkflowGraph

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESHES_A_SECOND = 8


@contextmanager
def open_view(graph: WorkflowGraph) -> Iterator[WorkflowView]:
    """Open the view that fits stderr."""
    columns = terminal_columns(sys.stderr)
    if is_plain(sys.stderr) or columns is None or columns < MIN_MOVING_COLUMNS:
        yield LineView(note, states_of(graph.nodes, 0))
        return
    tree = TreeView(graph, sys.stderr)
    with tree.live():
        yield tree


class TreeView(WorkflowView):
    """The tasks of the workflow, each with its state, and lines above them."""

    def __init__(self, graph: WorkflowGraph, stream: TextIO) -> None:
        from rich.console import Console

        super().__init__(states_of(graph.nodes, 0))
        self._console = Console(file=stream, highlight=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the tree on the terminal up to date."""
        from rich.live import Live

        with Live(
            get_renderable=self._tree,
            console=self._console,
            refresh_per_second=REFRESHES_A_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield

    def line(self, text: str) -> None:
        self._console.print(printable_lines(text), markup=False, highlight=False)

    def _tell_end(self, state: TaskState) -> None:
        if state.status is not TryStatus.COMPLETED and state.text:
            self.line(f"{state.reference_name}: {state.status}: {state.text}")

    def _tree(self) -> RenderableType:
        from rich.markup import escape
        from rich.table import Table

        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for row in self.rows():
            table.add_row(*map(escape, row))  # a name may hold what rich takes for markup
        return table
