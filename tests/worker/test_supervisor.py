"""A worker at work: attempts in warm executors, and what ends those."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from perago.errors import RuntimeConfigError, TaskDefinitionError
from perago.record import TryStatus
from perago.testing.worker_engine import MemoryWorkerEngine
from perago.worker import supervisor
from perago.worker.endings import Cause
from perago.worker.lock import only_supervisor
from perago.worker.slot import SlotState, Wear
from perago.worker.status import read_status

sys.path.insert(0, str(Path(__file__).parent))
from supervised import Supervised, wait_for


@pytest.fixture
def supervise(bodies, tmp_path):
    """Makes workers; they begin when entered. Takes options of WorkerSettings."""
    return lambda **options: Supervised(tmp_path / "root", **options)


@pytest.fixture(params=["process", "thread"])
def mode(request):
    return request.param


# ---------------------------------------------------------------- at work


def test_tasks_run_in_one_warm_executor_each_after_the_other(supervise):
    with supervise() as worker:
        names = [worker.schedule("light.echo", {"text": str(number)}) for number in range(10)]
        answers = [worker.completed(name) for name in names]
        assert [answer["text"] for answer in answers] == [str(number) for number in range(10)]
        assert len({answer["pid"] for answer in answers}) == 1
        assert answers[0]["pid"] != os.getpid()


ECHO = ["supervised_bodies:echo"]


def test_while_many_wait_a_slot_takes_its_next_task_with_its_report(supervise, mode):
    with supervise(mode=mode, targets=ECHO) as worker:
        names = [worker.schedule("light.echo", {"text": str(number)}) for number in range(30)]
        assert [worker.completed(name)["text"] for name in names] == [str(number) for number in range(30)]
        assert worker.engine.taken_along
        assert worker.completed(worker.schedule("light.echo", {"text": "later"}))["text"] == "later"


def test_with_several_types_each_task_is_polled_for(supervise):
    with supervise() as worker:
        for name in [worker.schedule("light.echo") for _ in range(10)]:
            worker.completed(name)
        assert worker.engine.taken_along == []


class DrainsAtReport(MemoryWorkerEngine):
    """An engine whose worker is told to drain while a report is under way that takes a task along."""

    drain = None

    def report_and_take(self, attempt, result):
        following = super().report_and_take(attempt, result)
        if following is not None:
            self.drain()
        return following


def test_a_task_that_came_along_is_given_back_by_a_worker_that_drains(supervise):
    engine = DrainsAtReport()
    with supervise(targets=ECHO, engine=engine) as worker:
        engine.drain = worker.supervisor.drain
        names = [worker.schedule("light.echo") for _ in range(10)]
        wait_for(lambda: engine.given_back, "a task to be given back")
        assert engine.given_back == engine.taken_along
        wait_for(lambda: worker.supervisor.is_through, "the worker to be through")
        ends = [worker.tries(name)[-1].status for name in names]
        assert set(ends) == {TryStatus.COMPLETED, TryStatus.SCHEDULED}


def test_no_more_tasks_are_taken_than_there_are_slots(supervise):
    with supervise(slots=2) as worker:
        wait_for(lambda: sum(slot.is_free for slot in worker.supervisor._slots) == 2, "both slots")
        names = [worker.schedule("light.heed", {"seconds": 0.3}) for _ in range(6)]
        most = 0
        while any(worker.tries(name)[-1].status.is_live for name in names):
            at_work = sum(worker.tries(name)[-1].status is TryStatus.IN_PROGRESS for name in names)
            most = max(most, at_work)
            time.sleep(0.01)
        assert most == 2


def test_in_threads_too(supervise):
    with supervise(mode="thread", slots=2) as worker:
        assert worker.completed(worker.schedule("light.echo", {"text": "here"})) == {"text": "here", "pid": os.getpid()}
        assert worker.completed(worker.schedule("light.sleep_async", {"seconds": 0.05}))["pid"] == os.getpid()


def test_a_malformed_task_fails_with_a_reason_and_stops_nothing(supervise, mode):
    with supervise(mode=mode) as worker:
        bad = worker.schedule("light.echo", input_data={"params": {"text": ["no", "text"]}}, retries=0)
        assert "params.text" in worker.reason(bad)
        worse = worker.schedule("light.echo", input_data={"parameters": 1}, retries=0)
        assert "params" in worker.reason(worse)
        assert worker.completed(worker.schedule("light.echo", {"text": "fine"}))["text"] == "fine"


def test_a_body_that_raises_keyboard_interrupt_fails_its_task_only(supervise, mode):
    with supervise(mode=mode) as worker:
        name = worker.schedule("light.die", {"text": "interrupt"}, retries=0)
        assert "KeyboardInterrupt" in worker.reason(name)
        assert worker.completed(worker.schedule("light.echo", {"text": "fine"}))["text"] == "fine"


class LooksAtLeases(MemoryWorkerEngine):
    """An engine that writes down which leases of a task were stopped when its result came."""

    def __init__(self):
        super().__init__()
        self.stopped = []

    def report_result(self, attempt, result):
        self.stopped += [lease.is_stopped for lease in self.leases.get(attempt.task_id, [])]
        super().report_result(attempt, result)


def test_leases_are_held_and_stopped_before_the_report(supervise, mode):
    engine = LooksAtLeases()
    with supervise(mode=mode, engine=engine) as worker:
        worker.completed(worker.schedule("light.heed", {"seconds": 4}))
        assert engine.stopped == [True]


def test_an_attempt_that_is_soon_over_costs_no_heartbeat(supervise, mode):
    with supervise(mode=mode) as worker:
        worker.completed(worker.schedule("light.echo"))
        assert worker.engine.leases == {}


def test_a_late_lease_is_taken_up_anew(supervise):
    with supervise() as worker:
        name = worker.schedule("light.heed", {"seconds": 60})
        task_id = worker.in_body(name)
        wait_for(lambda: task_id in worker.engine.leases, "the lease")
        leases = worker.engine.leases[task_id]
        leases[0].is_late = True
        wait_for(lambda: len(leases) == 2, "another lease")
        assert leases[0].is_stopped
        assert not leases[1].is_stopped


def test_what_a_body_logs_stands_in_the_log_alike_in_both_modes(supervise, mode, caplog):
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, "perago.task")
    with supervise(mode=mode) as worker:
        name = worker.schedule("light.log", {"text": "halfway"})
        worker.completed(name)
        (line,) = [
            record.perago_fields
            for record in caplog.records
            if record.getMessage() == "counted rows=3" and hasattr(record, "perago_fields")
        ]
        assert (line["event"], line["fields"], line["phase"]) == ("counted", {"rows": 3}, "body")
        assert line["task_id"] == worker.tries(name)[-1].task_id


def test_lines_and_progress_of_a_body_reach_the_tasks_log_without_secrets(supervise, mode):
    with supervise(mode=mode) as worker:
        name = worker.schedule("light.log", {"text": "halfway"})
        worker.completed(name)
        task_id = worker.tries(name)[-1].task_id
        wait_for(lambda: "progress" in "".join(worker.engine.logs.get(task_id, [])), "the log")
        text = "\n".join(worker.engine.logs[task_id])
        assert "progress 5 of 10 (50 %): halfway" in text
        if mode == "process":  # this process's own log levels hold in threads
            assert "counted rows=3" in text
        assert "is weak" in text
        assert "hunter2" not in text


def test_what_a_body_changes_of_its_process_the_next_one_does_not_find(supervise):
    with supervise() as worker:
        first = worker.completed(worker.schedule("light.change_its_process"))
        second = worker.completed(worker.schedule("light.change_its_process"))
        assert first == second


# ---------------------------------------------------------------- executors that die


@pytest.mark.parametrize(
    ("way", "cause"),
    [
        ("exit", "exited with code 3"),
        ("segfault", "SIGSEGV"),
        ("killed", "SIGKILL"),
        ("corrupt", "no message"),
    ],
)
def test_a_task_whose_executor_dies_is_reported_within_two_seconds_with_the_cause(supervise, way, cause):
    with supervise() as worker:
        worker.completed(worker.schedule("light.echo"))
        began = time.monotonic()
        name = worker.schedule("light.die", {"text": way}, retries=0)
        assert cause in worker.reason(name)
        assert time.monotonic() - began < 2
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


def test_what_an_executor_was_just_removing_goes_when_it_has_died(supervise):
    """It has another name then than the attempt's directory, and for a moment no marker."""
    with supervise() as worker:
        worker.completed(worker.schedule("light.echo"))
        left = worker.root / f".trash-{1:032x}"
        (left / "workspace").mkdir(parents=True)
        worker.reason(worker.schedule("light.die", {"text": "killed"}, retries=0))
        wait_for(lambda: not left.exists(), "the end of what was half removed")


