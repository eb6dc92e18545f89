"""`perago register`, `perago check --server` and `perago run --task-id`, on a real Conductor server."""

from __future__ import annotations

import json
import re

import pytest

from cli_project import recommended
from perago.engines.local import RunSummary
from servers.conductor_api import fresh, simple
from servers.process import free_port

TASKS = """
from pathlib import Path
from pydantic import BaseModel
from perago import *

class Params(BaseModel):
    rows: int
    fail: bool = False

class Result(BaseModel):
    read: int

@task(name="{build}", owner_email="a@example.org", description="builds",
      workspace=WorkspaceSpec(),
      controls=TaskControls(retry=RetryPolicy(count={retries}, delay_seconds=1, max_delay_seconds=9, jitter_ms=5),
                            timeout=TimeoutPolicy(policy="RETRY", seconds=900, response_seconds=30, total_seconds=9000),
                            limits=ExecutionLimits(concurrent_exec_limit=4, rate_limit_per_frequency=9,
                                                   rate_limit_frequency_in_seconds=60)))
def build(workspace: Path, params: Params) -> Result:
    if params.fail:
        raise TaskFailed("as it was told")
    (workspace / "rows.txt").write_text("x" * params.rows)
    return Result(read=params.rows)

@task(name="{free}", owner_email="a@example.org", controls=TaskControls(retry=RetryPolicy(count=0)))
def free(params: Params) -> Result:
    if params.fail:
        raise TaskFailed("as it was told")
    return Result(read=params.rows)
"""

ON_SERVER = ("runs", "--conductor", "--limit", "200")
"""Other tests start workflows on the same server at the same time: the newest one may be theirs."""

UUID = "an id"
UUIDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def names():
    return {"build": fresh("build"), "free": fresh("free")}


@pytest.fixture
def module(project, names):
    """Write the module, and return its name. Two versions of it differ in `retries`."""

    def write(name: str, retries: int = 2) -> str:
        (project.path / f"{name}.py").write_text(TASKS.format(retries=retries, **names))
        return name

    return write


@pytest.fixture
def server(conductor, perago, monkeypatch):
    """The settings name the server."""
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    return conductor


def test_register_registers_all_of_a_task_and_a_second_time_changes_nothing(module, perago, server, names):
    said = perago("register", module("first"))
    assert said.code == 0
    assert said.out == f"{names['build']}: new\n{names['free']}: new\n"
    assert f"Registered at {server.url}" in said.err
    kept = server.expect("GET", f"/metadata/taskdefs/{names['build']}")
    assert {
        "retryCount": 2,
        "retryDelaySeconds": 1,
        "maxRetryDelaySeconds": 9,
        "backoffJitterMs": 5,
        "timeoutPolicy": "RETRY",
        "timeoutSeconds": 900,
        "responseTimeoutSeconds": 30,
        "totalTimeoutSeconds": 9000,
        "concurrentExecLimit": 4,
        "rateLimitPerFrequency": 9,
        "rateLimitFrequencyInSeconds": 60,
        "description": "builds",
        "ownerEmail": "a@example.org",
        "inputKeys": ["workspace", "params"],
    }.items() <= kept.items()
    again = perago("register", "first")
    assert again.out == f"{names['build']}: unchanged\n{names['free']}: unchanged\n"
    assert server.expect("GET", f"/metadata/taskdefs/{names['build']}") == kept


def test_register_changes_what_is_registered_otherwise_and_shows_how(module, perago, server, names):
    perago("register", module("old", retries=2))
    said = perago("register", f"{module('new', retries=5)}:build", "--json")
    (entry,) = said.json
    assert (said.code, entry["state"], entry["target"]) == (0, "changed", "new:build")
    assert '-  "retryCount": 2,' in entry["diff"]
    assert '+  "retryCount": 5,' in entry["diff"]
    assert server.expect("GET", f"/metadata/taskdefs/{names['build']}")["retryCount"] == 5


def test_register_keeps_what_somebody_gave_a_task_there_and_no_declaration_says(module, perago, server, names):
    perago("register", module("old", retries=2))
    of_the_server = server.expect("GET", f"/metadata/taskdefs/{names['free']}")
    given = {"inputTemplate": {"params": {"rows": 1}}, "isolationGroupId": "large", "executionNameSpace": "there"}
    limit = {"concurrentExecLimit": 3}
    server.expect("PUT", "/metadata/taskdefs", data={**of_the_server, **given, **limit})
    assert perago("register", module("new", retries=5)).code == 0
    kept = server.expect("GET", f"/metadata/taskdefs/{names['free']}")
    assert {name: kept.get(name) for name in given} == given
    assert kept.get("concurrentExecLimit") in (None, 0)  # one that a declaration may have, and this one has not


