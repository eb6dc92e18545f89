"""Runs on a real Conductor server, in a real browser: listed, followed to their end, and told of while it is away."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from cli_project import Project
from servers.conductor_api import fresh
from servers.machine import slowness
from tests.ui.conftest import Watched, served
from waiting import wait_for

MODULE = """
import time
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, TaskContext, WorkspaceSpec, task, workflow


class Items(BaseModel):
    items: list[str]


class Item(BaseModel):
    item: str


class Size(BaseModel):
    size: int


@task(name="{name}_part", owner_email="a@example.org",
      workspace=WorkspaceSpec(include=["raw/**"], outputs=["parts/{{item}}/**"]), cache=True)
def part(workspace: Path, params: Item) -> Size:
    (workspace / "parts" / params.item / "text").write_text(params.item)
    return Size(size=len(params.item))


@task(name="{name}_hold", owner_email="a@example.org")
def hold(params: Items, context: TaskContext) -> Size:
    context.progress(1, 4, message="holding on")
    deadline = time.monotonic() + 300
    while not Path({go!r}).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return Size(size=len(params.items))


@workflow(name="{name}_flow", owner_email="a@example.org")
def flow(flow: Flow, params: Items) -> Size:
    held = flow.run(hold, items=params.items)
    flow.map(part, over=params.items, as_="item")
    return held
"""


@pytest.fixture
def project(tmp_path, conductor, monkeypatch):
    """A project with its workflow registered, and a repository whose name no other test has."""
    (tmp_path / "project").mkdir()
    found = Project(tmp_path / "project")
    found.repo = found.path / f"{fresh('ui')}.git"
    name = fresh("ui")
    (found.path / "onserver.py").write_text(MODULE.format(name=name, go=str(found.path / "go")))
    found.write({"raw/a.txt": "a"})
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    found.server, found.flow = {"CONDUCTOR_SERVER_URL": conductor.url}, f"{name}_flow"
    assert found.run("import", "source", "--repo", found.repo.name, "--branch", "main").code == 0
    said = found.run("register", "onserver:flow", env=found.server)
    assert said.code == 0, said.err
    return found


@pytest.fixture
def worker(project):
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    arguments = ("start", "onserver", "--repo", project.repo.name, "-j", "2")
    with project.start(*arguments, env=project.server, **nowhere) as process:
        yield
        process.send_signal(signal.SIGTERM)
        process.wait(60 * slowness())


def submitted(project, items):
    arguments = ("--repo", project.repo.name, "--branch", "main", "--params", json.dumps({"items": items}))
    said = project.run("submit", "onserver:flow", *arguments, env=project.server)
    assert said.code == 0, said.err
    return said.out.strip()


@pytest.fixture
def watched(chromium, project):
    for server in served(project, "--conductor", repo=project.repo.name, env=project.server):
        context = chromium.new_context()
        found = Watched(context.new_page())
        found.page.goto(server.address)
        yield found
        context.close()


def test_a_run_is_listed_and_followed_to_its_end(project, worker, watched):
    run = submitted(project, ["x", "y"])
    page = watched.page

    def is_listed():
        page.reload()
        return page.locator(f"a[href$='/run/{run}']").count() == 1

    wait_for(is_listed, "the run in the list", 120)
    assert "Conductor" in page.inner_text("tbody tr")
    page.locator(f"a[href$='/run/{run}']").click()
    wait_for(lambda: page.locator(".live-box").count() >= 1, "a task that runs", 120)
    wait_for(lambda: "1 of 4" in page.inner_text(".box .doing"), "the progress that its worker here tells", 120)
    wait_for(lambda: "holding on" in page.inner_text(".box .lines"), "its log on the server", 120)
    (project.path / "go").touch()
    wait_for(lambda: "completed" in page.inner_text(".facts .status"), "the end of the run", 240)
    assert "2 of 2 done" in page.inner_text("details.map")

    def tries():
        found = json.loads(page.evaluate("(async () => (await fetch(location.pathname + '.json')).text())()"))["tries"]
        return sorted(found, key=lambda one: one["task"])

    wait_for(lambda: all(one["phases"] for one in tries()), "the phases that the worker has told", 60)
    held, *parts = tries()
    assert [one["cached_from"] for one in (held, *parts)] == [None] * 3
    assert all({"materialize", "body", "stage"} <= {phase["name"] for phase in one["phases"]} for one in parts)
    page.reload()
    assert page.locator("svg.phases").count() == 3
    assert "size" in page.inner_text(".columns")
    assert watched.faults == []
    page.get_by_role("link", name="History").click()
    assert page.locator(".card header h2 a").first.inner_text() == project.flow
    again = submitted(project, ["x", "y"])
    page.goto(f"{page.url.partition('/branch')[0]}/run/{again}")
    wait_for(lambda: "completed" in page.inner_text(".facts .status"), "the end of the second run", 240)
    wait_for(lambda: all(one["phases"] for one in tries()), "its phases", 60)
    held, *parts = tries()
    assert held["cached_from"] is None
    assert all(one["cached_from"] for one in parts)  # though they have changed nothing
    assert watched.faults == []
