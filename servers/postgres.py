"""A PostgreSQL server on loopback, with a cluster of its own: a database for Conductor."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from servers.kept_server import KeptServer
from servers.machine import slowness
from servers.process import ServerFailedError

MISSING = (
    "needs PostgreSQL (initdb and postgres in /usr/lib/postgresql or on the PATH; as root also the user postgres and "
    "setpriv), or PERAGO_TEST_CONDUCTOR_DATABASE=sqlite"
)
USER = "postgres"
"""The user that the packages create. PostgreSQL refuses to run as root."""
PREPARE_SECONDS = 60.0
"""Time limit for a new cluster, which takes a second on a quiet machine."""
_PACKAGED = Path("/usr/lib/postgresql")

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # the data never outlives the test, and only a crash of the whole machine would show the difference
}


def find_programs() -> Path | None:
    """The directory of `initdb` and `postgres`: the newest of the packages, or the PATH's; None without one."""
    for directory in _candidates():
        if all(os.access(directory / program, os.X_OK) for program in ("initdb", "postgres")):
            return directory
    return None


def what_is_missing() -> str:
    """What the machine lacks for the server, beginning with "needs"; "" if nothing."""
    return "" if find_programs() and (os.geteuid() != 0 or (_has_user() and shutil.which("setpriv"))) else MISSING


class PostgresServer(KeptServer):
    """A server with an empty database and one superuser. A context manager.

    Attributes:
        user, password: of the superuser.
        jdbc_url: of the database.
    """

    name = "PostgreSQL"
    healthy_seconds = 60.0
    user = "perago"

    def __init__(self) -> None:
        super().__init__()
        self.password = secrets.token_hex(16)
        self._port = 0
        self._data = self.directory / "data"
        try:
            programs = find_programs()
            assert programs is not None, "what_is_missing() says it first"
            self._programs = programs
            self._prepare()
            self.start_on_a_free_port()
        except BaseException:
            self.close()
            raise

    @property
    def jdbc_url(self) -> str:
        return f"jdbc:postgresql://127.0.0.1:{self._port}/postgres"

    def command(self) -> Sequence[str | Path]:
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return [*_as_a_user(), self._programs / "postgres", "-D", self._data, "-p", str(self._port), *settings]

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}

    def use_port(self, port: int) -> None:
        self._port = port

    def is_healthy(self) -> bool:
        """Whether the server has said so in its own file."""
        try:
            said = (self._data / "postmaster.pid").read_text().split()
        except OSError:
            return False
        return said[:1] == [str(self.pid)] and said[-1] == "ready"

    def close(self) -> None:
        try:
            self.stop()  # a killed server would leave its shared memory
        finally:
            super().close()

    def _prepare(self) -> None:
        """Create the cluster."""
        password = self.directory / "password"
        password.write_text(f"{self.password}\n")
        password.chmod(0o600)
        if os.geteuid() == 0:
            for path in (self.directory, password):
                shutil.chown(path, USER, pwd.getpwnam(USER).pw_gid)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        accounts = [f"--username={self.user}", f"--pwfile={password}"]
        command: list[str | Path] = [*_as_a_user(), self._programs / "initdb", *options, *accounts, "-D", self._data]
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PREPARE_SECONDS * slowness(),
            check=False,
        )
        if done.returncode:
            raise ServerFailedError(f"initdb ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4_000:]}")


def _as_a_user() -> list[str]:
    """Start of a command that gives up root; empty for other users."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig=KILL", "--"]


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def _candidates() -> Iterator[Path]:
    yield from sorted(_PACKAGED.glob("*/bin"), key=_version_in, reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent


def _version_in(path: Path) -> int:
    found = re.search(r"\d+", path.parent.name)
    return int(found[0]) if found else 0
