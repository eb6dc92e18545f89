"""A transactional workflow publishes all that its tasks do, or nothing."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from perago import Flow, TaskFailed, WorkspaceSpec, task, workflow
from perago.attempt.context import RunContext
from perago.attempt.report import last_look
from perago.attempt.run import run_attempt
from perago.errors import WorkflowDefinitionError
from perago.ports import ignore
from perago.tasks.declare import task_of
from perago.testing import MemoryEngine, MemoryStore, MemoryWorkflow
from perago.testing.engine import MemoryAttempt
from perago.testing.workflow import Step
from perago.values.models import RUN_PREFIX, RuntimeTaskResult
from perago.values.record import InstanceRecord
from perago.workflows.builtin import builtin_task
from perago.workflows.check import check_wiring
from perago.workflows.definition import workflow_of
from perago.workflows.definition_json import from_json, to_json
from perago.workflows.graph import BEGIN_TASK, END_TASK


class Params(BaseModel):
    number: int = 1


class Result(BaseModel):
    number: int


@task(name="first", owner_email="team@example.org", workspace=WorkspaceSpec(prefix="first"))
def first(workspace: Path, params: Params) -> Result:
    (workspace / "number").write_text(str(params.number))
    return Result(number=params.number + 1)


@task(name="second", owner_email="team@example.org", workspace=WorkspaceSpec(prefix="second"))
def second(workspace: Path, params: Params) -> Result:
    if params.number < 0:
        raise TaskFailed("no numbers below 0")
    (workspace / "number").write_text(str(params.number))
    return Result(number=params.number + 1)


@workflow(name="both", owner_email="team@example.org", transactional=True)
def both(flow: Flow, params: Params) -> Result:
    return flow.run(second, number=flow.run(first, number=params.number).number)


def test_the_branch_moves_once():
    kit = MemoryWorkflow({"other": "o"})
    begun = kit.store.head("main")
    assert kit.run(both, {"number": 7}).status == "COMPLETED"
    head, *before = kit.store.history("main")
    assert before == [begun]
    assert kit.store.files("main") == {"other": b"o", "first/number": b"7", "second/number": b"8"}
    stamp = kit.store.stamp_of(head)
    assert stamp is not None
    assert stamp.result is not None
    assert [one["task"] for one in stamp.result["tasks"]] == ["first", "second"]


def test_a_run_that_fails_leaves_the_branch_untouched_and_its_own_in_place():
    kit = MemoryWorkflow({"other": "o"}, retries=0)
    begun = kit.store.head("main")
    assert kit.run(both, {"number": -5}).status == "FAILED"
    assert kit.store.history("main") == [begun]
    (kept,) = [name for name in kit.store.branches() if name.startswith(RUN_PREFIX)]
    assert kit.store.files(kept) == {"other": b"o", "first/number": b"-5"}


def test_a_workflow_without_workspaces_cannot_be_transactional():
    @task(name="free", owner_email="team@example.org")
    def free(params: Params) -> Result:
        return Result(number=params.number)

    with pytest.raises(WorkflowDefinitionError, match="no task has a workspace"):

        @workflow(name="none", owner_email="team@example.org", transactional=True)
        def none(flow: Flow) -> None:
            flow.run(free)


MINE = {"repository": "memory", "branch": "main", "refType": "commit", "ref": "0" * 40}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"first": "${workflow.input.workspace}"}, "task 'first': its workspace is not the run's"),
        ({"second": MINE}, "task 'second': its workspace is not the run's"),
        ({"second": {"join": ["${first.output.workspace}", MINE]}}, "'second': its workspace is not the run's"),
        ({"second": {"join": ["${first.output.workspace}", "${perago_begin.output.workspace}"]}}, None),
    ],
)
def test_a_task_that_leaves_the_run_is_refused_in_a_definition(changed, fault):
    workflow = workflow_of(both)
    assert workflow is not None
    document = to_json(workflow.graph)
    for node in document["tasks"]:
        node["inputParameters"]["workspace"] = changed.get(
            node["taskReferenceName"], node["inputParameters"]["workspace"]
        )
    refused = pytest.raises(WorkflowDefinitionError, match=fault) if fault else nullcontext()
    with refused:
        check_wiring(from_json(document), workflow.tasks)


def test_a_task_behind_the_end_of_the_run_is_refused_in_a_definition():
    workflow = workflow_of(both)
    assert workflow is not None
    document = to_json(workflow.graph)
    beginning, one, other, ending = document["tasks"]
    document["tasks"] = [beginning, one, ending, other]
    ending["inputParameters"]["params"]["run"] = "${first.output.workspace}"
    with pytest.raises(WorkflowDefinitionError, match="task 'second': it runs after the run was published"):
        check_wiring(from_json(document), workflow.tasks)
    document |= {"tasks": [beginning, one, other], "outputParameters": {}}
    with pytest.raises(WorkflowDefinitionError, match=r"has one task perago\.begin and one perago\.end"):
        check_wiring(from_json(document), workflow.tasks)


class Server:
    """Hands out the tasks of one transactional workflow of `first`, in memory, and runs their attempts."""

    def __init__(self, directory: Path) -> None:
        self.store, self.engine = MemoryStore(), MemoryEngine(retries=1)
        self.directory = directory
        self.begun = self.store.commit("main", {"first/old": "o", "other/old": "o"})
        self.engine.schedule(BEGIN_TASK, {"workspace": {"repository": "memory", "branch": "main"}, "params": {}})
        self.engine.schedule("first", self._first, after=(BEGIN_TASK,))
        self.engine.schedule(END_TASK, self._end, after=("first",))

    @staticmethod
    def _output(record: InstanceRecord, name: str) -> dict[str, Any]:
        return next(dict(entry.output) for entry in reversed(record.of(name)) if entry.output is not None)

    def _first(self, record: InstanceRecord) -> dict[str, Any]:
        return {"workspace": self._output(record, BEGIN_TASK)["workspace"], "params": {"number": 1}}

    def _end(self, record: InstanceRecord) -> dict[str, Any]:
        params = {"workflow": "one", "run": self._output(record, "first")["workspace"], "scopes": [{"prefix": "first"}]}
        return {"workspace": self._output(record, BEGIN_TASK)["result"]["target"], "params": params}

    def poll(self, name: str) -> MemoryAttempt:
        attempt = self.engine.poll(name)
        assert attempt is not None
        return attempt

    def result_of(self, attempt: MemoryAttempt) -> RuntimeTaskResult:
        name = attempt.task_def_name
        return run_attempt(
            _first if name == "first" else builtin_task(name),
            attempt.input_data,
            attempt,
            RunContext(observer=ignore),
            workspace_root=self.directory,
            open_store=lambda: self.store,
            engine=self.engine,
        )

    def run(self, *names: str) -> RuntimeTaskResult:
        for name in names:
            attempt = self.poll(name)
            result = self.result_of(attempt)
            self.engine.report_result(attempt, result)
        return result

    @property
    def branch(self) -> str:
        """The run's."""
        (name,) = (name for name in self.store.branches() if name.startswith(RUN_PREFIX))
        return name


