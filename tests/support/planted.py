"""What neighbours on the same host have, for `confined_rows` to reach for: files, a process, servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from servers.conductor_api import fresh

SECRET = "kept-from-bodies"

NOT_EVERYWHERE = {
    *("io_uring", "the memory of the kernel", "a set-uid program", "another's stack"),
    *("the network's packets", "a file handle", "pidfd_getfd", "openat2"),
}
"""Ways that a kernel or a host may not have at all."""


@contextmanager
def neighbours(directory: Path, root: Path) -> Iterator[dict[str, Any]]:
    """The params of `confined_rows`.

    Args:
        directory: outside of all that bodies need.
        root: of the workspaces.
    """
    file = directory / "secret.txt"
    file.write_text(SECRET)
    sibling = root / "task-of-another-execution" / "workspace"
    sibling.mkdir(parents=True)
    (sibling / "data").write_text(SECRET)
    (root / "root.txt").write_text(SECRET)
    neighbour = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(1000)"], env={**os.environ, "PLANTED": SECRET}, cwd=directory
    )
    try:
        name = fresh("abstract")
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind("\0" + name)
            abstract.listen()
            for one in (server, abstract):
                threading.Thread(target=_answer, args=[one], daemon=True).start()
            others = {
                "the sibling attempt": str(sibling / "data"),
                "the root": str(root / "root.txt"),
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
    finally:
        neighbour.kill()
        neighbour.wait()


def expect_all_refused(found: Mapping[str, str], planted: Mapping[str, Any]) -> None:
    """By what `reach_for_everything` returned."""
    assert len(found) > 60
    others = {name: what for name, what in found.items() if what != "refused" and name not in NOT_EVERYWHERE}
    assert others == {}, others
    assert {name for name, what in found.items() if what.startswith("found")} == set()
    assert Path(planted["file"]).read_text() == SECRET
    assert sorted(path.name for path in Path(planted["directory"]).iterdir()) == ["home", "secret.txt"]


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
