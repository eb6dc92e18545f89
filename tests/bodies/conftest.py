from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from landlock import LACKS, REASON
from places import MODULES, TURNS, PeragoRun, Place, PlainPython, Worker


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PlainPython:
    return PlainPython(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module", params=["fork", "spawn"])
def body_start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def opened(
    name: str, body_start: str, directories: pytest.TempPathFactory, targets: list[str], sandbox: str
) -> Iterator[Place]:
    """A place by its name, `run` or `worker`."""
    if sandbox != "off" and LACKS:
        pytest.skip(REASON)
    directory = directories.mktemp(f"{name}-{body_start}-{sandbox}")
    if name == "run":
        yield PeragoRun(directory, body_start, sandbox=sandbox)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(MODULES))
        with Worker(directory, body_start, targets, sandbox=sandbox) as worker:
            yield worker


PLACES = ["run", "worker"]


@pytest.fixture(scope="module", params=TURNS[0])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all tests of a module, so that each body meets what the one before it has left."""
    name, start, sandbox = request.param.split("-")
    with opened(name, start, tmp_path_factory, ["plain_rows"], sandbox) as place:
        yield place


@pytest.fixture(scope="module", params=PLACES)
def confined(
    request: pytest.FixtureRequest, body_start: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """The same with a sandbox that is enforced, for the bodies of `confined_rows`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_PLANTED", "kept-from-bodies")
        with opened(request.param, body_start, tmp_path_factory, ["confined_rows"], "enforce") as place:
            yield place
