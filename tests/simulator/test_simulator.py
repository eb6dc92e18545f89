"""The simulator itself: a seed is a schedule, time moves only when all wait, and failing plans get smaller."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from perago.values.models import RuntimeTaskResult
from planted_bugs import BUGS, CAUGHT
from simulation.__main__ import main
from simulation.baton import Baton, EndlessError, Mutex, Process, Signal, VirtualClock, end_idle_threads
from simulation.network import Caller, Network
from simulation.plan import CELLS, EVENTS, FAULTS, POINTS, Incident, make_plan
from simulation.run import Figures, scratch, simulate
from simulation.servers import SimulatedEngine
from simulation.shrink import shrink

SEED = 5
SHOW = [sys.executable, "-m", "simulation", "--seed", str(SEED)]


def shown(hash_seed):
    """What one seed does, in a process of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(SHOW, capture_output=True, text=True, check=True, timeout=120, env=environment).stdout


def test_a_seed_is_a_schedule(fast_path):
    first = simulate(make_plan(SEED), fast_path / "first")
    again = simulate(make_plan(SEED), fast_path / "again")
    assert first.trace == again.trace
    assert len(first.trace) > 50
    assert first.fired == again.fired


def test_a_seed_is_the_same_schedule_in_every_process():
    assert shown("1") == shown("2")


def test_no_thread_is_left():
    with scratch() as directory:
        simulate(make_plan(SEED), directory / "one")
    assert not [thread for thread in threading.enumerate() if thread.name == "perago-simulated"]


def test_seeds_differ(fast_path):
    traces = {simulate(make_plan(seed), fast_path / str(seed)).trace for seed in range(5)}
    assert len(traces) == 5


def test_a_replay_names_who_did_what_and_when(capsys):
    assert main(["--seed", str(SEED)]) == 0
    said = capsys.readouterr().out
    assert f"seed {SEED}: workers with" in said
    assert "incident 0: " in said
    assert ":executor1:e1" in said
    assert "-> read_history for task-1 (e1)" in said


