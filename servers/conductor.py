"""A Conductor server on loopback.

usage: python -m servers.conductor fetch | run [--database postgres]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from servers import conductor_jar, postgres
from servers.conductor_api import ConductorApi
from servers.java import find_java
from servers.kept_server import KeptServer
from servers.postgres import PostgresServer
from servers.process import ServerFailedError


class Database(StrEnum):
    """What keeps a server's workflows, queues and index, and its locks if it is PostgreSQL."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


HEAP = "768m"
LASTING_JVM_OPTIONS = (f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto")
"""JVM options as in production: a bounded heap and both compilers."""

JVM_OPTIONS = (*LASTING_JVM_OPTIONS, "-XX:TieredStopAtLevel=1")
"""JVM options for a faster start on few cores: tests end before the second compiler would pay off."""

SETTINGS: Mapping[str, str] = {
    "server.address": "127.0.0.1",
    "conductor.app.ownerEmailMandatory": "false",
    "conductor.external-payload-storage.type": "dummy",
    "logging.level.root": "WARN",
    "spring.main.banner-mode": "off",
}


SPARING = {"conductor.app.systemTaskWorkerPollInterval": "500ms"}
"""Settings for tests. The server checks joins and sub-workflows twice a second instead of 20 times, so that an idle
server uses 0.09 of a core instead of 0.2."""


class ConductorServer(KeptServer):
    """A server. A context manager.

    Args:
        database: SQLite in a file, or a PostgreSQL server of its own, which `stop` and `kill` leave running.
        settings: additional or overriding settings, by dotted name.
        jvm_options: Default: a small JVM with a fast start.
        parent: parent of its temporary directory. Default: the system's.
    """

    name = "Conductor"
    healthy_seconds = 300.0  # 15 s on two free cores
    port_is_taken = "was already in use"

    def __init__(
        self,
        *,
        database: Database = Database.SQLITE,
        settings: Mapping[str, str] | None = None,
        jvm_options: Sequence[str] = JVM_OPTIONS,
        parent: Path | None = None,
    ) -> None:
        super().__init__(parent)
        self._settings = {**SETTINGS, **database_settings(database), **(settings or {})}
        self._jvm_options = jvm_options
        self._port = 0
        self._postgres: PostgresServer | None = None
        try:
            self._jar = conductor_jar.program()
            java = find_java()
            assert java is not None, "what_is_missing() says it first"
            self._java = java
            self._postgres = PostgresServer() if database is Database.POSTGRES else None
            self.start_on_a_free_port()
        except BaseException:
            self.close()
            raise

    @property
    def api_url(self) -> str:
        """The value for CONDUCTOR_SERVER_URL."""
        return f"{self.url}/api"

    def api(self) -> ConductorApi:
        """A new client for a test to inspect the server."""
        return ConductorApi(self.api_url)

    def command(self) -> Sequence[str | Path]:
        sqlite = f"jdbc:sqlite:{self.directory / 'conductor.db'}?busy_timeout=15000&journal_mode=WAL"
        database = sqlite if self._postgres is None else self._postgres.jdbc_url
        settings = {**self._settings, "server.port": str(self._port), "spring.datasource.url": database}
        temporary = f"-Djava.io.tmpdir={self.directory}"
        return [
            self._java,
            *self._jvm_options,
            temporary,
            "-jar",
            self._jar,
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def environment(self) -> Mapping[str, str]:
        """An environment without settings of Spring and options of the JVM, but with the keys of the database."""
        spoilers = ("CONDUCTOR_", "SPRING_", "SERVER_", "LOGGING_", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(spoilers)}
        if self._postgres is None:
            return kept
        return kept | {
            "SPRING_DATASOURCE_USERNAME": self._postgres.user,
            "SPRING_DATASOURCE_PASSWORD": self._postgres.password,
        }

    def use_port(self, port: int) -> None:
        self._port = port

    def is_healthy(self) -> bool:
        with contextlib.suppress(OSError), ConductorApi(self.url, prefix="") as api:
            answer = api.call("GET", "/health")
            return answer.status == 200 and bool(answer.json().get("healthy"))
        return False

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self._postgres is not None:
                self._postgres.close()


def database_settings(database: Database) -> dict[str, str]:
    """Settings that put everything into one kind of database."""
    lock = "postgres" if database is Database.POSTGRES else "local_only"
    return {
        **{f"conductor.{part}.type": database for part in ("db", "queue", "indexing")},
        "conductor.workflow-execution-lock.type": lock,
    }


def what_is_missing(database: Database) -> str:
    """What the machine lacks for a server, beginning with "needs"; "" if nothing."""
    return conductor_jar.what_is_missing() or (postgres.what_is_missing() if database is Database.POSTGRES else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m servers.conductor", description="A Conductor server on loopback.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch the server's jar unless Maven has it, and print its path")
    run = commands.add_parser("run", help="run a server until Ctrl-C, then delete its data")
    run.add_argument("--database", type=Database, choices=tuple(Database), default=Database.SQLITE)
    arguments = parser.parse_args()
    if arguments.command == "fetch":
        print(conductor_jar.jar())
        return
    missing = what_is_missing(arguments.database)
    if missing:
        sys.exit(f"Conductor {conductor_jar.VERSION} {missing}")
    with ConductorServer(database=arguments.database) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"PERAGO_TEST_CONDUCTOR_URL={server.api_url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except (conductor_jar.FetchError, ServerFailedError) as exc:
        sys.exit(str(exc))