def test_a_body_that_is_out_of_memory_fails(supervise):
    with supervise() as worker:
        name = worker.schedule("light.die", {"text": "memory"}, retries=0)
        reason = worker.reason(name)
        assert "MemoryError" in reason or "SIGSEGV" in reason or "SIGABRT" in reason or "SIGKILL" in reason
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


def test_an_idle_executor_that_is_killed_is_replaced(supervise):
    with supervise() as worker:
        first = worker.completed(worker.schedule("light.echo"))["pid"]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(first), "the executor's end")
        assert worker.completed(worker.schedule("light.echo"))["pid"] != first


def test_a_stopped_executor_is_ended_like_any_other(supervise):
    with supervise() as worker:
        name = worker.schedule("light.heed", {"seconds": 60})
        pid = worker.body_pid(name)
        os.kill(pid, signal.SIGSTOP)
        worker.engine.tasks.terminate(worker.where)
        wait_for(lambda: not psutil.pid_exists(pid), "the executor's end", 15)


def test_executors_are_replaced_after_so_many_attempts(supervise):
    with supervise(wear=Wear(max_attempts=2)) as worker:
        pids = [worker.completed(worker.schedule("light.echo"))["pid"] for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]


def test_executors_that_have_grown_are_replaced(supervise):
    with supervise(wear=Wear(max_memory_bytes=1)) as worker:
        pids = {worker.completed(worker.schedule("light.echo"))["pid"] for _ in range(2)}
        assert len(pids) == 2


