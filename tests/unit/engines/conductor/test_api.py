"""The URL of a server's API, and what is refused as one."""

import socket
import subprocess
import sys

import pytest

from perago.engines.conductor import ConductorEngine, ConductorError
from perago.engines.conductor.api import api_root, segment
from perago.errors import RuntimeConfigError
from servers.machine import slowness
from servers.process import free_port


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("http://host:8080/api", "http://host:8080/api"),
        ("http://host:8080/api/", "http://host:8080/api"),
        ("http://host:8080", "http://host:8080/api"),
        ("https://host/", "https://host/api"),
        (" https://host/behind/a/proxy/api ", "https://host/behind/a/proxy/api"),
        ("http://[::1]:8080", "http://[::1]:8080/api"),
    ],
)
def test_the_root_of_the_api(given, root):
    assert api_root(given) == root


@pytest.mark.parametrize(
    "given",
    ["", "host:8080", "ftp://host/api", "http://", "http://host:x/api", "http://host/api?a=b", "http://host:0/"],
)
def test_what_is_no_url_of_a_server_is_refused(given):
    with pytest.raises(RuntimeConfigError, match="CONDUCTOR_SERVER_URL"):
        ConductorEngine(given)


def test_a_url_with_a_password_is_refused_and_not_shown():
    with pytest.raises(RuntimeConfigError, match="CONDUCTOR_AUTH_KEY") as caught:
        ConductorEngine("http://me:hunter2@host/api")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("half", [{"auth_key": "k"}, {"auth_secret": "s"}])
def test_half_a_key_is_refused(half):
    with pytest.raises(RuntimeConfigError, match="CONDUCTOR_AUTH_KEY and CONDUCTOR_AUTH_SECRET together"):
        ConductorEngine("http://host/api", **half)


def test_a_ca_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(RuntimeConfigError, match="CA file"):
        ConductorEngine("https://host/api", ca_file=tmp_path / "ca.pem")


def test_a_proxy_that_is_none_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "socks5://me:hunter2@proxy")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(RuntimeConfigError, match="the environment's proxy for http is not a URL such as") as caught:
        ConductorEngine("http://host/api")
    assert "hunter2" not in str(caught.value)


def test_names_stay_within_their_segment():
    assert segment("a/b?c#d e%") == "a%2Fb%3Fc%23d%20e%25"


def test_a_server_that_is_not_there_is_said_with_what_to_do():
    mend = "Check CONDUCTOR_SERVER_URL, the network, and that the server runs"
    with ConductorEngine(f"http://127.0.0.1:{free_port()}/api") as engine, pytest.raises(ConductorError, match=mend):
        engine.get_taskdef("build")


def test_a_program_that_does_not_close_it_ends_quietly():
    program = (
        "from perago.engines.conductor import ConductorEngine, ConductorError\n"
        "import contextlib, sys\n"
        "engine = ConductorEngine(sys.argv[1])\n"
        "with contextlib.suppress(ConductorError): engine.get_taskdef('build')\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        command = [sys.executable, "-W", "error", "-c", program, url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                assert running.wait(60 * slowness()) == 0
            assert running.stderr.read() == ""


def test_an_engine_that_was_never_used_may_be_closed_twice_and_is_used_no_more():
    engine = ConductorEngine("http://host/api")
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.get_taskdef("build")
