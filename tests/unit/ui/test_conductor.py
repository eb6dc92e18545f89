"""The runs on a Conductor server: in the list, and as pages; also while the server is away."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from perago.engines.conductor import ConductorEngine
from perago.engines.conductor.workflow import ConductorWorkflow, InstanceHead
from perago.engines.local import RunSummary
from perago.errors import EngineError, TaskNotFoundError
from perago.ui import conductor as module
from perago.ui.conductor import ConductorRuns
from perago.ui.source import merged
from perago.values.timing import Timing, timing_line
from perago.worker.supervisor.status import JobStatus
from servers.process import free_port
from ui_pages import HOSTILE, WORKSPACE, opened, record_run, repository, text_of
from waiting import wait_for

NAMES = ("first", "then")
DEFINITION = {
    "name": "nightly",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [{"name": name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": {}} for name in NAMES],
    "outputParameters": {"result": "${then.output.result}"},
    "metadata": {"perago": {"plain_params": ["n"]}},
}
SECRET = "not-for-your-eyes"


def task(name, status, *, retry=0, result=None, reason=None, started=1_000):
    return {
        "taskId": f"{name}-{retry}",
        "referenceTaskName": name,
        "taskDefName": name,
        "taskType": "SIMPLE",
        "status": status,
        "retryCount": retry,
        "startTime": started,
        "endTime": 0 if status in ("SCHEDULED", "IN_PROGRESS") else started + 2_000,
        "outputData": {"workspace": {**WORKSPACE, "ref": "b" * 40}, "result": result or {}},
        "reasonForIncompletion": reason,
        "workerId": "worker-7",
    }


def instance(workflow_id, status="RUNNING", tasks=(), repository="data", **fields):
    workspace = {"workspace": {**WORKSPACE, "repository": repository}} if repository else {}
    return {
        "workflowId": workflow_id,
        "workflowName": "nightly",
        "status": status,
        "input": {**workspace, "params": {"n": 3, "door": SECRET}},
        "output": {"result": {"score": 0.5}} if status == "COMPLETED" else {},
        "workflowDefinition": DEFINITION,
        "startTime": 1_767_225_600_000,
        "endTime": 0 if status == "RUNNING" else 1_767_225_604_000,
        "tasks": list(tasks),
        **fields,
    }


class Server:
    """A server with some instances, the newest first.

    Attributes:
        read: how often each instance was read.
        fault: what every call raises; None for nothing.
    """

    api_url = "http://conductor.example/api"

    def __init__(self, *instances):
        self.instances = {one["workflowId"]: one for one in instances}
        self.read = Counter()
        self.fault = None
        self.logs = {}

    def newest_heads(self, count, *, timeout):
        assert timeout <= module.CALL_SECONDS
        self.answer()
        heads = [InstanceHead(name, one["status"], str(one["endTime"])) for name, one in self.instances.items()]
        return heads[:count]

    def get_instance(self, workflow_id, *, timeout):
        assert timeout <= module.CALL_SECONDS
        self.answer()
        self.read[workflow_id] += 1
        if workflow_id not in self.instances:
            raise TaskNotFoundError(workflow_id)
        return ConductorWorkflow.of(self.instances[workflow_id])

    get_workflow = get_instance

    def log_of(self, task_id, *, timeout):
        assert timeout <= module.CALL_SECONDS
        self.answer()
        return self.logs.get(task_id, [])

    def get_workflow_definition(self, name, version, *, timeout):
        raise AssertionError(f"{name} names no other workflow ({version}, {timeout})")

    def answer(self):
        if self.fault is not None:
            raise EngineError(self.fault)


@pytest.fixture
def address(tmp_path):
    return repository(tmp_path)


@pytest.fixture
def at_once(monkeypatch):
    """Each page looks anew, and the first one waits as long as it takes."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(module, "FIRST_SECONDS", 60.0)


def looked(runs):
    """Wait for one more look."""
    before = runs.listed().state
    wait_for(lambda: runs.listed().state != before, "another look at the server")


def test_the_list_has_the_runs_of_this_machine_and_of_the_server(address, at_once):
    here = record_run(address, "train", {"alpha": 0.5}, {"score": 0.25})
    server = Server(instance("of-here", "COMPLETED"), instance("elsewhere", repository="other"), instance("live"))
    with opened(address, conductor=ConductorRuns(server, "data")) as browser:
        found = browser.get("/runs.json").json()
        page = browser.get("/runs").text
    assert [run["run_id"] for run in found["runs"]] == [here, "of-here", "live"]
    assert found["on_server"] == ["of-here", "live"]
    assert [run["status"] for run in found["runs"]] == ["COMPLETED", "COMPLETED", "running"]
    assert found["runs"][1]["result"] == {"score": 0.5}
    assert found["server"]["looked_at"] == 3
    assert page.count('<span class="kind">Conductor</span>') == 2
    assert "among the newest 3 on Conductor" in page


