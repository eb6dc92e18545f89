"""A body in the process of a test cannot be confined: that is said, or done without by the user's word."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import RuntimeConfigError, WorkspaceSpec, task
from perago.testing import MemoryWorkflow, run_body


class Params(BaseModel):
    pass


class Result(BaseModel):
    rows: int


@task(name="score", owner_email="ada@example.org", workspace=WorkspaceSpec(), sandbox="enforce")
def score(workspace: Path, params: Params) -> Result:
    return Result(rows=1)


def test_a_task_in_a_sandbox_is_refused_unless_it_may_be_noted_only(monkeypatch):
    monkeypatch.delenv("PERAGO_SANDBOX", raising=False)
    with pytest.raises(RuntimeConfigError, match="the testing kit runs bodies in the process of the test"):
        run_body(score)
    with pytest.raises(RuntimeConfigError, match="PERAGO_SANDBOX=report"):
        MemoryWorkflow().run(score)
    monkeypatch.setenv("PERAGO_SANDBOX", "report")
    assert run_body(score).result == Result(rows=1)