def test_executors_that_die_in_a_row_are_replaced_after_longer_and_longer_pauses(supervise):
    with supervise() as worker:
        (slot,) = worker.supervisor._slots
        wait_for(lambda: slot.is_free, "the executor")
        for pause in (1, 2):
            for process in worker.executors():
                process.kill()
            wait_for(lambda: slot.state is SlotState.WAITING, "the pause")
            began = slot.since
            wait_for(lambda: slot.state is SlotState.STARTING, "its end")
            assert slot.since - began >= pause - 0.1
            wait_for(lambda: slot.is_free, "another executor")
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


def test_executors_load_no_client_of_the_engine(supervise):
    with supervise() as worker:
        told = worker.completed(worker.schedule("light.tell_modules"))["text"].split()
        assert "perago.worker.executor_main" in told
        assert [name for name in told if name.startswith(("perago.engines.conductor", "aiohttp"))] == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: no other system tells of descendants that went away")
def test_what_a_body_leaves_running_is_ended_after_it(supervise, tmp_path, is_alive):
    with supervise() as worker:
        path = tmp_path / "pid"
        worker.completed(worker.schedule("light.leave_a_process", {"path": str(path)}))
        pid = int(path.read_text())
        wait_for(lambda: not is_alive(pid), "the stray's end")
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


# ---------------------------------------------------------------- cancellation


class CountsReports(MemoryWorkerEngine):
    """An engine that counts what it is sent of a task: what comes for one that has ended it drops, and nobody sees."""

    def __init__(self):
        super().__init__()
        self.reports = Counter()

    def report_result(self, attempt, result):
        self.reports[attempt.task_id] += 1
        super().report_result(attempt, result)

    def report_and_take(self, attempt, result):
        self.reports[attempt.task_id] += 1
        return super().report_and_take(attempt, result)


def test_a_cancelled_body_is_told_and_nothing_is_reported(supervise, mode, tmp_path):
    engine = CountsReports()
    with supervise(mode=mode, engine=engine) as worker:
        path = tmp_path / "ended"
        name = worker.schedule("light.heed", {"seconds": 60, "path": str(path)})
        worker.in_body(name)
        worker.engine.tasks.terminate(worker.where)
        wait_for(path.exists, "the body's end", 10)
        wait_for(lambda: not worker.jobs(), "the job's end")
        assert path.read_text() == "cancelled"
        assert worker.tries(name)[-1].status is TryStatus.CANCELED
        again = worker.schedule("light.echo", {"text": "again"})
        assert worker.completed(again)["text"] == "again"
        assert dict(engine.reports) == {worker.tries(again)[-1].task_id: 1}


