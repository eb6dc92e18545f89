"""A lakeFS server on loopback.

usage: python -m servers.lakefs build | run [--without-actions]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from servers.go_build import LAKEFS, BuildError
from servers.kept_server import KeptServer
from servers.lakefs_api import LakeFSApi
from servers.process import ServerFailedError

Config = dict[str, Any]


class LakeFSServer(KeptServer):
    """A server with a user, a local key-value store and, by default, a local block store. A context manager.

    Args:
        actions: whether hooks run.
        config: additional settings by dotted name, such as {"database.local.sync_writes": False}.
        parent: parent of its temporary directory. Default: the system's.

    Attributes:
        access_key_id, secret_access_key: of an administrator, created for this server.
        storage: prefix of storage namespaces for new repositories.
    """

    name = "lakeFS"
    healthy_seconds = 60.0  # it is up in half a second

    def __init__(
        self,
        *,
        actions: bool = True,
        config: Mapping[str, Any] | None = None,
        storage: str = "local://",
        parent: Path | None = None,
    ) -> None:
        super().__init__(parent)
        self.access_key_id = f"AKIA{secrets.token_hex(8).upper()}"
        self.secret_access_key = secrets.token_hex(20)
        self.storage = storage
        self._settings: Config = {"actions.enabled": actions, **(config or {})}
        try:
            self._program = LAKEFS.made() / "lakefs"
            self.start_on_a_free_port()
        except BaseException:
            self.close()
            raise

    def api(self) -> LakeFSApi:
        """A new client for a test to inspect the server."""
        return LakeFSApi(self.url, self.access_key_id, self.secret_access_key)

    def command(self) -> Sequence[str | Path]:
        return [self._program, "run", "--config", self._config_file]

    def environment(self) -> Mapping[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("LAKEFS_")}

    def is_healthy(self) -> bool:
        """Whether the answering server knows this server's key."""
        with contextlib.suppress(OSError), self.api() as api:
            return api.call("GET", "/user").status == 200
        return False

    @property
    def _config_file(self) -> Path:
        return self.directory / "lakefs.yaml"

    def use_port(self, port: int) -> None:
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
            # No requests to the outside, no statistics.
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
    commands.add_parser("build", help="build lakeFS and lakectl unless they are cached, and print their path")
    run = commands.add_parser("run", help="run a server until Ctrl-C, then delete its data")
    run.add_argument("--without-actions", action="store_true", help="do not run hooks")
    arguments = parser.parse_args()
    if arguments.command == "build":
        print(LAKEFS.made())
        return
    with LakeFSServer(actions=not arguments.without_actions) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"PERAGO_TEST_LAKEFS_URL={server.url}")
        print(f"PERAGO_TEST_LAKEFS_ACCESS_KEY_ID={server.access_key_id}")
        print(f"PERAGO_TEST_LAKEFS_SECRET_ACCESS_KEY={server.secret_access_key}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except (BuildError, ServerFailedError) as exc:
        sys.exit(str(exc))