_first = task_of(first)
assert _first is not None


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def test_a_run_without_a_ref_begins_at_the_head_and_once(server):
    attempt = server.poll(BEGIN_TASK)
    server.result_of(attempt)
    server.engine.requeue(attempt.task_id)
    server.store.commit("main", {"other/new": "n"})
    output = server.run(BEGIN_TASK).output
    assert output["workspace"] == {**server.store.input("main", server.begun).model_dump(), "branch": server.branch}
    server.run("first")
    server.engine.revert(attempt.task_id)
    assert server.result_of(server.engine.attempt(attempt.task_id)).output == output


def test_a_beginning_beside_one_that_has_completed_completes_as_that_did(server):
    attempt = server.poll(BEGIN_TASK)
    server.engine.timeout(attempt.task_id)
    output = server.run(BEGIN_TASK).output
    assert server.result_of(attempt).output == output
    look = last_look(
        builtin_task(BEGIN_TASK),
        attempt.input_data,
        attempt,
        read_history=server.store.read_history,
        load_record=server.engine.load_record,
    )
    assert look() == RuntimeTaskResult("COMPLETED", output=output)


def test_a_run_is_merged_with_changes_to_what_none_of_its_tasks_could_see(server):
    server.run(BEGIN_TASK, "first")
    server.store.commit("main", {"other/new": "n"})
    server.run(END_TASK)
    files = server.store.files("main")
    assert files == {"first/old": b"o", "first/number": b"1", "other/old": b"o", "other/new": b"n"}