def test_without_a_repository_the_list_has_the_runs_that_have_none(tmp_path, at_once, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    server = Server(instance("on-data"), instance("on-none", repository=None))
    with opened(None, conductor=ConductorRuns(server, None)) as browser:
        assert browser.get("/runs.json").json()["on_server"] == ["on-none"]


def test_only_what_may_have_changed_is_read_again(at_once):
    server = Server(instance("done", "COMPLETED"), instance("live"), instance("elsewhere", repository="other"))
    runs = ConductorRuns(server, "data")
    assert len(runs.listed().runs) == 2
    looked(runs)
    looked(runs)
    assert (server.read["done"], server.read["elsewhere"]) == (1, 1)
    assert server.read["live"] >= 3
    server.instances["done"] = instance("done", "RUNNING")  # somebody has restarted it
    wait_for(lambda: {run.run_id: run.status for run in runs.listed().runs}["done"] == "running", "the restart")


def test_a_server_that_is_away_is_told_and_the_rest_is_shown(address, at_once):
    here = record_run(address, "train", {}, {})
    server = Server(instance("of-here", "COMPLETED"))
    server.fault = "GET /workflow/search: no answer"
    runs = ConductorRuns(server, "data")
    with opened(address, conductor=runs) as browser:
        page = text_of(browser.get("/runs").text)
        assert "does not answer, so only the runs of this machine are shown" in page
        assert "GET /workflow/search: no answer" in page
        assert [run["run_id"] for run in browser.get("/runs.json").json()["runs"]] == [here]
        assert browser.get(f"/run/{here}").status_code == 200
        assert browser.get("/branch").status_code == 200
        assert browser.get("/run/of-here").status_code == 502
        server.fault = None
        wait_for(lambda: len(runs.listed().runs) == 1, "the server's return")
        server.fault = "GET /workflow/search: no answer"
        wait_for(lambda: runs.listed().state.fault is not None, "its next absence")
        page = text_of(browser.get("/runs").text)
        assert "its runs are those of" in page
        assert "of-here" in page


def test_an_answer_that_is_not_understood_is_told(at_once, caplog):
    runs = ConductorRuns(Server(instance("odd", startTime="soon")), "data")
    state = runs.listed().state
    assert state.fault == "its answer was not understood (ValueError)"
    assert "the runs of http://conductor.example/api cannot be listed" in caplog.text


def test_where_no_server_listens_the_rest_is_shown(address, at_once):
    here = record_run(address, "train", {}, {})
    with (
        ConductorEngine(f"http://127.0.0.1:{free_port()}/api") as engine,
        opened(address, conductor=ConductorRuns(engine, "data")) as browser,
    ):
        page = text_of(browser.get("/runs").text)
        assert browser.get(f"/run/{here}").status_code == 200
        assert browser.get("/run/there").status_code == 502
    assert "does not answer, so only the runs of this machine are shown" in page
    assert here in page


def test_no_page_waits_for_a_slow_server(address, monkeypatch):
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.01)
    gate = threading.Event()

    class Slow(Server):
        def answer(self):
            gate.wait(60)

    with opened(address, conductor=ConductorRuns(Slow(instance("slow")), "data")) as browser:
        begun = time.monotonic()
        page = text_of(browser.get("/runs").text)
        assert time.monotonic() - begun < 30
        assert "has not answered yet" in page
        gate.set()
        wait_for(lambda: browser.get("/runs.json").json()["on_server"] == ["slow"], "the list")


