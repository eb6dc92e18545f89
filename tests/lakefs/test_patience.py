"""A server that is away for seconds is waited for, if it was there before."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from perago.http.faults import FaultKind
from perago.stores.lakefs import LakeFSStore
from perago.stores.lakefs.api.answers import LakeFSError
from perago.values.models import WorkspaceInput
from servers.machine import slowness
from servers.process import free_port
from transfer_support import MIB, download, noise, transfer_to, upload, write_files
from waiting import wait_for

AWAY_SECONDS = 6.0
"""Longer than five tries take."""


@pytest.fixture
def server(start_lakefs):
    return start_lakefs()


@pytest.fixture
def repository(server):
    with server.api() as api:
        yield api.create_repository("patience", f"{server.storage}patience")


def leave_and_return(server):
    """The server is killed, refuses connections for a while, and is back."""
    server.kill()
    Event().wait(AWAY_SECONDS)
    server.start()


def test_transfers_go_on_when_the_server_is_back(server, repository, tmp_path):
    files = {f"{number:03}": noise(1000, number) for number in range(400)} | {"large": noise(40 * MIB)}
    write_files(tmp_path / "in", files)
    sent, fetched = [], []
    with transfer_to(server.url, server, repository.name) as transfer, ThreadPoolExecutor(1) as threads:
        sending = threads.submit(upload, transfer, "main", tmp_path / "in", done=sent.append)
        wait_for(lambda: len(sent) >= 20, "the first files are sent")
        leave_and_return(server)
        sending.result()
        commit = repository.commit("main")["id"]
        fetching = threads.submit(download, transfer, commit, tmp_path / "out", done=fetched.append)
        wait_for(lambda: len(fetched) >= 20, "the first files are there")
        leave_and_return(server)
        fetching.result()

    assert repository.files(commit) == files
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


def test_who_waits_for_a_server_can_be_ended(server, repository):
    with transfer_to(server.url, server, repository.name) as transfer:
        server.kill()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            transfer.loop.run(transfer.client.get_branch(repository.name, "main"), timeout=2)
        assert time.monotonic() - began < 4 * slowness()


def test_a_server_that_never_answered_is_not_waited_for():
    url, began = f"http://127.0.0.1:{free_port()}", time.monotonic()
    given = WorkspaceInput(repository="r", branch="main", refType="commit", ref="0" * 64)
    with (
        LakeFSStore(endpoint_url=url, access_key_id="k", secret_access_key="s") as store,
        pytest.raises(LakeFSError) as refused,
    ):
        store.read_history(given)
    assert refused.value.fault is FaultKind.UNREACHABLE
    assert time.monotonic() - began < 5 * slowness()
