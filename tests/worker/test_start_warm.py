"""`perago start` on a real Conductor: files stay between tasks, in a sandbox too, whatever kills an executor at it."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

import pytest

from otlp_receiver import Receiver
from perago.ports import Phase
from perago.stores.git import GitStore
from perago.testing.contract.bench import read_files
from perago.values.models import WorkspaceInput
from perago.values.spec import WorkspaceSpec
from perago.worker.body.sandbox import lacks_for
from servers.conductor_api import fresh, simple
from start_support import MODULES, TaskFlow, store_of, workspace_of
from waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")

FILES = {f"d{number // 50}/{number:03}.txt": f"{number:03}" for number in range(240)}
WHOLE = ["record", "workspace"]
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


@pytest.fixture
def flow(conductor, bodies):
    del bodies
    return TaskFlow(conductor, "warm_bodies")


@pytest.fixture
def many(tmp_path):
    """A repository with so many files that they stay."""
    for path, text in FILES.items():
        file = tmp_path / "many" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    repository = tmp_path / "data.git"
    GitStore.create(repository).import_directory(tmp_path / "many", "main", "begin")
    return repository


class Chain:
    """A workflow of two tasks, the second one on what the first has published; and what its files have to be."""

    def __init__(self, flow, worker) -> None:
        self.flow = flow
        self.worker = worker
        self.files = dict(FILES)
        self._runs = 0
        first = {"params": {"name": "${workflow.input.first}"}, "workspace": "${workflow.input.workspace}"}
        other = {"params": {"name": "${workflow.input.other}"}, "workspace": "${one.output.workspace}"}
        tasks = [simple("warm.write", "one", first), simple("warm.write", "other", other)]
        self._name = flow.api.define_workflow(fresh("chain"), tasks)

    def run(self, seconds: float = 120.0) -> None:
        """Run it to its end, and look at what it has read and published."""
        self._runs += 1
        names = {"first": f"new-{self._runs}-1", "other": f"new-{self._runs}-2"}
        given = {**names, "workspace": workspace_of(self.worker)}
        flow = self.flow
        workflow = flow.api.start_workflow(self._name, given, taskToDomain={"warm.write": flow.domain})
        found = flow.api.wait_for_end(workflow, seconds)
        assert found["status"] == "COMPLETED", found.get("reasonForIncompletion")
        last = {task["referenceTaskName"]: task for task in found["tasks"]}
        for name, reference in zip(names.values(), ("one", "other"), strict=True):
            assert last[reference]["outputData"]["result"]["text"] == "".join(dict(sorted(self.files.items())).values())
            del self.files[min(self.files)]
            self.files[name] = name
        head = store_of(self.worker).branch_head("main")  # a seal, if the attempt that has published was killed
        for ref in (head, last["other"]["outputData"]["workspace"]["ref"]):
            assert self._published(ref) == {path: text.encode() for path, text in self.files.items()}

    def _published(self, ref: str) -> dict[str, bytes]:
        commit = WorkspaceInput(repository="data", branch="main", refType="commit", ref=ref)
        with tempfile.TemporaryDirectory() as directory:
            store_of(self.worker).download_workspace(commit, WorkspaceSpec(), Path(directory))
            return read_files(Path(directory))


def kept_of(receiver) -> list[int]:
    """How many files were there already, of each attempt that laid files out, in turn."""
    spans = [span for span in receiver.spans if span.name == Phase.MATERIALIZE]
    told = [{part.key: part.value.int_value for part in span.attributes} for span in spans]
    return [fields.get("perago.files_kept", 0) for fields in told]


@pytest.mark.parametrize("sandbox", ["off", "enforce"])
def test_the_second_task_of_a_workflow_keeps_the_files_of_the_first(flow, start, many, sandbox, receiver):
    if sandbox == "enforce" and lacks_for(network=False) is not None:
        pytest.skip("only Linux with Landlock enforces a sandbox")
    variables = {"PERAGO_SANDBOX": sandbox, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    worker = start("-j", "1", modules=["warm_bodies"], repository=many, **variables)
    with worker:
        chain = Chain(flow, worker.wait_ready())
        chain.run()
        chain.run()
        worker.signal(signal.SIGTERM)  # what is still to be told is told before it ends
        assert worker.wait() == 0
    # each task removes one file that was there, and writes one, which is laid out for the next
    assert kept_of(receiver) == [0, 239, 239, 239]
    assert len(list(worker.root.glob("warm/*"))) == 1


def test_an_executor_that_is_killed_while_it_claims_or_leaves_files_costs_time_and_nothing_else(
    flow, start, many, tmp_path
):
    order = tmp_path / "order"
    variables = {"WARM_KILL_ORDER": str(order), "PYTHONPATH": f"{MODULES}:{SUPPORT}"}
    worker = start("-j", "1", modules=["warm_bodies"], repository=many, **variables)
    with worker:
        chain = Chain(flow, worker.wait_ready())
        for number in (1, 4, 8, 12, 16, 20):
            if not list(worker.root.glob("warm/*")):  # at first, and where the retry took what was published already
                chain.run()
            order.write_text(str(number))
            chain.run()
            assert not order.exists(), f"it was killed at call {number}"
        wait_for(lambda: {path.name for path in worker.root.iterdir()} == {"supervisor", "warm"}, "the janitor", 60)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert all(sorted(path.name for path in kept.iterdir()) == WHOLE for kept in worker.root.glob("warm/*"))
