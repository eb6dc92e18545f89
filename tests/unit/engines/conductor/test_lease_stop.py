"""A lease that is stopped: a heartbeat that waits to be sent is given up, and none is sent afterwards."""

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perago.engines.conductor import ConductorEngine
from servers.machine import slowness
from waiting import wait_for

PROMPT_SECONDS = 5.0
"""Half of a heartbeat's deadline. A stop that waits for a heartbeat takes longer."""


@dataclass(frozen=True)
class Held:
    task_id: str
    workflow_instance_id: str = "w"
    worker_id: str = "worker"
    response_timeout_seconds: float = 600


class Server(ThreadingHTTPServer):
    """Answers a path, or the heartbeats of a task, once it is let."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Door)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/api"
        self.let = threading.Event()
        self.stalls = set()
        self.refused = set()
        self.came = []
        self.lock = threading.Lock()

    def times(self, name):
        with self.lock:
            return Counter(self.came)[name]


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = document.get("taskId", "token")
        with self.server.lock:
            self.server.came.append(name)
        if name in self.server.stalls:
            self.server.let.wait(60 * slowness())
        body = b'{"token": "t"}' if name == "token" else b""
        self.send_response(401 if name in self.server.refused else 200)
        self.send_header("Content-Length", str(len(body)))
        with suppress(OSError):  # whoever asked has given up
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.let.set()
        server.shutdown()
        thread.join()


def stop_promptly(lease):
    began = time.monotonic()
    lease.stop()
    assert time.monotonic() - began < PROMPT_SECONDS * slowness()
    assert lease.is_stopped


def test_one_that_waits_for_its_turn_is_given_up(server):
    server.stalls = {"first"}
    with ConductorEngine(server.url, connections=1) as engine:
        first = engine.hold(Held("first"), at_once=True)
        wait_for(lambda: server.times("first"))
        second = engine.hold(Held("second"), at_once=True)
        stop_promptly(second)
        server.let.set()
        first.stop()
        third = engine.hold(Held("third"), at_once=True)  # its turn is after the second one's
        wait_for(lambda: server.times("third"))
        third.stop()
    assert server.came == ["first", "third"]


def test_one_that_waits_for_the_token_is_given_up(server):
    server.stalls = {"token"}
    with ConductorEngine(server.url, auth_key="k", auth_secret="s") as engine:
        first = engine.hold(Held("first"), at_once=True)
        wait_for(lambda: server.times("token"))
        stop_promptly(first)
        server.let.set()
        second = engine.hold(Held("second"), at_once=True)
        wait_for(lambda: server.times("second"))
        second.stop()
    assert server.times("first") == 0


def test_closing_the_engine_ends_all_of_them(server):
    server.stalls = {"in flight"}
    with ConductorEngine(server.url) as engine:
        leases = [engine.hold(Held("in flight"), at_once=True), engine.hold(Held("not due"))]
        wait_for(lambda: server.times("in flight"))
        began = time.monotonic()
    assert time.monotonic() - began < PROMPT_SECONDS
    assert [lease.is_stopped for lease in leases] == [True, True]
    assert [thread for thread in threading.enumerate() if thread.name == "perago-lease"] == []


def test_one_whose_token_is_refused_after_that_is_not_sent_again(server):
    server.stalls = server.refused = {"first"}
    with ConductorEngine(server.url, auth_key="k", auth_secret="s") as engine:
        first = engine.hold(Held("first"), at_once=True)
        wait_for(lambda: server.times("first"))
        first.let_go()
        server.let.set()
        first.stop()
        assert first.is_stopped
    assert server.times("first") == 1
