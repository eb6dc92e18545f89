from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from library_support import PYTHON_PATH, shared_memory
from places import PlainPython, Seen
from waiting import wait_for


class Expected:
    """Results of plain programs. Each program is run once."""

    def __init__(self, plain: PlainPython) -> None:
        self._plain = plain
        self._seen: dict[str, Seen] = {}

    def __call__(self, target: str) -> Seen:
        if target not in self._seen:
            seen = self._seen[target] = self._plain.run(target)
            assert seen.reason == ""
        return self._seen[target]


@pytest.fixture(scope="session", autouse=True)
def threads_that_wait_asleep() -> Iterator[None]:
    """Those of OpenMP would else spin for each other, on a machine that is busy for minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_WAIT_POLICY", "passive")
        yield


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    return Expected(PlainPython(tmp_path_factory.mktemp("plain"), PYTHON_PATH))


@pytest.fixture(
    scope="module", params=[pytest.param(how, marks=pytest.mark.xdist_group(how)) for how in ("fork", "spawn")]
)
def body_start(request: pytest.FixtureRequest) -> str:
    """Tests of one start run in one process of pytest, as they share a worker."""
    return str(request.param)


@pytest.fixture(scope="module")
def module_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for directory in PYTHON_PATH.split(os.pathsep):
            patch.syspath_prepend(directory)
        yield


@pytest.fixture
def nothing_shared_is_left() -> Iterator[None]:
    """What is there goes, as do the names of other programs that run meanwhile."""
    before = shared_memory()
    yield
    left = shared_memory() - before
    wait_for(lambda: not left & shared_memory(), f"{left} to go from shared memory", 120)
