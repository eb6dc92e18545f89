"""A module with one task."""

from __future__ import annotations

from pathlib import Path

from cli_bodies import OWNER, Params, Result

from perago import WorkspaceSpec, task


@task(name="single", owner_email=OWNER, description="The only one.", workspace=WorkspaceSpec())
def single(workspace: Path, params: Params) -> Result:
    (workspace / "single.txt").write_text(params.text)
    return Result(length=1)
