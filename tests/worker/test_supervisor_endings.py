"""How attempts and workers end: cancelled, with an engine that is away, drained, at once."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

import pytest

from perago.engines.conductor.failure import refused
from perago.values.record import TryStatus
from perago.worker.attempts.job import Cause
from perago.worker.process.child import ChildProcess
from servers.machine import slowness
from waiting import wait_for
from worker_engine import MemoryWorkerEngine

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
        assert time.monotonic() - began < 10 * slowness()
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


def test_a_signal_for_a_cancelled_body_that_is_late_hits_no_other(supervise, monkeypatch, tmp_path):
    """The reaper may get no CPU for a moment, and the cancelled body end meanwhile."""
    signal_now, late = ChildProcess.terminate, []
    monkeypatch.setattr(ChildProcess, "terminate", lambda process: late.append(process))
    with supervise() as worker:
        path = tmp_path / "end"
        worker.in_body(worker.schedule("light.wait_for_a_file", {"path": str(path)}))
        worker.engine.tasks.terminate(worker.where)
        wait_for(lambda: late, "the order to send SIGTERM")
        path.touch()
        innocent = worker.schedule("light.heed", {"seconds": 1})
        worker.in_body(innocent)
        signal_now(late[0])
        assert worker.completed(innocent)["text"] == "done"
        assert len(worker.tries(innocent)) == 1


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
    (told,) = [record.perago_fields for record in caplog.records if "a spooled result" in record.getMessage()]
    found = (told["workflow"], told["task"], told["task_id"], told["attempt"], told["phase"])
    assert found == (name.split("/")[0], "light.heed", again.tries(name)[-1].task_id, 0, "report")


class TooSmall(CountsReports):
    """An engine behind a proxy that takes no result of this size, until its limit is raised."""

    takes_it = False

    def report_result(self, attempt, result):
        super().report_result(attempt, result) if self.takes_it else self._refuse(attempt)

    def report_and_take(self, attempt, result):
        return super().report_and_take(attempt, result) if self.takes_it else self._refuse(attempt)

    def _refuse(self, attempt):
        self.reports[attempt.task_id] += 1
        raise refused("POST /tasks", "http://conductor/api", 413, b"Request Entity Too Large")


def test_why_a_result_waits_is_told_and_not_at_each_try(supervise, caplog):
    caplog.set_level(logging.INFO)
    engine = TooSmall()
    with supervise(engine=engine, mode="thread") as worker:
        name = worker.schedule("light.echo", {"text": "large"})
        wait_for(lambda: max(engine.reports.values(), default=0) >= 3, "the result to be tried again")
        engine.takes_it = True
        assert worker.completed(name)["text"] == "large"
    (told,) = [record for record in caplog.records if "413" in record.getMessage()]
    assert told.levelname == "WARNING"
    assert "A proxy refuses bodies of this size: raise its limit" in told.getMessage()
    found = {key: told.perago_fields[key] for key in ("task", "task_id", "status")}
    assert found == {"task": "light.echo", "task_id": worker.tries(name)[-1].task_id, "status": "COMPLETED"}
    (done,) = [record for record in caplog.records if record.getMessage().startswith("COMPLETED after")]
    assert told.perago_fields["execution"] == done.perago_fields["execution"]


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
        assert time.monotonic() - began < 5 * slowness()
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

    def hold(self, attempt, *, at_once=False):
        lease = super().hold(attempt, at_once=at_once)
        lease.stop = lambda: (self.stopping.set(), self.let.wait(60))
        return lease


def test_a_heartbeat_in_flight_holds_up_no_cancellation(supervise, is_alive):
    engine = SlowHeartbeats()
    with supervise(engine=engine) as worker:
        name = worker.schedule("light.stubborn")
        task_id, pid = worker.in_body(name), worker.body_pid(name)
        wait_for(lambda: task_id in engine.leases, "the lease")
        engine.tasks.terminate(worker.where)
        wait_for(lambda: not is_alive(pid), "the body's end", 40)  # the heartbeat would be waited for for 60 s
        engine.let.set()


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
        names = [worker.schedule("light.heed", {"seconds": 2.5}) for _ in range(4)]
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
