"""Login on a real server: lakectl's file, session tokens, and keys and tokens that change while a store is open."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lakectl_program import lakectl_program
from perago import load_runtime_config
from perago.files.credentials import Credentials, Origin
from perago.stores.lakefs import LakeFSStore
from perago.stores.lakefs.api.answers import LakeFSAccessError
from perago.values.credentials import LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_TOKEN
from perago.values.models import WorkspaceInput
from perago.values.spec import WorkspaceSpec
from servers.faults import Refuse, Rule
from servers.fixtures import repository_on
from servers.proxy import FaultProxy
from waiting import wait_for

LARGE = 3 * 1024 * 1024
"""Bytes of a file that is streamed, so that its upload cannot be repeated by the session."""


def token_of(server):
    """A session token, as a login gives it."""
    given = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
    with server.api() as api:
        return str(api.expect("POST", "/auth/login", data=given)["token"])


def write_lakectl(path, url, key_id, secret):
    text = f"server:\n  endpoint_url: {url}\ncredentials:\n  access_key_id: {key_id}\n  secret_access_key: {secret}\n"
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def opened(tmp_path, **environment):
    """A store as a command opens it, with these settings and a home directory."""
    given = {"HOME": str(tmp_path), **environment}
    config = load_runtime_config("tests", cwd=tmp_path, process_env=given, probe_roots=False)
    return LakeFSStore(endpoint_url=config.lakefs.endpoint_url, credentials=config.lakefs_credentials())


def test_a_file_that_lakectl_uses_is_a_login(lakefs_server, tmp_path):
    path = tmp_path / ".lakectl.yaml"
    write_lakectl(path, lakefs_server.url, lakefs_server.access_key_id, lakefs_server.secret_access_key)
    with repository_on(lakefs_server) as repository:
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        listed = subprocess.run(
            [lakectl_program(), "repo", "list", "--amount", "1000"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert repository.name in listed.stdout
        with opened(tmp_path) as store:
            store.repository(repository.name).check()
        with opened(tmp_path, **{LAKEFS_KEY_ID: "AKIAWRONG"}) as store, pytest.raises(LakeFSAccessError) as refused:
            store.repository(repository.name).check()
    said = str(refused.value)
    assert f"{LAKEFS_KEY_ID} (the environment)" in said
    assert f"{LAKEFS_SECRET} (`credentials.secret_access_key` in ~/.lakectl.yaml)" in said
    assert lakefs_server.secret_access_key not in said
    assert "AKIAWRONG" not in said


def test_lakectl_has_perago_as_a_command_of_its_own_with_its_login(lakefs_server, tmp_path):
    write_lakectl(
        tmp_path / ".lakectl.yaml", lakefs_server.url, lakefs_server.access_key_id, lakefs_server.secret_access_key
    )
    commands = Path(sys.executable).parent
    environment = {"HOME": str(tmp_path), "PATH": os.pathsep.join([str(commands), os.environ["PATH"]])}
    with repository_on(lakefs_server) as repository:
        head = repository.commit_files("main", {"a": b"1"})
        arguments = ["perago", "log", "--repo", f"lakefs://{repository.name}", "--branch", "main"]
        done = subprocess.run(
            [lakectl_program(), *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert head[:12] in done.stdout


def test_a_session_token_is_a_login(lakefs_server, tmp_path):
    given = {"LAKECTL_SERVER_ENDPOINT_URL": lakefs_server.url, LAKEFS_TOKEN: token_of(lakefs_server)}
    with repository_on(lakefs_server) as repository:
        with opened(tmp_path, **given, **{LAKEFS_KEY_ID: "AKIAWRONG", LAKEFS_SECRET: "wrong"}) as store:
            store.repository(repository.name).check()
        with (
            opened(tmp_path, **{**given, LAKEFS_TOKEN: "not-a-token"}) as store,
            pytest.raises(LakeFSAccessError) as refused,
        ):
            store.repository(repository.name).check()
    assert f"{LAKEFS_TOKEN} (the environment)" in str(refused.value)
    assert "not-a-token" not in str(refused.value)


def test_a_key_that_the_server_refuses_is_read_again_at_once(lakefs_server, tmp_path):
    """Without Enterprise, lakeFS gives a user one key for ever. So the file has another one first, which is unknown."""
    path = tmp_path / ".lakectl.yaml"
    write_lakectl(path, lakefs_server.url, lakefs_server.access_key_id, "revoked")
    with repository_on(lakefs_server) as repository, opened(tmp_path) as store:
        there = store.repository(repository.name)
        with pytest.raises(LakeFSAccessError):
            there.check()
        write_lakectl(path, lakefs_server.url, lakefs_server.access_key_id, lakefs_server.secret_access_key)
        there.check()  # less than LOOK_SECONDS later: the server's answer is what causes the look


@pytest.mark.parametrize(
    "call", [{"method": "POST", "path": "path=large"}, {"method": "GET", "path": "path=large"}], ids=["upload", "read"]
)
def test_content_that_is_streamed_when_the_server_refuses_a_token_gets_there(
    lakefs_server, tmp_path, monkeypatch, call
):
    """An upload cannot be repeated by the session, which has sent the body: its caller repeats it."""
    monkeypatch.setattr("perago.files.credentials.LOOK_SECONDS", float("inf"))  # only the refusal causes a look
    path = tmp_path / "token"
    path.write_text(token_of(lakefs_server))
    credentials = Credentials({LAKEFS_TOKEN: path.read_text()}, {LAKEFS_TOKEN: Origin("a file", str(path))})
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(LARGE))
    with (
        repository_on(lakefs_server) as repository,
        FaultProxy(lakefs_server.url) as proxy,
        LakeFSStore(endpoint_url=proxy.url, credentials=credentials) as store,
    ):
        there = store.repository(repository.name)
        there.check()
        renewed = token_of(lakefs_server)
        assert renewed != path.read_text()
        path.write_text(renewed)
        refused = proxy.add(Rule(Refuse(401), **call))
        there.import_directory(source, "main", "import")
        there.export(repository.head("main"), "", tmp_path / "out")
        assert refused.fired == 1
        assert credentials()[LAKEFS_TOKEN] == renewed
    assert (tmp_path / "out/large").read_bytes() == (source / "large").read_bytes()


def test_a_token_that_expires_in_the_middle_of_transfers_is_read_again(start_lakefs, tmp_path):
    """A program beside renews the token each second; each one lives for six, as that program may have to wait for a
    processor. Calls go on for longer than that.
    """
    server = start_lakefs(config={"auth.login_duration": "6s"})
    directory = tmp_path / "secrets"
    directory.mkdir()

    def renew():
        (directory / "new").write_text(token_of(server))
        (directory / "new").rename(directory / LAKEFS_TOKEN)

    renew()
    source = tmp_path / "source"
    source.mkdir()
    ended = threading.Event()

    def keep_renewing():
        while not ended.wait(1.0):
            renew()

    renewing = threading.Thread(target=keep_renewing)
    settings = {"LAKECTL_SERVER_ENDPOINT_URL": server.url, "PERAGO_SECRETS_DIR": str(directory)}
    with repository_on(server) as repository, opened(tmp_path, **settings) as store:
        there = store.repository(repository.name)
        renewing.start()
        try:
            started, rounds = time.monotonic(), 0
            while time.monotonic() - started < 14:
                rounds += 1
                (source / "large").write_bytes(os.urandom(LARGE))
                (source / f"small-{rounds}").write_text(str(rounds))
                there.import_directory(source, "main", "import")
                out = tmp_path / f"out-{rounds}"
                commit = repository.head("main")
                asked = WorkspaceInput(repository=repository.name, branch="main", ref=commit, ref_type="commit")
                out.mkdir()
                store.download_workspace(asked, WorkspaceSpec(), out)
                assert (out / "large").read_bytes() == (source / "large").read_bytes()
        finally:
            ended.set()
            renewing.join()
        assert rounds > 1
        wait_for(lambda: _is_refused(there), "the last token to expire", 20)


def _is_refused(repository):
    try:
        repository.check()
    except LakeFSAccessError as error:
        return LAKEFS_TOKEN in str(error)
    return False
