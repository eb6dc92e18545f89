"""A server that is away for seconds is waited for, if it was there before."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from perago.http.answer import FaultKind
from perago.http.retry import RetryPolicy
from perago.stores.lakefs import LakeFSStore
from perago.stores.lakefs.api.answers import LakeFSError
from perago.values.models import WorkspaceInput
from servers.faults import CutBefore, Rule
from servers.fixtures import repository_on
from servers.lakefs import LakeFSServer
from servers.machine import slowness
from servers.process import free_port
from servers.proxy import FaultProxy
from servers.s3 import S3Server
from transfer_support import MIB, download, noise, transfer_to, upload, write_files
from waiting import wait_for

AWAY_SECONDS = 6.0
"""Longer than five tries take."""


TRIES = 2 * RetryPolicy.tries
"""With those that aiohttp or the server may make for one of ours."""


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
        repository.api.close()  # its connection ended with the server
        commit = repository.commit("main")["id"]
        fetching = threads.submit(download, transfer, commit, tmp_path / "out", done=fetched.append)
        wait_for(lambda: len(fetched) >= 20, "the first files are there")
        leave_and_return(server)
        fetching.result()

    repository.api.close()
    assert repository.files(commit) == files
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


def test_a_block_store_that_the_server_cannot_reach_for_a_while_is_waited_for(lakefs_server, tmp_path):
    write_files(tmp_path / "in", {"small": b"s"})
    with (
        S3Server() as blocks,
        FaultProxy(blocks.url) as between,
        LakeFSServer(
            config=blocks.lakefs_config | {"blockstore.s3.endpoint": between.url}, storage=blocks.storage
        ) as server,
        repository_on(server) as repository,
        transfer_to(server.url, server, repository.name) as transfer,
        ThreadPoolExecutor(1) as threads,
    ):
        away = between.add(Rule(CutBefore(), method="PUT", times=None))
        sending = threads.submit(upload, transfer, "main", tmp_path / "in")
        wait_for(lambda: away.fired > TRIES, "more than the tries of a call")
        between.clear()
        sending.result()
        assert repository.files("main") == {"small": b"s"}


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
