"""Commands on lakeFS whose key may not make one of their requests: a clear error, and nothing is done by half."""

from __future__ import annotations

import json
import re

import pytest

from servers.faults import Refuse, Rule
from servers.proxy import FaultProxy

MAX_REQUESTS = 40
REFUSAL = json.dumps({"message": "the policy of this test says no"}).encode()


@pytest.fixture
def proxy(songs, monkeypatch):
    """In front of the server, for commands in this process; what is looked at comes from the server itself."""
    monkeypatch.setenv("PERAGO_CACHE_MAX_SIZE", "0")
    with FaultProxy(songs.server.url) as made:
        monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", made.url)
        yield made


COMMANDS = {
    "import": ("source", "--branch", "main"),
    "import to a new branch": ("source", "--branch", "new"),
    "export": ("out", "--branch", "main"),
    "log": ("--branch", "main"),
    "doctor": (),
    "doctor that mends": ("--fix",),
}
"""By what it is: its arguments."""

AT_LEAST = {"import": 10, "import to a new branch": 10, "export": 4, "log": 2, "doctor": 2, "doctor that mends": 2}
"""Requests that each makes."""


@pytest.mark.parametrize("what", COMMANDS)
def test_a_refusal_of_any_request_is_said_and_changes_nothing(songs, proxy, perago, what):
    command, refused = what.partition(" ")[0], 0
    for number in range(MAX_REQUESTS):
        songs.write({"new.txt": f"new {number}"})
        before = (songs.head(), songs.repository.branches())
        proxy.clear()
        rule = proxy.add(Rule(Refuse(403, body=REFUSAL), skip=number))
        said = perago(command, *COMMANDS[what], "--repo", songs.address)
        if not rule.fired:
            assert said.code == 0, said.err
            break
        refused += 1
        target = [f"{seen.method} {seen.target}" for seen in proxy.seen() if seen.fault is not None][-1]
        if said.code == 0:
            assert_imported_all_the_same(songs, target, what, f"new {number}")
            continue
        assert_said(songs, proxy.url, said, target, only_looks=command in ("log", "doctor"))
        assert (songs.head(), songs.repository.branches()) == before, target
        assert songs.staging_branches() == [], target
        assert not (songs.path / "out").exists(), target
    else:
        pytest.fail(f"more than {MAX_REQUESTS} requests")
    assert refused >= AT_LEAST[what]


def assert_said(songs, proxy_url, said, target, *, only_looks):
    told = said.err.replace("\n", " ")
    assert said.code in ((2,) if only_looks else (1, 2)), (target, told)
    assert "answered 403: the policy of this test says no" in told, (target, told)
    assert "The access key's user lacks the permission: grant it" in told, (target, told)
    assert re.search(rf"\b[a-z]\w+ at {re.escape(proxy_url)}", told), f"what was refused, and where: {told}"
    assert songs.server.secret_access_key not in told + said.out
    assert "Traceback" not in told


OPTIONAL = re.compile(
    r"DELETE .*/branches/perago-|GET .*/actions/runs/|GET .*/commits/[0-9a-f]{64}$"
    r"|GET .*/refs/[0-9a-f]{64}/(commits\?|diff/)"
)
"""What need not succeed: removing hidden branches, which `doctor` finds; asking which hook it was that refused the
check of the fence; reading back the commit that was made, which is then looked for in the branch's history;
counting what it changed."""


def assert_imported_all_the_same(songs, target, what, new):
    """And make it as before."""
    assert what.startswith("import"), target
    assert OPTIONAL.match(target), target
    branch = "new" if what.endswith("new branch") else "main"
    expected = {"in/a.txt": "alpha", "in/b.txt": "beta", "other.txt": "other", "new.txt": new}
    assert songs.files(branch) == expected, target
    for left in [*songs.staging_branches(), *({branch} - {"main"})]:
        songs.repository.expect("DELETE", f"/branches/{left}")
