"""The stores and engines that ship take the arguments of their published methods by name, too."""

import inspect
from dataclasses import replace

import pytest

from perago.engines.conductor import ConductorEngine
from perago.engines.local import LocalEngine
from perago.stores.git import GitStore
from perago.stores.lakefs import LakeFSStore
from perago.testing import MemoryEngine, MemoryStore
from perago.testing.contract.bench import engine_task, make_stamp
from perago.values.models import AttemptIdentity, Changes, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec

STORE = {
    "download_workspace": ["workspace_input", "workspace_spec", "workspace_dir"],
    "stage_workspace": ["workspace_dir", "workspace_input", "workspace_spec", "execution"],
    "publish_workspace": ["staged", "workspace_input", "workspace_spec", "execution"],
    "cleanup_staging": ["staged"],
    "complete_noop_workspace": ["workspace_input", "workspace_spec", "execution"],
    "read_history": ["workspace_input"],
}
ENGINE = {
    "load_current_attempt": ["attempt"],
    "load_record": ["attempt"],
    "report_result": ["attempt", "result"],
}
METHODS = [
    *(
        (store, name, parameters)
        for store in (GitStore, LakeFSStore, MemoryStore)
        for name, parameters in STORE.items()
    ),
    *(
        (engine, name, parameters)
        for engine in (ConductorEngine, LocalEngine, MemoryEngine)
        for name, parameters in ENGINE.items()
    ),
]


@pytest.mark.parametrize(("kind", "name", "parameters"), METHODS, ids=lambda value: getattr(value, "__name__", None))
def test_each_parameter_has_its_published_name(kind, name, parameters):
    bound = inspect.signature(getattr(kind, name)).bind(None, **dict.fromkeys(parameters))
    assert list(bound.arguments) == ["self", *parameters]


@pytest.fixture(params=["git", "memory"])
def store(request, tmp_path):
    """A store, and an input on it."""
    if request.param == "memory":
        made = MemoryStore()
        return made, made.input(ref=made.commit("main", {"a": b"1"}))
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"1")
    made = GitStore.create(tmp_path / "data.git")
    commit = made.import_directory(source, "main", "Import")
    return made, WorkspaceInput(repository="data", branch="main", refType="commit", ref=commit)


def test_an_attempt_s_calls_may_all_be_made_by_name(store, tmp_path):
    made, workspace_input = store
    spec, directory, attempt = WorkspaceSpec(), tmp_path / "workspace", engine_task(task_id="t-1")
    directory.mkdir()
    common = {"workspace_input": workspace_input, "workspace_spec": spec}
    execution = TaskExecution(
        attempt=attempt,
        identity=AttemptIdentity.of(attempt),
        execution_id="e-1",
        stamp=make_stamp(workspace_input.ref, 1),
        changes=Changes(added=("b",)),
    )
    made.download_workspace(**common, workspace_dir=directory)
    unchanged = replace(execution, changes=Changes())
    assert made.complete_noop_workspace(**common, execution=unchanged) == workspace_input.ref
    (directory / "b").write_bytes(b"2")
    staged = made.stage_workspace(**common, workspace_dir=directory, execution=execution)
    published = made.publish_workspace(**common, staged=staged, execution=execution)
    made.cleanup_staging(staged=staged)
    assert made.read_history(workspace_input=workspace_input).head == published
