"""What a worker decides, as functions of facts: when to end what, when to replace an executor, how long to wait."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import timedelta

import pytest

from perago.ports import Phase
from perago.testing.clock import ManualClock
from perago.values.models import RuntimeTaskResult
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from perago.worker.attempts.job import Cause, Job, Step, due_steps, next_step
from perago.worker.attempts.port import LONGEST_PAUSE_SECONDS, pause_before_asking_again
from perago.worker.supervisor.completion import TakesNext, another_try_completed
from perago.worker.supervisor.shutdown import cause_to_end
from perago.worker.supervisor.slot import STEADY_SECONDS, deaths_after, is_worn_out, pause_before
from perago.worker.supervisor.watchdog import CHECK_SECONDS, WATCH_SECONDS, end_older, has_jumped, others_of, why_void


@dataclass(frozen=True, kw_only=True)
class Handed:
    status: str = "IN_PROGRESS"
    workflow_instance_id: str = "w"
    task_id: str = "t"
    retry_count: int = 0
    reference_task_name: str = "step"
    task_def_name: str = "task"
    scheduled_time: int = 10
    poll_count: int = 1
    input_data: dict = None
    response_timeout_seconds: int = 60


# ---------------------------------------------------------------- ending an attempt


def steps_of(cause: Cause, phase: str) -> list[tuple[float, Step]]:
    """The steps as somebody takes them who looks every tenth of a second."""
    taken, found = Step.NONE, []
    for tick in range(2000):
        step, _ = next_step(cause, phase, taken, tick / 10)
        if step is not Step.NONE:
            taken = step
            found.append((tick / 10, step))
    return found


def test_a_cancelled_body_is_told_then_terminated_then_killed_within_ten_seconds_of_its_cancellation():
    steps = steps_of(Cause.CANCELLED, "body")
    assert [step for _, step in steps] == [Step.TELL, Step.TERMINATE, Step.KILL]
    assert CHECK_SECONDS + steps[-1][0] < 9


def test_a_publication_under_way_gets_more_time_than_a_body():
    body, publishing = (dict(map(reversed, steps_of(Cause.CANCELLED, phase))) for phase in ("body", "publish"))
    assert publishing[Step.TELL] == body[Step.TELL] == 0
    assert publishing[Step.TERMINATE] > 5 * body[Step.TERMINATE]


def test_at_the_deadline_of_a_shutdown_all_is_over_within_two_seconds():
    steps = steps_of(Cause.SHUTDOWN, "publish")
    assert steps[0][0] == 0
    assert steps[-1] == (2.0, Step.KILL)


def test_at_once_is_at_once():
    assert steps_of(Cause.AT_ONCE, "body") == [(0.0, Step.KILL)]


@pytest.mark.parametrize(("cause", "phase"), list(itertools.product(Cause, ["", "body", "stage"])))
def test_steps_come_in_order_and_end_with_a_kill(cause, phase):
    steps = due_steps(cause, phase)
    assert list(steps) == sorted(steps)
    assert steps[-1][1] is Step.KILL


def test_the_time_until_the_next_step_is_told():
    assert next_step(Cause.CANCELLED, "body", Step.TELL, 1.0) == (Step.NONE, 2.0)
    assert next_step(Cause.CANCELLED, "body", Step.KILL, 100.0) == (Step.NONE, None)


# ---------------------------------------------------------------- executors


def test_executors_that_die_in_a_row_are_replaced_after_the_pauses_of_the_contract():
    deaths, pauses = 0, [pause_before(0)]
    for _ in range(8):
        deaths = deaths_after(deaths, attempts=0, lived_seconds=0.1)
        pauses.append(pause_before(deaths))
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_an_executor_that_was_of_use_begins_the_row_anew():
    assert deaths_after(5, attempts=1, lived_seconds=0.1) == 1
    assert deaths_after(5, attempts=0, lived_seconds=STEADY_SECONDS) == 1
    assert deaths_after(5, attempts=0, lived_seconds=STEADY_SECONDS - 1) == 6


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, False),
        ({"attempts": 10, "memory_bytes": 10**12}, False),
        ({"attempts": 9, "max_attempts": 10}, False),
        ({"attempts": 10, "max_attempts": 10}, True),
        ({"memory_bytes": 99, "max_memory_bytes": 100}, False),
        ({"memory_bytes": 100, "max_memory_bytes": 100}, True),
        ({"is_spent": True}, True),
    ],
)
def test_an_executor_is_worn_out_by_attempts_memory_or_what_a_body_left(facts, expected):
    given = {
        "attempts": 1,
        "memory_bytes": 1,
        "is_spent": False,
        "max_attempts": None,
        "max_memory_bytes": None,
    }
    assert is_worn_out(**{**given, **facts}) is expected


# ---------------------------------------------------------------- the engine


def test_an_execution_is_void_when_the_engine_has_another_or_none():
    job = Job(Handed())
    assert why_void(job, {}) is None
    assert why_void(job, {"t": Handed()}) is None
    assert "not there any more" in why_void(job, {"t": None})
    assert "CANCELED" in why_void(job, {"t": Handed(status="CANCELED")})
    assert "poll_count" in why_void(job, {"t": Handed(poll_count=2)})
    assert "scheduled_time" in why_void(job, {"t": Handed(scheduled_time=11)})


def test_a_task_that_comes_again_makes_older_executions_of_it_void():
    class Silent:
        def tell(self, *_args, **_fields):
            return None

    older, reporting, other, newer = Job(Handed()), Job(Handed()), Job(Handed(task_id="u")), Job(Handed(poll_count=2))
    reporting.phase = Phase.REPORT.value
    assert others_of(newer, [older, other, newer]) == [older]
    end_older(newer, [older, reporting, other], Silent())
    assert [job.is_void for job in (older, reporting, other, newer)] == [True, False, False, False]


def test_a_void_execution_takes_up_no_lease():
    class Engine:
        def hold(self, attempt, *, at_once=False):
            return attempt

    job = Job(Handed())
    job.hold(Engine())
    assert job.lease is job.attempt
    job.lease = None
    job.end(Cause.CANCELLED)
    job.hold(Engine())
    assert job.lease is None


def clock_at(seconds):
    clock = ManualClock()
    clock.advance(seconds)
    return clock


@pytest.mark.parametrize(
    ("response_timeout", "asked", "is_just_handed_out"),
    [
        (600, 99.1, True),
        (600, 99.0, False),  # a second is over
        (3, 99.6, True),
        (3, 99.5, False),  # a sixth of its response timeout is over
        (0, 99.1, True),
        (600, None, False),  # nobody knows how old the answer is
    ],
)
def test_a_hand_out_is_new_until_a_heartbeat_would_be_due(response_timeout, asked, is_just_handed_out):
    job = Job(Handed(response_timeout_seconds=response_timeout), clock_at(100.0), asked=asked)
    assert job.is_just_handed_out is is_just_handed_out


def test_nor_is_it_new_after_the_machine_was_suspended():
    clock = clock_at(100.0)
    job = Job(Handed(response_timeout_seconds=600), clock, asked=100.0)
    assert job.is_just_handed_out
    clock.set(clock.now() + timedelta(hours=1))  # monotonic time stood still
    assert not job.is_just_handed_out


def test_an_answer_that_was_long_on_its_way_has_heartbeats_begin_the_sooner():
    assert Job(Handed(response_timeout_seconds=600), clock_at(100.0), asked=99.5).seconds_until_hold() == 0.5
    assert Job(Handed(response_timeout_seconds=600), clock_at(100.0)).seconds_until_hold() == 1.0


def test_a_task_that_came_along_is_as_old_as_the_report_that_brought_it():
    class Engine:
        def report_and_take(self, attempt, _result):
            clock.advance(0.3)
            return attempt

        def report_result(self, _attempt, _result):
            raise AssertionError("one comes along with the first report")

    clock = clock_at(100.0)
    takes = TakesNext(Engine(), Handed(), clock)
    takes.report_result(Handed(), RuntimeTaskResult("COMPLETED", output={}))
    assert (takes.taken, takes.asked) == (Handed(), 100.0)


def test_an_execution_that_ends_with_its_worker_is_not_void():
    job = Job(Handed())
    assert not job.is_void
    job.end(Cause.SHUTDOWN)
    assert not job.is_void


def test_another_try_counts_only_where_it_completed():
    def record(*tries):
        return InstanceRecord("w", tuple(tries))

    def entry(task_id, status, reference="step"):
        return TryRecord(
            task_id=task_id,
            reference_task_name=reference,
            retry_count=0,
            scheduled_time=1,
            poll_count=1,
            status=status,
        )

    job = Job(Handed())
    assert not another_try_completed(record(entry("t", TryStatus.COMPLETED)), job)
    assert not another_try_completed(record(entry("u", TryStatus.FAILED)), job)
    assert not another_try_completed(record(entry("u", TryStatus.COMPLETED, "other")), job)
    assert another_try_completed(record(entry("t", TryStatus.TIMED_OUT), entry("u", TryStatus.COMPLETED)), job)


def test_an_engine_that_is_away_is_asked_less_and_less_often():
    pauses = [pause_before_asking_again(failures) for failures in range(1, 12)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.1
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


# ---------------------------------------------------------------- time, and the end


def test_a_turn_that_comes_much_too_late_tells_that_the_process_stood_still():
    assert not has_jumped(WATCH_SECONDS + 5)  # a busy machine
    assert has_jumped(WATCH_SECONDS + 15)


@pytest.mark.parametrize(
    ("signals", "seconds", "force_kill_after", "expected"),
    [
        (1, 10**6, None, None),
        (1, 59, 60.0, None),
        (1, 60, 60.0, Cause.SHUTDOWN),
        (2, 0, None, Cause.AT_ONCE),
        (2, 100, 60.0, Cause.AT_ONCE),
    ],
)
def test_attempts_get_their_time_until_the_deadline_or_the_second_signal(signals, seconds, force_kill_after, expected):
    assert cause_to_end(signals, seconds, force_kill_after) is expected


def test_only_at_once_is_stronger_than_what_was_asked_before():
    job, woken = Job(Handed()), []
    job.on_ending(lambda: woken.append(1))
    assert job.end(Cause.SHUTDOWN)
    assert not job.end(Cause.CANCELLED)
    assert job.ending[0] is Cause.SHUTDOWN
    assert job.end(Cause.AT_ONCE)
    assert not job.end(Cause.AT_ONCE)
    assert len(woken) == 2


def test_who_begins_to_wait_after_the_end_was_asked_for_is_woken_all_the_same():
    job, woken = Job(Handed()), []
    job.end(Cause.CANCELLED)
    job.on_ending(lambda: woken.append(1))
    assert woken == [1]
