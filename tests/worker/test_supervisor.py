"""A worker at work: attempts in warm executors, and what ends those."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import signal
import sys
import time

import psutil
import pytest

from perago.errors import RuntimeConfigError, TaskDefinitionError
from perago.stores.git import GitStore
from perago.stores.git.provider import git_settings
from perago.telemetry.json_lines import FIELDS_ATTRIBUTE
from perago.values.record import TryStatus
from perago.values.timing import timing_in
from perago.worker.executor.wire import Sweep
from perago.worker.supervisor.lock import only_supervisor
from perago.worker.supervisor.slot import SlotState, Wear
from perago.worker.supervisor.status import read_status
from servers.machine import slowness
from small_disk import small_disk_at
from waiting import wait_for
from worker_engine import MemoryWorkerEngine

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


def test_a_task_that_its_module_keeps_in_a_list_is_found_by_executors_too(supervise, mode, tmp_path, monkeypatch):
    (tmp_path / f"kept_in_a_list_{mode}.py").write_text(
        "from pydantic import BaseModel\nfrom perago import task\n\n\nclass P(BaseModel):\n    text: str\n\n\n"
        "def make(name):\n    @task(name=name, owner_email='t@example.org')\n"
        "    def made(params: P) -> P:\n        return params\n    return made\n\n\nTASKS = [make('kept')]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with supervise(mode=mode, targets=[f"kept_in_a_list_{mode}"]) as worker:
        assert worker.completed(worker.schedule("kept", {"text": "hello"})) == {"text": "hello"}


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
        wait_for(lambda: sum(slot.is_free for slot in worker.supervisor.dispatcher.slots) == 2, "both slots")
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
        deep = worker.schedule("light.echo", {"text": json.loads("[" * 900 + "]" * 900)}, retries=0)
        assert "nested" in worker.reason(deep)
        assert "Perago itself" not in worker.reason(deep)
        assert worker.completed(worker.schedule("light.echo", {"text": "fine"}))["text"] == "fine"


def test_a_body_that_raises_keyboard_interrupt_fails_its_task_only(supervise, mode):
    with supervise(mode=mode) as worker:
        name = worker.schedule("light.die", {"text": "interrupt"}, retries=0)
        assert "KeyboardInterrupt" in worker.reason(name)
        assert worker.completed(worker.schedule("light.echo", {"text": "fine"}))["text"] == "fine"


@pytest.mark.parametrize(("text", "named"), [("interrupt", "KeyboardInterrupt"), ("bye", "sys.exit('bye')")])
def test_an_async_body_that_would_end_the_process_fails_its_task_only(supervise, mode, text, named):
    with supervise(mode=mode, slots=2) as worker:
        neighbour = worker.schedule("light.sleep_async", {"seconds": 1.0}, retries=0)
        name = worker.schedule("light.exit_async", {"text": text}, retries=0)
        assert named in worker.reason(name)
        assert worker.completed(neighbour)["text"] == "slept"
        assert worker.completed(worker.schedule("light.sleep_async"))["text"] == "slept"


def test_what_a_module_started_when_it_was_loaded_lives_as_long_as_its_executor(supervise):
    with supervise(targets=["helped_bodies"]) as worker:
        first = worker.completed(worker.schedule("helped.echo", {"text": "one"}, retries=0))
        (slot,) = worker.supervisor.dispatcher.slots
        since = slot.since
        slot.add_chore(Sweep(repository="none", older_than_seconds=0.0, runs_older_than_seconds=0.0))
        wait_for(lambda: slot.is_free and slot.since != since, "the chore to be done")
        second = worker.completed(worker.schedule("helped.echo", {"text": "two"}, retries=0))
        assert (first["text"], second["text"]) == ("one", "two")
        assert first["pid"] == second["pid"]


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


def test_a_report_has_a_line_with_the_phases_of_its_attempt(supervise, mode):
    with supervise(mode=mode) as worker:
        name = worker.schedule("light.echo", {"text": "x"})
        worker.completed(name)
        line = timing_in(worker.engine.report_lines[worker.tries(name)[-1].task_id])
    assert line.took >= sum(line.phases.values()) - len(line.phases)
    assert set(line.phases) <= {"parse", "body"}
    assert (line.files, line.cached_from) == (None, None)


def test_what_a_task_is_given_or_does_without_effect_is_a_warning_in_both_logs(supervise, mode, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/in.txt").write_text("in")
    store = GitStore.create(tmp_path / "data.git")
    head = store.import_directory(tmp_path / "files", "main", "begin")
    workspace = {"repository": "data", "branch": "main", "refType": "commit", "ref": head}
    told = [
        "the task ignores unknown fields of its input: 'note', 'user'.",
        "the task ignores unknown params: 'txet'; it has path, seconds, text.",
        "no file matches the workspace's include '*.csv'; '**/*.csv' matches in directories, too.",
        "a changed file is not published, because the task is read_only: 'notes.txt'.",
    ]
    with supervise(mode=mode, store=git_settings(tmp_path / "data.git")) as worker:
        given = {"workspace": workspace, "params": {"txet": "hello"}, "user": "ada", "note": {"a": 1}}
        name = worker.schedule("space.look", input_data=given)
        worker.completed(name)
        task_id = worker.tries(name)[-1].task_id
        expected = "\n".join(f"WARNING {text}" for text in told)
        wait_for(lambda: "\n".join(worker.engine.logs.get(task_id, [])) == expected, "the log")
        warned = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert [record.getMessage() for record in warned] == told
        assert {record.perago_fields["task_id"] for record in warned} == {task_id}


def test_what_a_body_changes_of_its_process_the_next_one_does_not_find(supervise):
    with supervise() as worker:
        first = worker.completed(worker.schedule("light.change_its_process"))
        second = worker.completed(worker.schedule("light.change_its_process"))
        assert first == second


def test_what_a_warm_body_does_to_its_process_is_put_back(supervise):
    with supervise() as worker:
        first, second = (worker.completed(worker.schedule("light.change_what_is_put_back")) for _ in range(2))
        assert first == second  # the same process, too
        last = worker.completed(worker.schedule("light.echo", {"text": "after the alarm"}))
        assert last["pid"] == first["pid"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of handlers that are not Python's")
def test_an_executor_on_which_something_cannot_be_put_back_is_replaced_and_that_is_told(supervise, caplog):
    with supervise() as worker:
        first = worker.completed(worker.schedule("light.leave_what_cannot_be_put_back"))
        second = worker.completed(worker.schedule("light.echo"))
        assert first["pid"] != second["pid"]
    assert "left a signal handler, which cannot be restored" in caplog.text


def test_free_tasks_may_be_forked_too(supervise):
    with supervise(free_tasks="forked") as worker:
        first, second = (worker.completed(worker.schedule("light.change_its_process")) for _ in range(2))
        assert first["text"] == second["text"]
        assert first["pid"] != second["pid"]


@pytest.fixture
def with_a_store(tmp_path):
    """Options of a worker with a repository, and the input of a task on that."""
    (tmp_path / "files").mkdir()
    store = GitStore.create(tmp_path / "data.git")
    head = store.import_directory(tmp_path / "files", "main", "begin")
    workspace = {"repository": "data", "branch": "main", "refType": "commit", "ref": head}
    return {"store": git_settings(tmp_path / "data.git")}, {"workspace": workspace, "params": {}}


@pytest.fixture
def on_a_branch(supervise, with_a_store, tmp_path):
    """Runs a task; returns why it failed, and the branch's files afterwards."""
    options, given = with_a_store

    def run(task, mode):
        with supervise(mode=mode, **options) as worker:
            last = worker.ended(worker.schedule(task, input_data=given, retries=0))
            reason = worker.engine.tasks.reason(last.task_id)
        store = GitStore(tmp_path / "data.git")
        store.export(store.branch_head("main"), "", tmp_path / "out")
        return reason, {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}

    return run


