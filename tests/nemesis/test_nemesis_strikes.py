"""Where and when the nemesis strikes, and what it learns of that."""

from __future__ import annotations

import json
import random
from collections import Counter
from types import SimpleNamespace

import nemesis_hook
import nemesis_proxy
import nemesis_strikes
import nemesis_supervisor
import pytest
from nemesis_cells import BOUNDARIES, Cell
from nemesis_proxy import AIM_SECONDS, SpoiledTraffic
from nemesis_strikes import AT_ONCE, FIRST_BLOWS, LEAD, LOST_SECONDS, ORDER_SECONDS, Strikes

from perago.engines.conductor import ConductorEngine
from perago.worker.supervisor.delivery import Delivery

HOSTS, SPARED = 5, 2


class Now:
    """A clock that a test sets."""

    def __init__(self):
        self.seconds = 1_000.0

    def monotonic(self):
        return self.seconds

    time = monotonic


@pytest.fixture
def now(monkeypatch):
    clock = Now()
    for module in (nemesis_strikes, nemesis_proxy):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def strikes(tmp_path, now):
    strikes = Strikes(tmp_path, random.Random(1), spared=SPARED, pause=0.5, stop=7.0)
    strikes._reported = 1_000
    return strikes


def ordered(strikes):
    """Orders that wait, by their deed."""
    names = [path.name for path in (strikes._directory / nemesis_hook.ORDERS).iterdir()]
    return Counter(name.split(".")[2] for name in names)


def obey(strikes, deed, **facts):
    """What a process does that comes to the boundary of an order."""
    orders = strikes._directory / nemesis_hook.ORDERS
    path = next(path for path in orders.iterdir() if f".{deed}." in path.name)
    path.unlink()
    nemesis_hook.note(strikes._directory, order=path.name, supervisor=1, **facts)
    strikes.read_journal()
    return path.name


def turns(strikes, now, working, count=20):
    for _ in range(count):
        strikes.turn(working)
        now.seconds += 0.5


def test_orders_are_given_to_several_victims_at_once_and_spare_some_hosts(strikes, now):
    turns(strikes, now, HOSTS)
    assert ordered(strikes).total() == 1 + HOSTS - SPARED
    assert ordered(strikes)["kill-executor"] == 1
    assert strikes.whole(HOSTS) == SPARED


@pytest.mark.parametrize("working", [0, SPARED])
def test_no_host_is_taken_away_where_no_more_are_whole_than_are_spared(strikes, now, working):
    turns(strikes, now, working)
    assert ordered(strikes) == {"kill-executor": 1}


def test_no_cell_is_aimed_at_twice_at_once(strikes, now):
    turns(strikes, now, 100)
    cells = [order.cell for order in strikes._orders.values()]
    assert len(set(cells)) == len(cells) == sum(AT_ONCE.values())


def test_executors_are_struck_no_more_often_than_others_but_for_a_few_times(strikes, now):
    for _ in range(500):
        strikes.turn(SPARED)
        now.seconds += 0.5
        if ordered(strikes):
            obey(strikes, "kill-executor", task="t")
    counts = {strikes.kills.counts[cell] for cell in strikes.kills.cells if cell.fault.startswith("kill executor")}
    assert counts == {LEAD}


def test_hosts_go_to_the_emptiest_cells_whatever_has_to_be_done_to_them(strikes, now):
    for cell in strikes.stops.cells:
        strikes.stops.counts[cell] = 1
    turns(strikes, now, SPARED + 1)
    assert ordered(strikes) == {"kill-executor": 1, "kill-supervisor": 1}
    obey(strikes, "kill-supervisor", task="t")
    for cell in strikes.kills.cells:
        strikes.kills.counts[cell] = 2
    turns(strikes, now, SPARED + 1)
    assert ordered(strikes)["stop-host"] == 1


def test_there_are_no_more_blows_than_results_allow(strikes, now):
    strikes._reported = 0
    for cell in strikes.kills.cells[:FIRST_BLOWS]:
        strikes.kills.counts[cell] = 1
    turns(strikes, now, HOSTS)
    assert not ordered(strikes)
    for _ in range(2):
        nemesis_hook.note(strikes._directory, event="report.completed", task="t", execution="e")
    strikes.read_journal()
    strikes.turn(HOSTS)
    assert ordered(strikes)


def test_stops_end_and_bar_others_meanwhile(strikes, now, monkeypatch):
    resumed = []
    monkeypatch.setattr(nemesis_strikes, "resume", resumed.extend)
    for cell in strikes.kills.cells:
        strikes.kills.counts[cell] = 9
    turns(strikes, now, HOSTS)
    monkeypatch.setattr("time.time", now.time)
    obey(strikes, "stop-host", task="t1")
    obey(strikes, "stop-host", task="t2")
    turns(strikes, now, HOSTS, 2)
    assert "stop-host" not in ordered(strikes)
    assert not strikes.are_over
    now.seconds += 7.0
    strikes.resume_stopped()
    assert strikes.are_over
    assert len(resumed) == 4
    assert [blow.tasks for blow in strikes.blows] == [("t1",), ("t2",)]
    assert sum(strikes.stops.counts.values()) == 2


