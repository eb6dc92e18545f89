from __future__ import annotations

from collections.abc import Iterator

import pytest

from places import MODULES, PeragoRun, Place, PlainPython, Worker


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PlainPython:
    return PlainPython(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module", params=["fork", "spawn"])
def body_start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["run", "worker"])
def place(request: pytest.FixtureRequest, body_start: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all tests of a module, so that each body meets what the one before it has left."""
    directory = tmp_path_factory.mktemp(f"{request.param}-{body_start}")
    if request.param == "run":
        yield PeragoRun(directory, body_start)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(MODULES))
        with Worker(directory, body_start, ["plain_rows"]) as worker:
            yield worker
