"""The next task comes along with a report, or from a poll where a server does not know that call."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perago.engines.conductor import ConductorEngine
from perago.engines.conductor import engine as conductor
from perago.errors import TaskNotFoundError
from perago.values.models import EngineTask, RuntimeTaskResult

DONE = RuntimeTaskResult("COMPLETED", {"result": {}})
ATTEMPT = EngineTask(
    status="IN_PROGRESS",
    workflow_instance_id="w",
    task_id="t",
    retry_count=0,
    reference_task_name="ref",
    task_def_name="task",
    scheduled_time=1,
    poll_count=1,
    seq=1,
    iteration=0,
)


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self.server.answers.get(self.path, (404, b""))
        self.server.calls.append((self.path, body.get("status")))
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        server.answers, server.calls, server.daemon_threads = {}, [], True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def engine(server):
    with ConductorEngine(f"http://127.0.0.1:{server.server_address[1]}/api") as engine:
        yield engine


def test_a_server_that_does_not_know_the_call_is_asked_for_no_more(server, engine):
    server.answers["/api/tasks"] = (200, b"t")
    assert engine.report_and_take(ATTEMPT, DONE) is None
    assert engine.report_and_take(ATTEMPT, DONE) is None
    assert [path for path, _ in server.calls] == ["/api/tasks/update-v2", "/api/tasks", "/api/tasks"]


def test_it_is_asked_again_later_as_the_answer_may_have_been_a_proxys(server, engine, monkeypatch):
    server.answers["/api/tasks"] = (200, b"t")
    engine.report_and_take(ATTEMPT, DONE)
    monkeypatch.setattr(conductor, "GIVES_NEXT_AGAIN_SECONDS", 0.0)  # ten minutes
    engine.report_and_take(ATTEMPT, DONE)
    server.answers["/api/tasks/update-v2"] = (200, b"")
    engine.report_and_take(ATTEMPT, DONE)
    assert [path for path, _ in server.calls] == [*["/api/tasks/update-v2", "/api/tasks"] * 2, "/api/tasks/update-v2"]


def test_a_task_that_is_not_there_says_nothing_of_the_server(server, engine):
    for _ in range(2):
        with pytest.raises(TaskNotFoundError):
            engine.report_and_take(ATTEMPT, DONE)
    assert [path for path, _ in server.calls] == ["/api/tasks/update-v2", "/api/tasks"] * 2


def test_a_task_that_cannot_be_read_is_failed_for_good(server, engine):
    broken = {"taskId": "next", "workflowInstanceId": "w", "status": "IN_PROGRESS"}
    server.answers |= {"/api/tasks/update-v2": (200, json.dumps(broken).encode()), "/api/tasks": (200, b"t")}
    assert engine.report_and_take(ATTEMPT, DONE) is None
    assert server.calls == [("/api/tasks/update-v2", "COMPLETED"), ("/api/tasks", "FAILED_WITH_TERMINAL_ERROR")]
