"""A result that cannot be delivered waits on disk, for as long as its execution is the current one."""

import errno
import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import pytest

from forks import fork
from perago.errors import EngineError, RuntimeConfigError, StoreError
from perago.ports import SystemClock
from perago.testing import MemoryEngine
from perago.values.models import RuntimeTaskResult
from perago.worker.supervisor.delivery import (
    CAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Delivered,
    Delivery,
    KeptResult,
    ResultSpool,
    pause_before_round,
)

OUTPUT = {"result": {"password": "hunter2", "n": [1, None, "\u6f22"]}}
DONE = RuntimeTaskResult("COMPLETED", OUTPUT)
FAILED = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck")


class Line:
    """An engine behind a line that can be cut: before a report arrives, or after."""

    def __init__(self, engine):
        self.engine = engine
        self.cut = False
        self.lose_answers = False
        self.cause = "the engine is away"
        self.faulty = ""  # the id of a task with whose reports something is wrong that nobody reckons with
        self.ends_as = None  # the status that the engine gives a reported task, if not the reported one

    def load_current_attempt(self, attempt):
        self._expect_up()
        now = self.engine.load_current_attempt(attempt)
        return now if self.ends_as is None or now.status == "IN_PROGRESS" else replace(now, status=self.ends_as)

    def load_record(self, attempt, paths=()):
        self._expect_up()
        return self.engine.load_record(attempt, paths)

    def report_result(self, attempt, result):
        self._expect_up()
        if attempt.task_id == self.faulty:
            raise ValueError("no such thing")
        self.engine.report_result(attempt, result)
        if self.lose_answers:
            raise EngineError("the answer was lost")

    def _expect_up(self):
        if self.cut:
            raise EngineError(self.cause)


@pytest.fixture
def engine():
    return MemoryEngine()


@pytest.fixture
def line(engine):
    return Line(engine)


@pytest.fixture
def spool(tmp_path):
    return ResultSpool(tmp_path / "root" / "reports")


@pytest.fixture
def attempt(engine):
    engine.schedule("build", {"params": {}})
    return engine.poll()


def files(spool):
    return sorted(path.name for path in spool.directory.iterdir()) if spool.directory.exists() else []


def outcomes(delivery):
    return [outcome for _, outcome in delivery.deliver_kept()]


@pytest.mark.parametrize("result", [DONE, FAILED], ids=lambda result: result.status)
def test_an_engine_that_is_there_gets_it_at_once_and_nothing_is_written(engine, line, spool, attempt, result):
    delivery = Delivery(line, spool)
    assert delivery.deliver(attempt, result) is Delivered.RECORDED
    assert engine.attempt(attempt.task_id).status == result.status
    assert (delivery.waiting, spool.directory.exists()) == (0, False)


def test_a_result_waits_until_the_engine_is_back(engine, line, spool, attempt):
    delivery = Delivery(line, spool)
    line.cut = True
    assert delivery.deliver(attempt, DONE) is Delivered.KEPT
    assert outcomes(delivery) == [Delivered.KEPT]
    line.cut = False
    assert outcomes(delivery) == [Delivered.RECORDED]
    assert engine.record().tries[0].output == OUTPUT
    assert (outcomes(delivery), files(spool)) == ([], [])


class SteppedClock(SystemClock):
    """A clock that moves only when `seconds` is set."""

    seconds = 0.0

    def monotonic(self):
        return self.seconds


def test_the_line_of_a_result_is_kept_with_it(line, spool, attempt):
    line.cut = True
    Delivery(line, spool).deliver(attempt, replace(DONE, log="perago: took 0.002 s"))
    [kept] = spool.load()
    assert (kept.result, kept.result.log) == (DONE, "perago: took 0.002 s")
    [path] = spool.directory.iterdir()
    kept_by_an_earlier_version = json.loads(path.read_text())
    del kept_by_an_earlier_version["result"]["log"]
    path.write_text(json.dumps(kept_by_an_earlier_version))
    assert spool.load()[0].result.log is None


