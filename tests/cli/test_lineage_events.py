"""OpenLineage events at a real receiver, of `perago run` and of a worker: the graph that `perago lineage` says."""

from __future__ import annotations

import json
import signal
import socket
import time

import pytest

from lineage_receiver import LineageReceiver
from lineage_schema import expect_valid
from perago.telemetry.openlineage import CLOSE_SECONDS
from servers.conductor_api import fresh
from servers.machine import slowness
from waiting import wait_for

TASKS = """
import time
from pathlib import Path

from pydantic import BaseModel, SecretStr

from perago import Flow, TaskControls, RetryPolicy, WorkspaceSpec, require_glob, task, workflow

OWNER = "ada@example.org"


class Params(BaseModel):
    fail: bool = False
    password: SecretStr = SecretStr("")


class Result(BaseModel):
    rows: int


@task(
    name="{name}_clean",
    owner_email=OWNER,
    workspace=WorkspaceSpec(
        include=["raw/*.csv"], outputs=["clean/**"], pre=[require_glob("raw/*.csv")], post=[require_glob("clean/*.csv")]
    ),
)
def clean(workspace: Path, params: Params) -> Result:
    if params.fail:
        raise ValueError(f"cannot log in with {{params.password.get_secret_value()}}")
    rows = (workspace / "raw/a.csv").read_text().splitlines()
    (workspace / "clean/a.csv").write_text("\\n".join(sorted(rows)))
    return Result(rows=len(rows))


@task(name="{name}_report", owner_email=OWNER, workspace=WorkspaceSpec(include=["clean/a.csv"], outputs=["made/*.txt"]))
def report(workspace: Path, params: Params) -> Result:
    rows = len((workspace / "clean/a.csv").read_text().splitlines())
    (workspace / "made/report.txt").write_text(str(rows))
    return Result(rows=rows)


@task(name="{name}_look", owner_email=OWNER, workspace=WorkspaceSpec(include=["clean/**"], read_only=True))
def look(workspace: Path, params: Params) -> Result:
    return Result(rows=1)


@task(name="{name}_note", owner_email=OWNER, workspace=WorkspaceSpec())
def note(workspace: Path, params: Params) -> Result:
    (workspace / "notes").mkdir(exist_ok=True)
    (workspace / "notes/all.txt").write_text(" ".join(sorted(path.name for path in workspace.rglob("*.*"))))
    return Result(rows=1)


@task(name="{name}_wait", owner_email=OWNER, workspace=WorkspaceSpec())
def wait(workspace: Path, params: Params) -> Result:
    Path({begun!r}).touch()
    time.sleep(600)
    return Result(rows=1)


class NoParams(BaseModel):
    pass


@workflow(name="{name}_whole", owner_email=OWNER, transactional=True)
def whole(flow: Flow, params: NoParams) -> None:
    flow.run(clean, Params())
    flow.run(report, Params())


@workflow(name="{name}_nightly", owner_email=OWNER)
def nightly(flow: Flow, params: NoParams) -> None:
    flow.run(clean, Params())
    flow.run(report, Params())
    flow.run(look, Params())
    flow.run(note, Params())


@workflow(name="{name}_brittle", owner_email=OWNER)
def brittle(flow: Flow, params: NoParams) -> None:
    flow.run(clean, Params(fail=True))
"""


class Birds:
    """A module of tasks in a project, with names of its own, and a repository with one import."""

    def __init__(self, project, perago, options):
        self.name, self.module = fresh("birds").replace("-", "_"), fresh("birds").replace("-", "_")
        self.options, self.perago, self.project = options, perago, project
        self.begun = project.path / "begun"
        (project.path / f"{self.module}.py").write_text(TASKS.format(name=self.name, begun=str(self.begun)))
        project.write({"raw/a.csv": "2,y\n1,x\n"})
        said = perago("import", "source", *options)
        assert said.code == 0, said.err

    def run(self, target, *arguments, code=0):
        said = self.perago("run", f"{self.module}:{target}", *self.options, *arguments, "--json")
        assert said.code == code, said.err
        return said

    def job(self, task, *, alone=False):
        return f"{self.name}_{task}" if alone else f"{self.name}_nightly.{self.name}_{task}"

    def lineage(self):
        """What was made from what: pairs of commits of attempts."""
        newest = self.perago("log", *self.options, "-n", "1", "--json").json[0]["commit"]
        made = self.perago("lineage", newest, *self.options, "--json").json
        attempts = {each["commit"] for each in made if each["task"] is not None}
        return {
            (each["commit"], source["commit"])
            for each in made
            for source in each["sources"]
            if source["commit"] in attempts
        }


