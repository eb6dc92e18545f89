"""Every request of staging, publishing and cleaning meets every fault on its way to a real server, one at a time."""

import pytest

from clocks import LaterClock
from perago.errors import PeragoError
from perago.values.history import Publish, Seal
from servers.faults import CutBefore, CutRequest, CutResponse, Delay, Refuse, Repeat, Rule, Swallow, Truncate
from servers.lakefs_hooks import store_on

PASSING = {
    "cut before": CutBefore(),
    "reset before": CutBefore(reset=True),
    "cut in the request": CutRequest(5),
    "500": Refuse(500),
    "503 with Retry-After": Refuse(503, {"Retry-After": "0"}),
    "429": Refuse(429),
    "late": Delay(0.05),
    "applied, then lost": Swallow(),
    "applied, then reset": Swallow(reset=True),
    "cut in the answer": CutResponse(3),
    "sent twice, first answer": Repeat(last=False),
    "sent twice, last answer": Repeat(last=True),
}
"""Faults that an attempt should survive."""

FAILING = {"403": Refuse(403), "401": Refuse(401), "410": Refuse(410), "truncated": Truncate(3)}
"""Faults that may end an attempt."""

EVERYWHERE = {"500", "applied, then lost", "cut in the answer", "sent twice, last answer", "403"}
"""Kinds that meet every plan; the others meet plain publications."""

MAX_REQUESTS = 40


def replace_work(bench, number):
    """An attempt that replaces an abandoned publication: content by meta range, and two branches."""
    base = bench.commit({"a": b"%d" % number, "gone": b"1"})
    abandoned = bench.publish(base, {"a": b"wrong"})
    work = bench.lay_out(base)
    work.edit({"b": b"2.%d" % number, "gone": None})
    return work, Publish(abandoned, (abandoned,)), {"a": b"%d" % number, "b": b"2.%d" % number}


def plain_work(bench, number):
    base = bench.commit({"a": b"%d" % number, "gone": b"1"})
    work = bench.lay_out(base)
    work.edit({"b": b"2.%d" % number, "gone": None})
    return work, None, {"a": b"%d" % number, "b": b"2.%d" % number}


def seal_work(bench, number):
    base = bench.commit({"a": b"%d" % number})
    ref = bench.publish(base, {"b": b"2.%d" % number})
    return bench.lay_out(base), Seal(ref, ref), {"a": b"%d" % number, "b": b"2.%d" % number}


WORKS = {"publish": plain_work, "replace": replace_work, "seal": seal_work}


def run_once(bench, work, plan, rule):
    """Stage, publish and clean, with a fault on the way; returns the published commit or what was raised."""
    bench.proxy.add(rule)
    try:
        staged = bench.stage(work, plan)
        try:
            outcome = staged.publish()
        finally:
            clean_as_the_attempt_does(staged)
    except PeragoError as exc:
        outcome = exc
    bench.proxy.clear()
    return outcome


def clean_as_the_attempt_does(staged):
    """Best effort; the janitor does the rest."""
    try:
        staged.clean()
    except PeragoError:
        return


def sweep(make_bench, server, kind, fault, must_pass):
    """One run for each request, with the fault there; returns how many there were. Only the first of a store asks
    whether the server heeds the fence, so that plain publications get a store each."""
    fired = 0
    for name, begin in WORKS.items():
        if name != "publish" and kind not in EVERYWHERE:
            continue
        bench = make_bench(server, proxied=True, merge_timeout_seconds=10)
        for number in range(MAX_REQUESTS):
            if name == "publish":
                bench = make_bench(server, proxied=True, merge_timeout_seconds=10)
            work, plan, expected = begin(bench, number)
            before = bench.line()
            rule = Rule(fault, skip=number)
            outcome = run_once(bench, work, plan, rule)
            if not rule.fired:
                break
            fired += 1
            where = f"{kind} at request {number} of {name}: {outcome!r}"
            check(bench, before, outcome, expected, must_pass, where)
        else:
            pytest.fail(f"{name} makes more than {MAX_REQUESTS} requests")
    return fired


def check(bench, before, outcome, expected, must_pass, where):
    """Once or not at all, and nothing is left when the janitor has been there."""
    if isinstance(outcome, PeragoError):
        assert not must_pass, where
        assert bench.line() == before, where
    else:
        assert bench.line() == [outcome, *before], where
        assert bench.files(outcome) == expected, where
    with store_on(bench.hooks.server, clock=LaterClock()) as later:
        later.repository(bench.hooks.name).sweep(3600)
    assert bench.staged() == [], where


@pytest.mark.parametrize("kind", PASSING)
def test_an_attempt_comes_through_a_single_fault_and_publishes_once(make_bench, lakefs_server, kind):
    assert sweep(make_bench, lakefs_server, kind, PASSING[kind], must_pass=True) >= 12


@pytest.mark.parametrize("kind", FAILING)
def test_an_attempt_that_a_single_fault_ends_leaves_the_target_whole(make_bench, lakefs_server, kind):
    assert sweep(make_bench, lakefs_server, kind, FAILING[kind], must_pass=False) >= 12
