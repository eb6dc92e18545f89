"""pytest fixtures: a lakeFS for the session, repositories on it, and servers for single tests.

PERAGO_TEST_LAKEFS_URL names a server to use instead, with PERAGO_TEST_LAKEFS_ACCESS_KEY_ID,
PERAGO_TEST_LAKEFS_SECRET_ACCESS_KEY and, unless its block store is local, PERAGO_TEST_LAKEFS_STORAGE (such as s3://bucket/tests/).
"""

from __future__ import annotations

import contextlib
import functools
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from servers.go_build import LAKEFS, VERSITYGW, BuildError, GoBuild, build_all
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSApi, LakeFSRepository
from servers.s3 import S3Server

_VARIABLE = "PERAGO_TEST_LAKEFS"
_BUILDS = {
    "lakefs_server": LAKEFS,
    "start_lakefs": LAKEFS,
    "lakefs_without_actions": LAKEFS,
    "lakefs_on_s3": LAKEFS,
    "s3_server": VERSITYGW,
}
"""What a fixture needs."""


@dataclass(frozen=True)
class GivenLakeFS:
    """A server that is already running: like LakeFSServer, but it cannot be stopped."""

    url: str
    access_key_id: str
    secret_access_key: str
    storage: str

    def api(self) -> LakeFSApi:
        return LakeFSApi(self.url, self.access_key_id, self.secret_access_key)


LakeFS = LakeFSServer | GivenLakeFS


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build here, where no test's time runs out over it, and all side by side."""
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    wanted = {build for name, build in _BUILDS.items() if name in used and not build.is_missing}
    if wanted and not session.config.option.collectonly:
        with output_shown(session.config), contextlib.suppress(BuildError):  # told by the tests that need it
            build_all(wanted)


@pytest.fixture(scope="session")
def lakefs_server() -> Iterator[LakeFS]:
    """The session's server: the one that PERAGO_TEST_LAKEFS_URL names, or one started here."""
    given = _given()
    if given is not None:
        yield given
        return
    _need(LAKEFS)
    with LakeFSServer() as server:
        yield server


@pytest.fixture(scope="session")
def lakefs_without_actions() -> Iterator[LakeFSServer]:
    """A server that runs no hooks."""
    _need(LAKEFS)
    with LakeFSServer(actions=False) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The session's S3 server, for block stores."""
    _need(VERSITYGW)
    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def lakefs_on_s3(s3_server: S3Server) -> Iterator[LakeFSServer]:
    """A server that keeps its objects on an S3 server, and so has presigned URLs."""
    _need(LAKEFS)
    with LakeFSServer(config=s3_server.lakefs_config, storage=s3_server.storage) as server:
        yield server


@pytest.fixture
def start_lakefs() -> Iterator[Callable[..., LakeFSServer]]:
    """Starts servers that a test may stop, kill and restart, with the arguments of LakeFSServer."""
    _need(LAKEFS)
    with contextlib.ExitStack() as servers:
        yield lambda **arguments: servers.enter_context(LakeFSServer(**arguments))


@pytest.fixture
def lakefs_repository(lakefs_server: LakeFS) -> Iterator[LakeFSRepository]:
    """A new repository on the session's server, by plain HTTP, with `.name` and `.api`."""
    with repository_on(lakefs_server) as repository:
        yield repository


@contextlib.contextmanager
def repository_on(server: LakeFS) -> Iterator[LakeFSRepository]:
    """A new repository. It is removed at the end if the server stays."""
    name = f"perago-{uuid.uuid4().hex[:16]}"
    with server.api() as api:
        repository = api.create_repository(name, f"{server.storage}{name}")
        yield repository
        if isinstance(server, GivenLakeFS):
            repository.expect("DELETE", "", query={"force": True})


def _given() -> GivenLakeFS | None:
    url = os.environ.get(f"{_VARIABLE}_URL")
    if not url:
        return None
    return GivenLakeFS(
        url.rstrip("/"),
        os.environ[f"{_VARIABLE}_ACCESS_KEY_ID"],
        os.environ[f"{_VARIABLE}_SECRET_ACCESS_KEY"],
        os.environ.get(f"{_VARIABLE}_STORAGE", "local://"),
    )


def _need(build: GoBuild) -> None:
    missing = _what_is_missing(build)
    if missing:
        pytest.skip(missing)


@functools.cache
def _what_is_missing(build: GoBuild) -> str:
    """Build it if needed; returns "", or why it is missing. Tried once per session."""
    if build.is_missing:
        return build.missing
    try:
        build.made()
    except BuildError as exc:
        return f"needs {build.name}, which could not be built: {exc}"
    return ""


@contextlib.contextmanager
def output_shown(config: pytest.Config) -> Iterator[None]:
    """Show output during collection, which pytest hides: minutes of silence look like a hang."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        yield