def test_register_takes_several_modules_and_refuses_one_name_twice(module, perago, server, names, project):
    module("one")
    said = perago("register", "one", "one:build")
    assert (said.code, said.out.count("\n")) == (0, 2)
    (project.path / "two.py").write_text((project.path / "one.py").read_text())
    clash = perago("register", "one", "two")
    assert clash.code == 2
    assert f"one:build and two:build are both named '{names['build']}'" in clash.err


def test_register_of_a_module_that_does_not_import_registers_nothing(module, perago, server, names, project):
    module("good")
    (project.path / "broken.py").write_text("raise RuntimeError('no')")
    assert perago("register", "good", "broken").code == 2
    assert server.call("GET", f"/metadata/taskdefs/{names['build']}").status == 404


def test_check_of_the_server_says_what_is_missing_and_what_differs(module, perago, server, names):
    missing = perago("check", module("declared", retries=2), "--server")
    assert missing.code == 2
    assert missing.out.count("not registered") == 2
    assert "perago register declared" in missing.err
    perago("register", "declared")
    same = perago("check", "declared", "--server")
    assert (same.code, "registered as declared" in same.out) == (0, True)
    perago("register", module("other", retries=7))
    differs = perago("check", "declared", "--server")
    assert differs.code == 2
    assert '-  "retryCount": 7,\n+  "retryCount": 2,\n' in differs.out
    as_json = perago("check", "declared", "--server", "--json")
    assert (as_json.code, [entry["state"] for entry in as_json.json["server"]]) == (2, ["differs", "registered"])


def test_check_without_the_server_asks_nobody(module, perago, monkeypatch):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", f"http://127.0.0.1:{free_port()}/api")
    assert perago("check", module("alone")).code == 0


@pytest.mark.parametrize(
    "command", [["register", "{}"], ["check", "{}", "--server"], ["run", "{}:free", "--task-id", "x"]]
)
def test_a_server_that_is_not_there_is_told_with_code_2(module, perago, monkeypatch, command):
    module("away")
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", f"http://127.0.0.1:{free_port()}/api")
    said = perago(*(part.format("away") for part in command))
    assert said.code == 2
    assert "Check CONDUCTOR_SERVER_URL, the network, and that the server runs" in said.err


def test_without_a_server_in_the_settings_it_says_what_to_set(module, perago):
    said = perago("register", module("unset"))
    assert said.code == 2
    assert "set CONDUCTOR_SERVER_URL" in said.err


# ---- replaying


@pytest.fixture
def recorded(server, names, module, perago):
    """Have the server record a task with an input; returns the task's id."""
    module("tasks")
    perago("register", "tasks")

    def record(which: str, input_data: dict, status: str = "FAILED_WITH_TERMINAL_ERROR") -> str:
        inputs = {name: f"${{workflow.input.{name}}}" for name in input_data}
        flow = server.define_workflow(fresh("flow"), [simple(names[which], "only", inputs)])
        server.start_workflow(flow, input_data)
        found = server.wait_for_task(names[which])
        server.update(found, status, reasonForIncompletion="no luck")
        return found["taskId"]

    return record


def test_a_recorded_task_is_replayed_on_its_input_and_nothing_is_published(perago, repository, recorded):
    head = repository.head()
    workspace = {"repository": "data", "branch": "main", "refType": "commit", "ref": head}
    task_id = recorded("build", {"workspace": workspace, "params": {"rows": 5}})
    said = perago("run", "tasks:build", "--task-id", task_id, "--repo", "data.git", "--json")
    assert said.code == 0, said.err
    assert said.json["result"] == {"read": 5}
    assert [(change["change"], change["path"], change["after"]) for change in said.json["changes"]] == [
        ("added", "rows.txt", 5)
    ]
    assert re.search(f"Replaying task 'only' of workflow .*, FAILED_WITH_TERMINAL_ERROR, try 1: {task_id}", said.err)
    assert "Nothing was published" in said.err
    assert repository.head() == head