def test_a_run_is_refused_where_others_have_changed_what_it_could_see(server):
    server.run(BEGIN_TASK, "first")
    theirs = server.store.commit("main", {"first/new": "n"})
    result = server.run(END_TASK)
    assert result.status == "FAILED"
    assert "first/new" in result.reason_for_incompletion
    assert f"The run is kept on branch '{server.branch}'" in result.reason_for_incompletion
    assert server.store.head("main") == theirs


def test_a_run_whose_branch_somebody_has_moved_is_refused(server):
    server.run(BEGIN_TASK, "first")
    made = server.store.head(server.branch)
    theirs = server.store.commit(server.branch, {"first/new": "n"}, "ann")
    reason = server.run(END_TASK).reason_for_incompletion
    assert f"ann has committed {theirs[:12]} to it" in reason
    server.store.reset(server.branch, server.begun)
    reason = server.run(END_TASK).reason_for_incompletion
    assert f"does not have the run's commit {made[:12]}" in reason
    assert server.store.head("main") == server.begun


def test_a_task_that_is_given_the_branch_of_another_run_is_refused_before_its_body(server):
    server.run(BEGIN_TASK, "first")
    made = server.store.head(server.branch)
    workspace = server.store.input(server.branch).model_dump()
    outsider = server.engine.start_workflow()
    server.engine.schedule("first", {"workspace": workspace, "params": {"number": 9}}, workflow=outsider)
    result = server.run("first")
    assert result.status == "FAILED"
    assert "only that run's tasks publish to it" in result.reason_for_incompletion
    assert outsider in result.reason_for_incompletion
    assert server.store.head(server.branch) == made
    assert server.run(END_TASK).status == "COMPLETED"


def test_a_run_cannot_begin_on_the_branch_of_another_run(server):
    server.run(BEGIN_TASK)
    workspace = {"repository": "memory", "branch": server.branch}
    server.engine.schedule(BEGIN_TASK, {"workspace": workspace, "params": {}}, workflow=server.engine.start_workflow())
    assert "only that run's tasks publish to it" in server.run(BEGIN_TASK).reason_for_incompletion
    assert len(server.store.branches()) == 2


def test_a_run_is_refused_if_its_branch_has_the_stamp_of_another_workflow(server):
    server.run(BEGIN_TASK, "first")
    stamp = server.store.stamp_of(server.store.head(server.branch))
    forged = replace(stamp, workflow_instance_id="another").on(server.store.head(server.branch))
    theirs = server.store.commit(server.branch, {"first/new": "n"}, stamp=forged)
    reason = server.run(END_TASK).reason_for_incompletion
    assert f"task 'first' of workflow another has committed {theirs[:12]} to it" in reason
    assert server.store.head("main") == server.begun


