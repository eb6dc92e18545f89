"""The server goes away for good in the middle of each request of an attempt: an error says so, in bounded time."""

import time

import pytest

from perago.errors import PeragoError
from servers.faults import CutBefore, CutResponse, Rule
from servers.machine import slowness

MAX_REQUESTS = 40
MERGE_SECONDS = 1
LONGEST_SECONDS = 40
"""Of an attempt: each of its steps gives up after five tries, or after the merge's second."""


def attempt(bench, base, number):
    """Lay out, stage, publish and clean; returns the published commit."""
    work = bench.lay_out(base)
    work.edit({"b": b"2.%d" % number, "gone": None})
    staged = bench.stage(work)
    try:
        return staged.publish()
    finally:
        staged.clean()


def test_wherever_the_server_goes_away_the_target_is_old_or_new_and_an_error_says_so(make_bench, lakefs_server):
    bench = make_bench(lakefs_server, proxied=True, merge_timeout_seconds=MERGE_SECONDS)
    told = set()
    for number in range(MAX_REQUESTS):
        base = bench.commit({"a": b"%d" % number, "gone": b"1"})
        before = bench.line()
        leaving = bench.proxy.add(Rule(CutResponse(3), skip=number))
        bench.proxy.add(Rule(CutBefore(), skip=number + 1, times=None))
        begun = time.monotonic()
        try:
            ref = attempt(bench, base, number)
        except PeragoError as exc:
            told.add(str(exc))
            assert time.monotonic() - begun < LONGEST_SECONDS * slowness()
        else:
            assert bench.line() == [ref, *before]
        bench.proxy.clear()
        head, *below = bench.line()
        if [head, *below] != before:
            assert below == before, "one step, or none"
            assert bench.files(head)["b"] == b"2.%d" % number
        if not leaving.fired:
            break
    else:
        pytest.fail(f"an attempt makes more than {MAX_REQUESTS} requests")
    assert len(told) >= 5, "an error of each step"
    assert all(lakefs_server.access_key_id not in text for text in told)
    assert all("Check" in text or "ry again" in text or "retry" in text for text in told), told
