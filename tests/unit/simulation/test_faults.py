"""Faults at the calls of a store and an engine."""

import pytest

from perago.testing import ManualClock, MemoryEngine, MemoryStore
from simulation.faults import Crash, Faults, InjectedError, crash, delayed, error, late, lost, sweep, twice


class Line:
    """Something to call: `add` appends, and says how long the list is then."""

    def __init__(self):
        self.items = []

    def add(self):
        self.items.append(len(self.items))
        return len(self.items)


@pytest.fixture
def line():
    return Line()


def test_an_error_comes_before_any_effect(line):
    with pytest.raises(InjectedError):
        Faults({1: error}).meet("add", line.add)
    assert line.items == []


def test_a_lost_answer_comes_after_the_effect(line):
    with pytest.raises(InjectedError):
        Faults({1: lost}).meet("add", line.add)
    assert line.items == [0]


def test_a_doubled_call_has_its_effect_twice_and_the_second_answer(line):
    assert Faults({1: twice}).meet("add", line.add) == 2


def test_something_happens_before_a_late_call_has_its_effect(line):
    fault = late(lambda: line.items.append("meanwhile"))
    assert Faults({1: fault}).meet("add", line.add) == 2
    assert line.items == ["meanwhile", 1]


def test_time_passes_before_a_delayed_call(line):
    clock = ManualClock()
    assert Faults({1: delayed(clock, 90)}).meet("add", line.add) == 1
    assert clock.monotonic() == 90


def test_after_a_crash_no_call_gets_through_until_another_process_takes_over(line):
    faults = Faults({2: crash})
    assert faults.meet("add", line.add) == 1
    for _ in range(2):
        with pytest.raises(Crash):
            faults.meet("add", line.add)
    assert faults.is_dead
    faults.restart()
    assert faults.meet("add", line.add) == 2


def test_calls_of_store_engine_and_their_order_are_counted_together():
    store, engine = MemoryStore(), MemoryEngine()
    store.commit("main", {"a": "a"})
    faults = Faults({2: error})
    tapped_store, tapped_engine = faults.store(store), faults.engine(engine)
    engine.schedule("say", {})
    attempt = engine.poll()
    assert tapped_store.read_history(store.input()).commits == ()
    with pytest.raises(InjectedError):
        tapped_engine.load_record(attempt)
    assert tapped_engine.load_current_attempt(attempt) == attempt
    assert faults.points == ["read_history", "load_record", "load_current_attempt"]
    assert faults.fired == [2]


def test_a_sweep_goes_through_every_call():
    seen = []

    def run(number):
        faults = Faults({number: twice})
        for name in ("a", "b", "c"):
            faults.meet(name, lambda: None)
        seen.append([faults.points[fired - 1] for fired in faults.fired])
        return faults

    assert sweep(run) == 3
    assert seen == [["a"], ["b"], ["c"], []]
