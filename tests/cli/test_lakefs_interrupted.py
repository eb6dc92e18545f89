"""Commands on lakeFS that are interrupted, killed, or left alone by their server, in the middle of a transfer."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from lakefs_project import LakeFSProject
from servers.faults import Delay, Rule, Swallow
from servers.fixtures import repository_on
from servers.machine import slowness
from servers.proxy import FaultProxy
from waiting import wait_for

FILES = {"in/a.txt": "alpha", "in/b.txt": "beta", "other.txt": "other"}
SLOW = 1800.0
"""Seconds that a delayed request takes: longer than any test waits, on any machine. The proxy's end ends it."""

LATE = 20.0
"""Seconds after which a delayed request arrives, for tests in which it may."""


@pytest.fixture
def proxy(songs) -> Iterator[FaultProxy]:
    """A proxy in front of the server; commands that are started with `through` go through it."""
    with FaultProxy(songs.server.url) as made:
        yield made


def through(proxy: FaultProxy) -> dict[str, str]:
    return {"LAKECTL_SERVER_ENDPOINT_URL": proxy.url}


def wait_until_taken(rule: Rule, process: subprocess.Popen[str], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds * slowness()
    while rule.fired == 0:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{rule} took nothing in {seconds} s"
        time.sleep(0.01)


def end(process: subprocess.Popen[str], seconds: float = 15) -> tuple[int, str]:
    _, err = process.communicate(timeout=seconds * slowness())
    return process.returncode, err


@pytest.mark.parametrize("path", ["/objects", "/commits$", "/merge/"])
def test_an_import_that_is_interrupted_imports_nothing_and_leaves_nothing(songs, proxy, path):
    head = songs.head()
    songs.write({"new.txt": "new"})
    rule = proxy.add(Rule(Delay(SLOW), method="POST", path=path))
    process = songs.start("import", "source", *songs.on_main, env=through(proxy))
    wait_until_taken(rule, process)
    process.send_signal(signal.SIGINT)
    code, err = end(process)
    assert code == 130, err
    assert err.endswith("error: interrupted\n")
    assert songs.staging_branches() == []
    assert songs.head() == head


def test_an_export_that_is_interrupted_leaves_no_directory(songs, proxy):
    rule = proxy.add(Rule(Delay(SLOW), method="GET", path="/objects.path="))
    process = songs.start("export", "out", *songs.on_main, env=through(proxy))
    wait_until_taken(rule, process)
    process.send_signal(signal.SIGINT)
    code, err = end(process)
    assert code == 130, err
    assert not (songs.path / "out").exists()


def test_a_run_that_is_interrupted_while_its_body_runs_cleans_up(songs, tmp_path):
    head = songs.head()
    there = tmp_path / "there"
    process = songs.start(
        "run", "cli_bodies:write", "--param", f"touch={there}", "--param", f"wait_for={tmp_path}/go", *songs.on_main
    )
    songs.wait_for(there)
    process.send_signal(signal.SIGINT)
    code, err = end(process)
    assert code == 130, err
    assert songs.head() == head
    assert songs.staging_branches() == []
    assert list(songs.workspace_root.iterdir()) == []


@pytest.mark.parametrize("path", ["/refs/[0-9a-f]{64}/objects.path=", "/branches/perago-.*/objects"])
def test_two_interrupts_end_a_run_in_the_middle_of_a_transfer(songs, proxy, path):
    head = songs.head()
    rule = proxy.add(Rule(Delay(SLOW), path=path))
    process = songs.start(
        "run", "cli_bodies:write", *songs.on_main, env=through(proxy) | {"PERAGO_CACHE_MAX_SIZE": "0"}
    )
    wait_until_taken(rule, process)
    process.send_signal(signal.SIGINT)
    while (
        "Press Ctrl-C again" not in process.stderr.readline()
    ):  # two signals of one kind that are both pending are one
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, err = end(process)
    assert code == 130, err
    assert songs.staging_branches() == []
    assert songs.head() == head
    assert list(songs.workspace_root.iterdir()) == []


def test_a_publication_whose_answer_is_lost_is_found_and_told_as_published(songs, proxy):
    before = songs.head()
    rule = proxy.add(Rule(Swallow(), method="POST", path=r"/merge/main"))
    process = songs.start("run", "cli_bodies:write", *songs.on_main, env=through(proxy))
    code, err = end(process, 60)
    assert rule.fired == 1
    assert code == 0, err
    assert f"Published commit {songs.head()}" in err
    assert songs.parent("main") == before


def test_a_merge_takes_no_longer_than_the_tasks_budget(songs, proxy):
    before = songs.head()
    slow = proxy.add(Rule(Delay(SLOW), method="POST", path="/merge/main", times=None))
    process = songs.start("run", "cli_bodies:write_in_a_second", *songs.on_main, env=through(proxy))
    wait_until_taken(slow, process)
    code, err = end(process)
    assert code == 1
    assert "publish_timeout_seconds" in err.replace("\n", " ")
    assert songs.head() == before


@pytest.mark.long
def test_a_run_that_is_killed_before_its_merge_is_resumed_and_published_once(songs, proxy, perago, monkeypatch):
    before = songs.head()
    monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", proxy.url)
    rule = proxy.add(Rule(Delay(8 * slowness()), method="POST", path="/merge/main"))
    process = songs.start("run", "cli_bodies:write", *songs.on_main, env=through(proxy))
    wait_until_taken(rule, process)
    process.kill()
    process.communicate(timeout=30 * slowness())
    [killed] = perago("runs", "--repo", songs.address, "--json").json
    assert killed["status"] == "killed"
    assert songs.head() == before, "the merge is still on its way"
    resumed = perago("run", "--resume", killed["run_id"], "--repo", songs.address)
    assert resumed.code == 0, resumed.err
    wait_for(lambda: sum("/merge/main" in seen.target for seen in proxy.seen()) >= 2, "the delayed merge never arrived")
    publications = [entry for entry in perago("log", *songs.on_main, "--json").json if entry["kind"] == "publication"]
    assert len(publications) == 1, "the late merge came to nothing, or the resumed run found it"
    assert songs.parent("main") == before
    assert songs.files() == FILES | {"out.txt": "out"}


@pytest.fixture
def own_server(tmp_path, start_lakefs, perago, monkeypatch):
    """A project on a server that the test may stop."""
    server = start_lakefs()
    with repository_on(server) as repository:
        made = LakeFSProject(tmp_path / "project", server, repository)
        for name, value in made.settings.items():
            monkeypatch.setenv(name, value)
        made.write(FILES)
        assert perago("import", "source", *made.on_main).code == 0
        yield made


@pytest.mark.long
def test_a_server_that_goes_away_fails_the_run_which_is_resumed_when_it_is_back(own_server, perago, tmp_path):
    before = own_server.head()
    there, go = tmp_path / "there", tmp_path / "go"
    process = own_server.start(
        "run", "cli_bodies:write", "--param", f"touch={there}", "--param", f"wait_for={go}", *own_server.on_main
    )
    own_server.wait_for(there)
    own_server.repository.api.close()
    own_server.server.kill()
    go.touch()
    code, err = end(process, 120)
    assert code == 1
    assert "Check the endpoint URL, the network, and that the server runs" in err.replace("\n", " ")
    assert list(own_server.workspace_root.iterdir()) == []
    assert perago("log", *own_server.on_main).code == 2
    own_server.server.start()
    [failed] = perago("runs", "--repo", own_server.address, "--json").json
    assert failed["status"] == "FAILED"
    resumed = perago("run", "--resume", failed["run_id"], "--repo", own_server.address)
    assert resumed.code == 0, resumed.err
    assert own_server.parent("main") == before
    assert own_server.files() == FILES | {"out.txt": "out"}


def test_an_import_killed_at_any_of_its_requests_leaves_the_branch_old_or_new(songs, proxy, perago):
    """At each third request that it makes; one more import then does what is left."""
    head, kills = songs.head(), 0
    for number in range(0, 60, 3):
        songs.write({"new.txt": f"new {number}"})
        proxy.clear()
        rule = proxy.add(Rule(Delay(LATE, answer=number % 2 == 1), skip=number))
        process = songs.start("import", "source", *songs.on_main, env=through(proxy))
        while rule.fired == 0 and process.poll() is None:
            time.sleep(0.005)
        ended = process.poll()
        process.kill()
        process.communicate(timeout=30 * slowness())
        if ended is not None:
            assert ended == 0
            break
        kills += 1
        assert songs.head() == head or songs.parent("main") == head
        assert perago("import", "source", *songs.on_main).code == 0
        assert songs.files() == FILES | {"new.txt": f"new {number}"}
        head = songs.head()
    assert kills >= 4
    found = perago("doctor", "--repo", songs.address, "--older-than", "1s", "--json").json["findings"]
    assert {finding["kind"] for finding in found} <= {"staged_commit", "temporary_file"}