def test_a_task_on_lakefs_is_replayed_from_the_repository_that_its_input_names(perago, songs, recorded):
    head = songs.head()
    workspace = {"repository": songs.repository.name, "branch": "main", "refType": "commit", "ref": head}
    task_id = recorded("build", {"workspace": workspace, "params": {"rows": 5}})
    said = perago("run", "tasks:build", "--task-id", task_id, "--json")
    assert said.code == 0, said.err
    assert [(change["change"], change["path"]) for change in said.json["changes"]] == [("added", "rows.txt")]
    assert "Nothing was published" in said.err
    assert (songs.head(), songs.staging_branches()) == (head, [])


def test_a_task_behind_a_fork_is_replayed_on_what_its_input_joins(perago, songs, recorded):
    older, newer = songs.head(), songs.repository.commit_files("main", {"rows.txt": b"before"})
    joined = [
        {"repository": songs.repository.name, "branch": "main", "refType": "commit", "ref": ref}
        for ref in (older, newer)
    ]
    task_id = recorded("build", {"workspace": {"join": joined}, "params": {"rows": 5}})
    said = perago("run", "tasks:build", "--task-id", task_id, "--json")
    assert said.code == 0, said.err
    assert [(change["change"], change["before"]) for change in said.json["changes"]] == [("modified", 6)]
    assert songs.head() == newer


def test_a_replay_leaves_the_record_as_it_is(perago, recorded, server):
    task_id = recorded("free", {"params": {"rows": 3}})
    before = server.task(task_id)
    said = perago("run", "tasks:free", "--task-id", task_id)
    assert (said.code, json.loads(said.out)) == (0, {"read": 3})
    assert server.task(task_id) == before


def test_a_replay_that_fails_says_why(perago, recorded):
    task_id = recorded("free", {"params": {"rows": 3, "fail": True}})
    said = perago("run", "tasks:free", "--task-id", task_id, "--json")
    assert (said.code, said.json["reason"]) == (1, "as it was told")
    assert "error: task" in said.err


def test_a_replay_of_an_input_that_the_task_does_not_take_says_so(perago, recorded, repository):
    task_id = recorded("build", {"params": {"rows": 3}})
    said = perago("run", "tasks:build", "--task-id", task_id, "--repo", "data.git")
    assert said.code == 1
    assert "workspace" in said.err


def test_a_replay_with_another_task_is_refused(perago, recorded, names):
    task_id = recorded("free", {"params": {"rows": 3}})
    said = perago("run", "tasks:build", "--task-id", task_id, "--repo", "data.git")
    assert said.code == 2
    assert f"belongs to task '{names['free']}'" in said.err


def test_a_replay_of_a_task_that_is_not_there_is_told(perago, server, module):
    said = perago("run", f"{module('tasks')}:free", "--task-id", "no-such-task")
    assert said.code == 2
    assert "no-such-task" in said.err


@pytest.mark.parametrize("other", [["--param", "rows=1"], ["--branch", "main"], ["--retries", "1"], ["--resume", "x"]])
def test_a_replay_takes_nothing_that_its_input_says(perago, module, other):
    said = perago("run", f"{module('tasks')}:free", "--task-id", "x", *other)
    assert said.code == 2
    assert f"cannot be used with {other[0]}: it starts from the input of the task that it replays" in said.err


FLOW = """

@workflow(name="{flow}", owner_email="a@example.org")
def flow(flow: Flow, params: Params) -> Result:
    built = flow.run(build, rows=params.rows)
    with flow.parallel():
        flow.run(free, rows=built.read, ref_="beside")
        last = flow.run(free, rows=params.rows, fail=params.fail)
    return flow.output(Result, read=last.read)
"""


NESTED = """

@task(name="{free}.gate", owner_email="a@example.org", controls=TaskControls(retry=RetryPolicy(count=0)))
def gate(params: Params) -> Result:
    if not Path("{gate}").exists():
        raise TaskFailed("the gate is closed")
    return Result(read=params.rows)

@workflow(name="{free}.inner", owner_email="a@example.org")
def inner(flow: Flow, params: Params) -> Result:
    flow.run(build, rows=params.rows)
    return flow.run(gate, rows=params.rows, ref_="gate")

@workflow(name="{free}.outer", owner_email="a@example.org", version={version})
def outer(flow: Flow, params: Params) -> Result:
    opened = flow.run(inner, rows=params.rows, ref_="inner")
    return flow.run(free, rows=opened.read, ref_="after")
"""


