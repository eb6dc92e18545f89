"""Whole attempts on a git repository in which a directory is swapped for a link in the worst moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from attempt_ports import ports_of
from perago import WorkspaceSpec, run_workspace_task_attempt, task
from perago.ports import Phase
from perago.testing import MemoryEngine


class Params(BaseModel):
    pass


class Result(BaseModel):
    pass


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        ((Phase.DIFF, "started"), "'d' is a symbolic link"),
        ((Phase.STAGE, "started"), "d/file"),
    ],
    ids=["before the scan", "between diff and upload"],
)
def test_nothing_from_outside_comes_onto_the_branch(bench, tmp_path, moment, reason):
    outside, base, seen = tmp_path / "outside", bench.import_files({"a": b"a"}), []
    outside.mkdir()
    (outside / "file").write_text("root:x:0:0")

    @task(name="t", owner_email="ada@example.org", workspace=WorkspaceSpec())
    def t(workspace: Path, params: Params) -> Result:
        (workspace / "d").mkdir()
        (workspace / "d/file").write_text("inside")
        seen.append(workspace)
        return Result()

    def swap(event):
        if (event.phase, event.kind) == moment:
            (seen[0] / "d").rename(seen[0] / "aside")
            (seen[0] / "d").symlink_to(outside)

    engine = MemoryEngine()
    workspace = {"repository": "data", "branch": "main", "refType": "commit", "ref": base}
    engine.schedule("t", {"workspace": workspace, "params": {}})
    delivered = engine.poll()
    result = run_workspace_task_attempt(
        t.__perago_task__,
        delivered.input_data,
        delivered,
        tmp_path / "workspaces",
        **ports_of(bench.store, engine),
        observer=swap,
    )
    assert result.status == "FAILED"
    assert reason in result.reason_for_incompletion
    assert bench.head() == base
    assert list((tmp_path / "workspaces").iterdir()) == []
    assert (outside / "file").read_text() == "root:x:0:0"
