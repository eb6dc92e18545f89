"""`perago run` of a workflow with `--keep` and `--debug`: what one does with a task that fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from servers.machine import slowness

ON = ("--repo", "data.git", "--branch", "main")

BROKEN = """
import os
from pathlib import Path
from pydantic import BaseModel
from perago import Flow, RetryPolicy, TaskControls, TaskFailed, WorkspaceSpec, task, workflow

OWNER = "a@example.org"

class Number(BaseModel):
    number: int = 0

@task(name="first", owner_email=OWNER, workspace=WorkspaceSpec())
def first(workspace: Path, params: Number) -> Number:
    (workspace / "first.txt").write_text("1")
    return Number(number=os.getpid())

@task(name="broken", owner_email=OWNER, workspace=WorkspaceSpec(), controls=TaskControls(retry=RetryPolicy(count=1)))
def broken(workspace: Path, params: Number) -> Number:
    (workspace / "half.txt").write_text("half")
    fixed = (Path(__file__).parent / "fixed").exists()
    if not fixed:
        raise TaskFailed("not fixed")
    if os.environ.get("STOP"):
        breakpoint()
    print("printed")
    return Number(number=os.getpid())

@workflow(name="both", owner_email=OWNER)
def both(flow: Flow) -> Number:
    flow.run(first)
    return flow.run(broken)
"""


@pytest.fixture
def broken(repository):
    (repository.path / "broken.py").write_text(BROKEN)
    return repository


def test_the_workspace_of_each_try_that_fails_is_kept_and_named(broken, perago):
    said = perago("run", "broken:both", *ON, "--keep", "--fast-retries", "--json")
    assert said.code == 1
    kept = {task["reference_name"]: task["kept"] for task in said.json["tasks"]}
    assert (kept["first"], len(kept["broken"])) == ([], 2)
    for number, path in enumerate(kept["broken"], 1):
        assert f"broken: the workspace of try {number} was kept: {path}" in said.err
        assert sorted(found.name for found in Path(path).rglob("*.txt")) == [
            "a.txt",
            "b.txt",
            "first.txt",
            "half.txt",
            "other.txt",
        ]


def test_without_it_nothing_is_kept(broken, perago):
    assert perago("run", "broken:both", *ON, "--fast-retries").code == 1
    assert list(broken.workspace_root.iterdir()) == []


def test_the_bodies_of_a_debugged_run_are_in_the_commands_process(broken):
    (broken.path / "fixed").touch()
    with broken.start("run", "broken:both", *ON, "--debug") as process:
        out, err = process.communicate(timeout=60 * slowness())
    assert process.returncode == 0, err
    assert f'"number": {process.pid}' in out
    assert "printed" in err
    assert "--debug: each body runs in this process, one after the other" in err


def test_only_the_task_that_failed_is_debugged_when_its_run_is_resumed(broken, perago):
    said = perago("run", "broken:both", *ON, "--retries", "0", "--json")
    assert said.code == 1
    (broken.path / "fixed").touch()
    arguments = ("run", "--resume", said.json["run_id"], "--repo", "data.git", "--debug")
    with broken.start(*arguments, stdin=subprocess.PIPE, env={"STOP": "1"}) as process:
        out, err = process.communicate("p 'in the' + ' debugger', fixed\nc\n", timeout=60 * slowness())
    assert process.returncode == 0, err
    assert "('in the debugger', True)" in out + err
    assert "broken: try 2 started" in err
    assert "first" not in err.replace("first.txt", "")


def test_leaving_the_debugger_cancels_the_run(broken, perago):
    (broken.path / "fixed").touch()
    with broken.start("run", "broken:both", *ON, "--debug", stdin=subprocess.PIPE, env={"STOP": "1"}) as process:
        _, err = process.communicate("q\n", timeout=60 * slowness())
    assert process.returncode == 130, err
    assert "workflow both was cancelled" in err
    assert perago("runs", "--repo", "data.git", "--json").json[0]["status"] == "TERMINATED"


def test_the_traceback_of_a_debugged_body_is_shown(broken, perago):
    said = perago("run", "broken:both", *ON, "--debug", "--retries", "0")
    assert said.code == 1
    assert 'raise TaskFailed("not fixed")' in said.err