def log_of(worker, name, words):
    """The task's log, once it holds the words."""
    task_id = worker.tries(name)[-1].task_id
    wait_for(lambda: words in "\n".join(worker.engine.logs.get(task_id, [])), f"{words!r} in the log")
    return "\n".join(worker.engine.logs[task_id])


@pytest.mark.parametrize("task", ["light.fail_deep", "space.fail_deep"])
def test_a_failure_shows_where_it_came_from(supervise, mode, with_a_store, caplog, task):
    options, given = with_a_store
    with supervise(mode=mode, **options) as worker:
        name = worker.schedule(task, input_data=given, retries=0)
        assert re.fullmatch(r"KeyError: 'nope' \(at /.*/supervised_bodies\.py:\d+ in look_up\)", worker.reason(name))
        log = log_of(worker, name, "in look_up")
    assert "in fail_deep" in log
    assert "return rows[name]" in log
    assert "perago/worker" not in log
    (frames,) = (fields["traceback"] for fields in fields_of(caplog) if "traceback" in fields)
    assert "in look_up" in frames


def fields_of(caplog):
    return [getattr(record, FIELDS_ATTRIBUTE, {}) for record in caplog.records]


@pytest.mark.parametrize("task", ["light.print_much", "space.print_much"])
def test_what_a_body_prints_stands_in_its_task_s_log_and_floods_nothing(supervise, with_a_store, caplog, task):
    options, given = with_a_store
    caplog.set_level(logging.INFO)
    with supervise(**options) as worker:
        name = worker.schedule(task, input_data=given)
        worker.completed(name)
        log = log_of(worker, name, "not logged")
    lines = [record.getMessage() for record in caplog.records if record.name == f"perago.task.{task}"]
    assert lines[:3] == ["first", "from a program", "line 0"]
    assert lines[-1] == "[99002 more lines were printed but not logged]"
    assert len(lines) == 1001
    assert "INFO first" in log
    assert len(log) < 300_000


