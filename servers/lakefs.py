"""A lakeFS server on loopback.

usage: python -m servers.lakefs build | run [--without-actions]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from servers import lakefs_build
from servers.lakefs_api import LakeFSApi
from servers.process import ServerFailedError, ServerProcess, free_port, wait_until

HEALTHY_SECONDS = 60.0
"""It is up in half a second; a busy machine gets its time."""
PORTS_TRIED = 5

Config = dict[str, Any]


class LakeFSServer:
    """A server with a user, local key-value store and, unless said otherwise, local block store. A context manager.

    Args:
        actions: whether hooks run.
        config: further settings, by dotted name, such as {"database.local.sync_writes": False}.
        parent: where its temporary directory is made; the system's place if None.

    Attributes:
        url: such as http://127.0.0.1:41234, the same after a restart.
        access_key_id, secret_access_key: of an administrator; made for this server.
        storage: prefix of storage namespaces for new repositories.
        directory: its data, its configuration and lakefs.log; removed by `close`.
    """

    def __init__(
        self,
        *,
        actions: bool = True,
        config: Mapping[str, Any] | None = None,
        storage: str = "local://",
        parent: Path | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="perago-lakefs-", dir=parent)).resolve()
        self.access_key_id = f"AKIA{secrets.token_hex(8).upper()}"
        self.secret_access_key = secrets.token_hex(20)
        self.storage = storage
        self._settings: Config = {"actions.enabled": actions, **(config or {})}
        self._process: ServerProcess | None = None
        try:
            self._program = lakefs_build.programs() / "lakefs"
            self._start_on_a_free_port()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is stopped"
        return self._process.pid

    def api(self) -> LakeFSApi:
        """A client of its own for a test to look at the server with."""
        return LakeFSApi(self.url, self.access_key_id, self.secret_access_key)

    def stop(self) -> None:
        """SIGTERM: it finishes the requests under way. The data stays."""
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does. The data stays as it is then."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()

    def start(self) -> None:
        """Start again after `stop` or `kill`, on the same data and port.

        Raises:
            ServerFailedError: it does not start, or another program has taken the port.
        """
        assert self._process is None, "it runs"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEFS_")}
        self._process = ServerProcess(
            [self._program, "run", "--config", self._config_file],
            self.directory / "lakefs.log",
            remove=self.directory,
            environment=environment,
        )
        wait_until(self._healthy, self._process, seconds=HEALTHY_SECONDS, what=f"lakeFS at {self.url}")

    def close(self) -> None:
        """End the server and remove its data; safe to call twice."""
        try:
            self.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def _start_on_a_free_port(self) -> None:
        for attempt in range(1, PORTS_TRIED + 1):
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            self._write_config(port)
            try:
                self.start()
            except ServerFailedError as exc:
                self.kill()
                if attempt == PORTS_TRIED or "address already in use" not in str(exc):
                    raise
            else:
                return

    def _healthy(self) -> bool:
        """Whether the server answers that knows this one's key; another program on the port does not."""
        with contextlib.suppress(OSError), self.api() as api:
            return api.call("GET", "/user").status == 200
        return False

    @property
    def _config_file(self) -> Path:
        return self.directory / "lakefs.yaml"

    def _write_config(self, port: int) -> None:
        settings: Config = {
            "listen_address": f"127.0.0.1:{port}",
            "logging.level": "WARN",
            "database.type": "local",
            "database.local.path": str(self.directory / "kv"),
            "blockstore.type": "local",
            "blockstore.local.path": str(self.directory / "blocks"),
            "committed.local_cache.dir": str(self.directory / "cache"),
            "auth.encrypt.secret_key": secrets.token_hex(20),
            "installation.user_name": "perago",
            "installation.access_key_id": self.access_key_id,
            "installation.secret_access_key": self.secret_access_key,
            # It asks nobody outside, and tells nobody.
            "stats.enabled": False,
            "email_subscription.enabled": False,
            "security.check_latest_version": False,
            "ui.enabled": False,
            **self._settings,
        }
        self._config_file.touch(mode=0o600)
        self._config_file.write_text(json.dumps(_nested(settings)))  # JSON is YAML


def _nested(settings: Config) -> Config:
    tree: Config = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m servers.lakefs", description="A lakeFS server on loopback.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build lakeFS and lakectl, unless they are kept already; print where they are")
    run = commands.add_parser("run", help="run a server until Ctrl-C; what is in it goes with it")
    run.add_argument("--without-actions", action="store_true", help="hooks do not run")
    arguments = parser.parse_args()
    if arguments.command == "build":
        print(lakefs_build.programs())
        return
    with LakeFSServer(actions=not arguments.without_actions) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"PERAGO_TEST_LAKEFS_URL={server.url}")
        print(f"PERAGO_TEST_LAKEFS_ACCESS_KEY_ID={server.access_key_id}")
        print(f"PERAGO_TEST_LAKEFS_SECRET_ACCESS_KEY={server.secret_access_key}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except (lakefs_build.BuildError, ServerFailedError) as exc:
        sys.exit(str(exc))
