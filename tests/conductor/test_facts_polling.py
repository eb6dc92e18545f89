"""How a Conductor server hands out tasks. The pace of polling and the shutdown of a worker rest on it."""

import socket
import time
from urllib.parse import urlsplit

from servers.machine import slowness
from waiting import wait_for


def test_a_batch_poll_with_timeout_0_answers_at_once_with_what_there_is(conductor, flow):
    for _ in range(3):
        flow.start()
    conductor.wait_for(flow.started[2], lambda found: bool(found["tasks"]))
    conductor.poll_many(flow.task, 1)
    began = time.monotonic()
    assert len(conductor.poll_many(flow.task, 16)) == 2
    assert conductor.poll_many(flow.task, 16) == []
    assert time.monotonic() - began < 5 * slowness()


def test_a_client_that_goes_away_during_a_long_poll_still_gets_the_task(conductor, flow):
    """Hence no long polls here: such a task waits for its response timeout."""
    address = urlsplit(conductor.url)
    path = f"{address.path}/tasks/poll/batch/{flow.task}?workerid=gone&count=1&timeout=5000"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        conductor.poll(flow.task)  # the server has read the other one meanwhile
    flow.start()
    found = conductor.wait_for(flow.started[0], lambda found: [t["status"] for t in found["tasks"]] == ["IN_PROGRESS"])
    assert (found["tasks"][0]["workerId"], conductor.poll(flow.task)) == ("gone", None)


def test_a_definition_is_copied_when_its_workflow_starts(conductor, flow):
    flow.start()
    conductor.define_task(flow.task, responseTimeoutSeconds=7)
    task = conductor.wait_for_task(flow.task)
    assert task["responseTimeoutSeconds"] == 60


def test_registering_takes_the_place_of_what_was_registered(conductor, flow):
    conductor.define_task(flow.task, retryCount=1)
    conductor.define_task(flow.task, retryCount=2, maxRetryDelaySeconds=9, backoffJitterMs=5, totalTimeoutSeconds=90)
    found = conductor.expect("GET", f"/metadata/taskdefs/{flow.task}")
    kept = {
        name: found[name] for name in ("retryCount", "maxRetryDelaySeconds", "backoffJitterMs", "totalTimeoutSeconds")
    }
    assert list(kept.values()) == [2, 9, 5, 90]
    assert conductor.call("GET", f"/metadata/taskdefs/{flow.task}-none").status == 404


def test_a_response_timeout_beyond_the_timeout_is_refused(conductor, flow):
    taskdef = {"name": flow.task, "timeoutSeconds": 5, "responseTimeoutSeconds": 6, "ownerEmail": "a@example.com"}
    assert conductor.call("POST", "/metadata/taskdefs", data=[taskdef]).status == 400


def test_a_schema_is_not_enforced_by_the_server(conductor, make_flow):
    """So the worker validates."""
    data = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    schema = {"name": "x.input", "version": 1, "type": "JSON", "data": data}
    flow = make_flow(inputSchema=schema, enforceSchema=True)
    assert flow.begin()["inputData"] == {}


def test_the_server_tells_when_a_task_was_last_polled_and_in_which_domain(conductor, flow):
    """`perago submit --watch` warns of tasks that no worker asks for by it."""

    def polls():
        found = conductor.expect("GET", "/tasks/queue/polldata", query={"taskType": flow.task})
        return {one.get("domain"): one["lastPollTime"] for one in found}

    assert polls() == {}
    conductor.poll_many(flow.task, 1)
    first = polls()
    assert set(first) == {None}
    wait_for(lambda: conductor.poll_many(flow.task, 1) == [] and polls()[None] > first[None])
    conductor.poll_many(flow.task, 1, domain="gpu")
    assert set(polls()) == {None, "gpu"}


def test_the_server_tells_how_many_tries_wait_in_a_domain(conductor, flow):
    """The nemesis tells by it a try that nobody takes from one that the server never queued."""
    flow.start(taskToDomain={flow.task: "east"})
    conductor.wait_for(flow.started[0], lambda found: bool(found["tasks"]))
    assert conductor.queue_size(flow.task, "east") == 1
    assert conductor.queue_size(flow.task, "west") == 0
    wait_for(lambda: conductor.poll_many(flow.task, 1, domain="east") != [])
    assert conductor.queue_size(flow.task, "east") == 0