@pytest.fixture
def flow(project, names):
    """Writes a module with a workflow, and gives its target."""
    names["flow"] = fresh("flow")

    def write(name: str, change: str = "") -> str:
        text = (TASKS + FLOW).format(retries=0, **names).replace("rows=built.read", f"rows=built.read{change}")
        (project.path / f"{name}.py").write_text(text)
        return f"{name}:flow"

    return write


def test_after_a_refusal_a_new_start_is_recommended_because_a_retry_would_be_refused_again(
    flow, perago, server, project, worker_of
):
    target, on = flow("refused"), ("--repo", "data.git", "--branch", "main")
    assert perago("register", target).code == 0
    project.write({"first.txt": "1"})
    assert perago("import", "source", *on).code == 0
    workflow_id = perago("submit", target, "--param", "rows=3", *on, "--json").json["workflow_id"]
    project.write({"second.txt": "somebody's"})
    assert perago("import", "source", *on).code == 0
    with worker_of("refused", "--repo", "data.git"):
        ended = perago("watch", workflow_id)
        assert (ended.code, "others have changed" in ended.err) == (3, True), ended.err
        assert recommended(ended.err)[-1] == ("submit",)
        again = perago("submit", target, "--param", "rows=3", *on, "--watch")
    assert again.code == 0, again.err
    assert project.show("second.txt") == "somebody's"


def test_a_workflow_is_registered_submitted_and_watched(flow, perago, server, names, project, worker_of):
    target = flow("piped")
    assert perago("register", target).out.endswith(f"workflow {names['flow']}, version 1: new\n")
    assert perago("register", target).out.endswith(f"workflow {names['flow']}, version 1: unchanged\n")
    project.write({"first.txt": "1"})
    assert perago("import", "source", "--repo", "data.git").code == 0
    on = ("--repo", "data.git", "--branch", "main")
    with worker_of("piped", "--repo", "data.git"):
        said = perago("submit", target, "--param", "rows=3", *on, "--watch")
        assert said.code == 0, said.err
        assert said.json == {"read": 3}
        for name in (names["build"], "beside", names["free"]):
            assert f"{name}: COMPLETED" in said.err
        assert project.git("show", "main:rows.txt") == "xxx"

        workflow_id = re.search(r"Started workflow .*: (\S+)", said.err)[1]
        beside = perago("rerun", workflow_id, "--from", names["free"])
        assert (beside.code, recommended(beside.err)) == (2, [("rerun", workflow_id)])  # the first task has a limit
        wrong = perago("rerun", workflow_id, "--from", "nothing")
        assert (wrong.code, "It has" in wrong.err) == (2, True)
        commit = project.head()
        assert perago("rerun", workflow_id, "--yes").code == 0
        assert perago("watch", workflow_id).code == 0
        assert (project.show("rows.txt"), project.head() == commit) == ("xxx", False)

        failed = perago("submit", target, "--param", "rows=4", "--param", "fail=true", *on, "--json").json
        seen = perago("watch", failed["workflow_id"], "--json")
        assert seen.code == 1
        assert seen.json["status"] == "FAILED"
        assert "as it was told" in seen.json["reason"]
        lost = [task["reference_name"] for task in seen.json["tasks"] if task["status"].startswith("FAILED")]
        assert lost
        assert any(f"task '{name}' ({UUID}) is FAILED: " in UUIDS.sub(UUID, seen.json["reason"]) for name in lost)
        retried = perago("retry", failed["workflow_id"])
        assert retried.code == 0
        assert f"Retrying '{lost[0]}'" in retried.err
        assert f" of workflow {names['flow']}. `perago watch" in retried.err
        watched = perago("watch", failed["workflow_id"])
        assert watched.code == 1
        assert f"is FAILED: task '{lost[0]}' ({UUID}) is FAILED: " in UUIDS.sub(UUID, watched.err)

        runs = {run["run_id"]: run for run in perago(*ON_SERVER, "--json").json}
        first, second = runs[failed["workflow_id"]], runs[workflow_id]
        assert list(runs).index(failed["workflow_id"]) < list(runs).index(workflow_id)
        assert (first["status"], first["task_name"], first["kind"]) == ("FAILED", names["flow"], "workflow")
        assert (second["status"], second["output_ref"]) == ("COMPLETED", project.git("rev-parse", "main^"))
        assert (second["repository"], second["branch"]) == ("data.git", "main")
        assert second["params"] == {"rows": 3, "fail": False}
        listed = {task["reference_task_name"]: task["status"] for task in first["tasks"]}
        assert listed == {task["reference_name"]: task["status"] for task in seen.json["tasks"]}
        assert f"task '{lost[0]}' (" in first["reason"]
        local = perago("runs", "--repo", "data.git", "--json")
        assert (local.json, first.keys()) == ([], RunSummary(run_id="", status="").__dict__.keys())
        assert f"{failed['workflow_id']}  FAILED      {names['flow']}" in perago(*ON_SERVER).out
        shown = perago("runs", "--conductor", "--limit", "1")
        assert len(re.findall(rf"^{UUIDS.pattern}  ", shown.out, re.MULTILINE)) == 1
        assert "There are older runs" in shown.err
        assert perago("runs", "--conductor", "--repo", "data.git").code == 2
        stamp = perago("log", *on, "-n", "1", "--json").json[0]["stamp"]
        assert (stamp["workflow_instance_id"], stamp["workflow_params"]) == (first["run_id"], first["params"])


