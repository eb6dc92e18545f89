"""The sink for OpenLineage: each kind of event against the specification, its queue, and what the client is given."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime

import pytest
from openlineage.client.serde import Serde

from lineage_schema import expect_valid
from perago.telemetry.facts import Execution, Outcome, PhaseFact
from perago.telemetry.instruments import LINEAGE_DROPPED
from perago.telemetry.lineage import Dataset, GuardResult, LineageEvent, Parent, WorkflowRun
from perago.telemetry.openlineage import OpenLineageTelemetry, may_help, open_client, run_event
from perago.telemetry.sink import OFF, Both
from perago.values.code import CodeVersion, TaskSource
from perago.values.stores import DatasetSource
from servers.machine import slowness
from waiting import wait_for

RUN = "3f5e83fa-3480-44ff-99c5-ff943904e5e8"
PLACE = DatasetSource(
    "git+file://host/data/birds%20of%20a%20feather.git", "file://host/data/birds%20of%20a%20feather.git"
)
READ = Dataset(source=PLACE, name="main/raw", version="a" * 40, patterns=("raw/**",), files=3, bytes=120)
MADE = Dataset(source=PLACE, name="main/clean", version="b" * 40, patterns=("clean/**",), files=2)
WHOLE = Dataset(source=PLACE, name="main", version="a" * 40)
SOURCE = TaskSource(
    text="def clean(): ...",
    repository="https://git.example.org/birds.git",
    path="tasks/clean.py",
    version=CodeVersion("c" * 40, is_dirty=False),
)
NIGHTLY, WEEKLY = WorkflowRun(RUN, "nightly"), WorkflowRun("48a01286-6b8a-5d2d-b020-2300176cfd28", "weekly")
GUARDS = (
    GuardResult("require_glob('clean/*.csv')", "require_glob", "pass"),
    GuardResult("is_sound", "function", "fail"),
    GuardResult("is_round", "function", "skip"),
)
ABOUT = {"workflowInstanceId": "w", "taskId": "t", "retryCount": 1, "executionId": "e", "exclude": ["raw/old"]}


def event(**given) -> LineageEvent:
    return LineageEvent(
        **{
            "state": "START",
            "time": datetime(2026, 11, 29, 12, tzinfo=UTC),
            "run_id": RUN,
            "job": "nightly.clean",
            "task": "clean_penguins",
            "parent": Parent(NIGHTLY, root=NIGHTLY),
            "source": SOURCE,
            "inputs": (READ,),
            "about": ABOUT,
            **given,
        }
    )


def written(told: LineageEvent) -> dict:
    return json.loads(Serde.to_json(run_event(told, "perago")))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"parent": None, "source": None, "inputs": ()},
        {"parent": Parent(NIGHTLY, root=WEEKLY), "source": TaskSource()},
        {"parent": Parent(NIGHTLY, root=None)},
        {"task": None, "parent": None, "source": None, "inputs": (), "about": {}},
        {"source": TaskSource(text="x", repository="ssh://h/r", path="p", version=CodeVersion("c" * 40, True))},
        {"state": "COMPLETE", "outputs": (MADE,), "guards": GUARDS, "about": {**ABOUT, "how": "published"}},
        {"state": "COMPLETE", "inputs": (WHOLE,), "outputs": (WHOLE, MADE), "about": {"how": "cached"}},
        {"state": "FAIL", "reason": "broken", "guards": GUARDS},
        {"state": "ABORT", "reason": "cancelled"},
        {"state": "OTHER", "reason": "given back"},
    ],
    ids=[
        "start",
        "task alone",
        "sub-workflow",
        "root unknown",
        "workflow",
        "dirty",
        "complete",
        "cached",
        "fail",
        "abort",
        "other",
    ],
)
def test_each_kind_of_event_is_valid_by_the_specification(given):
    expect_valid(written(event(**given)))


def test_an_event_has_the_facets_of_the_standard():
    told = written(event(state="COMPLETE", outputs=(MADE,), guards=GUARDS))
    (read,), (made,) = told["inputs"], told["outputs"]
    assert (read["namespace"], read["name"]) == (PLACE.namespace, "main/raw")
    assert read["facets"]["version"]["datasetVersion"] == "a" * 40
    assert read["inputFacets"]["subset"]["inputCondition"] == {"type": "location", "locations": ["raw/**"]}
    assert (read["inputFacets"]["inputStatistics"]["fileCount"], read["inputFacets"]["inputStatistics"]["size"]) == (
        3,
        120,
    )
    assert made["facets"]["version"]["datasetVersion"] == "b" * 40
    assert made["outputFacets"]["subset"]["outputCondition"]["locations"] == ["clean/**"]
    location = told["job"]["facets"]["sourceCodeLocation"]
    assert (location["url"], location["path"], location["version"]) == (SOURCE.repository, SOURCE.path, "c" * 40)
    assert told["job"]["facets"]["sourceCode"]["sourceCode"] == SOURCE.text
    tests = told["run"]["facets"]["test"]["tests"]
    assert [(test["name"], test["status"]) for test in tests] == [(guard.name, guard.status) for guard in GUARDS]
    parent = told["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == parent["root"]["run"]["runId"] == RUN
    assert (told["job"]["namespace"], told["job"]["name"]) == ("perago", "nightly.clean")


def test_a_workflow_run_is_told_from_an_attempt_and_a_root_from_a_parent():
    whole = written(event(job="nightly", task=None, parent=None, source=None, about={}))
    assert whole["job"]["facets"]["jobType"]["jobType"] == "WORKFLOW"
    assert "perago_attempt" not in whole["run"]["facets"]
    told = written(event(parent=Parent(NIGHTLY, root=WEEKLY)))
    assert told["job"]["facets"]["jobType"]["jobType"] == "TASK"
    parent = told["run"]["facets"]["parent"]
    assert (parent["job"]["name"], parent["root"]["job"]["name"]) == ("nightly", "weekly")
    assert parent["root"]["run"]["runId"] == WEEKLY.run_id


def test_code_that_differs_from_its_commit_has_no_version():
    dirty = TaskSource(text=None, repository="https://h/r", path="p", version=CodeVersion("c" * 40, is_dirty=True))
    facets = written(event(source=dirty))["job"]["facets"]
    assert "version" not in facets["sourceCodeLocation"]
    assert "sourceCode" not in facets


# ---------------------------------------------------------------- queue


class Client:
    """Takes events; while `gate` is closed, it hangs; fails with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.taken: list[str] = []
        self.tries = 0
        self.closed = 0
        self.error = error
        self.gate = threading.Event()
        self.gate.set()

    def emit(self, event) -> None:
        self.tries += 1
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        self.taken.append(event.eventType.value)

    def close(self, timeout: float = -1.0) -> bool:
        self.closed += 1
        return True


class Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}, token=hunter22hunter22")
        self.response = type("Response", (), {"status_code": status})


def sink(client: Client, counted: list | None = None, **options) -> OpenLineageTelemetry:
    count = (lambda _: None) if counted is None else counted.append
    return OpenLineageTelemetry(client, "perago", None, count, **options)


def tell(telemetry, name: str = "e") -> None:
    telemetry.begin(
        Execution(
            task="t", workflow_instance_id="w", reference_task_name="r", task_id=name, retry_count=0, execution_id=name
        )
    )
    telemetry.phase(name, PhaseFact(phase="parse", kind="started"))
    telemetry.phase(name, PhaseFact(phase="parse", kind="completed"))
    telemetry.end(name, Outcome.COMPLETED)


def test_what_waits_is_sent_before_the_end():
    client = Client()
    telemetry = sink(client)
    for number in range(20):
        tell(telemetry, str(number))
    assert telemetry.close(30).count == 0
    assert client.taken == ["START", "COMPLETE"] * 20
    assert client.closed == 1
    assert telemetry.close(30).count == 0


def test_a_full_queue_drops_counts_and_waits_for_nobody():
    client, counted = Client(), []
    client.gate.clear()
    telemetry = sink(client, counted, max_queued=10)
    began = time.monotonic()
    for number in range(100):
        tell(telemetry, str(number))
    assert time.monotonic() - began < 5 * slowness()
    assert len(counted) in (189, 190)  # ten wait, and one may be on its way
    assert set(counted) == {LINEAGE_DROPPED}
    client.gate.set()
    assert telemetry.close(30).count == len(counted)
    assert len(client.taken) == 200 - len(counted)


def test_a_receiver_that_hangs_holds_the_end_up_for_its_bound_only():
    client, counted = Client(), []
    client.gate.clear()
    telemetry = sink(client, counted)
    tell(telemetry)
    wait_for(lambda: client.tries == 1, "the first event to be on its way")
    began = time.monotonic()
    loss = telemetry.close(0.2)
    assert time.monotonic() - began < 5 * slowness()
    assert (loss.count, loss.why) == (2, None)
    tell(telemetry, "late")
    client.gate.set()
    wait_for(lambda: client.closed == 1, "the end of the thread")
    assert len(counted) == 4


def test_an_event_that_fails_is_tried_again_and_then_dropped(monkeypatch):
    monkeypatch.setattr("perago.telemetry.openlineage.PAUSES", (0.01, 0.01))
    client, counted = Client(Refused(503)), []
    telemetry = sink(client, counted)
    tell(telemetry)
    wait_for(lambda: len(counted) == 2, "both events to be dropped")
    assert client.tries == 6
    client.error = None
    tell(telemetry, "f")
    loss = telemetry.close(30)
    assert (client.taken, loss.count) == (["START", "COMPLETE"], 2)
    assert "503" in loss.why
    assert "hunter22" not in loss.why