def test_an_order_to_which_nobody_comes_is_withdrawn(strikes, now):
    strikes.turn(SPARED)
    now.seconds += ORDER_SECONDS + 1
    strikes.withdraw(order for order in strikes._orders.values() if now.seconds > order.until)
    assert not ordered(strikes)
    assert not strikes._orders


def test_an_order_whose_taker_died_of_another_one_bars_nothing_for_ever_and_counts_if_it_was_obeyed(strikes, now):
    strikes.turn(SPARED)
    (path,) = (strikes._directory / nemesis_hook.ORDERS).iterdir()
    path.unlink()
    now.seconds += ORDER_SECONDS + LOST_SECONDS + 1
    strikes.turn(SPARED)
    assert len(strikes._orders) == 1, "another one"
    nemesis_hook.note(strikes._directory, order=path.name, supervisor=1, task="t")
    strikes.read_journal()
    assert strikes.done["kill executors"] == 1


def test_while_conductor_is_away_supervisors_are_spared(strikes, now):
    turns(strikes, now, HOSTS)
    strikes.spare_supervisors()
    assert "kill-supervisor" not in ordered(strikes)
    strikes.withdraw_all()
    assert not ordered(strikes)


def test_the_journal_tells_what_else_attempts_came_to(strikes, tmp_path):
    nemesis_hook.note(tmp_path, event="fence.failed", error="StaleAttemptError", task="t2", execution="e2")
    nemesis_hook.note(tmp_path, event="fence.failed", error="StoreError", task="t3", execution="e3")
    nemesis_hook.note(tmp_path, event="take.completed", task="t4")
    strikes.read_journal()
    assert strikes.done == {"stale at their fence": 1, "tasks taken along with a report": 1}


def test_every_order_names_its_boundary(strikes, now):
    turns(strikes, now, 100)
    for order in strikes._orders.values():
        boundary, kind, deed, number = order.name.split(".")
        assert boundary in BOUNDARIES
        assert kind in ("started", "completed")
        assert deed in ("kill-executor", "kill-supervisor", "stop-host")
        assert int(number) == order.number


CALLS = {"merge": ("POST", "/merge"), "rare": ("GET", "/rare"), "poll": ("GET", "/poll")}


@pytest.fixture
def traffic(now):
    kinds = {"pause_seconds": 0.5, "at_once": 2, "longest_delay_seconds": 8.0}
    with SpoiledTraffic("http://127.0.0.1:9", CALLS, random.Random(1), **kinds) as traffic:
        yield traffic


def fire(traffic, but=()):
    for aim in traffic._aims:
        if aim.cell.column not in but:
            aim.rule.fired = 1


def test_several_calls_are_aimed_at_each_another_one(traffic, now):
    for _ in range(5):
        traffic.turn()
    assert len({aim.cell.column for aim in traffic._aims}) == len(traffic._aims) == 2
    assert len(traffic.proxy._rules) == 2
    traffic.stop()
    assert not traffic.proxy._rules


def test_while_a_rare_call_is_waited_for_others_are_spoiled(traffic, now):
    for _ in range(400):
        traffic.turn()
        now.seconds += 0.3
        fire(traffic, but=("rare",))
    counts = traffic.tally.counts
    assert min(counts[Cell(fault, call)] for call in ("merge", "poll") for fault in ("cut", "500", "repeat")) > 5
    assert sum(count for cell, count in counts.items() if cell.column == "rare") == 0


def test_a_call_that_does_not_come_is_given_up_for_another(traffic, now):
    traffic.turn()
    first = traffic._aims[0].cell
    now.seconds += AIM_SECONDS + 1
    traffic.turn()
    assert first not in [aim.cell for aim in traffic._aims]


def test_a_supervisor_comes_to_the_boundaries_of_the_call_with_which_a_task_comes_along(tmp_path, monkeypatch):
    monkeypatch.setenv(nemesis_hook.DIRECTORY_VARIABLE, str(tmp_path))
    (tmp_path / nemesis_hook.ORDERS).mkdir()
    given = iter([SimpleNamespace(task_id="t2"), None])
    monkeypatch.setattr(ConductorEngine, "report_and_take", lambda *_: next(given))
    monkeypatch.setattr(ConductorEngine, "poll", ConductorEngine.poll)
    monkeypatch.setattr(Delivery, "__init__", Delivery.__init__)
    nemesis_supervisor.heed_orders()
    ConductorEngine.report_and_take(None, SimpleNamespace(task_id="t1"), None)
    ConductorEngine.report_and_take(None, SimpleNamespace(task_id="t2"), None)
    journal = [json.loads(line) for line in (tmp_path / nemesis_hook.JOURNAL).read_text().splitlines()]
    told = [(entry["event"], entry["task"]) for entry in journal]
    assert told == [("take.started", "t1"), ("take.completed", "t2"), ("take.started", "t2")]