@pytest.fixture
def receiver(monkeypatch):
    with LineageReceiver() as receiver:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        yield receiver


@pytest.fixture(params=["git", "lakefs"])
def birds(request, project, perago):
    if request.param == "git":
        return Birds(project, perago, ("--repo", "data.git", "--branch", "main"))
    songs = request.getfixturevalue("songs")
    return Birds(songs, perago, songs.on_main)


@pytest.fixture
def sparrows(project, perago):
    """On git."""
    return Birds(project, perago, ("--repo", "data.git", "--branch", "main"))


def graph(events):
    """What was made from what, by the events alone: pairs of versions.

    A data set is made of the newest version of each data set that it is, or has below it.
    """
    versions: dict[str, str] = {}
    edges = set()
    for event in events:
        read = [dataset["name"] for dataset in event["inputs"]]
        outputs = {dataset["name"]: version_of(dataset) for dataset in event["outputs"]}
        sources = {
            version
            for name, version in versions.items()
            if any(name == each or name.startswith(f"{each}/") for each in read)
        }
        edges |= {(version, source) for version in outputs.values() for source in sources}
        versions |= outputs
    return edges


def version_of(dataset):
    return dataset["facets"]["version"]["datasetVersion"]


def states(receiver, job):
    return [event["eventType"] for event in receiver.of(job)]


def test_the_events_of_a_workflow_give_the_graph_of_the_history(birds, receiver):
    birds.run("nightly")
    for event in receiver.events:
        expect_valid(event)
    assert graph(receiver.events) == birds.lineage()
    assert len(birds.lineage()) == 3  # the report of the clean ones, the note of both
    jobs = [birds.job(task) for task in ("clean", "report", "look", "note")]
    assert [states(receiver, job) for job in jobs] == [["START", "COMPLETE"]] * 4
    whole = f"{birds.name}_nightly"
    assert states(receiver, whole) == ["START", "COMPLETE"]
    assert [receiver.events[0], receiver.events[-1]] == receiver.of(whole)
    tasks = receiver.events[1:-1]
    assert len({event["run"]["runId"] for event in tasks}) == 4
    parents = {event["run"]["facets"]["parent"]["run"]["runId"] for event in tasks}
    assert parents == {receiver.last(whole)["run"]["runId"]}
    clean, report, look, note = (receiver.last(job) for job in jobs)
    assert [dataset["name"] for dataset in clean["inputs"]] == ["main/raw"]
    assert clean["inputs"][0]["inputFacets"]["subset"]["inputCondition"]["locations"] == ["raw/*.csv"]
    assert [dataset["name"] for dataset in clean["outputs"]] == ["main/clean"]
    assert [test["status"] for test in clean["run"]["facets"]["test"]["tests"]] == ["pass", "pass"]
    assert "def clean(" in clean["job"]["facets"]["sourceCode"]["sourceCode"]
    assert ([dataset["name"] for dataset in report["outputs"]], look["outputs"]) == (["main/made"], [])
    assert version_of(look["inputs"][0]) == version_of(report["outputs"][0])
    assert [dataset["name"] for dataset in (*note["inputs"], *note["outputs"])] == ["main", "main/notes"]
    (namespace,) = {dataset["namespace"] for event in receiver.events for dataset in event["inputs"]}
    repo = birds.options[1]
    assert namespace == repo if "://" in repo else namespace.endswith("/data.git")