def test_why_it_waits_is_told_once_and_when_the_cause_changes(line, spool, attempt):
    told, clock = [], SteppedClock()
    delivery = Delivery(line, spool, tell=lambda text, _fields: told.append(text.split(": ")[-1]), clock=clock)
    line.cut = True
    delivery.deliver(attempt, DONE)
    for cause, seconds in [
        ("the engine is away", 2 * CAUSE_SECONDS),
        ("refused, in request 1", 0.0),
        ("refused, in request 2", 1.0),  # another text at each try: not told at each
        ("refused, in request 3", CAUSE_SECONDS),
    ]:
        line.cause, clock.seconds = cause, clock.seconds + seconds
        assert outcomes(delivery) == [Delivered.KEPT]
    assert told == ["the engine is away", "refused, in request 1", "refused, in request 3"]
    restarted = Delivery(line, spool, tell=lambda text, _fields: told.append(text.split(": ")[-1]), clock=clock)
    assert outcomes(restarted) == [Delivered.KEPT]
    assert told[3:] == ["refused, in request 3"]


def test_a_worker_that_restarts_delivers_it(engine, line, spool, attempt):
    line.cut = True
    Delivery(line, spool).deliver(attempt, DONE)
    line.cut = False
    restarted = Delivery(line, spool)
    assert restarted.waiting == 1
    assert outcomes(restarted) == [Delivered.RECORDED]
    assert engine.record().tries[0].output == OUTPUT
    assert (files(spool), Delivery(line, spool).waiting) == ([], 0)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("event", ["timeout", "requeue", "terminate"])
def test_a_result_of_an_execution_that_is_no_longer_current_is_void(engine, line, spool, attempt, event, restarts):
    delivery = Delivery(line, spool)
    line.cut = True
    delivery.deliver(attempt, DONE)
    line.cut = False
    engine.terminate() if event == "terminate" else getattr(engine, event)(attempt.task_id)
    before = engine.record()
    assert outcomes(Delivery(line, spool) if restarts else delivery) == [Delivered.VOID]
    assert (engine.record(), files(spool)) == (before, [])


def test_a_result_of_a_task_that_was_removed_is_void(engine, line, spool, attempt):
    delivery = Delivery(line, spool)
    line.cut = True
    delivery.deliver(attempt, DONE)
    line.cut = False
    engine.terminate()
    engine.restart()
    assert outcomes(delivery) == [Delivered.VOID]
    assert files(spool) == []


def test_a_report_that_arrived_though_its_answer_was_lost_is_not_made_twice(engine, line, spool, attempt):
    delivery = Delivery(line, spool)
    line.lose_answers = True
    assert delivery.deliver(attempt, DONE) is Delivered.KEPT
    assert outcomes(delivery) == [Delivered.RECORDED]
    assert files(spool) == []


@pytest.mark.parametrize(
    ("result", "ends_as", "outcome"),
    [
        (DONE, "FAILED_WITH_TERMINAL_ERROR", Delivered.RECORDED),  # the output was too large for the engine
        (FAILED, "COMPLETED_WITH_ERRORS", Delivered.RECORDED),  # the task is optional
        (DONE, "CANCELED", Delivered.VOID),
        (FAILED, "TIMED_OUT", Delivered.VOID),
    ],
)
def test_a_report_whose_answer_was_lost_counts_by_what_the_engine_made_of_it(
    line, spool, attempt, result, ends_as, outcome
):
    delivery = Delivery(line, spool)
    line.lose_answers, line.ends_as = True, ends_as
    assert delivery.deliver(attempt, result) is Delivered.KEPT
    assert outcomes(delivery) == [outcome]
    assert files(spool) == []


def test_another_try_that_completed_meanwhile_is_reported_instead(engine, line, spool, attempt):
    other = RuntimeTaskResult("COMPLETED", {"result": {"from": "another try"}})
    line.cut = True
    Delivery(line, spool).deliver(attempt, DONE)
    line.cut = False
    asked = []
    restarted = Delivery(line, spool, look_for=lambda attempt: asked.append(attempt) or (lambda: other))
    assert outcomes(restarted) == [Delivered.RECORDED]
    assert engine.record().tries[0].output == other.output
    assert [entry.task_id for entry in asked] == [attempt.task_id]


