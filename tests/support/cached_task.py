"""A task with a cache, and runs of it on any store, that count how often its body ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.attempt.context import RunContext
from perago.attempt.reuse import RunCache
from perago.attempt.run import run_attempt
from perago.index.results import IndexedResults
from perago.ports import RuntimeTaskResult, ignore
from perago.testing import MemoryEngine

TASK = "cached_upper"


class Nothing(BaseModel):
    pass


class Count(BaseModel):
    files: int


@task(
    name=TASK,
    owner_email="tests@example.org",
    workspace=WorkspaceSpec(include=["in/**"], outputs=["out/**"]),
    cache=True,
    cache_version="1",
)
def upper(workspace: Path, params: Nothing) -> Count:
    paths = sorted((workspace / "in").iterdir())
    for path in paths:
        (workspace / "out" / path.name).write_text(path.read_text().upper())
    return Count(files=len(paths))


class CachedRuns:
    """First tries, each of a workflow of its own, whose bodies are taken for confined.

    Attributes:
        computed: bodies that ran.
    """

    def __init__(self, store: Any, directory: Path) -> None:
        self.store = store
        self.results = IndexedResults(directory / "index", str(directory), is_server=False)
        self.computed = 0
        self._engine = MemoryEngine(retries=0)
        self._directory = directory / "attempts"

    def run(self, workspace_input: Any) -> str:
        """Run it on a commit; returns the commit that it completed with."""
        result = self.attempt(workspace_input)
        assert result.status == "COMPLETED", result.reason_for_incompletion
        assert result.output is not None
        assert result.output["result"] == {"files": 1}
        return result.output["workspace"]["ref"]

    def attempt(self, workspace_input: Any) -> RuntimeTaskResult:
        """The same, however it ends."""
        given = {"workspace": workspace_input.model_dump(), "params": {}}
        self._engine.schedule(TASK, given, workflow=self._engine.start_workflow())
        attempt = self._engine.poll()
        assert attempt is not None
        return run_attempt(
            upper.__perago_task__,
            attempt.input_data,
            attempt,
            RunContext(
                observer=ignore,
                invoke_body=self._invoke,
                sandbox="enforce",
                cache=RunCache(results=self.results, mode="proven"),
            ),
            workspace_root=self._directory,
            open_store=lambda: self.store,
            engine=self._engine,
        )

    def _invoke(self, call: Any) -> dict[str, Any]:
        self.computed += 1
        return call.task.fn(call.workspace, call.params).model_dump()