def test_a_transactional_run_leads_from_its_branch_to_the_target(sparrows, receiver):
    sparrows.run("whole")
    for event in receiver.events:
        expect_valid(event)
    ended = [event for event in receiver.events if event["eventType"] == "COMPLETE"]
    clean, report, end = [event for event in ended if event["outputs"]]
    (branch,) = {dataset["name"].split("/")[0] for dataset in (*clean["outputs"], *report["outputs"])}
    assert branch.startswith("perago-run-")
    assert [dataset["name"] for dataset in end["inputs"]] == [branch]
    assert version_of(end["inputs"][0]) == version_of(report["outputs"][0])
    assert [dataset["name"] for dataset in end["outputs"]] == ["main/clean", "main/made"]
    assert {version_of(dataset) for dataset in end["outputs"]} == {sparrows.project.head()}


def test_a_workflow_run_that_fails_is_told_and_so_is_that_it_goes_on(sparrows, receiver):
    sparrows.run("brittle", "--retries", "0", code=1)
    whole = f"{sparrows.name}_brittle"
    assert states(receiver, whole) == ["START", "FAIL"]
    assert "cannot log in with" in receiver.last(whole)["run"]["facets"]["errorMessage"]["message"]
    run_id = sparrows.perago("runs", *sparrows.options[:2], "--json").json[0]["run_id"]
    sparrows.perago("run", "--resume", run_id, *sparrows.options[:2], "--retries", "0")
    assert states(receiver, whole) == ["START", "FAIL"] * 2
    assert len({event["run"]["runId"] for event in receiver.of(whole)}) == 1
    for event in receiver.events:
        expect_valid(event)


def test_a_task_alone_tells_its_failure_and_its_retry_is_another_run(sparrows, receiver):
    sparrows.run("clean", "--params", '{"fail": true, "password": "hunter22hunter22"}', "--retries", "1", code=1)
    job = sparrows.job("clean", alone=True)
    assert states(receiver, job) == ["START", "FAIL"] * 2
    for event in receiver.events:
        expect_valid(event)
    assert len({event["run"]["runId"] for event in receiver.events}) == 2
    told = receiver.last(job)["run"]["facets"]
    assert "cannot log in with" in told["errorMessage"]["message"]
    assert "parent" not in told
    assert [test["status"] for test in told["test"]["tests"]] == ["pass", "skip"]
    assert "hunter22" not in json.dumps(receiver.events)


def test_what_changed_nothing_is_complete_without_output(sparrows, receiver):
    sparrows.run("clean")
    sparrows.run("clean")
    first, _, again = (event for event in receiver.of(sparrows.job("clean", alone=True))[1:])
    assert (len(first["outputs"]), again["outputs"]) == (1, [])
    assert again["run"]["facets"]["perago_attempt"]["how"] == "unchanged"
    assert first["run"]["runId"] != again["run"]["runId"]


def test_a_cancelled_attempt_is_aborted(sparrows, receiver):
    command = ("run", f"{sparrows.module}:wait", *sparrows.options)
    with sparrows.project.start(*command) as process:
        wait_for(sparrows.begun.exists, "the body to begin", 60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60 * slowness())
    assert process.returncode == 130, told
    assert states(receiver, sparrows.job("wait", alone=True)) == ["START", "ABORT"]
    expect_valid(receiver.events[-1])


def test_disabled_or_without_a_variable_nothing_is_sent(sparrows, receiver, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "TRUE")
    sparrows.run("clean")
    monkeypatch.delenv("OPENLINEAGE_DISABLED")
    monkeypatch.delenv("OPENLINEAGE_URL")
    sparrows.run("report")
    assert receiver.requests == 0


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"OPENLINEAGE_URL": "receiver:5000"}, "OPENLINEAGE_URL (the environment): must be a URL"),
        ({"OPENLINEAGE_URL": "", "OPENLINEAGE_CONFIG": "/nowhere.yml"}, "the file /nowhere.yml cannot be read"),
    ],
)
def test_wrong_variables_are_an_error_before_anything_begins(sparrows, receiver, monkeypatch, variables, fault):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    head = sparrows.project.head()
    assert fault in sparrows.run("clean", code=2).err
    assert (sparrows.project.head(), receiver.requests) == (head, 0)


