"""An attempt that has lost its swap stages the same files again: large ones are not sent a second time."""

from dataclasses import replace

import pytest

from perago.errors import HeadMovedError
from perago.values.history import Merge, Publish
from servers.faults import Refuse, Rule

MIB = 1024 * 1024


def lose(bench, files):
    """An attempt that has staged these files, and whose head has moved."""
    base = bench.commit({"a": b"1"})
    work = bench.lay_out(base)
    work.edit(files)
    execution = bench.execution(base, changes=work.changes(), plan=Publish(base))
    staged = bench.stage_as(work, execution)
    theirs = bench.commit({"theirs": b"2"})
    with pytest.raises(HeadMovedError):
        staged.finish()
    return work, replace(execution, plan=Merge(theirs, (theirs,)))


def sent(bench, name):
    """Requests that carried a file's content, or asked for an address to send it to."""
    return [
        seen
        for seen in bench.proxy.seen()
        if f"path={name}" in seen.target
        and ("/objects?" in seen.target or "/backing?" in seen.target)
        and seen.method in ("POST", "GET")
        and "/branches/" in seen.target
    ]


@pytest.mark.parametrize("server", ["lakefs_server", "lakefs_on_s3"])
@pytest.mark.parametrize("size", [MIB, 9 * MIB])
def test_large_content_is_sent_once(make_bench, request, server, size):
    bench = make_bench(request.getfixturevalue(server), proxied=True)
    large = bytes(range(256)) * (size // 256)
    work, execution = lose(bench, {"large": large, "small": b"3"})
    before = sent(bench, "large")
    assert before
    ref = bench.stage_as(work, execution).finish()
    assert sent(bench, "large") == before
    assert bench.files(ref) == {"a": b"1", "theirs": b"2", "large": large, "small": b"3"}
    assert bench.staged() == []


def test_large_content_that_the_server_does_not_find_is_sent_again(make_bench, lakefs_server):
    bench = make_bench(lakefs_server, proxied=True)
    large = bytes(range(256)) * (MIB // 256)
    work, execution = lose(bench, {"large": large})
    before = len(sent(bench, "large"))
    refused = bench.proxy.add(Rule(Refuse(404), method="POST", path="/objects/copy", times=1))
    ref = bench.stage_as(work, execution).finish()
    assert refused.fired == 1
    assert len(sent(bench, "large")) == before + 1
    assert bench.files(ref)["large"] == large
