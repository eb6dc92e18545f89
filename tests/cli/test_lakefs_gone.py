"""Commands on a lakeFS server that goes away for good in the middle of one of their requests: an error says so."""

from __future__ import annotations

import pytest

from perago.http import session
from perago.http.retry import RetryPolicy
from perago.stores.lakefs.publication import publish
from servers.faults import CutBefore, CutResponse, Rule
from servers.proxy import FaultProxy

MAX_REQUESTS = 40
FILES = {"in/a.txt": "alpha", "in/b.txt": "beta", "other.txt": "other"}
COMMANDS = {
    "import": ("source", "--branch", "main"),
    "import to a new branch": ("source", "--branch", "new"),
    "export": ("out", "--branch", "main"),
    "log": ("--branch", "main"),
    "doctor": (),
}
"""By what it is: its arguments."""


@pytest.fixture
def proxy(songs, monkeypatch):
    """In front of the server, for commands in this process, which soon give up."""
    monkeypatch.setenv("PERAGO_CACHE_MAX_SIZE", "0")
    monkeypatch.setattr(publish, "MERGE_SECONDS", 0.5)
    monkeypatch.setattr(session, "RetryPolicy", lambda: RetryPolicy(base_seconds=0.01))
    with FaultProxy(songs.server.url) as made:
        monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", made.url)
        yield made


@pytest.mark.parametrize("what", COMMANDS)
def test_wherever_the_server_goes_away_an_error_says_so_and_nothing_is_done_by_half(songs, proxy, perago, what):
    command, ended = what.partition(" ")[0], 0
    branch = "new" if what.endswith("new branch") else "main"
    for number in range(MAX_REQUESTS):
        songs.write({"new.txt": f"new {number}"})
        before = content(songs, branch)
        proxy.clear()
        leaving = proxy.add(Rule(CutResponse(3), skip=number))
        proxy.add(Rule(CutBefore(), skip=number + 1, times=None))
        said = perago(command, *COMMANDS[what], "--repo", songs.address)
        if not leaving.fired:
            assert said.code == 0, said.err
            break
        ended += said.code
        where = [f"{seen.method} {seen.target}" for seen in proxy.seen() if seen.fault is not None]
        if said.code:
            told = said.err.replace("\n", " ")
            assert "the connection was closed before the answer was complete. Try again" in told, (where, told)
            assert "Traceback" not in told, where
            assert not (songs.path / "out").exists(), where
        imported = {**FILES, "new.txt": f"new {number}"}
        assert content(songs, branch) in ([imported] if said.code == 0 else [before, imported]), where
        for left in [*songs.staging_branches(), *set(songs.repository.branches()).difference(["main"])]:
            songs.repository.expect("DELETE", f"/branches/{left}")
    else:
        pytest.fail(f"more than {MAX_REQUESTS} requests")
    assert ended >= 4


def content(songs, branch):
    """Of a branch; None: there is none."""
    return songs.files(branch) if branch in songs.repository.branches() else None