SECRET = """
from pydantic import SecretStr

class Given(Params):
    phrase: SecretStr

@workflow(name="{flow}", owner_email="a@example.org", transactional=True)
def flow(flow: Flow, params: Given) -> Result:
    built = flow.run(build, rows=params.rows)
    return flow.run(free, rows=built.read)
"""


def test_a_secret_of_a_workflow_is_in_no_stamp_or_list_although_the_worker_does_not_know_it(
    perago, server, names, project, worker_of
):
    names["flow"] = fresh("flow")
    (project.path / "sealed.py").write_text((TASKS + SECRET).format(retries=0, **names))
    (project.path / "tasks_alone.py").write_text(TASKS.format(retries=0, **names))
    project.write({"first.txt": "1"})
    # Workers of other tests tell by the repository's name alone that they are not to begin or end this run.
    project.repo = project.path / f"{fresh('sealed')}.git"
    on = ("--repo", project.repo.name, "--branch", "main")
    assert perago("import", "source", *on).code == 0
    assert perago("register", "sealed").code == 0
    with worker_of("tasks_alone", *on[:2]):
        said = perago("submit", "sealed:flow", "--params", '{"rows": 2, "phrase": "qr+9"}', *on, "--watch")
    assert said.code == 0, said.err
    workflow_id = re.search(r"Started workflow .*: (\S+)", said.err)[1]
    (run,) = [run for run in perago(*ON_SERVER, "--json").json if run["run_id"] == workflow_id]
    listed = perago(*ON_SERVER).out
    of_run = perago("log", *on, "-n", "1", "--json").json[0]["stamp"]
    branch = run["run_branch"]
    of_task = perago("log", *on[:2], "--branch", branch, "-n", "1", "--json").json[0]["stamp"]
    shown = {"rows": 2, "fail": False, "phrase": "**********"}
    assert of_run["workflow_params"] == of_task["workflow_params"] == run["params"] == shown
    assert of_run["duration_ms"] / 1000 >= sum(task["duration"] for task in run["tasks"][1:-1]) - 0.01
    assert "qr+9" not in listed + said.err
    for commit in project.git("rev-list", "--all").split():
        assert "qr+9" not in project.git("cat-file", "-p", commit)


def test_a_version_that_is_registered_otherwise_is_shown_and_bumped(flow, perago, server, names):
    assert perago("register", flow("first")).code == 0
    changed = flow("second", ", fail=params.fail")
    refused = perago("register", changed)
    assert refused.code == 2
    assert "--bump" in refused.err
    assert "+" in refused.err
    assert perago("submit", changed, "--param", "rows=3").code == 2
    bumped = perago("register", changed, "--bump")
    assert f"workflow {names['flow']}, version 2: changed" in bumped.out
    assert server.expect("GET", f"/metadata/workflow/{names['flow']}")["version"] == 2
    again = perago("register", changed, "--bump")
    assert f"workflow {names['flow']}, version 2: unchanged" in again.out


