"""Tasks, and a store and an engine of a user's own, for the published page of `run_workspace_task_attempt`."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from pydantic import BaseModel

from perago import StagedWorkspace, WorkspaceSpec, run_workspace_task_attempt, task

A, B, C = "a" * 40, "b" * 40, "c" * 40
INPUT = {
    "workspace": {"repository": "songs", "branch": "main", "refType": "commit", "ref": A},
    "params": {"text": "hello"},
}


class Params(BaseModel):
    text: str


class Result(BaseModel):
    length: int


@task(name="seed.write", owner_email="a@example.com", workspace=WorkspaceSpec())
def write(workspace: Path, params: Params) -> Result:
    if params.text == "boom":
        raise ValueError("it went boom")
    if params.text == "exit":
        sys.exit(0)
    if params.text != "nothing":
        (workspace / "out.txt").write_text(params.text)
    return Result(length=len(params.text))


@task(name="seed.read", owner_email="a@example.com", workspace=WorkspaceSpec(read_only=True))
def read(workspace: Path, params: Params) -> Result:
    (workspace / "in.txt").write_text("scribbled, and ignored")
    return Result(length=len(list(workspace.iterdir())))


@task(name="seed.free", owner_email="a@example.com")
def free(params: Params) -> Result:
    return Result(length=len(params.text))


WRITE, READ, FREE = write.__perago_task__, read.__perago_task__, free.__perago_task__


@dataclass
class World:
    """A store and an engine of plain attributes."""

    attempt: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            status="IN_PROGRESS", workflow_instance_id="wf-1", task_id="t-1", retry_count=0
        )
    )
    fresh: list = field(default_factory=list)  # what the engine says next; the last one stays
    events: list = field(default_factory=list)
    staged: dict = field(default_factory=dict)
    published: dict = field(default_factory=dict)
    executions: list = field(default_factory=list)
    seen_dirs: list = field(default_factory=list)
    fail: dict = field(default_factory=dict)

    def _happens(self, name):
        self.events.append(name)
        if name in self.fail:
            raise self.fail[name]

    def download_workspace(self, workspace_input, workspace_spec, workspace_dir):
        self._happens("download")
        assert workspace_dir.is_dir()
        assert list(workspace_dir.iterdir()) == []
        self.seen_dirs.append(workspace_dir)
        self.downloaded = (workspace_input, workspace_spec)
        self.owner = json.loads((workspace_dir.parent / "owner.json").read_text())
        (workspace_dir / "in.txt").write_text("input")

    def load_current_attempt(self, attempt):
        self._happens("fence")
        if len(self.fresh) > 1:
            return self.fresh.pop(0)
        return self.fresh[0] if self.fresh else attempt

    def stage_workspace(self, workspace_dir, workspace_input, workspace_spec, execution):
        self._happens("stage")
        self.executions.append(execution)
        files = {p.name: p.read_text() for p in workspace_dir.iterdir()}
        self.staged[B] = files
        return StagedWorkspace(workspace_input.repository, f"staging-{execution.execution_id}", B)

    def publish_workspace(self, staged, workspace_input, workspace_spec, execution):
        self._happens("publish")
        self.published[workspace_input.branch] = self.staged[staged.commit]
        return staged.commit

    def cleanup_staging(self, staged):
        self._happens("clean")
        self.staged.pop(staged.commit, None)

    def complete_noop_workspace(self, workspace_input, workspace_spec, execution):
        self._happens("noop")
        return workspace_input.ref

    def run(self, root, task_def=WRITE, text="hello", **options):
        callables = {
            "download_workspace": self.download_workspace,
            "load_current_attempt": self.load_current_attempt,
            "stage_workspace": self.stage_workspace,
            "publish_workspace": self.publish_workspace,
            "cleanup_staging": self.cleanup_staging,
            "complete_noop_workspace": self.complete_noop_workspace,
        }
        input_data = options.pop("input_data", {**INPUT, "params": {"text": text}})
        return run_workspace_task_attempt(task_def, input_data, self.attempt, root, **{**callables, **options})
