"""Modules that declare tasks and workflows: every listing names both kinds, and no command picks one silently."""

from __future__ import annotations

import json
import re
import sys

import pytest

from servers.conductor_api import fresh
from servers.machine import slowness

PARTS = """
from pydantic import BaseModel
from perago import task

class Params(BaseModel):
    rows: int = 1

class Result(BaseModel):
    read: int

@task(name="{part}", owner_email="a@example.org")
def part(params: Params) -> Result:
    return Result(read=params.rows)
"""

MIXED = """
from perago import Flow, task, workflow
from {parts} import Params, Result, part

@task(name="{own}", owner_email="a@example.org")
def double(params: Params) -> Result:
    return Result(read=2 * params.rows)

@workflow(name="{flow}", owner_email="a@example.org")
def nightly(flow: Flow, params: Params) -> Result:
    flow.run(double, rows=params.rows)
    return flow.run(part, rows=params.rows)
"""


@pytest.fixture
def names():
    return {name: fresh(name) for name in ("part", "own", "flow")}


@pytest.fixture
def mixed(project, names):
    """A module with a task and a workflow, which also runs a task of another module."""
    parts, module = fresh("parts").replace("-", "_"), fresh("mixed").replace("-", "_")
    (project.path / f"{parts}.py").write_text(PARTS.format(**names))
    (project.path / f"{module}.py").write_text(MIXED.format(parts=parts, **names))
    return module


@pytest.mark.parametrize(
    "arguments", [("run",), ("extract", "-o", "x.json"), ("submit",)], ids=["run", "extract", "submit"]
)
def test_a_command_for_one_lists_both_kinds_and_does_nothing(mixed, perago, project, arguments):
    command, *options = arguments
    said = perago(command, mixed, *options)
    assert said.code == 2
    assert (
        f"module '{mixed}' declares 1 task and 1 workflow; name one of them: task {mixed}:double; workflow "
        f"{mixed}:nightly" in " ".join(said.err.split())
    )
    assert not (project.path / "x.json").exists()


def test_each_is_run_by_its_name(mixed, perago):
    assert perago("run", f"{mixed}:double", "--param", "rows=4").json == {"read": 8}
    assert perago("run", f"{mixed}:nightly", "--param", "rows=4").json == {"read": 4}


def test_a_name_that_is_neither_lists_both_kinds_and_the_nearest(mixed, perago):
    for name, meant in (("nightli", "nightly"), ("doubel", "double")):
        said = perago("run", f"{mixed}:{name}")
        assert said.code == 2
        told = " ".join(said.err.split())
        assert f"has no {name!r}; its tasks are {mixed}:double, {mixed}:part; its workflows are" in told
        assert f"; its workflows are {mixed}:nightly; did you mean {mixed}:{meant}?" in told
        assert told.count("did you mean") == 1


def test_check_checks_all_of_a_module(mixed, perago, names):
    said = perago("check", mixed, "--json")
    assert {task["name"] for task in said.json["tasks"]} == {names["own"], names["part"]}
    assert [workflow["name"] for workflow in said.json["workflows"]] == [f"{names['flow']}, version 1"]


def test_a_module_is_registered_and_served_with_all_that_its_workflows_need(
    mixed, perago, names, conductor, monkeypatch, worker_of
):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    registered = perago("register", mixed).out
    for name in (names["own"], names["part"], f"workflow {names['flow']}, version 1"):
        assert f"{name}: new\n" in registered
    with worker_of(mixed):
        said = perago("submit", f"{mixed}:nightly", "--param", "rows=3", "--watch")
    assert (said.code, said.json) == (0, {"read": 3}), said.err


def test_a_task_that_no_worker_asks_for_is_told_with_the_command_that_serves_it(
    mixed, perago, project, names, conductor, monkeypatch
):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    assert perago("register", mixed).code == 0
    settings = {"CONDUCTOR_SERVER_URL": conductor.url}
    with project.start("submit", f"{mixed}:nightly", "--param", "rows=3", "--watch", env=settings) as process:
        told = ""
        while "no worker asks for" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        workflow_id = re.search(r"version 1: (\S+)", told)[1]
        assert f"`perago start {mixed}`" in told
        assert f"task '{names['own']}'" in told
        assert perago("cancel", workflow_id).code == 0
        process.communicate(timeout=60 * slowness())
    retried = perago("retry", workflow_id)
    assert retried.code == 0, retried.err
    assert f"no worker asks for task '{names['own']}'" in retried.err
    assert perago("cancel", workflow_id).code == 0


def test_submit_starts_the_version_that_was_registered(mixed, perago, names, project, conductor, monkeypatch):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a module changes within the second that its bytecode tells
    target, file = f"{mixed}:nightly", project.path / f"{mixed}.py"

    def started(*options: str) -> dict:
        said = perago("submit", target, "--param", "rows=3", "--json", *options)
        assert said.code == 0, said.err
        workflow_id = said.json["workflow_id"]
        assert perago("cancel", workflow_id).code == 0
        return conductor.expect("GET", f"/workflow/{workflow_id}")

    def change(old: str, new: str) -> None:
        file.write_text(file.read_text().replace(old, new))
        monkeypatch.delitem(sys.modules, mixed)

    assert perago("register", mixed).code == 0
    assert started()["workflowVersion"] == 1
    change("rows=params.rows)\n    return", "rows=7)\n    return")
    refused = perago("submit", target, "--param", "rows=3")
    assert (refused.code, "Register the next version with --bump" in " ".join(refused.err.split())) == (2, True)
    assert f"workflow {names['flow']}, version 2: changed" in perago("register", mixed, "--bump").out
    assert f"workflow {names['flow']}, version 2: unchanged" in perago("register", mixed).out
    assert started()["workflowVersion"] == 2
    change("rows=7", "rows=8")
    assert started("--bump")["workflowVersion"] == 3
    change("rows=8", "rows=7")  # as in version 2
    newest = started()
    assert newest["workflowVersion"] == 2
    assert json.dumps(newest["workflowDefinition"]["tasks"][0]["inputParameters"]) == '{"params": {"rows": 7}}'