def test_after_a_restart_nothing_is_reported_over_a_try_that_completed(engine, line, spool, attempt):
    """A late report had reverted this task while its retry completed: what Conductor's races can do."""
    line.cut = True
    Delivery(line, spool).deliver(attempt, DONE)
    line.cut = False
    late = engine.slow_report(attempt, DONE)
    engine.timeout(attempt.task_id)
    retry = engine.poll()
    late()
    engine.revert(attempt.task_id)
    engine.report_result(retry, RuntimeTaskResult("COMPLETED", {"result": {"from": "the retry"}}))
    assert engine.attempt(attempt.task_id).status == "IN_PROGRESS"
    assert outcomes(Delivery(line, spool)) == [Delivered.KEPT]
    assert engine.attempt(attempt.task_id).status == "IN_PROGRESS"


def test_a_store_that_cannot_be_asked_is_waited_for(engine, line, spool, attempt):
    down = [True]

    def look():
        if down[0]:
            raise StoreError("the store is away")

    delivery = Delivery(line, spool)
    assert delivery.deliver(attempt, DONE, last_look=look) is Delivered.KEPT
    assert outcomes(delivery) == [Delivered.KEPT]
    assert engine.attempt(attempt.task_id).status == "IN_PROGRESS"
    down[0] = False
    assert outcomes(delivery) == [Delivered.RECORDED]


def test_what_is_on_disk_is_for_its_owner_alone_and_its_name_tells_nothing(line, spool, attempt):
    line.cut = True
    Delivery(line, spool).deliver(attempt, DONE)
    (name,) = files(spool)
    path = spool.directory / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o700
    assert attempt.task_id not in name
    assert json.loads(path.read_text())["result"]["output"] == OUTPUT


def test_an_output_of_any_mappings_is_kept_on_disk(engine, line, spool, attempt):
    line.cut = True
    output = MappingProxyType({"result": MappingProxyType({"n": [MappingProxyType({"deep": 1})]})})
    assert Delivery(line, spool).deliver(attempt, RuntimeTaskResult("COMPLETED", output)) is Delivered.KEPT
    line.cut = False
    assert outcomes(Delivery(line, spool)) == [Delivered.RECORDED]
    assert engine.record().tries[0].output == {"result": {"n": [{"deep": 1}]}}


def test_a_damaged_file_is_put_aside_and_in_nobodys_way(engine, line, spool, attempt):
    line.cut = True
    Delivery(line, spool).deliver(attempt, DONE)
    line.cut = False
    for name, content in {"a.json": b"", "b.json": b'{"version": 9}', "c.json": b"\xff\x00", "d.json": b"[[["}.items():
        (spool.directory / name).write_bytes(content)
    (spool.directory / ".e.json.0123").write_bytes(b'{"half": ')
    restarted = Delivery(line, spool)
    assert outcomes(restarted) == [Delivered.RECORDED]
    assert files(spool) == ["a.damaged", "b.damaged", "c.damaged", "d.damaged"]
    assert Delivery(line, spool).waiting == 0


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES], ids=errno.errorcode.get)
def test_a_file_that_the_disk_does_not_give_is_left_for_the_next_start(
    engine, line, spool, attempt, number, monkeypatch, caplog
):
    line.cut = True
    Delivery(line, spool).deliver(attempt, DONE)
    line.cut = False
    kept = files(spool)

    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("perago.worker.supervisor.delivery.opened_file", refuse)
        assert Delivery(line, spool).waiting == 0
    assert files(spool) == kept
    (told,) = [record.getMessage() for record in caplog.records]
    assert os.strerror(number) in told
    assert kept[0] in told
    assert outcomes(Delivery(line, spool)) == [Delivered.RECORDED]
    assert engine.record().tries[0].output == OUTPUT


def test_where_the_disk_refuses_it_waits_in_memory(engine, line, spool, attempt):
    spool.directory.parent.mkdir()
    spool.directory.write_text("in the way")
    delivery = Delivery(line, ResultSpool(spool.directory / "reports"))
    line.cut = True
    assert delivery.deliver(attempt, DONE) is Delivered.KEPT
    assert delivery.waiting == 1
    spool.directory.unlink()
    assert outcomes(delivery) == [Delivered.KEPT]
    assert len(files(ResultSpool(spool.directory / "reports"))) == 1
    line.cut = False
    assert outcomes(delivery) == [Delivered.RECORDED]