def test_a_workflow_that_is_not_registered_is_not_submitted(flow, perago, server, project, names):
    project.write({"first.txt": "1"})
    assert perago("import", "source", "--repo", "data.git").code == 0
    refused = perago("submit", flow("lone"), "--param", "rows=3", "--repo", "data.git", "--branch", "main")
    assert refused.code == 2
    assert f": tasks '{names['build']}', '{names['free']}'. `perago register lone:flow` registers them" in refused.err
    assert perago("register", "lone:build", "lone:free").code == 0
    refused = perago("submit", "lone:flow", "--param", "rows=3", "--repo", "data.git", "--branch", "main")
    assert f": version 1 of workflow '{names['flow']}'. `perago register lone:flow` registers it" in refused.err
    assert "perago register lone:flow" in refused.err
    assert perago("submit", "lone:build", "--param", "rows=3").code == 2


def test_a_running_workflow_is_cancelled(flow, perago, server, project):
    target = flow("queued")
    assert perago("register", target).code == 0
    project.write({"first.txt": "1"})
    assert perago("import", "source", "--repo", "data.git").code == 0
    said = perago("submit", target, "--param", "rows=3", "--repo", "data.git", "--branch", "main")
    workflow_id = said.out.strip()
    assert perago("cancel", workflow_id, "--json").json == {"workflow_id": workflow_id}
    seen = perago("watch", workflow_id)
    assert (seen.code, "TERMINATED" in seen.err) == (1, True)
    assert perago("watch", "no-such-workflow").code == 2


MAPPED = """

from typing import Any
from pydantic import SecretStr

class Given(BaseModel):
    over: Any = None
    texts: list[str] = []
    token: SecretStr = SecretStr("")

class Lengths(BaseModel):
    lengths: list[int]

class Text(BaseModel):
    text: str
    token: SecretStr

class Length(BaseModel):
    length: int

class Listed(BaseModel):
    found: list[Length]

@task(name="{length}", owner_email="a@example.org", workspace=WorkspaceSpec(read_only=True),
      controls=TaskControls(retry=RetryPolicy(count=1, delay_seconds=0)))
def length(workspace: Path, params: Text) -> Length:
    if params.text == "fail":
        raise TaskFailed("as it was told")
    return Length(length=len(params.text) + len(params.token.get_secret_value()))

@task(name="{lengths}", owner_email="a@example.org")
def lengths(params: Listed) -> Lengths:
    return Lengths(lengths=[one.length for one in params.found])

@workflow(name="{mapped}", owner_email="a@example.org")
def mapped(flow: Flow, params: Given) -> Lengths:
    found = flow.map(length, over=params.texts, as_="text", token=params.token)
    with flow.parallel():
        made = flow.run(lengths, found=found)
        flow.map(length, over=["a", "${{b}}"], as_="text", token=params.token, ref_="literal")
    return made

@workflow(name="{other}", owner_email="a@example.org")
def other(flow: Flow, params: Given) -> Lengths:
    return flow.run(lengths, found=flow.map(length, over=params.over, as_="text", token=params.token))
"""


def test_a_map_runs_on_a_worker_that_names_only_its_module(perago, server, project, worker_of):
    names = {name: fresh(name) for name in ("build", "free", "length", "lengths", "mapped", "other")}
    (project.path / "maps.py").write_text((TASKS + MAPPED).format(retries=0, **names))
    registered = perago("register", "maps:mapped", "maps:other").out
    for name in ("perago.map", "perago.gather"):
        assert re.search(rf"^{name}: (new|unchanged)$", registered, re.MULTILINE), registered
    assert perago("register", "maps").code == 0
    project.write({"first.txt": "1"})
    assert perago("import", "source", "--repo", "data.git").code == 0
    on = ("--repo", "data.git", "--branch", "main", "--watch")
    secret = "open-sesame-says-ali-baba"
    with worker_of("maps", "--repo", "data.git"):
        texts = ["a", "${workflow.input.params.token}", "", *("x" * number for number in range(9))]
        given = json.dumps({"texts": texts, "token": secret})
        said = perago("submit", "maps:mapped", "--params", given, *on)
        assert said.code == 0, said.err
        assert said.json == {"lengths": [len(text) + len(secret) for text in texts]}
        workflow_id = re.search(r"Started workflow .*: (\S+)", said.err)[1]
        for task in server.tasks(workflow_id):
            holds = secret in json.dumps([task["inputData"], task.get("outputData")])
            assert holds == (task["taskType"] == names["length"]), task["referenceTaskName"]
        literal = [task for task in server.tasks(workflow_id) if task["referenceTaskName"].startswith("literal_")]
        assert [one["inputData"]["params"]["text"] for one in literal if one["taskType"] == names["length"]] == [
            "a",
            "${b}",
        ]

        empty = perago("submit", "maps:mapped", "--params", '{"texts": []}', *on)
        assert (empty.code, empty.json) == (0, {"lengths": []}), empty.err

        wrong = perago("submit", "maps:other", "--params", '{"over": "abc"}', *on)
        assert wrong.code == 1
        assert "takes a list, but ${workflow.input.params.over} is text" in wrong.err
        long = perago("submit", "maps:other", "--params", json.dumps({"over": ["x"] * 1001}), *on)
        assert long.code == 1
        assert "takes at most 1000 items" in long.err
        failed = perago("submit", "maps:other", "--params", '{"over": ["a", "fail"]}', *on)
        assert (failed.code, "as it was told" in failed.err) == (1, True)


