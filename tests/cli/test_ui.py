"""`perago ui`, and what a run tells it while it goes on."""

from __future__ import annotations

import re

from ui_pages import opened
from waiting import wait_for

MODULE = """
import logging
import time
from pathlib import Path

from pydantic import BaseModel

from perago import TaskContext, WorkspaceSpec, task


class Nothing(BaseModel):
    pass


@task(name="hold", owner_email="a@example.org", workspace=WorkspaceSpec())
def hold(workspace: Path, params: Nothing, context: TaskContext) -> Nothing:
    print("printed by the body", flush=True)
    logging.getLogger("of.body").warning("logged by the body, password=hunter22")
    context.progress(1, 4, message="holding on")
    deadline = time.monotonic() + 300
    while not Path({go!r}).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    raise ValueError("it was let go")
"""


def test_a_run_tells_what_it_does_and_its_record_how_it_went(repository, monkeypatch):
    go = repository.path / "go"
    (repository.path / "holds.py").write_text(MODULE.format(go=str(go)))
    monkeypatch.setenv("XDG_STATE_HOME", repository.environment["XDG_STATE_HOME"])
    process = repository.start("run", "holds:hold", "--repo", "data.git", "--branch", "main", "--retries", "0")
    try:
        run = re.search(r"Run (\S+):", process.stderr.readline())[1]
        with opened(str(repository.repo)) as browser:

            def now():
                return browser.get(f"/run/{run}.json").json()["tries"][0]

            wait_for(lambda: now()["progress"] and len(now()["lines"]) == 2, "its progress and its lines", 60)
            live = now()
            assert (live["phase"], live["share"]) == ("body", 0.25)
            assert "1 of 4, holding on" in live["progress"]
            assert "printed by the body" in live["lines"]
            assert any(line.startswith("WARNING of.body: logged by the body") for line in live["lines"])
            assert "hunter22" not in str(live)
            assert {phase["name"] for phase in live["phases"]} >= {"materialize", "body"}
            go.touch()
            assert process.wait(300) == 1
            ended = now()
    finally:
        go.touch()
        process.communicate(timeout=300)
    assert (ended["status"], ended["phase"], ended["progress"]) == ("FAILED", "", "")
    assert sorted(ended["lines"]) == sorted(live["lines"])
    assert "body" in {phase["name"] for phase in ended["phases"]}
    assert re.search(r"it was let go \(at .*holds\.py:23 in hold\)", ended["reason"])
    assert list(repository.path.parent.rglob("run.json")) != []
    assert list(repository.path.parent.rglob("*live.json*")) == []


def test_without_a_configured_server_its_runs_cannot_be_shown(perago, repository):
    said = perago("ui", "--repo", "data.git", "--conductor", "--no-open")
    assert said.code == 2
    assert "set CONDUCTOR_SERVER_URL" in said.err
