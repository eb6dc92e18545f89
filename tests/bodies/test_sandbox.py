"""A confined body reaches what was laid out for it, and nothing else: each row of docs/sandbox.md."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from servers.conductor_api import fresh

SECRET = "kept-from-bodies"


@pytest.fixture(scope="module")
def planted(confined, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """What neighbours on the same host have: files, a process, servers."""
    directory = tmp_path_factory.mktemp("outside")
    file = directory / "secret.txt"
    file.write_text(SECRET)
    sibling = confined.root / "task-of-another-execution" / "workspace"
    sibling.mkdir(parents=True)
    (sibling / "data").write_text(SECRET)
    (confined.root / "root.txt").write_text(SECRET)
    neighbour = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(1000)"], env={**os.environ, "PLANTED": SECRET}, cwd=directory
    )
    name = fresh("abstract")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0" + name)
        abstract.listen()
        for one in (server, abstract):
            threading.Thread(target=_answer, args=[one], daemon=True).start()
        others = {
            "the sibling attempt": str(sibling / "data"),
            "the root": str(confined.root / "root.txt"),
            "the repository": str(confined.repository.path / "HEAD"),
            "a file of the home": str(_of_home(directory)),
            "the password file": "/etc/shadow",
            "this process": f"/proc/{os.getpid()}/environ",
            "the first process": "/proc/1/environ",
            "a file of /var": _first_file("/var/log", "/var/lib/dpkg/status"),
        }
        yield {
            "secret": SECRET,
            "file": str(file),
            "directory": str(directory),
            "neighbour": neighbour.pid,
            "port": server.getsockname()[1],
            "abstract": name,
            "others": others,
        }
    neighbour.kill()
    neighbour.wait()


def _answer(server: socket.socket) -> None:
    with suppress(OSError):  # closed at the end
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(SECRET.encode())


def _of_home(directory: Path) -> Path:
    """A file where a user has files, and not below a directory that anybody needs."""
    made = directory / "home" / ".lakectl.yaml"
    made.parent.mkdir(exist_ok=True)
    made.write_text(SECRET)
    return made


def _first_file(*places: str) -> str:
    files = (path for place in places for path in [Path(place), *Path(place).rglob("*")] if path.is_file())
    return str(next(files))


def test_whatever_a_body_reaches_for_is_refused(confined, planted):
    seen = confined.run("confined_rows:reach_for_everything", **planted)
    assert seen.reason == ""
    assert len(seen.value) > 40
    assert {name: found for name, found in seen.value.items() if not found.startswith("refused")} == {}
    assert Path(planted["file"]).read_text() == SECRET
    assert sorted(path.name for path in Path(planted["directory"]).iterdir()) == ["home", "secret.txt"]


def test_without_a_sandbox_the_same_ways_lead_there(plain, planted):
    """So that a refusal is the sandbox's."""
    seen = plain.run("confined_rows:reach_for_everything", **planted)
    open_to_all = {name for name, found in seen.value.items() if found.startswith("found")}
    names = {"open", "a program", "openat2", "a symbolic link", "another's environment", "TCP", "a signal"}
    assert names | {"an abstract socket", "the sibling attempt", "the repository"} <= open_to_all
    Path(planted["file"]).write_text(SECRET)
    Path(planted["directory"], "made").unlink(missing_ok=True)


def test_a_body_has_a_home_and_temporary_files_of_its_own(confined):
    seen = confined.run("confined_rows:have_an_own_place")
    assert (seen.reason, seen.value, seen.files) == ("", [], {"own.txt": "x"})


def test_modules_beside_its_own_are_imported_late(confined):
    assert confined.run("confined_rows:import_late").value == "late"


def test_a_body_has_no_descriptor_by_mistake(confined):
    assert confined.run("confined_rows:have_no_stray_descriptor").value == "[]"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("read_a_file", 'declare @task(..., reads=["{file}"])'),
        ("connect", "declare @task(..., network=True)"),
        ("look_up_a_variable", 'declare @task(..., environment=["AWS_PLANTED"])'),
        ("write_what_may_only_be_read", "made"),
    ],
)
def test_a_refusal_says_what_to_declare(confined, planted, body, told):
    reason = confined.run(f"confined_rows:{body}", **planted).reason
    assert told.format(**planted) in reason
    assert SECRET not in reason


def test_a_task_that_declares_no_sandbox_reads_as_its_user_does(confined, planted):
    assert confined.run("confined_rows:be_free", **planted).value == SECRET
    assert confined.run("confined_rows:read_and_be_noted", **planted).value == SECRET
    assert confined.run("confined_rows:connect_as_declared", **planted).value == SECRET
    assert confined.run("confined_rows:look_up_a_variable_as_declared", **planted).value == SECRET
