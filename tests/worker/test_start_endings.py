"""`perago start` on a real Conductor: its end, by signals and by kills, and who goes on with its results."""

from __future__ import annotations

import signal
import time
from collections import Counter

import psutil
import pytest

from servers.faults import Delay, Refuse, Rule
from servers.machine import slowness
from servers.proxy import FaultProxy
from start_support import begin_stubborn_publication, drain, in_body, lives
from waiting import wait_for

MODULE = "supervised_bodies"
ECHO = ("supervised_bodies:echo",)


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


def test_sigterm_under_load_finishes_or_gives_back_every_task(flow, start, tmp_path):
    with start("-j", "2", PERAGO_SHUTDOWN_FORCE_KILL_AFTER="2s") as worker:
        worker.wait_ready()
        long = [flow.start("light.stubborn", {"path": str(tmp_path / "pid")})]
        wait_for((tmp_path / "pid").exists, "the long body")
        short = [flow.start("light.heed", {"seconds": 0.3}) for _ in range(12)]
        flow.completed(short[0])
        began = time.monotonic()
        family = psutil.Process(worker.pid).children(recursive=True)
        worker.signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        assert time.monotonic() - began < 15 * slowness()
        assert not [process for process in family if lives(process)]
    states = [flow.task(workflow)["status"] for workflow in long + short]
    assert states[0] == "SCHEDULED"
    assert set(states) <= {"COMPLETED", "SCHEDULED"}
    given_back = [line for line in worker.lines() if line["message"].startswith("given back")]
    assert any(line["workflow"] == long[0] for line in given_back)
    for workflow in long + short:
        if flow.task(workflow)["status"] == "SCHEDULED":
            flow.api.terminate(workflow)


def test_sigterm_while_tasks_come_along_with_reports_strands_none(flow, start):
    """With one type of tasks, and many of them, slots take the next one with each report."""
    with start("-j", "2", modules=(f"{MODULE}:echo",)) as worker:
        worker.wait_ready()
        workflows = [flow.start("light.echo", {"text": str(number)}) for number in range(40)]
        wait_for(lambda: sum(_is_completed(flow, workflow) for workflow in workflows) >= 4, "the first of them")
        worker.signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    states = Counter(flow.task(workflow)["status"] for workflow in workflows)
    assert states["COMPLETED"] + states["SCHEDULED"] == len(workflows), states
    for workflow in workflows:
        if not _is_completed(flow, workflow):
            flow.api.terminate(workflow)


def test_a_poll_under_way_at_sigterm_is_finished_and_its_task_given_back(flow, start, conductor_server):
    with (
        FaultProxy(conductor_server.api_url.removesuffix("/api")) as proxy,
        start(url=f"{proxy.url}/api", modules=(f"{MODULE}:echo",)) as worker,
    ):
        worker.wait_ready()
        held = proxy.add(Rule(Delay(3.0), path="poll/batch"))
        wait_for(lambda: held.fired, "a poll to be under way")
        workflow = flow.start("light.echo", {"text": "late"})
        flow.wait_status(workflow, "SCHEDULED")
        worker.signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    task = flow.task(workflow)
    assert (task["status"], task["pollCount"]) == ("SCHEDULED", 1)
    flow.api.terminate(workflow)


def test_a_second_signal_ends_at_once_and_leaves_no_process(flow, start, tmp_path):
    with start() as worker:
        worker.wait_ready()
        path = tmp_path / "pid"
        workflow = flow.start("light.stubborn", {"path": str(path)})
        wait_for(path.exists, "the body")
        family = psutil.Process(worker.pid).children(recursive=True)
        drain(worker)
        began = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait(20) == 130
        assert time.monotonic() - began < 8 * slowness()
        assert not [process for process in family if lives(process)]
        flow.wait_status(workflow, "SCHEDULED", 5)
        flow.api.terminate(workflow)


@pytest.mark.parametrize("arrives", [True, False], ids=["the answer is late", "it never arrives"])
def test_a_report_without_an_answer_delays_no_end_and_the_next_worker_sees_to_it(
    flow, start, conductor_server, arrives
):
    with FaultProxy(conductor_server.api_url) as door, start(url=f"{door.url}/api", modules=ECHO) as worker:
        worker.wait_ready()
        fault = Delay(600.0, answer=arrives)
        held = door.add(Rule(fault, method="POST", path=r"/api/tasks(/update-v2)?$", times=None))
        workflow = flow.start("light.echo", {"text": "slow"})
        if arrives:
            flow.wait_status(workflow, "COMPLETED")
        wait_for(lambda: held.matched, "the report")
        drain(worker)
        began = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait(60) == 130
        assert time.monotonic() - began < 20 * slowness()
        assert len(_kept_results(worker)) == 1
    with start(modules=ECHO, repository=worker.repository) as following:
        following.wait_ready()
        assert flow.completed(workflow)["result"]["text"] == "slow"
        wait_for(lambda: not _kept_results(following), "nothing to wait any more")
    assert [task["retryCount"] for task in flow.api.tasks(workflow, "only")] == [0]


