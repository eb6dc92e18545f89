from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from perago.attempt.body import BodyCall
from perago.json_text import JsonObject
from perago.models import AttemptIdentity
from perago.tasks.context import TaskContext
from perago.tasks.load import load_module_task
from perago.tasks.params import validate_params
from perago.worker.body_process import BodyProcess

MODULES = Path(__file__).parent / "modules"


@dataclass
class Bodies:
    """Runs the tasks of `worker_bodies`, each in a process of its own."""

    progress: list[tuple[Any, ...]] = field(default_factory=list)
    on_progress: Callable[..., None] | None = None

    def run(self, name: str, raw: dict[str, Any] | None = None, **options: Any) -> JsonObject:
        workspace = options.pop("workspace", None)
        metrics = options.pop("metrics", None)
        return self.run_target(f"worker_bodies:{name}", self.call(name, raw, workspace, metrics), **options)

    def run_target(self, target: str, call: BodyCall, **options: Any) -> JsonObject:
        return BodyProcess(target, **{"cancelled": bool, **options})(call)

    def call(
        self, name: str, raw: dict[str, Any] | None = None, workspace: Path | None = None, metrics: Any = None
    ) -> BodyCall:
        task = load_module_task(f"worker_bodies:{name}")
        identity = AttemptIdentity(workflow_instance_id="w", task_id="task-1", retry_count=0)
        context = TaskContext(
            identity=identity, execution_id="execution-1", task_name=task.name, is_cancelled=bool
        ).reporting_to(self._take_progress)
        raw = raw or {}
        return BodyCall(
            task=task,
            params=validate_params(task, raw),
            raw_params=raw,
            workspace=workspace,
            context=context,
            metrics=metrics,
        )

    def _take_progress(self, *progress: Any) -> None:
        self.progress.append(progress)
        if self.on_progress is not None:
            self.on_progress(*progress)


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> Bodies:
    monkeypatch.syspath_prepend(str(MODULES))
    return Bodies()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """After each test: no process, no descriptor and no thread more than before."""
    before = _belongings()
    yield
    wait_until(lambda: _belongings() == before, lambda: f"left behind: {before} -> {_belongings()}")


def _belongings() -> tuple[list[int], int, int]:
    me = psutil.Process()
    return sorted(child.pid for child in me.children(recursive=True)), me.num_fds(), me.num_threads()


def wait_until(
    holds: Callable[[], bool], complaint: Callable[[], str] = lambda: "did not happen in time", seconds: float = 5.0
) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.005)


def process_is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    return process_is_alive
