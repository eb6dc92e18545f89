"""`perago start` while its credentials change: a lakeFS token that expires under an attempt, a Conductor key."""

from __future__ import annotations

import signal
import threading

import pytest

from leaks import secrets_in_files
from servers.fixtures import repository_on
from servers.json_api import JsonApi
from start_support import StartedWorker, TaskFlow
from token_gate import TokenGate

TOKEN_SECONDS, BODY_SECONDS = 4, 6
TOKEN = "LAKECTL_CREDENTIALS_SESSION_TOKEN"


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@pytest.fixture
def secrets_dir(tmp_path):
    directory = tmp_path / "secrets"
    directory.mkdir()
    return directory


def write(directory, name, value):
    """As Kubernetes does it: at once."""
    (directory / ".new").write_text(value)
    (directory / ".new").rename(directory / name)


def is_valid(server, token):
    with JsonApi(server.url, "/api/v1", {"Authorization": f"Bearer {token}"}) as api:
        return api.call("GET", "/user").status == 200


def test_a_token_that_expires_under_an_attempt_is_read_again(
    conductor, conductor_server, bodies, start_lakefs, secrets_dir, tmp_path
):
    """The body runs longer than any token is valid, so the attempt begins with one and publishes with another."""
    del bodies  # its modules can be imported now
    server = start_lakefs(config={"auth.login_duration": f"{TOKEN_SECONDS}s"})
    key = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
    tokens, ended = [], threading.Event()

    def renew():
        with server.api() as api:
            tokens.append(str(api.expect("POST", "/auth/login", data=key)["token"]))
        write(secrets_dir, TOKEN, tokens[-1])

    def keep_renewing():
        while not ended.wait(1.0):
            renew()

    renew()
    renewing = threading.Thread(target=keep_renewing)
    renewing.start()
    flow = TaskFlow(conductor, "supervised_bodies")
    variables = {"LAKECTL_SERVER_ENDPOINT_URL": server.url, "PERAGO_SECRETS_DIR": str(secrets_dir)}
    options = ["--domain", flow.domain]
    try:
        with (
            repository_on(server) as repository,
            StartedWorker(
                tmp_path / "worker", conductor_server.api_url, ["supervised_bodies"], *options, **variables
            ) as worker,
        ):
            worker.wait_ready()
            ref = repository.head("main")
            workspace = {"repository": repository.name, "branch": "main", "refType": "commit", "ref": ref}
            first = tokens[-1]
            started = flow.start("space.append", {"text": "one", "seconds": BODY_SECONDS}, workspace=workspace)
            flow.completed(started)
            assert flow.task(started)["retryCount"] == 0
            assert not is_valid(server, first)
            assert repository.get("main", "lines.txt") == b"one\n"
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
    finally:
        ended.set()
        renewing.join()
    assert list(secrets_in_files(tmp_path / "worker", [*tokens, server.secret_access_key])) == []


def test_a_conductor_key_that_is_replaced_is_read_again(conductor, conductor_server, bodies, secrets_dir, tmp_path):
    del bodies
    secrets = ["first-secret-of-a-worker", "second-secret-of-a-worker"]
    write(secrets_dir, "CONDUCTOR_AUTH_KEY", "key-of-a-worker")
    write(secrets_dir, "CONDUCTOR_AUTH_SECRET", secrets[0])
    flow = TaskFlow(conductor, "supervised_bodies")
    with TokenGate(conductor_server.api_url, "key-of-a-worker", secrets[0]) as gate:
        echo = ["supervised_bodies:echo"]
        given = {"PERAGO_SECRETS_DIR": str(secrets_dir)}
        with StartedWorker(tmp_path / "worker", gate.url, echo, "--domain", flow.domain, **given) as worker:
            worker.wait_ready()
            assert flow.completed(flow.start("light.echo", {"text": "first"}))["result"]["text"] == "first"
            issued = len(gate.issued)
            write(secrets_dir, "CONDUCTOR_AUTH_SECRET", secrets[1])
            gate.account["keySecret"] = secrets[1]
            gate.revoke()
            assert flow.completed(flow.start("light.echo", {"text": "second"}))["result"]["text"] == "second"
            assert len(gate.issued) == issued + 1
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
    assert list(secrets_in_files(tmp_path / "worker", [*secrets, *gate.issued])) == []


def test_a_key_that_nothing_replaces_is_told_with_its_source_and_taken_when_it_is_mended(
    conductor, conductor_server, bodies, lakefs_server, lakefs_repository, secrets_dir, tmp_path
):
    """The attempt fails, and the engine repeats it; the next one uses the new key."""
    del bodies
    flow = TaskFlow(conductor, "supervised_bodies")
    name = "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
    write(secrets_dir, "LAKECTL_CREDENTIALS_ACCESS_KEY_ID", lakefs_server.access_key_id)
    write(secrets_dir, name, "an-old-secret-of-lakefs")
    variables = {"LAKECTL_SERVER_ENDPOINT_URL": lakefs_server.url, "PERAGO_SECRETS_DIR": str(secrets_dir)}
    ref = lakefs_repository.head("main")
    workspace = {"repository": lakefs_repository.name, "branch": "main", "refType": "commit", "ref": ref}
    with StartedWorker(
        tmp_path / "worker",
        conductor_server.api_url,
        ["supervised_bodies"],
        "--domain",
        flow.domain,
        **variables,
    ) as worker:
        worker.wait_ready()
        failed = flow.start("space.append", {"text": "one"}, workspace=workspace)
        reason = flow.wait_status(failed, "FAILED")["reasonForIncompletion"]
        assert f"{name} (PERAGO_SECRETS_DIR" in reason
        assert "an-old-secret-of-lakefs" not in reason
        flow.api.terminate(failed)  # its next try would take the new key, too
        write(secrets_dir, name, lakefs_server.secret_access_key)
        output = flow.completed(flow.start("space.append", {"text": "two"}, workspace=workspace))
        assert lakefs_repository.get(output["workspace"]["ref"], "lines.txt") == b"two\n"