def test_a_cancelled_body_that_does_not_look_is_interrupted_and_cleans_up(supervise, tmp_path):
    with supervise() as worker:
        path = tmp_path / "tidied"
        name = worker.schedule("light.tidy", {"path": str(path)})
        worker.in_body(name)
        worker.engine.tasks.terminate(worker.where)
        wait_for(path.exists, "the body to clean up", 10)
        wait_for(lambda: not worker.jobs(), "the job's end")
        assert worker.tries(name)[-1].status is TryStatus.CANCELED
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


def test_a_cancelled_body_keeps_the_task_from_nobody_while_it_goes_on(supervise, mode):
    """A heartbeat of it would extend another execution's lease, and could undo that one's result."""
    with supervise(mode=mode) as worker:
        name = worker.schedule("light.sleep", {"seconds": 8})
        task_id = worker.in_body(name)
        wait_for(lambda: task_id in worker.engine.leases, "the lease")
        (lease,) = worker.engine.leases[task_id]
        worker.engine.tasks.terminate(worker.where)
        wait_for(lambda: lease.is_stopped, "the end of its heartbeats", 7)
        assert worker.jobs()
        lease.is_late = True
        wait_for(lambda: not worker.jobs(), "the job's end")
        assert worker.engine.leases[task_id] == [lease]


def test_a_cancelled_coroutine_in_a_thread_is_cancelled(supervise):
    with supervise(mode="thread") as worker:
        name = worker.schedule("light.sleep_async", {"seconds": 600})
        worker.in_body(name)
        worker.engine.tasks.terminate(worker.where)
        wait_for(lambda: not worker.jobs(), "the job's end", 10)
        assert worker.tries(name)[-1].status is TryStatus.CANCELED


@pytest.mark.parametrize("task", ["light.stubborn", "light.hold_the_lock"])
def test_a_cancelled_body_that_heeds_nothing_is_dead_within_ten_seconds(supervise, task, is_alive):
    with supervise() as worker:
        name = worker.schedule(task, {"seconds": 600})
        pid = worker.body_pid(name)
        began = time.monotonic()
        worker.engine.tasks.terminate(worker.where)
        wait_for(lambda: not is_alive(pid), "the body's end", 10)
        assert time.monotonic() - began < 10
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


def test_a_retry_that_took_over_ends_the_try_before_it(supervise, tmp_path):
    with supervise(slots=2) as worker:
        path = tmp_path / "ended"
        name = worker.schedule("light.heed", {"seconds": 5, "path": str(path)})
        first = worker.in_body(name)
        worker.engine.tasks.timeout(first)
        assert worker.completed(name)["text"] == "done"
        assert [entry.status for entry in worker.tries(name)] == [TryStatus.TIMED_OUT, TryStatus.COMPLETED]


# ---------------------------------------------------------------- an engine that goes away


def test_an_engine_that_is_away_for_a_while_costs_no_task(supervise):
    with supervise() as worker:
        name = worker.schedule("light.heed", {"seconds": 0.5})
        worker.in_body(name)
        worker.engine.is_away = True
        wait_for(lambda: worker.supervisor.status().undelivered == 1, "the result to be kept")
        worker.engine.is_away = False
        assert worker.completed(name)["text"] == "done"
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


def test_a_worker_that_is_started_again_delivers_what_the_one_before_could_not(supervise, caplog):
    engine = MemoryWorkerEngine()
    with supervise(engine=engine) as worker:
        name = worker.schedule("light.heed", {"seconds": 0.5})
        worker.in_body(name)
        engine.is_away = True
        wait_for(lambda: worker.supervisor.status().undelivered == 1, "the result to be kept")
    engine.is_away = False
    assert engine.tasks.record(name.split("/")[0]).tries[-1].status is TryStatus.IN_PROGRESS
    caplog.set_level(logging.INFO)
    with supervise(engine=engine) as again:
        assert again.completed(name)["text"] == "done"
        wait_for(lambda: again.supervisor.status().undelivered == 0, "nothing to wait any more")
    (told,) = [record.perago_fields for record in caplog.records if "a result that waited" in record.getMessage()]
    found = (told["workflow"], told["task"], told["task_id"], told["attempt"], told["phase"])
    assert found == (name.split("/")[0], "light.heed", again.tries(name)[-1].task_id, 0, "report")


