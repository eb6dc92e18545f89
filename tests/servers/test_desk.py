"""One server for all processes of a test session."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from servers.desk import Desk, DeskError, ask

ROOT = Path(__file__).parents[2]


class SomeServer:
    api_url = "http://127.0.0.1:1/api"

    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


def test_whoever_asks_first_starts_it_and_all_are_told_of_the_one():
    started = []

    def start():
        started.append(SomeServer())
        return started[-1]

    with Desk(start) as desk:
        assert started == []
        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(ask, [desk.address] * 8)) == {SomeServer.api_url}
        other = [sys.executable, "-c", f"from servers.desk import ask; print(ask({desk.address!r}))"]
        said = subprocess.run(other, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
        assert said == f"{SomeServer.api_url}\n"
        assert [server.closed for server in started] == [0]
    assert [server.closed for server in started] == [1]
    assert not Path(desk.address).parent.exists()


def test_one_that_cannot_be_started_is_tried_once_and_told_to_all():
    tried = []

    def start():
        tried.append(None)
        raise OSError("no space left on device")

    with Desk(start) as desk:
        for _ in range(2):
            with pytest.raises(DeskError, match="no space left"):
                ask(desk.address)
    assert len(tried) == 1


def test_who_hangs_up_is_in_nobodys_way():
    from multiprocessing.connection import Client

    with Desk(SomeServer) as desk:
        Client(desk.address, "AF_UNIX").close()
        assert ask(desk.address) == SomeServer.api_url


def test_nobody_asks_and_nothing_is_started():
    with Desk(lambda: pytest.fail("it was started")):
        pass
