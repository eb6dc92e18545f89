"""`perago start` on a real Conductor: at work, and what it refuses to start with."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import pytest

from landlock import needs_landlock
from perago.values.timing import timing_in
from servers.machine import slowness
from servers.proxy import FaultProxy
from start_support import TaskFlow, begin_stubborn_publication, in_body, lives, store_of, workspace_of
from waiting import wait_for

MODULE = "supervised_bodies"
ECHO = ("supervised_bodies:echo",)


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


def test_a_free_task_runs_from_start_to_completion_and_the_log_tells_of_it(flow, start):
    with start("-j", "2") as worker:
        worker.wait_ready()
        workflow = flow.start("light.echo", {"text": "over the wire"})
        assert flow.completed(workflow)["result"]["text"] == "over the wire"
        logging_flow = flow.start("light.log", {"text": "halfway"})
        flow.completed(logging_flow)
        task_id = flow.task(logging_flow)["taskId"]
        wait_for(lambda: "progress 5 of 10" in _task_log(flow, task_id), "the task's log")
        assert "counted rows=3" in _task_log(flow, task_id)
        entries = flow.api.expect("GET", f"/tasks/{task_id}/log")
        [timing] = [found for found in (timing_in(entry["log"]) for entry in entries) if found is not None]
        assert timing.took > 0
        assert set(timing.phases) <= {"parse", "body"}
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert f" INFO the complete log is in {worker.logs}/" in worker.told()
    assert ", 2 at a time; for workflows also perago.begin, perago.end, perago.gather, perago.map\n" in worker.told()
    assert worker.told().endswith(" INFO Stopped.\n")
    done = [line for line in worker.lines() if line.get("workflow") == workflow and line.get("status") == "COMPLETED"]
    assert done
    assert (done[0]["task"], done[0]["attempt"]) == ("light.echo", 0)
    of_attempts = [line for line in worker.lines() if line.keys() & {"execution", "task_id", "workflow", "phase"}]
    named = {"workflow", "task", "attempt", "phase", "task_id", "execution", "worker"}
    assert all(named <= line.keys() for line in of_attempts), of_attempts
    assert {line["workflow"] for line in of_attempts} == {workflow, logging_flow}
    assert any(line["message"] == "counted rows=3" and line["phase"] == "body" for line in worker.lines())
    assert all("hunter2" not in path.read_text() for path in worker.logs.iterdir())


@needs_landlock
def test_a_worker_with_a_sandbox_says_so_and_its_bodies_are_confined(flow, start):
    with start(modules=ECHO, PERAGO_SANDBOX="enforce") as worker:
        worker.wait_ready()
        assert flow.completed(flow.start("light.echo", {"text": "fine"}))["result"]["text"] == "fine"
    assert " INFO bodies run with sandbox 'enforce' unless their tasks say otherwise\n" in worker.told()
    with start(modules=ECHO, PERAGO_SANDBOX="enforced") as worker:
        assert worker.wait() == 2
    assert "must be 'enforce' or 'report' or 'off', not 'enforced'" in worker.told()
    with start("--execution-mode", "thread", modules=ECHO, PERAGO_SANDBOX="enforce") as worker:
        assert worker.wait() == 2
    assert "PERAGO_SANDBOX=report" in worker.told()


def test_while_there_is_work_the_queue_is_looked_at_many_times_a_second(flow, start, conductor_server):
    """Every 25 ms; 250 ms apart are polls of a worker that has been idle for long."""
    with FaultProxy(conductor_server.api_url) as door, start(url=f"{door.url}/api", modules=ECHO) as worker:

        def polls():
            return sum("/tasks/poll/" in seen.target and "light.echo" in seen.target for seen in door.seen())

        worker.wait_ready()
        flow.completed(flow.start("light.echo"))
        began, before = time.monotonic(), polls()
        wait_for(lambda: polls() >= before + 40, "40 polls", 40 * 0.2)
        assert time.monotonic() - began >= 40 * 0.025 * 0.9


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_malformed_task_fails_with_the_reason_and_stops_nothing(flow, start, mode):
    with start("--execution-mode", mode, modules=ECHO) as worker:
        worker.wait_ready()
        workflow = flow.start("light.echo", {"seconds": "no number"})
        assert flow.api.wait_for_end(workflow, 30)["status"] == "FAILED"  # at once: no retry can help
        (only,) = flow.api.tasks(workflow, "only")
        assert only["status"] == "FAILED_WITH_TERMINAL_ERROR"
        assert "seconds" in only["reasonForIncompletion"]
        assert flow.completed(flow.start("light.echo", {"text": "fine"}))["result"]["text"] == "fine"


@pytest.mark.parametrize(
    ("way", "cause"), [("segfault", "SIGSEGV"), ("killed", "ran out of memory"), ("exit", "exited with code 3")]
)
def test_a_body_that_takes_its_process_along_is_reported_within_two_seconds(flow, start, way, cause):
    with start() as worker:
        worker.wait_ready()
        workflow = flow.start("light.die", {"text": way})
        wait_for(lambda: flow.api.tasks(workflow, "only")[0]["status"] == "FAILED", "its failure")
        first = flow.api.tasks(workflow, "only")[0]
        assert cause in first["reasonForIncompletion"]
        assert first["endTime"] - first["startTime"] < 2000 * slowness()
        flow.api.terminate(workflow)
        assert flow.completed(flow.start("light.echo", {"text": "again"}))["result"]["text"] == "again"


def test_with_json_the_whole_log_is_on_stdout_too(flow, start):
    with start("--json") as worker:
        worker.wait_ready()
        workflow = flow.start("light.echo", {"text": "for a log collector"})
        flow.completed(workflow)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    printed = [json.loads(line) for line in worker.output.read_text().splitlines()]
    assert printed == worker.lines()
    assert any(line.get("workflow") == workflow and line.get("status") == "COMPLETED" for line in printed)
    assert worker.told() == ""


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_with_json_stdout_holds_the_log_alone_whatever_bodies_print(flow, start, mode):
    with start("--json", "--execution-mode", mode, modules=(f"{MODULE}:print_it",)) as worker:
        worker.wait_ready()
        workflow = flow.start("light.print", {"text": "somebody's noise"})
        flow.completed(workflow)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    printed = [json.loads(line) for line in worker.output.read_text().splitlines()]
    of_task = [line for line in printed if line.get("workflow") == workflow]
    assert any(line.get("status") == "COMPLETED" for line in of_task)
    noise = [line["message"] for line in of_task if line["logger"] == "perago.task.light.print"]
    assert noise + worker.told().splitlines() == ["somebody's noise"] * 2
    assert bool(noise) == (mode == "process")  # in a thread nobody can tell whose it is


def test_a_body_that_holds_the_interpreter_past_its_response_timeout_keeps_its_lease(flow, start):
    with start() as worker:
        worker.wait_ready()
        workflow = flow.start("light.hold_the_lock_on_a_short_lease", {"seconds": 6})
        while (task := flow.task(workflow))["status"] in ("SCHEDULED", "IN_PROGRESS"):
            flow.api.decide(workflow)  # the server notices a timeout when it looks
            time.sleep(0.1)
        assert task["outputData"]["result"]["text"] == "held"
        assert len(flow.api.tasks(workflow, "only")) == 1


# ---------------------------------------------------------------- cancellation


def test_a_terminated_workflow_ends_its_body_within_ten_seconds(flow, start, tmp_path):
    with start() as worker:
        worker.wait_ready()
        path = tmp_path / "pid"
        workflow = flow.start("light.stubborn", {"path": str(path)})
        wait_for(lambda: path.exists() and path.read_text() != "", "the body")
        body = psutil.Process(int(path.read_text()))
        began = time.monotonic()
        flow.api.terminate(workflow)
        wait_for(lambda: not lives(body), "the body's end", 10)
        assert time.monotonic() - began < 10 * slowness()
        assert flow.completed(flow.start("light.echo", {"text": "again"}))["result"]["text"] == "again"
        assert flow.task(workflow)["status"] == "CANCELED"


def test_a_killed_publication_leaves_no_files(flow, start, tmp_path):
    with start() as worker:
        worker.wait_ready()
        workflow, workspace = begin_stubborn_publication(flow, worker, tmp_path / "where")
        assert workspace.exists()
        flow.api.terminate(workflow)
        wait_for(lambda: [entry.name for entry in worker.root.iterdir()] == ["supervisor"], "the files to go", 15)


# ---------------------------------------------------------------- publishing


def test_a_workspace_task_publishes_and_completes_with_the_commit(flow, start):
    with start() as worker:
        worker.wait_ready()
        before = workspace_of(worker)
        output = flow.completed(flow.start("space.append", {"text": "one"}, workspace=before))
        assert output["workspace"] == {**before, "ref": store_of(worker).branch_head("main")}
        entry = next(iter(store_of(worker).log(output["workspace"]["ref"], 1)))
        assert entry.stamp.task == "space.append"
        assert entry.stamp.worker == worker.status()["worker"]["worker_id"]


def test_a_zombie_that_was_stopped_past_its_lease_changes_nothing(flow, start, tmp_path):
    """SIGSTOP a worker past its lease, let the retry finish elsewhere, SIGCONT: its result changes nothing."""
    with start() as zombie:
        zombie.wait_ready()
        params = {"text": "once", "seconds": 4}
        workflow = flow.start("space.append_on_a_short_lease", params, workspace=workspace_of(zombie))
        flow.wait_status(workflow, "IN_PROGRESS")
        first = flow.task(workflow)["taskId"]
        wait_for(lambda: in_body(zombie, first), "the body")
        family = [zombie.pid, *(child.pid for child in psutil.Process(zombie.pid).children(recursive=True))]
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        try:
            _wait_for_timeout(flow, workflow, first)
            with start(directory=tmp_path / "other", repository=zombie.repository) as other:
                other.wait_ready()
                output = flow.completed(workflow)
        finally:
            for pid in reversed(family):
                os.kill(pid, signal.SIGCONT)
        wait_for(lambda: _is_idle(zombie), "the zombie to be through", 40)
        assert store_of(zombie).branch_head("main") == output["workspace"]["ref"]
        assert _content(zombie, output["workspace"]["ref"]) == "once\n"
        assert flow.task(workflow)["status"] == "COMPLETED"
        assert not any(line.get("delivered") == "recorded" for line in zombie.lines())


# ---------------------------------------------------------------- what it refuses to start with


def refused(worker):
    worker.start()
    assert worker.wait(90) == 2, worker.told()
    return worker.told()


def test_an_unreachable_server_is_refused(start):
    told = refused(start(url="http://127.0.0.1:9/api"))
    assert "Conductor server cannot be used" in told
    assert "CONDUCTOR_SERVER_URL" in told


def test_a_task_that_is_not_registered_is_refused(start, tmp_path):
    (tmp_path / "unregistered_tasks.py").write_text(
        f"import supervised_bodies as b\nfrom perago import task\n\n\n"
        f"@task(name='unregistered.{time.time_ns()}', owner_email='t@example.org')\n"
        f"def unregistered(params: b.Params) -> b.Answer:\n    return b.Answer()\n"
    )
    told = refused(start(modules=("unregistered_tasks",)))
    assert "not registered at http" in told
    assert "perago register unregistered_tasks" in told


OWN_MODULE = """
from supervised_bodies import Answer, Params
from perago import task