def test_without_its_package_it_is_told_and_the_run_goes_on(sparrows, receiver, monkeypatch):
    monkeypatch.setattr("perago.running.lineage.find_spec", lambda _name: None)
    said = sparrows.run("clean")
    assert "OPENLINEAGE_URL is set, but no lineage is sent" in said.err
    assert "pip install 'perago[lineage]'" in said.err
    assert receiver.requests == 0


# ---------------------------------------------------------------- receivers that fail


def expect_no_harm(birds, *, events):
    """A run beside a receiver that fails: it publishes, ends in time, and says what was dropped."""
    before = birds.project.head()
    began = time.monotonic()
    said = birds.run("clean")
    assert time.monotonic() - began < CLOSE_SECONDS + 15 * slowness()
    assert birds.project.head() != before
    assert f"{events} OpenLineage events were dropped" in said.err
    assert said.err.count("OpenLineage") == 1
    return said


def test_a_receiver_that_hangs(sparrows, monkeypatch):
    with LineageReceiver(hangs=True) as receiver:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        expect_no_harm(sparrows, events=2)
        assert receiver.requests >= 1


def test_a_receiver_that_is_not_there(sparrows, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{port}")
    expect_no_harm(sparrows, events=2)


@pytest.mark.parametrize("status", [500, 401])
def test_a_receiver_that_answers_with_an_error(sparrows, monkeypatch, status):
    with LineageReceiver(status=status) as receiver:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        monkeypatch.setenv("OPENLINEAGE_API_KEY", "canary-hunter22")
        said = expect_no_harm(sparrows, events=2)
        assert receiver.headers["Authorization"] == "Bearer canary-hunter22"
    assert "canary" not in said.err


def test_a_receiver_that_is_slow_gets_everything(sparrows, monkeypatch):
    with LineageReceiver(seconds=0.3) as receiver:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        sparrows.run("clean")
        assert states(receiver, sparrows.job("clean", alone=True)) == ["START", "COMPLETE"]


# ---------------------------------------------------------------- worker


@pytest.mark.long
def test_a_worker_on_conductor_tells_the_same_graph(project, perago, worker_of, conductor, receiver, monkeypatch):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    repo = f"{fresh('birds')}.git"
    project.repo = project.path / repo
    birds = Birds(project, perago, ("--repo", repo, "--branch", "main"))
    for target in (birds.module, f"{birds.module}:nightly"):
        said = perago("register", target)
        assert said.code == 0, said.err
    with worker_of(birds.module, "--repo", repo, OPENLINEAGE_URL=receiver.url, OPENLINEAGE_NAMESPACE="farm"):
        said = perago("submit", f"{birds.module}:nightly", *birds.options, "--watch", "--json")
        assert said.code == 0, said.err
        jobs = [birds.job(task) for task in ("clean", "report", "look", "note")]
        wait_for(lambda: all("COMPLETE" in states(receiver, job) for job in jobs), "all events", 60)
    for event in receiver.events:
        expect_valid(event)
        assert event["job"]["namespace"] == "farm"
    assert [states(receiver, job) for job in jobs] == [["START", "COMPLETE"]] * 4
    assert graph(receiver.events) == birds.lineage()
    assert len(birds.lineage()) == 3
    parents = {
        (parent["run"]["runId"], parent["job"]["name"])
        for event in receiver.events
        for parent in [event["run"]["facets"]["parent"]]
    }
    instances = {event["run"]["facets"]["perago_attempt"]["workflowInstanceId"] for event in receiver.events}
    assert parents == {(*instances, f"{birds.name}_nightly")}
    roots = [receiver.last(job)["run"]["facets"]["parent"].get("root") for job in jobs]
    assert {root["job"]["name"] for root in roots if root} == {f"{birds.name}_nightly"}
    assert [root is None for root in roots] == [False, False, True, False]  # what is read-only asks for no record
    assert "def clean(" in receiver.last(jobs[0])["job"]["facets"]["sourceCode"]["sourceCode"]