def test_what_a_warm_body_prints_is_bounded_and_needs_no_disk(supervise, caplog, tmp_path, monkeypatch):
    caplog.set_level(logging.INFO)
    with small_disk_at(tmp_path, "4m") as disk:
        monkeypatch.setenv("TMPDIR", str(disk))
        with supervise() as worker:
            for _ in range(2):
                caplog.clear()
                name = worker.schedule("light.print_under_the_lock", retries=0)
                assert worker.completed(name)["text"] == str(64 * 1024**2)
                log_of(worker, name, "not logged")
                lines = [one.getMessage() for one in caplog.records if one.name.endswith("print_under_the_lock")]
                assert lines[0] == "x" * 63
                assert lines[1000:] == [f"[{1024**2 - 1000} more lines were printed but not logged]"]
            worker.completed(worker.schedule("light.echo", {"text": "quiet"}))
            assert sum(map(os.path.getsize, disk.iterdir())) == 0, "files with names"


@pytest.mark.parametrize("task", ["space.leave_open", "space.leave_open_async"])
def test_a_body_in_a_thread_that_leaves_a_file_open_fails(on_a_branch, task):
    reason, files = on_a_branch(task, "thread")
    importlib.import_module("supervised_bodies").KEPT.pop().close()
    assert "files open for writing: 'open.txt'" in reason
    assert files == {}


def test_a_file_in_a_cycle_is_closed_before_it_is_looked_at(on_a_branch, mode):
    assert on_a_branch("space.leave_in_a_cycle", mode) == (None, {"ring.txt": "whole"})


# ---------------------------------------------------------------- executors that die


@pytest.mark.parametrize(
    ("way", "cause"),
    [
        ("close", "the body closed descriptors that it did not open"),
        ("exit", "exited with code 3"),
        ("segfault", "SIGSEGV"),
        ("killed", "SIGKILL"),
        ("corrupt", " message"),
    ],
)
def test_a_task_whose_executor_dies_is_reported_within_two_seconds_with_the_cause(supervise, way, cause):
    with supervise() as worker:
        worker.completed(worker.schedule("light.echo"))
        began = time.monotonic()
        name = worker.schedule("light.die", {"text": way}, retries=0)
        assert cause in worker.reason(name)
        assert time.monotonic() - began < 2 * slowness()
        assert timing_in(worker.engine.report_lines[worker.tries(name)[-1].task_id]) is not None
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
        (slot,) = worker.supervisor.dispatcher.slots
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
        assert "perago.worker.executor.main" in told
        assert [name for name in told if name.startswith(("perago.engines.conductor", "aiohttp", "urllib3"))] == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: no other system tells of descendants that went away")
def test_what_a_body_leaves_running_is_ended_after_it(supervise, tmp_path, is_alive):
    with supervise() as worker:
        path = tmp_path / "pid"
        worker.completed(worker.schedule("light.leave_a_process", {"path": str(path)}))
        pid = int(path.read_text())
        wait_for(lambda: not is_alive(pid), "the stray's end")
        assert worker.completed(worker.schedule("light.echo", {"text": "again"}))["text"] == "again"


class AnswersOnceWritten(MemoryWorkerEngine):
    """An engine that is asked between the diff and the staging, and has the process that was left write before it
    answers, if that still runs.
    """

    def load_current_attempt(self, attempt):
        (self.place / "go").touch()
        pid = int((self.place / "pid").read_text())
        wait_for(lambda: (self.place / "written").exists() or not self.is_alive(pid), "the writer")
        return super().load_current_attempt(attempt)


def test_what_a_body_leaves_running_does_not_write_into_what_is_published(supervise, tmp_path, is_alive):
    engine = AnswersOnceWritten()
    engine.place, engine.is_alive = tmp_path / "place", is_alive
    engine.place.mkdir()
    (tmp_path / "files").mkdir()
    store = GitStore.create(tmp_path / "data.git")
    head = store.import_directory(tmp_path / "files", "main", "begin")
    workspace = {"repository": "data", "branch": "main", "refType": "commit", "ref": head}
    with supervise(engine=engine, store=git_settings(tmp_path / "data.git")) as worker:
        input_data = {"workspace": workspace, "params": {"path": str(engine.place)}}
        worker.completed(worker.schedule("space.leave_a_writer", input_data=input_data))
    store.export(store.branch_head("main"), "", tmp_path / "out")
    assert (tmp_path / "out/out.csv").read_text() == "whole\n" * 1000


def test_the_process_that_multiprocessing_keeps_costs_no_executor(supervise):
    with supervise() as worker:
        first, second = (worker.completed(worker.schedule("light.take_a_lock")) for _ in range(2))
        assert first["pid"] == second["pid"]
        assert first["text"] == second["text"] == "1"


# ---------------------------------------------------------------- its surroundings


def test_a_module_that_does_not_import_is_told_at_the_start(supervise):
    with pytest.raises(TaskDefinitionError, match="no_such_module"), supervise(targets=["no_such_module"]):
        pass


def test_a_second_supervisor_on_the_same_root_is_refused(supervise, tmp_path):
    refused = pytest.raises(RuntimeConfigError, match=rf"another worker .*process {os.getpid()}")
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