@task(name="light.registered_otherwise", owner_email="tests@example.org")
def registered_otherwise(params: Params) -> Answer:
    return Answer()
"""


def test_a_task_that_is_registered_otherwise_is_refused_and_the_difference_shown(flow, start, tmp_path, monkeypatch):
    """A task of its own: tests beside this one register those of `supervised_bodies` as they are declared."""
    (tmp_path / "own_module.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    TaskFlow(flow.api, "own_module", retryCount=7)
    told = refused(start(modules=("own_module",)))
    assert '-  "retryCount": 7' in told
    assert '+  "retryCount": 3' in told


def test_a_module_that_does_not_import_is_refused(start, tmp_path):
    (tmp_path / "broken_module.py").write_text("import no_such_thing\n")
    told = refused(start("-j", "2", modules=("broken_module",)))
    assert told.count("no_such_thing") == 1, told


def test_bad_settings_are_refused(start):
    told = refused(start(PERAGO_SHUTDOWN_FORCE_KILL_AFTER="soon"))
    assert "PERAGO_SHUTDOWN_FORCE_KILL_AFTER" in told


def test_a_second_worker_on_the_same_root_is_refused(start):
    with start() as worker:
        worker.wait_ready()
        told = refused(start())
        assert "another worker is running in" in told
        assert str(worker.pid) in told


# ---------------------------------------------------------------- perago status


def test_status_shows_what_each_slot_does(flow, start):
    with start("-j", "2") as worker:
        worker.wait_ready()
        workflow = flow.start("light.heed", {"seconds": 30})

        def shown():
            return worker.perago_status()

        wait_for(lambda: "running" in shown()[1] and "1 of 10" in shown()[1], "the status")
        code, text = shown()
        assert code == 0
        assert f"light.heed (workflow {workflow}, attempt 0)" in text
        assert "body, 1 of 10 (10 %): " in text
        code, text = worker.perago_status("--json")
        found = json.loads(text)
        assert found["running"]
        busy = [slot for slot in found["worker"]["slots"] if slot["job"] is not None]
        assert [slot["job"]["workflow"] for slot in busy] == [workflow]
        flow.api.terminate(workflow)
        worker.signal(signal.SIGTERM)
        worker.wait()
    code, text = worker.perago_status("--json")
    assert code == 1
    assert not json.loads(text)["running"]


# ---------------------------------------------------------------- helpers


def _content(worker, ref):
    directory = worker.logs / ref
    store_of(worker).export(ref, "/", directory)
    return (directory / "lines.txt").read_text()


def _is_idle(worker):
    return all(slot["job"] is None for slot in worker.status()["worker"]["slots"])


def _wait_for_timeout(flow, workflow, task_id):
    """The server notices it in its own sweep, or when it is told to look."""

    def timed_out():
        flow.api.decide(workflow)
        return flow.api.task(task_id)["status"] == "TIMED_OUT"

    wait_for(timed_out, "the response timeout", 60)


def _task_log(flow, task_id):
    return "\n".join(entry["log"] for entry in flow.api.expect("GET", f"/tasks/{task_id}/log") or [])