def test_a_run_has_its_boxes_times_and_tries(address):
    tasks = [
        task("first", "FAILED", reason="ValueError: no rows (at app.py:3 in first)"),
        task("first", "COMPLETED", retry=1, result={"rows": 2}, started=4_000),
        task("then", "IN_PROGRESS", started=7_000),
    ]
    with opened(address, conductor=ConductorRuns(Server(instance("live", tasks=tasks)), "data")) as browser:
        found = browser.get("/run/live.json").json()
        page = browser.get("/run/live").text
    assert found["is_live"] is True
    assert found["server"] == Server.api_url
    assert [(box["name"], box["status"]) for box in found["boxes"]] == [
        ("first", "COMPLETED"),
        ("then", "IN_PROGRESS"),
    ]
    assert [(one["task"], one["number"], one["duration"]) for one in found["tries"][:2]] == [
        ("first", 1, 2.0),
        ("first", 2, 2.0),
    ]
    assert found["tries"][0]["reason"] == "ValueError: no rows (at app.py:3 in first)"
    assert found["tries"][0]["worker"] == "worker-7"
    assert [row["name"] for row in found["timeline"]["rows"]] == ["first", "then"]
    assert "/run/live/live" in page
    assert f"Conductor at <code>{Server.api_url}</code>" in page


def test_a_task_that_runs_has_the_last_lines_of_its_log_and_what_a_worker_here_does(address, monkeypatch):
    server = Server(instance("live", tasks=[task("first", "COMPLETED"), task("then", "IN_PROGRESS")]))
    server.logs = {"first-0": ["not shown"], "then-0": [f"row {n} {SECRET}" for n in range(30)]}
    job = JobStatus(
        workflow="live",
        task="then",
        reference="then",
        task_id="then-0",
        attempt=1,
        execution="x",
        phase="pre_guards",
        progress="1 of 2",
        begun_at=1.0,
        ending=None,
    )
    monkeypatch.setattr("perago.ui.instance.jobs_of", lambda _root: {"then-0": job})
    with opened(address, conductor=ConductorRuns(server, "data")) as browser:
        [first, then] = browser.get("/run/live.json").json()["tries"]
        page = text_of(browser.get("/run/live").text)
    assert first["lines"] == []
    assert [line.split()[1] for line in then["lines"]] == [str(number) for number in range(20, 30)]
    assert "pre guards: 1 of 2" in page
    assert "row 29" in page
    assert SECRET not in page


TOOK = Timing(took=1_500, phases={"materialize": 500, "body": 1_000})
HIT = Timing(took=20, phases={"decide": 10}, cached_from="c" * 40)


def test_tasks_that_have_ended_have_the_phases_that_their_worker_told(address):
    failed = task("first", "FAILED", reason="no rows")
    server = Server(instance("done", "FAILED", [failed, task("then", "COMPLETED"), task("last", "FAILED")]))
    server.logs = {
        "first-0": ["INFO rows", timing_line(TOOK)],
        "then-0": [timing_line(HIT)],
        "last-0": ["INFO one", f"INFO two\n{timing_line(HIT)}", timing_line(TOOK)],
    }
    with opened(address, conductor=ConductorRuns(server, "data")) as browser:
        [first, then, last] = browser.get("/run/done.json").json()["tries"]
        page = browser.get("/run/done").text
    assert [(one["name"], one["seconds"]) for one in first["phases"]] == [("materialize", 0.5), ("body", 1.0)]
    assert (first["cached_from"], then["cached_from"]) == (None, "c" * 40)
    assert [one["name"] for one in last["phases"]] == ["materialize", "body"]
    assert last["lines"] == ["INFO one", "INFO two", timing_line(HIT)]  # a body's line is a line
    assert 'class="phases"' in page
    assert '<span class="mark">cached</span>' in page


def test_a_log_that_was_read_is_not_read_again_but_after_a_rerun(address, monkeypatch):
    read = Counter()
    server = Server(instance("live", tasks=[task("first", "COMPLETED"), task("then", "COMPLETED")]))
    server.logs = {"first-0": [timing_line(TOOK)]}
    log_of = server.log_of

    def counted(task_id, *, timeout):
        read[task_id] += 1
        return log_of(task_id, timeout=timeout)

    server.log_of = counted
    runs = ConductorRuns(server, "data")
    run = ConductorWorkflow.of(server.instances["live"])
    for _ in range(3):
        assert runs.logs(run)["first-0"].timing == TOOK
        assert runs.logs(run)["then-0"].timing is None
    assert read == {"first-0": 1, "then-0": 1}
    again = [task("first", "COMPLETED", started=9_000)]
    assert runs.logs(ConductorWorkflow.of(instance("live", tasks=again)))["first-0"].timing == TOOK
    assert read["first-0"] == 2


