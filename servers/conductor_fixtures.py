"""pytest fixtures: a Conductor server for the session, a client for each test, and servers for single tests.

PERAGO_TEST_CONDUCTOR_DATABASE says what the servers keep their data in, `sqlite` (the default) or `postgres`.
PERAGO_TEST_CONDUCTOR_URL names a server to use instead, such as http://localhost:8080/api. What tests register and
start there stays there, under unique names.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from servers import conductor_jar
from servers import desk as desks
from servers.conductor import SPARING, ConductorServer, Database, what_is_missing
from servers.conductor_api import ConductorApi
from servers.fixtures import output_shown

_USE_A_SERVER = frozenset({"conductor_server", "start_conductor"})


@dataclass(frozen=True)
class GivenConductor:
    """A server that is already running: like ConductorServer, but it cannot be stopped."""

    api_url: str

    def api(self) -> ConductorApi:
        return ConductorApi(self.api_url)


Conductor = ConductorServer | GivenConductor


def pytest_configure(config: pytest.Config) -> None:
    """With several test processes, their parent runs the one server that they share, because it is large."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        desk = desks.Desk(_started)
        config.add_cleanup(desk.close)
        os.environ[desks.ADDRESS_VARIABLE] = desk.address


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch here, where no test can time out."""
    wanted = any(_USE_A_SERVER & set(getattr(item, "fixturenames", ())) for item in session.items)
    if wanted and not session.config.option.collectonly:
        with output_shown(session.config):
            _what_is_missing()


@pytest.fixture(scope="session")
def conductor_server() -> Iterator[Conductor]:
    """The session's server: that of PERAGO_TEST_CONDUCTOR_URL, or one started here."""
    given = os.environ.get("PERAGO_TEST_CONDUCTOR_URL")
    if given:
        yield GivenConductor(given.rstrip("/"))
        return
    _need_a_server()
    desk = os.environ.get(desks.ADDRESS_VARIABLE)
    if desk:
        yield GivenConductor(desks.ask(desk))
        return
    with _started() as server:
        yield server


@pytest.fixture
def conductor(conductor_server: Conductor) -> Iterator[ConductorApi]:
    """The session's server through plain HTTP."""
    with conductor_server.api() as api:
        yield api


@pytest.fixture
def start_conductor() -> Iterator[Callable[..., ConductorServer]]:
    """Starts servers that a test may stop, kill and restart, with the arguments of ConductorServer."""
    _need_a_server()
    with contextlib.ExitStack() as servers:
        yield lambda **arguments: servers.enter_context(_started(**arguments))


def _started(*, settings: Mapping[str, str] | None = None, **arguments: Any) -> ConductorServer:
    return ConductorServer(database=_database(), settings={**SPARING, **(settings or {})}, **arguments)


def _database() -> Database:
    return Database(os.environ.get("PERAGO_TEST_CONDUCTOR_DATABASE") or Database.SQLITE)


def _need_a_server() -> None:
    missing = _what_is_missing()
    if missing:
        pytest.skip(missing)


@functools.cache
def _what_is_missing() -> str:
    """Fetch the jar if needed; returns "", or what is missing. Tried once per session."""
    missing = what_is_missing(_database())
    if missing:
        return missing
    try:
        conductor_jar.program()
    except conductor_jar.FetchError as exc:
        return f"needs the Conductor server, which could not be fetched: {exc}"
    return ""