def test_executions_of_one_task_are_kept_apart(engine, line, spool, attempt):
    engine.requeue(attempt.task_id)
    again = engine.poll()
    delivery = Delivery(line, spool)
    line.cut = True
    delivery.deliver(attempt, FAILED)
    delivery.deliver(again, DONE)
    assert len(files(spool)) == 2
    line.cut = False
    assert outcomes(Delivery(line, spool)) == [Delivered.VOID, Delivered.RECORDED]
    assert engine.attempt(attempt.task_id).status == "COMPLETED"


@pytest.fixture
def two_attempts(engine, attempt):
    engine.schedule("build", {"params": {}}, reference_task_name="second")
    return attempt, engine.poll()


def test_a_fault_with_one_result_holds_up_none_behind_it(engine, line, spool, two_attempts, caplog):
    line.cut = True
    for attempt in two_attempts:
        Delivery(line, spool).deliver(attempt, DONE)
    line.cut, line.faulty = False, spool.load()[0].attempt.task_id
    told = []
    delivery = Delivery(line, spool, tell=lambda text, fields: told.append((text, fields["task_id"])))
    for expected in ([Delivered.KEPT, Delivered.RECORDED], [Delivered.KEPT]):
        assert outcomes(delivery) == expected
    [(text, task_id)] = told
    assert text.endswith("ValueError: no such thing")
    assert task_id == line.faulty
    assert caplog.text.count("Traceback") == 1
    line.faulty = ""
    assert outcomes(delivery) == [Delivered.RECORDED]
    assert [engine.attempt(attempt.task_id).status for attempt in two_attempts] == ["COMPLETED", "COMPLETED"]


def test_a_fault_at_the_first_report_keeps_the_result_too(engine, line, spool, attempt):
    line.faulty = attempt.task_id
    delivery = Delivery(line, spool)
    assert delivery.deliver(attempt, DONE) is Delivered.KEPT
    line.faulty = ""
    assert outcomes(Delivery(line, spool)) == [Delivered.RECORDED]


def test_a_directory_that_cannot_be_looked_at_holds_up_no_result(line, spool, two_attempts, monkeypatch):
    delivery = Delivery(line, spool)
    line.cut = True
    for attempt in two_attempts:
        delivery.deliver(attempt, DONE)

    def refuse(*_args, **_options):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.stat", refuse)
        patch.setattr("pathlib.Path.exists", refuse)  # it does not ask `stat` in each version of Python
        assert outcomes(delivery) == [Delivered.KEPT, Delivered.KEPT]
    line.cut = False
    assert outcomes(delivery) == [Delivered.RECORDED, Delivered.RECORDED]


ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize("value", [object(), ENDLESS], ids=["object", "endless"])
def test_what_cannot_be_written_as_json_waits_in_memory(engine, line, spool, attempt, value):
    delivery = Delivery(line, spool)
    line.cut = True
    assert delivery.deliver(attempt, RuntimeTaskResult("COMPLETED", {"result": value})) is Delivered.KEPT
    assert outcomes(delivery) == [Delivered.KEPT]
    assert files(spool) == []


def test_a_spool_that_others_may_write_to_is_refused(spool, line):
    """What lies there is reported as the result of a task."""
    spool.directory.mkdir(parents=True)
    spool.directory.chmod(0o777)
    with pytest.raises(RuntimeConfigError, match=r"directory of kept results .* can be written by all users"):
        Delivery(line, spool)


def test_a_spool_that_cannot_be_read_is_said(spool, line):
    spool.directory.mkdir(parents=True)
    (spool.directory / "file").write_text("")
    with pytest.raises(EngineError, match="cannot list"):
        Delivery(line, ResultSpool(spool.directory / "file"))


def test_a_killed_writer_leaves_the_whole_result_or_none(spool, attempt):
    kept = KeptResult.of(
        attempt, RuntimeTaskResult("COMPLETED", {"result": {"text": "x" * 4_000_000}}), datetime.now(UTC)
    )
    child = fork()
    if child == 0:
        try:
            for _ in range(1_000):
                spool.keep(kept)
        finally:
            os._exit(0)
    while not files(spool):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.kill(child, 9)
    os.waitpid(child, 0)
    found = ResultSpool(spool.directory).load()
    assert found in ([], [kept])
    assert all(name == kept.file_name for name in files(spool))


def test_rounds_come_less_often_the_longer_the_engine_is_away():
    pauses = [pause_before_round(rounds) for rounds in range(40)]
    assert pauses[0] == 0.5
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