def test_a_sub_workflow_is_registered_before_what_names_it_and_goes_on_where_it_failed(
    perago, server, names, project, worker_of, tmp_path
):
    text = (TASKS + NESTED).format(retries=0, gate=tmp_path / "gate", version=1, **names)
    (project.path / "nested.py").write_text(text)
    project.write({"first.txt": "1"})
    assert perago("import", "source", "--repo", "data.git").code == 0
    on = ("--repo", "data.git", "--branch", "main")
    assert perago("register", "nested:build", "nested:free", "nested:gate").code == 0
    refused = perago("submit", "nested:outer", "--param", "rows=3", *on)
    assert refused.code == 2
    assert f": version 1 of workflow '{names['free']}.inner'. `perago register" in " ".join(refused.err.split())
    registered = perago("register", "nested:outer").out.splitlines()
    assert registered[-2:] == [f"workflow {names['free']}.{name}, version 1: new" for name in ("inner", "outer")]
    assert perago("register", "nested:outer").out.count(", version 1: unchanged\n") == 2
    with worker_of("nested", "--repo", "data.git"):
        failed = perago("submit", "nested:outer", "--param", "rows=3", *on, "--watch", "--json")
        assert failed.code == 1
        assert "inner/gate: FAILED" in failed.err
        assert failed.json["reason"].startswith("task 'inner/gate' (")
        assert "inner: FAILED" in failed.err
        assert "failure reason" not in failed.err
        assert [run["task_name"] for run in perago(*ON_SERVER, "--json").json].count(f"{names['free']}.inner") == 0
        (tmp_path / "gate").touch()
        retried = perago("retry", failed.json["workflow_id"])
        assert f"Retrying 'inner/gate' of workflow {names['free']}.outer." in retried.err
        seen = perago("watch", failed.json["workflow_id"], "--json").json
        refused = perago("rerun", failed.json["workflow_id"], "--from", "inner/gate")
        assert (refused.code, recommended(refused.err)) == (2, [("rerun", failed.json["workflow_id"])])
    assert (seen["status"], seen["output"]["result"]) == ("COMPLETED", {"read": 3})
    assert {task["reference_name"]: (task["status"], task["tries"]) for task in seen["tasks"]} == {
        "inner": ("COMPLETED", 1),
        f"inner/{names['build'].replace('-', '_')}": ("COMPLETED", 1),
        "inner/gate": ("COMPLETED", 2),
        "after": ("COMPLETED", 1),
    }
    assert seen["output"]["workspace"]["ref"] == project.git("rev-parse", "main")


def test_a_bumped_sub_workflow_is_named_by_its_new_version(perago, names, project, server):
    def module(name: str, **given: object) -> str:
        text = (TASKS + NESTED).format(retries=0, version=1, **names, **given)
        (project.path / f"{name}.py").write_text(text.replace('ref_="gate"', f'ref_="{name}_gate"'))
        return f"{name}:outer"

    assert perago("register", module("one", gate="one")).code == 0
    refused = perago("register", module("two", gate="two"))
    assert (refused.code, f"version 1 of workflow '{names['free']}.inner'" in refused.err) == (2, True)
    bumped = perago("register", "two:outer", "--bump").out.splitlines()
    for name in ("inner", "outer"):
        assert f"workflow {names['free']}.{name}, version 2: changed" in bumped
    outer = server.expect("GET", f"/metadata/workflow/{names['free']}.outer")
    assert outer["tasks"][0]["subWorkflowParam"]["version"] == 2
