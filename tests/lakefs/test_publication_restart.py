"""The server is killed in the middle of a publication, and comes back, or does not."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from perago.errors import StoreError
from perago.stores.lakefs.publication.publish import LAST_LOOK_SECONDS
from publication_support import SECONDS
from servers.faults import CutBefore, Delay, Refuse, Rule, Swallow
from servers.machine import slowness
from waiting import wait_for


@pytest.fixture
def server(start_lakefs):
    return start_lakefs()


@pytest.fixture
def make_staged(make_bench, server):
    """An attempt that has staged, on a server that may be killed; `seconds` that its merge may take."""

    def make(seconds):
        bench = make_bench(server, proxied=True, merge_timeout_seconds=seconds)
        base = bench.commit({"a": b"1"})
        return bench, base, bench.staged_edit(base, {"b": b"2"})

    return make


def merge(fault):
    return Rule(fault, method="POST", path="/merge/main")


def test_a_merge_that_met_a_killed_server_is_made_by_the_next_one(make_staged, server):
    bench, base, staged = make_staged(30)
    late = bench.proxy.add(merge(Delay(1)))
    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(staged.publish)
        wait_for(lambda: late.fired, "the merge is on its way")
        server.kill()
        server.start()
        ref = publishing.result(SECONDS)
    assert bench.line() == [ref, base]
    staged.clean()
    assert bench.staged() == []


def test_a_merge_whose_server_was_killed_after_it_is_found(make_staged, server):
    bench, base, staged = make_staged(30)
    lost = bench.proxy.add(merge(Swallow()))
    bench.proxy.add(Rule(CutBefore(), method="GET", path="/refs/main/commits", skip=1, times=4))
    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(staged.publish)
        wait_for(lambda: lost.fired, "the merge is made, and nobody heard")
        server.kill()
        server.start()
        ref = publishing.result(SECONDS)
    assert bench.line() == [ref, base]


def test_a_server_that_stays_away_leaves_it_to_the_next_try(make_staged, server):
    """The merge was made, and nobody can know: the attempt fails, and says that a retry will find it."""
    bench, base, staged = make_staged(3)
    lost = bench.proxy.add(merge(Swallow()))
    bench.proxy.add(Rule(CutBefore(), method="GET", path="/refs/main/commits", skip=1, times=None))
    with pytest.raises(StoreError, match=r"is unknown whether.*a retry of this task finds the commit"):
        staged.publish()
    assert lost.fired
    bench.proxy.clear()
    server.kill()
    server.start()
    newest = bench.newest(base)
    assert bench.line() == [newest.id, base]
    assert newest.counting_stamp.execution_id == staged.execution.execution_id
    assert staged.publish() == newest.id


def test_a_merge_that_takes_too_long_is_given_up(make_staged):
    bench, base, staged = make_staged(1)
    bench.proxy.add(Rule(Delay(30), method="POST", path="/merge/main", times=None))
    with pytest.raises(StoreError, match="publish_timeout_seconds"):
        staged.publish()
    assert bench.line() == [base]


def test_a_server_that_says_nothing_any_more_is_not_waited_for_long(make_staged):
    """Neither the merge nor what became of it gets an answer."""
    bench, base, staged = make_staged(1)
    bench.proxy.add(Rule(Delay(40), method="POST", path="/merge/main", times=None))
    bench.proxy.add(Rule(Delay(40), method="GET", path="/refs/main/commits", skip=1, times=None))
    begun = time.monotonic()
    with pytest.raises(StoreError, match=r"is unknown whether.*a retry of this task finds the commit"):
        staged.publish()
    assert time.monotonic() - begun < (1 + LAST_LOOK_SECONDS + 10) * slowness()
    assert bench.line() == [base]


def test_a_server_that_fails_each_time_is_believed(make_staged):
    bench, base, staged = make_staged(60)
    failing = bench.proxy.add(Rule(Refuse(500), method="POST", path="/merge/main", times=None))
    with pytest.raises(StoreError, match="6 tries"):
        staged.publish()
    assert failing.fired == 6
    assert bench.line() == [base]


@pytest.mark.parametrize("path", ["/branches$", "/objects", "/commits$"])
def test_an_attempt_whose_server_was_killed_while_it_staged_can_be_made_again(make_bench, server, path):
    bench = make_bench(server, proxied=True, merge_timeout_seconds=10)
    base = bench.commit({"a": b"1"})
    work = bench.lay_out(base)
    work.edit({"b": b"2"})
    late = bench.proxy.add(Rule(Delay(0.5), method="POST", path=path))
    with ThreadPoolExecutor(1) as threads:
        staging = threads.submit(bench.stage, work)
        wait_for(lambda: late.fired, "the request is on its way")
        server.kill()
        server.start()
        try:
            staging.result(SECONDS).finish()
        except StoreError:
            bench.stage(work).finish()
    head, *below = bench.line()
    assert below == [base]
    assert bench.files(head) == {"a": b"1", "b": b"2"}