def test_the_figures_are_one_line_of_json(capsys):
    assert main(["20:30", "--jobs", "1"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["schedules"] == 10
    assert figures["failed"] == figures["void"] == []
    assert figures["counts"]["completions"] > 0


def test_a_failure_says_which_command_shows_it(capsys):
    seed, _ = CAUGHT["what a try may still adopt is replaced"]
    with BUGS["what a try may still adopt is replaced"].patched():
        assert main([f"{seed}:{seed + 20}", "--jobs", "1"]) == 1
        told = capsys.readouterr()
        failed = json.loads(told.out)["failed"]
        assert f"-m simulation --seed {failed[0]}\n" in told.err
        assert main(["--seed", str(failed[0])]) == 1
        shown = capsys.readouterr().out
    assert "\nBROKEN: " in shown
    incidents = shown.count("    incident ")
    left_out = ",".join(map(str, range(incidents)))
    assert main(["--seed", str(failed[0]), "--without", left_out]) == 0
    assert "    incident " not in capsys.readouterr().out


def test_a_failing_plan_gets_smaller(fast_path):
    bug = BUGS["reset instead of publish"]

    def fails(plan):
        return bool(simulate(plan, fast_path / "one", bug.outfit).broken)

    plan = next(plan for seed in range(100) if len((plan := make_plan(seed)).incidents) > 3 and fails(plan))
    smaller = shrink(plan, fails)
    assert fails(smaller)
    assert len(smaller.incidents) < len(plan.incidents)
    assert not any(fails(smaller.without({number})) for number in range(len(smaller.incidents)))


def test_a_run_is_void_in_which_something_is_too_rare():
    figures = Figures(simulated=10_000)
    figures.fired.update(dict.fromkeys(CELLS, 30))
    assert figures.scarce == []
    figures.fired["crash", "body"] = 29
    assert figures.scarce == ["crash at body: 29"]


def test_every_fault_and_event_can_happen_at_its_calls():
    assert {kind for kind, _ in CELLS} == FAULTS.keys() | EVENTS.keys()
    assert {point for _, point in CELLS} == POINTS.keys()
    assert len(set(CELLS)) == len(CELLS)


def test_an_incident_can_be_left_out():
    plan = next(plan for seed in range(100) if len((plan := make_plan(seed)).incidents) == 3)
    assert plan.without({1}) == replace(plan, incidents=(plan.incidents[0], plan.incidents[2]))


# ---------------------------------------------------------------- the baton


@pytest.fixture
def baton():
    made = Baton(seed=1)
    yield made
    made.close()
    end_idle_threads()


def test_time_moves_only_when_all_wait(baton):
    seen = []

    def act(name, seconds):
        for _ in range(3):
            baton.pause(seconds)
            seen.append((baton.now, name))

    here = Process("here")
    baton.spawn("slow", here, lambda: act("slow", 10.0))
    baton.spawn("fast", here, lambda: act("fast", 4.0))
    baton.pause(100.0)
    assert seen == [(4, "fast"), (8, "fast"), (10, "slow"), (12, "fast"), (20, "slow"), (30, "slow")]
    assert baton.now == 100.0


def test_a_process_that_is_killed_never_goes_on(baton):
    seen, here = [], Process("here")
    child = Process("child", here)
    baton.spawn("parent", here, lambda: (baton.pause(1), seen.append("parent")))
    baton.spawn("child", child, lambda: (baton.pause(1), seen.append("child")))
    baton.pause(0.5)
    here.killed = True
    baton.pause(10)
    assert seen == []


def test_a_process_that_stands_still_goes_on_later(baton):
    seen, here = [], Process("here")
    baton.spawn("actor", here, lambda: (baton.pause(1), seen.append(baton.now)))
    baton.pause(0.5)
    here.stopped_until = 20.0
    baton.pause(100.0)
    assert seen == [20.0]


def test_a_signal_ends_a_wait_once(baton):
    signal, seen = Signal(baton), []
    baton.spawn("waiting", Process("here"), lambda: seen.extend([signal.wait(5.0), baton.now, signal.wait(5.0)]))
    baton.pause(1.0)
    signal.set()
    baton.pause(20.0)
    assert seen == [True, 1.0, False]


def test_a_mutex_is_held_by_one_at_a_time(baton):
    mutex, seen = Mutex(baton), []

    def act(name):
        with mutex:
            seen.append(name)
            baton.pause(1.0)
            seen.append(name)

    for name in "abc":
        baton.spawn(name, Process("here"), lambda name=name: act(name))
    baton.pause(10.0)
    assert len(seen) == 6
    assert seen[0::2] == seen[1::2]


def test_an_actor_that_fails_is_told(baton):
    baton.spawn("failing", Process("here"), lambda: 1 // 0)
    baton.pause(1.0)
    (failure,) = baton.failures
    assert failure.startswith("failing: ")
    assert "ZeroDivisionError" in failure


def test_actors_that_never_end_are_found_out(baton):
    def spin():
        while True:
            baton.pause(0)

    baton.spawn("spinning", Process("here"), spin)
    with pytest.raises(EndlessError):
        baton.pause(1.0)


def test_closing_unwinds_every_actor(baton):
    seen = []

    def act():
        try:
            baton.pause(1_000.0)
        finally:
            seen.append("unwound")

    baton.spawn("waiting", Process("here"), act)
    baton.pause(1.0)
    baton.close()
    assert seen == ["unwound"]


def test_a_report_does_not_wait_in_the_server_while_its_sender_is_paused(baton):
    """One schedule in 26,000 had it: the engine wrote a result 25 seconds after it had looked at the task."""
    engine = SimulatedEngine(baton, VirtualClock(baton), Counter())
    for number in range(10):
        engine.tasks.schedule("task", {}, reference_task_name=f"task {number}")
    statuses = set()
    for number in range(10):
        (attempt,), sender = engine.poll(["task"], 1), Process(f"sender {number}")
        baton.spawn("report", sender, partial(engine.report, attempt, RuntimeTaskResult("COMPLETED", output={})))
        baton.pause(0.001)
        sender.stopped_until = baton.now + 30.0
        if engine.tasks.attempt(attempt.task_id).status == "IN_PROGRESS":
            engine.tasks.timeout(attempt.task_id)
        baton.pause(60.0)
        statuses.add(engine.tasks.attempt(attempt.task_id).status)
    assert statuses == {"COMPLETED", "TIMED_OUT"}


def test_no_fault_begins_when_they_have_stopped_though_its_caller_was_paused_until_then(baton):
    """One schedule in 20,000 had it: an executor was paused at its call, and with it an outage that came next."""
    plan = (Incident(kind="stop", point="body", number=1, when="before", amount=0.5),)
    plan += (Incident(kind="store away", point="body", number=1, when="before", amount=0.5),)
    happened = []

    def happen(incident, _caller):
        happened.append(incident.kind)
        network.is_calm = True

    network = Network(baton, plan, happen, look=lambda: None, is_current=lambda _: True)
    network.body(Caller(Process("executor")), 1.0, lambda: None)
    assert happened == ["stop"]


KEEPING = """
import os
from simulation.run import keep_to_core
before = sorted(os.sched_getaffinity(0))
keep_to_core(len(before))  # the number after the last
print(before[0], *os.sched_getaffinity(0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which lets a process choose its cores")
def test_a_simulation_keeps_to_one_core():
    done = subprocess.run([sys.executable, "-c", KEEPING], capture_output=True, text=True, timeout=60, check=True)
    wanted, *kept = done.stdout.split()
    assert kept == [wanted]