class SlowReports(MemoryWorkerEngine):
    """An engine that takes results only once it is let."""

    def __init__(self):
        super().__init__()
        self.let, self.asked = threading.Event(), threading.Semaphore(0)

    def report_result(self, attempt, result):
        self.asked.release()
        assert self.let.wait(60)
        super().report_result(attempt, result)


def test_results_that_an_engine_does_not_answer_are_kept_when_the_worker_ends_over_them(supervise, mode):
    engine = SlowReports()
    with supervise(engine=engine, slots=3, mode=mode) as worker:
        names = [worker.schedule("light.echo", {"text": str(number)}) for number in range(3)]
        for _ in names:
            assert engine.asked.acquire(timeout=20)
        began = time.monotonic()
        worker.supervisor.drain()
        worker.supervisor.end(Cause.AT_ONCE)
        assert not worker.supervisor.close(0.5)
        worker.supervisor.abandon()
        assert time.monotonic() - began < 5
        assert engine.given_back == []  # which would undo a report that arrives
        assert worker.supervisor.status().undelivered == 3
        engine.let.set()
    engine.asked = threading.Semaphore(0)
    with supervise(engine=engine, mode=mode) as again:
        wait_for(lambda: again.supervisor.status().undelivered == 0, "nothing to wait any more")
        assert [again.completed(name)["text"] for name in names] == ["0", "1", "2"]
    assert not engine.asked.acquire(timeout=0)  # they had arrived


class SlowHeartbeats(CountsReports):
    """An engine whose heartbeats are answered only once it is let."""

    def __init__(self):
        super().__init__()
        self.let, self.stopping = threading.Event(), threading.Event()

    def hold(self, attempt):
        lease = super().hold(attempt)
        lease.stop = lambda: (self.stopping.set(), self.let.wait(60))
        return lease


def test_a_result_whose_heartbeat_is_still_in_flight_is_kept_too(supervise, mode):
    engine = SlowHeartbeats()
    with supervise(engine=engine, mode=mode) as worker:
        name = worker.schedule("light.heed", {"seconds": 3})
        assert engine.stopping.wait(20)
        worker.supervisor.drain()
        worker.supervisor.end(Cause.AT_ONCE)
        assert not worker.supervisor.close(0.2)
        worker.supervisor.abandon()
        assert engine.given_back == []
        assert worker.supervisor.status().undelivered == 1
        engine.let.set()
        assert worker.supervisor.close(20)
    assert worker.completed(name)["text"] == "done"
    assert list(engine.reports.values()) == [1]


def test_what_was_given_back_at_the_end_is_not_reported_beside_it(supervise):
    engine = CountsReports()
    with supervise(engine=engine, mode="thread") as worker:
        name = worker.schedule("light.sleep", {"seconds": 0.7})  # so short that its report needs no fence
        task_id = worker.in_body(name)
        worker.supervisor.drain()
        worker.supervisor.abandon()
        assert worker.supervisor.close(20)
        assert engine.given_back == [task_id]
        assert dict(engine.reports) == {}
        assert worker.tries(name)[-1].status is TryStatus.SCHEDULED


def test_the_end_waits_for_one_delivery_and_not_for_all_that_wait(supervise):
    engine = SlowReports()
    engine.let.set()
    with supervise(engine=engine, slots=4) as worker:
        names = [worker.schedule("light.heed", {"seconds": 0.5}) for _ in range(4)]
        for name in names:
            worker.in_body(name)
        engine.is_away = True
        wait_for(lambda: worker.supervisor.status().undelivered == 4, "the results to be kept")
        engine.asked = threading.Semaphore(0)
        engine.let.clear()
        engine.is_away = False
        assert engine.asked.acquire(timeout=20)
        worker.supervisor.drain()
        assert not worker.supervisor.close(0.2)
        engine.let.set()
        assert worker.supervisor.close(10)
        assert worker.supervisor.status().undelivered == 3