def test_a_pause_ends_with_the_sink(monkeypatch):
    monkeypatch.setattr("perago.telemetry.openlineage.PAUSES", (600.0,))
    client = Client(ConnectionError("refused"))
    telemetry = sink(client)
    tell(telemetry)
    wait_for(lambda: client.tries == 1, "the first try")
    assert telemetry.close(30).count == 2
    wait_for(lambda: client.closed == 1, "the end of the thread")
    assert client.tries == 2  # one for each event


def test_what_the_receiver_refuses_is_not_sent_again():
    assert not may_help(Refused(400))
    assert not may_help(Refused(401))
    assert may_help(Refused(429))
    assert may_help(Refused(502))
    assert may_help(ConnectionError())


def test_an_execution_that_is_not_known_tells_nothing():
    client = Client()
    telemetry = sink(client)
    telemetry.phase("nobody", PhaseFact(phase="parse", kind="completed"))
    telemetry.end("nobody", Outcome.FAILED)
    assert (telemetry.close(30).count, client.taken) == (0, [])


def test_a_fact_that_cannot_be_told_fails_nothing():
    client, counted = Client(), []
    telemetry = OpenLineageTelemetry(client, "perago", lambda _: DatasetSource("n", "u"), counted.append)
    telemetry.begin(
        Execution(
            task="t", workflow_instance_id="w", reference_task_name=None, task_id="1", retry_count=0, execution_id="e"
        )
    )
    telemetry.phase("e", PhaseFact(phase="parse", kind="completed", attributes={"reads": {"branch": 1}}))
    telemetry.end("e", Outcome.COMPLETED)
    assert telemetry.close(30).count == len(counted) > 0


def test_beside_another_sink_both_are_told():
    client = Client()
    telemetry = sink(client)
    both = Both(OFF, telemetry)
    tell(both)
    assert both.wants_source
    assert both.prometheus_text() == b""
    assert telemetry.close(30).count == 0
    assert client.taken == ["START", "COMPLETE"]


# ---------------------------------------------------------------- client


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Sets the variables of the standard, which the client reads from the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith("OPENLINEAGE"):
            monkeypatch.delenv(name)

    def given(**variables: str) -> dict[str, str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return dict(os.environ)

    return given


def test_the_url_is_a_transport_without_retries_of_its_own(environment):
    client = open_client(
        environment(OPENLINEAGE_URL="http://r:5000", OPENLINEAGE_ENDPOINT="up", OPENLINEAGE_API_KEY="k")
    )
    config = client.transport.config
    assert (config.url, config.endpoint, config.timeout) == ("http://r:5000", "up", 5.0)
    assert config.retry["total"] == 0
    assert config.auth.get_bearer() == "Bearer k"


def test_the_client_leaves_nothing_in_the_environment_of_bodies(environment):
    before = environment(OPENLINEAGE_URL="http://r:5000", OPENLINEAGE_API_KEY="canary-key")
    open_client(before)
    assert dict(os.environ) == before


def test_a_file_of_the_current_directory_does_not_count(environment, tmp_path):
    (tmp_path / "openlineage.yml").write_text(
        "transport: {type: http, url: http://elsewhere}\nfacets: {environment_variables: [SECRET]}\n"
    )
    client = open_client(environment(OPENLINEAGE_URL="http://r:5000"))
    assert client.transport.config.url == "http://r:5000"
    assert client.config.facets.environment_variables == []


def test_a_file_that_is_named_counts(environment, tmp_path):
    (tmp_path / "own.yml").write_text(
        f"transport: {{type: file, log_file_path: {tmp_path / 'events.jsonl'}, append: true}}\n"
    )
    client = open_client(environment(OPENLINEAGE_CONFIG=str(tmp_path / "own.yml")))
    client.emit(run_event(event(), "perago"))
    told = json.loads((tmp_path / "events.jsonl").read_text())
    assert told["job"]["name"] == "nightly.clean"
    assert told["job"]["facets"]["sourceCodeLocation"]["url"] == SOURCE.repository


def test_single_variables_of_a_transport_count(environment, tmp_path):
    path = str(tmp_path / "events.jsonl")
    client = open_client(
        environment(
            OPENLINEAGE__TRANSPORT__TYPE="file",
            OPENLINEAGE__TRANSPORT__LOG_FILE_PATH=path,
            OPENLINEAGE__TRANSPORT__APPEND="true",
        )
    )
    client.emit(run_event(event(), "perago"))
    expect_valid(json.loads((tmp_path / "events.jsonl").read_text()))


def test_a_configuration_without_a_transport_is_an_error(environment, tmp_path):
    (tmp_path / "own.yml").write_text("tags: {job: {team: birds}}\n")
    with pytest.raises(ValueError, match="no transport"):
        open_client(environment(OPENLINEAGE_CONFIG=str(tmp_path / "own.yml")))


def test_the_clients_own_chatter_is_left_out(environment, caplog):
    logging.getLogger("openlineage").setLevel(logging.NOTSET)
    with caplog.at_level(logging.INFO):
        open_client(environment(OPENLINEAGE_URL="http://r:5000"))
    assert caplog.records == []
