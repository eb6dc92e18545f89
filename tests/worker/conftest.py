from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from perago.attempt.body import BodyCall
from perago.stores.git import GitStore
from perago.tasks.context import TaskContext
from perago.tasks.load import load_module_task
from perago.tasks.params import validate_params
from perago.values.json_text import JsonObject
from perago.values.models import AttemptIdentity
from perago.worker.body.run import BodyProcess, BodyZygote, load_order
from servers.conductor_api import ConductorApi
from start_support import StartedWorker, TaskFlow
from supervised import Supervised
from waiting import wait_for

MODULES = Path(__file__).parent / "modules"


@dataclass
class Bodies:
    """Runs the tasks of `worker_bodies`, each in a process of its own."""

    progress: list[tuple[Any, ...]] = field(default_factory=list)
    on_progress: Callable[..., None] | None = None
    start: Literal["fork", "spawn"] = "fork"

    def run(self, name: str, raw: dict[str, Any] | None = None, **options: Any) -> JsonObject:
        workspace = options.pop("workspace", None)
        metrics = options.pop("metrics", None)
        return self.run_target(f"worker_bodies:{name}", self.call(name, raw, workspace, metrics), **options)

    def run_target(self, target: str, call: BodyCall, **options: Any) -> JsonObject:
        load = load_order([target], options.pop("start", self.start))
        with BodyZygote(load) as zygote:
            return BodyProcess(zygote.start, load, **{"cancelled": bool, **options})(call)

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


@pytest.fixture(params=["fork", "spawn"])
def body_start(request: pytest.FixtureRequest) -> Literal["fork", "spawn"]:
    """How bodies begin."""
    return "fork" if request.param == "fork" else "spawn"


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bodies:
    """Bodies that are forked, or begin as the test's `body_start` says."""
    monkeypatch.syspath_prepend(str(MODULES))
    return Bodies(start=request.getfixturevalue("body_start") if "body_start" in request.fixturenames else "fork")


@pytest.fixture
def supervise(bodies: Bodies, tmp_path: Path) -> Callable[..., Supervised]:
    """Makes workers on the in-memory engine; they begin when entered. Takes options of WorkerSettings."""
    del bodies  # its modules can be imported now
    return lambda **options: Supervised(tmp_path / "root", **options)


@pytest.fixture(params=["process", "thread"])
def mode(request: pytest.FixtureRequest) -> str:
    """Of execution."""
    return str(request.param)


@pytest.fixture
def flow(conductor: ConductorApi, bodies: Bodies) -> TaskFlow:
    """The tasks of `supervised_bodies` on a real Conductor."""
    del bodies
    return TaskFlow(conductor, "supervised_bodies")


@pytest.fixture
def start(conductor_server: Any, tmp_path: Path, flow: TaskFlow) -> Iterator[Callable[..., StartedWorker]]:
    """Makes workers for the flow's domain, on a repository of the test's; they begin when entered."""
    made: list[StartedWorker] = []

    def make(
        *options: str,
        modules: Sequence[str] = ("supervised_bodies",),
        url: str | None = None,
        directory: Path = tmp_path,
        repository: Path | None = None,
        **variables: str,
    ) -> StartedWorker:
        if repository is None:
            repository = directory / "data.git"
            (directory / "files").mkdir(parents=True, exist_ok=True)
            (directory / "files" / "readme.txt").write_text("data")
            GitStore.create(repository).import_directory(directory / "files", "main", "begin")
        options = ("--domain", flow.domain, "--repo", str(repository), *options)
        worker = StartedWorker(directory, url or conductor_server.api_url, list(modules), *options, **variables)
        worker.repository = repository
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.__exit__()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """After each test: no process, no descriptor and no thread more than before."""
    of_others = {child.pid for child in psutil.Process().children(recursive=True)}
    before = _belongings(of_others)
    yield
    wait_for(
        lambda: all(map(operator.le, _belongings(of_others), before)),
        lambda: f"left behind: {before} -> {_belongings(of_others)}",
    )


def _belongings(of_others: set[int]) -> tuple[set[int], int, int]:
    """The processes below this one, and the numbers of its descriptors and threads.

    Processes of others and all below them are not counted: a server of the tests may begin one at any time.
    """
    me = psutil.Process()
    processes, below = set(), me.children()
    while below:
        child = below.pop()
        if child.pid not in of_others:
            processes.add(child.pid)
            with suppress(psutil.NoSuchProcess):
                below += child.children()
    return processes, me.num_fds(), me.num_threads()


def process_is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    return process_is_alive
