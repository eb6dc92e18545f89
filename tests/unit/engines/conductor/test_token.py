"""Key and secret are exchanged for a token, which goes with each call and is renewed when it is refused or old."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perago.engines.conductor import ConductorEngine, ConductorError, token
from perago.engines.conductor.failure import ConductorAccessError
from servers.machine import slowness

KEY, SECRET = "the-key", "the-very-secret"
TASKDEF = {"name": "build"}


@dataclass(frozen=True)
class Looked:
    task_id: str


class Keeper(ThreadingHTTPServer):
    """A server that asks for a token with each call, and gives one for the key."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Door)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/api"
        self.valid = set()
        self.issued = 0
        self.calls = []
        self.token_status = 200
        self.token_answer = None
        self.tokens_asked = 0
        self.answers_tokens = threading.Event()
        self.answers_tokens.set()
        self.lock = threading.Lock()

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.answers_tokens.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def issue(self, asked):
        with self.lock:
            if self.token_status != 200:
                return self.token_status, {"message": f"no token for {asked}"}
            if asked != {"keyId": KEY, "keySecret": SECRET}:
                return 401, {"message": f"{asked} is unknown"}
            self.issued += 1
            token = f"token-{self.issued}"
            self.valid.add(token)
            return 200, self.token_answer or {"token": token}


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/token":
            with self.server.lock:
                self.server.tokens_asked += 1
            self.server.answers_tokens.wait(60 * slowness())
            with suppress(OSError):  # whoever asked has given up
                self.answer(*self.server.issue(json.loads(body)))
        else:
            self.let_in(body)

    def do_GET(self):
        self.let_in(b"")

    def let_in(self, body):
        token = self.headers.get("X-Authorization")
        with self.server.lock:
            is_in = token in self.server.valid
            self.server.calls.append((self.path, token, body, is_in))
        self.answer(*((200, TASKDEF) if is_in else (401, {"message": "who is this?"})))

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def keeper():
    with Keeper() as server:
        yield server


@pytest.fixture
def engine(keeper):
    with ConductorEngine(keeper.url, auth_key=KEY, auth_secret=SECRET) as engine:
        yield engine


def test_a_token_is_fetched_once_and_goes_with_each_call(keeper, engine):
    for _ in range(3):
        assert engine.get_taskdef("build") == TASKDEF
    assert keeper.issued == 1
    assert [token for _, token, _, _ in keeper.calls] == ["token-1"] * 3


def test_many_calls_at_once_fetch_one(keeper, engine):
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(engine.get_taskdef, ["build"] * 32)) == [TASKDEF] * 32
    assert keeper.issued == 1


def test_a_token_that_is_refused_is_renewed_and_the_call_made_again(keeper, engine):
    engine.get_taskdef("build")
    keeper.valid.clear()
    engine.put_taskdef({"name": "other"})
    assert keeper.issued == 2
    assert [is_in for *_, is_in in keeper.calls] == [True, False, True]
    assert json.loads(keeper.calls[-1][2]) == [{"name": "other"}]


def test_a_refusal_of_many_calls_at_once_fetches_one(keeper, engine):
    engine.get_taskdef("build")
    keeper.valid.clear()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(engine.get_taskdef, ["build"] * 32)) == [TASKDEF] * 32
    assert keeper.issued == 2


def each_by_itself(engine):
    def ask(_):
        with pytest.raises(ConductorError, match="POST /token"):
            engine.get_taskdef("build")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))


def side_by_side(engine):
    with pytest.raises(ConductorError, match="POST /token"):
        engine.current_of([Looked(f"t{number}") for number in range(8)])


@pytest.mark.parametrize("ask", [each_by_itself, side_by_side])
def test_many_calls_that_wait_for_one_that_does_not_come_wait_once(keeper, engine, monkeypatch, ask):
    monkeypatch.setattr(token, "FETCH_SECONDS", 1.0)
    keeper.answers_tokens.clear()
    began = time.monotonic()
    ask(engine)
    assert time.monotonic() - began < 5 * slowness()  # 8 s, one after the other
    assert keeper.tokens_asked < 5
    keeper.answers_tokens.set()
    assert engine.get_taskdef("build") == TASKDEF  # a failure counts for those who waited, and nobody else


def test_an_old_token_is_renewed_before_it_is_refused(keeper, engine, monkeypatch):
    monkeypatch.setattr(token, "TOKEN_SECONDS", 0.0)
    for _ in range(3):
        engine.get_taskdef("build")
    assert keeper.issued == 3
    assert all(is_in for *_, is_in in keeper.calls)


def test_a_key_that_is_unknown_is_said_without_the_secret(keeper):
    engine = ConductorEngine(keeper.url, auth_key=KEY, auth_secret="wrong-secret")
    with (
        engine,
        pytest.raises(ConductorAccessError, match="Check CONDUCTOR_AUTH_KEY and CONDUCTOR_AUTH_SECRET") as caught,
    ):
        engine.get_taskdef("build")
    assert "wrong-secret" not in str(caught.value)
    assert keeper.calls == []


def test_a_call_without_a_key_is_refused_and_says_what_to_check(keeper):
    with ConductorEngine(keeper.url) as engine, pytest.raises(ConductorAccessError, match="CONDUCTOR_AUTH_KEY"):
        engine.get_taskdef("build")
    assert keeper.issued == 0


def test_what_a_server_says_with_the_key_in_it_is_not_shown(keeper, engine):
    keeper.token_status = 418
    with pytest.raises(ConductorError) as caught:
        engine.get_taskdef("build")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("answer", [{"token": ""}, {"token": 5}, {"other": "x"}, ["x"]])
def test_an_answer_without_a_token_is_said(keeper, engine, answer):
    keeper.token_answer = answer
    with pytest.raises(ConductorError, match="without a token"):
        engine.get_taskdef("build")


def test_a_server_that_knows_no_tokens_is_called_without(keeper, engine):
    keeper.token_status = 404
    keeper.valid.add(None)
    assert engine.get_taskdef("build") == TASKDEF


def test_the_secret_goes_to_the_token_call_only(keeper, engine):
    engine.get_taskdef("build")
    assert all(SECRET not in f"{path}{token}{body}" for path, token, body, _ in keeper.calls)
    assert SECRET not in repr(engine)