def test_a_log_that_may_come_late_or_was_refused_is_read_again(address):
    now = round(time.time() * 1000)
    server = Server()
    runs = ConductorRuns(server, "data")
    just_ended = ConductorWorkflow.of(instance("live", tasks=[task("first", "COMPLETED", started=now)]))
    long_ago = ConductorWorkflow.of(instance("live", tasks=[task("then", "COMPLETED")]))
    assert runs.logs(just_ended)["first-0"].timing is None
    server.fault = "away"
    assert runs.logs(long_ago)["then-0"].timing is None
    server.fault, server.logs = None, {name: [timing_line(TOOK)] for name in ("first-0", "then-0")}
    assert runs.logs(just_ended)["first-0"].timing == TOOK
    assert runs.logs(long_ago)["then-0"].timing == TOOK


def test_a_page_reads_a_bounded_number_of_logs_and_the_next_one_goes_on(monkeypatch):
    monkeypatch.setattr(module, "READ_SECONDS", 60.0)
    count = module.MAX_TIMINGS + 5
    server = Server()
    server.logs = {f"t{n}-0": [timing_line(TOOK)] for n in range(count)}
    run = ConductorWorkflow.of(instance("done", "COMPLETED", [task(f"t{n}", "COMPLETED") for n in range(count)]))
    runs = ConductorRuns(server, "data")
    assert sum(one.timing is not None for one in runs.logs(run).values()) == module.MAX_TIMINGS
    assert sum(one.timing is not None for one in runs.logs(run).values()) == count
    monkeypatch.setattr(module, "READ_SECONDS", -1.0)
    assert not any(one.timing for one in ConductorRuns(server, "data").logs(run).values())


def test_what_waits_for_a_worker_has_no_time(address):
    server = Server(instance("live", tasks=[task("first", "SCHEDULED", started=0)]))
    with opened(address, conductor=ConductorRuns(server, "data")) as browser:
        found = browser.get("/run/live.json").json()
        assert browser.get("/run/live").status_code == 200
    assert [(one["started"], one["duration"], one["reason"]) for one in found["tries"]] == [(None, None, None)]
    assert found["timeline"]["rows"] == []


def test_a_run_that_neither_has_is_said(address):
    with opened(address, conductor=ConductorRuns(Server(), "data")) as browser:
        answer = browser.get("/run/none")
    assert answer.status_code == 404
    assert "neither this machine nor http://conductor.example/api has a run" in text_of(answer.text)


def test_secrets_are_masked_and_what_others_wrote_is_text(address, at_once):
    tasks = [task("first", "FAILED", reason=f"{HOSTILE} {SECRET}", result={SECRET: SECRET})]
    hostile = instance("live", "FAILED", tasks, reasonForIncompletion=f"{HOSTILE} {SECRET}", workflowName=HOSTILE)
    with opened(address, conductor=ConductorRuns(Server(hostile), "data")) as browser:
        for path in ("/runs", "/runs.json", "/run/live", "/run/live.json", "/run/live/live"):
            page = browser.get(path).text
            assert "alert(1)" in page
            assert SECRET not in page
            if not path.endswith("json"):
                assert "<script>alert" not in page
                assert "<img src=x" not in page


def test_a_followed_run_goes_on_while_the_server_is_away(address, monkeypatch):
    monkeypatch.setattr("perago.ui.follow.ANEW_SECONDS", 0.0)
    server = Server(instance("live", tasks=[task("first", "IN_PROGRESS")]))
    sent = iter(["", "it restarts", "", "end"])

    def get_workflow(workflow_id, *, timeout):
        match next(sent):
            case "end":
                server.instances[workflow_id] = instance("live", "COMPLETED", [task("first", "COMPLETED")])
            case "":
                pass
            case fault:
                raise EngineError(fault)
        return server.get_instance(workflow_id, timeout=timeout)

    server.get_workflow = get_workflow
    with (
        opened(address, conductor=ConductorRuns(server, "data")) as browser,
        browser.stream("GET", "/run/live/live") as answer,
    ):
        told = answer.read().decode()
    assert told.count("The server does not answer, so this may be old: it restarts") == 1
    assert "completed" in told
    assert told.endswith("event: ended\ndata: \n\n")


def test_two_lists_are_one():
    def run(name, second):
        started = None if second is None else datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
        return RunSummary(run_id=name, status="COMPLETED", started=started)

    here = [run("a", 9), run("damaged", None), run("b", 3)]
    there = [run("x", 10), run("y", 5), run("z", None)]
    assert [one.run_id for one in merged(here, there)] == ["x", "a", "damaged", "y", "b", "z"]
    assert [one.run_id for one in merged([], there)] == ["x", "y", "z"]