class StuckOnce(MemoryWorkerEngine):
    """An engine whose first poll that brings a task does not return until it is let."""

    def __init__(self):
        super().__init__()
        self.is_stuck, self.released = threading.Event(), threading.Event()

    def poll(self, *arguments):
        found = super().poll(*arguments)
        if found and not self.is_stuck.is_set():
            self.is_stuck.set()
            self.released.wait(30)
        return found


def test_a_poll_that_is_stuck_is_replaced_and_what_it_brings_late_is_given_back(supervise, monkeypatch):
    monkeypatch.setattr(supervisor, "STALL_SECONDS", 0.5)  # a minute
    engine = StuckOnce()
    with supervise(engine=engine) as worker:
        stranded = worker.schedule("light.echo", {"text": "late"})
        wait_for(engine.is_stuck.is_set, "the poll to be stuck")
        assert worker.completed(worker.schedule("light.echo", {"text": "meanwhile"}))["text"] == "meanwhile"
        assert worker.tries(stranded)[-1].status is TryStatus.IN_PROGRESS
        engine.released.set()
        assert worker.completed(stranded)["text"] == "late"
        assert engine.given_back == [worker.tries(stranded)[-1].task_id]


# ---------------------------------------------------------------- its surroundings


def test_a_module_that_does_not_import_is_told_at_the_start(supervise):
    with pytest.raises(TaskDefinitionError, match="no_such_module"), supervise(targets=["no_such_module"]):
        pass


def test_a_second_supervisor_on_the_same_root_is_refused(supervise, tmp_path):
    refused = pytest.raises(RuntimeConfigError, match=rf"another supervisor .*process {os.getpid()}")
    with supervise(), refused, only_supervisor(tmp_path / "root", "worker-2"):
        pass


def test_the_status_tells_what_each_slot_does(supervise, tmp_path):
    root = tmp_path / "root"
    with supervise() as worker:
        name = worker.schedule("light.heed", {"seconds": 60})
        task_id = worker.in_body(name)

        def job():
            status = read_status(root)
            return None if status is None else status.slots[0].job

        wait_for(lambda: job() is not None and job().progress != "", "the status")
        assert (job().task, job().task_id, job().phase) == ("light.heed", task_id, "body")
        assert job().progress == f"1 of 10 (10 %): {worker.body_pid(name)}"
        assert read_status(root).state == "running"
    assert read_status(root).state == "gone"


def test_orphans_are_swept_at_the_start(supervise, tmp_path):
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from perago.workspace.owner import OwnerMarker

    marker = OwnerMarker.of_this_process(worker_id="w", task_id="t", execution_id="e", now=datetime.now(UTC))
    orphan = tmp_path / "root" / "task-1-0123456789abcdef"
    (orphan / "workspace").mkdir(parents=True)
    (orphan / "owner.json").write_text(json.dumps({**asdict(marker), "process_started": 1.0}))
    with supervise():
        wait_for(lambda: not orphan.exists(), "the sweep")


# ---------------------------------------------------------------- its end


def test_draining_lets_what_runs_come_to_its_end_and_takes_nothing_new(supervise):
    with supervise() as worker:
        name = worker.schedule("light.heed", {"seconds": 0.5})
        worker.in_body(name)
        worker.supervisor.drain()
        late = worker.schedule("light.echo")
        assert worker.completed(name)["text"] == "done"
        wait_for(lambda: worker.supervisor.is_through, "the end")
        assert worker.tries(late)[-1].status is TryStatus.SCHEDULED


def test_what_is_not_through_at_the_deadline_is_given_back(supervise):
    with supervise() as worker:
        name = worker.schedule("light.stubborn")
        task_id = worker.in_body(name)
        worker.supervisor.drain()
        worker.supervisor.end(Cause.SHUTDOWN)
        wait_for(lambda: worker.supervisor.is_through, "the end", 10)
        assert worker.engine.given_back == [task_id]
        assert worker.tries(name)[-1].status is TryStatus.SCHEDULED