@pytest.mark.parametrize("is_current", [True, False])
def test_a_result_that_a_killed_worker_kept_is_delivered_or_found_void(flow, start, conductor_server, is_current):
    with FaultProxy(conductor_server.api_url) as door, start(url=f"{door.url}/api", modules=ECHO) as worker:
        worker.wait_ready()
        door.add(Rule(Refuse(503), method="POST", path=r"/api/tasks(/update-v2)?$", times=None))
        workflow = flow.start("light.echo", {"text": "kept"})
        wait_for(lambda: _kept_results(worker), "the result to be kept")
        worker.signal(signal.SIGKILL)
        worker.wait()
    if not is_current:
        flow.api.terminate(workflow)
    with start(modules=ECHO, repository=worker.repository) as following:
        following.wait_ready()
        wait_for(lambda: not _kept_results(following), "nothing to wait any more")
        (task,) = flow.api.tasks(workflow, "only")
        assert (task["status"], task["pollCount"]) == ("COMPLETED" if is_current else "CANCELED", 1)
        about = "a spooled result is"
        wait_for(lambda: any(about in line["message"] for line in following.lines()), "the log to tell")
        told = [line for line in following.lines() if about in line["message"]]
        assert [line["workflow"] for line in told] == [workflow]
        assert ("recorded" if is_current else "void") in told[0]["message"]


def test_an_idle_worker_ends_at_once_on_sigterm(start):
    with start("-j", "2") as worker:
        worker.wait_ready()
        family = psutil.Process(worker.pid).children(recursive=True)
        began = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        assert time.monotonic() - began < 5 * slowness()
        assert not [process for process in family if lives(process)]


def test_a_supervisor_that_is_killed_takes_everything_with_it_and_the_next_one_cleans_up(flow, start, tmp_path):
    with start() as worker:
        worker.wait_ready()
        workflow, workspace = begin_stubborn_publication(flow, worker, tmp_path / "where")
        family = psutil.Process(worker.pid).children(recursive=True)
        worker.signal(signal.SIGKILL)
        worker.wait()
        wait_for(lambda: not [process for process in family if lives(process)], "its processes to go", 10)
        assert workspace.exists()
        flow.api.terminate(workflow)
        worker.start()
        worker.wait_ready()
        wait_for(lambda: not workspace.parent.exists(), "the sweep")


def test_threads_end_in_good_order_too(flow, start):
    with start("-j", "2", "--execution-mode", "thread", PERAGO_SHUTDOWN_FORCE_KILL_AFTER="20s") as worker:
        worker.wait_ready()
        workflow = flow.start("light.sleep_async", {"seconds": 3})
        wait_for(lambda: in_body(worker, flow.task(workflow)["taskId"]), "the body")
        worker.signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        assert flow.task(workflow)["status"] == "COMPLETED"


def test_a_thread_that_cannot_be_ended_is_given_back_and_the_process_ends_over_it(flow, start):
    with start("--execution-mode", "thread") as worker:
        worker.wait_ready()
        workflow = flow.start("light.sleep", {"seconds": 600})
        # Not only handed out: what no slot has yet is given back, and the worker through at the first signal.
        wait_for(lambda: in_body(worker, flow.task(workflow)["taskId"]), "the body")
        drain(worker)
        began = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait(20) == 130
        assert time.monotonic() - began < 10 * slowness()
        flow.wait_status(workflow, "SCHEDULED", 5)
        flow.api.terminate(workflow)


@pytest.mark.parametrize("task", ["light.leave_thread", "light.leave_thread_async", "light.block_loop_later"])
def test_what_a_body_has_left_behind_in_a_thread_does_not_keep_the_worker(flow, start, task):
    with start("--execution-mode", "thread") as worker:
        worker.wait_ready()
        assert flow.completed(flow.start(task, {"seconds": 600}))["result"]["text"] == "left"
        worker.signal(signal.SIGTERM)
        assert worker.wait(60) == 0


# ---------------------------------------------------------------- helpers


def _kept_results(worker):
    return list((worker.root / "supervisor" / "undelivered").glob("*.json"))


def _is_completed(flow, workflow):
    return flow.task(workflow)["status"] == "COMPLETED"