def test_a_sub_workflow_with_an_instance_of_its_own_publishes_to_the_branch_of_the_run(server):
    made = server.run(BEGIN_TASK, "first").output["workspace"]["ref"]
    given = {"workspace": server.store.input(server.branch).model_dump(), "params": {"number": 9}}
    inner = Step(task_name="first", reference_task_name="inner", input_data=given)
    server.engine.schedule_sub_workflow("sub", lambda _: [inner])
    theirs = server.run("first").output["workspace"]["ref"]
    assert server.store.history(server.branch)[:2] == [theirs, made]
    ended = server.run(END_TASK)
    assert ended.status == "COMPLETED"


def test_a_run_of_another_branch_is_refused(server):
    server.run(BEGIN_TASK, "first")
    attempt = server.poll(END_TASK)
    params = {**attempt.input_data["params"], "run": server.store.input("main").model_dump()}
    attempt = replace(attempt, input_data={**attempt.input_data, "params": params})
    assert "the run has left its branch" in server.result_of(attempt).reason_for_incompletion


def test_a_rerun_from_the_middle_replaces_what_the_run_has_published(server):
    attempt = server.poll(BEGIN_TASK)
    server.engine.report_result(attempt, server.result_of(attempt))
    middle = server.poll("first")
    server.engine.report_result(middle, server.result_of(middle))
    server.run(END_TASK)
    before = server.store.head("main")
    server.store.commit("main", {"other/new": "n"})
    server.engine.rerun(middle.task_id)
    server.run("first", END_TASK)
    stamp = server.store.stamp_of(server.store.head("main"))
    assert stamp.abandoned == (before,)
    assert server.store.files("main")["other/new"] == b"n"


def test_a_rerun_of_the_beginning_begins_anew_though_an_earlier_try_has_completed(server):
    first_try = server.poll(BEGIN_TASK)
    server.engine.timeout(first_try.task_id)
    second_try = server.poll(BEGIN_TASK)
    server.engine.report_result(second_try, server.result_of(second_try))
    middle = server.poll("first")
    server.engine.report_result(middle, server.result_of(middle))
    server.run(END_TASK)
    published = server.store.head("main")
    server.engine.rerun(middle.task_id)  # this hands out the first try again
    begun = server.run(BEGIN_TASK)
    server.run("first", END_TASK)
    server.engine.rerun(second_try.task_id)
    anew = server.run(BEGIN_TASK)
    assert anew.output["workspace"]["branch"] != begun.output["workspace"]["branch"]
    assert begun.output["workspace"]["ref"] == server.begun
    assert anew.output["workspace"]["ref"] not in (server.begun, published)


@pytest.mark.parametrize(
    "meddle",
    [
        lambda server: server.store.commit(server.branch, {"first/new": "n"}),
        lambda server: server.store.reset(server.branch, server.begun),
        lambda server: server.store.delete_branch(server.branch),
    ],
    ids=["committed to", "reset", "deleted"],
)
def test_a_run_that_is_published_already_completes_whatever_became_of_its_branch(server, meddle):
    server.run(BEGIN_TASK, "first")
    attempt = server.poll(END_TASK)
    lost = server.result_of(attempt)
    published = server.store.head("main")
    server.engine.timeout(attempt.task_id)
    meddle(server)
    result = server.run(END_TASK)
    assert (result.status, result.output) == ("COMPLETED", lost.output)
    assert server.store.files("main") == server.store.files(published)
    assert server.engine.status() == "COMPLETED"


def test_a_run_that_is_not_published_is_refused_without_its_branch(server):
    server.run(BEGIN_TASK, "first")
    branch = server.branch
    server.store.delete_branch(branch)
    result = server.run(END_TASK)
    assert result.status == "FAILED"
    assert branch in result.reason_for_incompletion
    assert server.store.head("main") == server.begun


def test_a_run_whose_target_was_deleted_is_refused_and_creates_nothing(server):
    server.run(BEGIN_TASK, "first")
    server.store.delete_branch("main")
    result = server.run(END_TASK)
    assert result.status == "FAILED"
    assert "no branch 'main'" in result.reason_for_incompletion
    assert server.store.branches() == [server.branch]
