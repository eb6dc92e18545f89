"""`perago.run` in a real Jupyter kernel."""

from __future__ import annotations

import os
import queue
import re
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from servers.machine import slowness

pytestmark = pytest.mark.filterwarnings("default")  # of the libraries that talk to the kernel


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Cell:
    """What came of a cell.

    Attributes:
        shown: each state of what it displays, in order.
        error: name and text of what it raised; None.
    """

    out: str = ""
    err: str = ""
    shown: list[str] = field(default_factory=list)
    displays: int = 0
    error: str | None = None


class Notebook:
    """A kernel, and the cells that it has run."""

    def __init__(self, manager: KernelManager) -> None:
        self._manager = manager
        self._client = manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60 * slowness())

    def run(self, code: str) -> Cell:
        return self.end(self.begin(code))

    def begin(self, code: str) -> str:
        return self._client.execute(code)

    def end(self, parent: str, seconds: float = 60) -> Cell:
        """Wait for the end of a cell; takes only messages that belong to it, as a notebook does."""
        cell, deadline = Cell(), time.monotonic() + seconds * slowness()
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the cell has not ended: {cell}") from None
            if message["parent_header"].get("msg_id") != parent:
                continue
            if self._take(cell, message["msg_type"], message["content"]):
                return cell

    @staticmethod
    def _take(cell: Cell, kind: str, content: dict[str, Any]) -> bool:
        if kind == "stream" and content["name"] == "stdout":
            cell.out += content["text"]
        elif kind == "stream":
            cell.err += content["text"]
        elif kind in ("display_data", "update_display_data"):
            cell.displays += kind == "display_data"
            cell.shown.append(content["data"]["text/plain"])
        elif kind == "error":
            cell.error = _COLOUR.sub("", "\n".join([content["ename"], *content["traceback"]]))
        return kind == "status" and content["execution_state"] == "idle"

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(repository, tmp_path, monkeypatch):
    """A kernel in the directory of a project."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    manager = KernelManager()
    environment = repository.environment | {name: os.environ[name] for name in os.environ if name.startswith("JUPYTER")}
    manager.start_kernel(
        cwd=str(repository.path), env=environment | {"IPYTHONDIR": os.environ["IPYTHONDIR"], "CLI_GATE": "there"}
    )
    opened = Notebook(manager)
    yield opened
    opened.close()


IN_A_CELL = """
import asyncio, os, time
from pathlib import Path
from pydantic import BaseModel
import perago
from perago import Flow, TaskContext, WorkspaceSpec, task, workflow
import cli_bodies, cli_workflow

place = {"repo": "data.git", "branch": "main"}

class Params(BaseModel):
    text: str = "cell"

class Result(BaseModel):
    pid: int

@task(name="of_a_cell", owner_email="tests@example.org", workspace=WorkspaceSpec())
def of_a_cell(workspace: Path, params: Params) -> Result:
    if params.text == "fail":
        raise ValueError("no such cell")
    (workspace / "cell.txt").write_text(params.text)
    print("printed by the body")
    return Result(pid=os.getpid())

@task(name="slow_cell", owner_email="tests@example.org")
async def slow_cell(params: Params) -> Result:
    Path("begun").touch()
    await asyncio.sleep(600)
    return Result(pid=0)

@workflow(name="of_both", owner_email="tests@example.org")
def of_both(flow: Flow) -> Result:
    made = flow.run(of_a_cell, text="flow")
    flow.run(cli_workflow.read)
    return made
"""


def test_cells_run_tasks_and_workflows_with_their_progress_in_place(notebook, repository):
    """One kernel for all, because starting it takes seconds."""
    assert notebook.run(IN_A_CELL).error is None

    cell = notebook.run("done = perago.run(cli_bodies.replace_all, {'text': 'x'}, **place); print(done.result.length)")
    assert (cell.error, cell.out) == (None, "3\n")
    assert cell.displays == 1
    assert "✓ replace_all" in cell.shown[-1]
    assert "1 added, 1 modified, 1 deleted, commit" in cell.shown[-1]

    here = "done = perago.run(of_a_cell, **place); print(done.changes.added, done.result.pid == os.getpid())"
    cell = notebook.run(here)
    assert (cell.error, cell.out) == (None, "printed by the body\n('cell.txt',) True\n")
    assert "Such a body runs in this process" in cell.err
    assert "so its body" not in notebook.run(here).err

    cell = notebook.run("done = perago.run(cli_workflow.plain, {'words': ['a']}, **place); print(done.result.read)")
    assert (cell.error, cell.out) == (None, "written\n1\n")
    assert cell.displays == 1
    assert [line.split()[:2] for line in cell.shown[-1].splitlines()] == [
        ["✓", "cli_write"],
        ["✓", "cli_read"],
        ["✓", "again"],
    ]

    reading = """
newest = perago.log(**place)[0]
print(newest.task_name, perago.runs("data.git")[0].run_id == done.run_id, "words.txt" in perago.list_files(**place))
print(perago.read_file("in/new.txt", repo="data.git", ref=newest.commit).decode())
"""
    cell = notebook.run(reading)
    assert (cell.error, cell.out, cell.displays) == (None, "cli.write True True\nx\n", 0)

    cell = notebook.run("perago.run(of_both, **place).result.pid == os.getpid()")
    assert cell.error is None
    assert repository.show("cell.txt") == "flow"

    cell = notebook.run("perago.run(of_a_cell, {'text': 'fail'}, **place)")
    assert "ValueError: no such cell" in cell.error
    chain = [
        cell.error.index(text) for text in ("ValueError: no", "direct cause", "TaskExecutionError: ValueError: no")
    ]
    assert chain == sorted(chain)
    assert "perago run --resume" not in cell.error


def test_an_interrupted_cell_ends_its_run(notebook, repository, perago):
    assert notebook.run(IN_A_CELL).error is None
    for code, there in [
        ("perago.run(cli_workflow.waiting, {'words': ['a']}, **place)", "there"),
        ("perago.run(slow_cell)", "begun"),
    ]:
        cell = notebook.begin(code)
        repository.wait_for(repository.path / there)
        notebook.interrupt()
        ended = notebook.end(cell)
        assert ended.error.startswith("KeyboardInterrupt"), ended
    assert [run["status"] for run in perago("runs", "--repo", "data.git", "--json").json] == ["TERMINATED"]
    assert [run["status"] for run in perago("runs", "--json").json] == ["CANCELED"]
    assert notebook.run("print('goes on')").out == "goes on\n"
