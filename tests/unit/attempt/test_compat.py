"""Every sentence of the published page of `run_workspace_task_attempt` holds.

The callables here are a user's own, as the page allows: the smallest that can be, on plain dictionaries.
"""

import asyncio
import inspect
import logging
import os
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import perago
from perago import StagedWorkspace, TaskInputError, TaskTerminalError, run_workspace_task_attempt
from perago.ports import Phase
from perago.workspace.directory import AttemptDirectory
from seed_world import FREE, INPUT, READ, WRITE, A, B, C, World


@pytest.fixture
def world():
    return World()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "workspaces"


def test_the_signature_is_the_published_one():
    parameters = inspect.signature(run_workspace_task_attempt).parameters
    assert list(parameters)[:4] == ["task", "input_data", "attempt", "workspace_root"]
    published = [
        "download_workspace", "load_current_attempt", "stage_workspace", "publish_workspace", "cleanup_staging",
        "complete_noop_workspace", "owner_worker_id", "execution_id", "failure_reason_max_length",
    ]  # fmt: skip
    for name in published:
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    required = {name for name, p in parameters.items() if p.default is inspect.Parameter.empty}
    assert required == {*list(parameters)[:4], *published[:5]}
    assert parameters["complete_noop_workspace"].default is None
    assert parameters["failure_reason_max_length"].default == 500


def test_an_attempt_whose_ids_are_numbers_completes(world, root):
    world.attempt.task_id, world.attempt.workflow_instance_id = 7, 4
    assert world.run(root).status == "COMPLETED"
    assert root.exists()
    assert list(root.iterdir()) == []


def test_the_page_s_own_example_runs(world, root, tmp_path, monkeypatch):
    (tmp_path / "seed_example_task.py").write_text(
        "from pathlib import Path\n"
        "from pydantic import BaseModel\n"
        "from perago import WorkspaceSpec, task\n"
        "class Params(BaseModel):\n    text: str\n"
        "class Result(BaseModel):\n    length: int\n"
        "@task(name='features.build', owner_email='a@example.com', workspace=WorkspaceSpec())\n"
        "def build(workspace: Path, params: Params) -> Result:\n"
        "    (workspace / 'out.txt').write_text(params.text)\n"
        "    return Result(length=len(params.text))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run_workspace_task_attempt(
        perago.load_module_task("seed_example_task"),
        INPUT,
        world.attempt,
        root,
        download_workspace=world.download_workspace,
        load_current_attempt=world.load_current_attempt,
        stage_workspace=world.stage_workspace,
        publish_workspace=world.publish_workspace,
        cleanup_staging=world.cleanup_staging,
    )
    assert result.status == "COMPLETED"


def test_a_writable_attempt_publishes_and_completes_with_the_published_ref(world, root):
    result = world.run(root)
    assert result.status == "COMPLETED"
    assert result.output == {"workspace": {**INPUT["workspace"], "ref": B}, "result": {"length": 5}}
    assert result.reason_for_incompletion is None
    assert world.published == {"main": {"in.txt": "input", "out.txt": "hello"}}


def test_the_output_names_what_publishing_returned_and_not_what_was_staged(world, root):
    result = world.run(root, publish_workspace=lambda *_: C)
    assert result.output["workspace"]["ref"] == C


@pytest.mark.parametrize(
    ("input_data", "fault"),
    [
        ({"workspace": INPUT["workspace"]}, "params"),
        ({"params": {"text": "x"}}, "workspace"),
        ({**INPUT, "extra": 1}, "extra"),
        ({**INPUT, "workspace": {**INPUT["workspace"], "colour": 1}}, "colour"),
        ({**INPUT, "workspace": {**INPUT["workspace"], "branch": "  "}}, "branch"),
        ({**INPUT, "workspace": {**INPUT["workspace"], "refType": "branch"}}, "refType"),
        ({**INPUT, "params": {}}, "text"),
        ([], "object"),
    ],
)
def test_the_input_shape_is_validated_before_anything_happens(world, root, input_data, fault):
    result = world.run(root, input_data=input_data)
    assert result.status == "FAILED"
    assert fault in result.reason_for_incompletion
    assert world.events == []


def test_the_workspace_is_local_to_the_attempt_and_under_the_root(world, root):
    world.run(root)
    world.run(root)
    first, second = world.seen_dirs
    assert first != second
    assert all(root in path.parents for path in world.seen_dirs)


def test_the_declared_input_is_what_is_downloaded(world, root):
    world.run(root)
    workspace_input, spec = world.downloaded
    assert workspace_input.model_dump() == INPUT["workspace"]
    assert spec == WRITE.workspace


def test_a_read_only_task_completes_with_its_input_ref_and_takes_no_fence(world, root):
    result = world.run(root, READ)
    assert result.output["workspace"]["ref"] == A
    assert result.output["result"] == {"length": 1}
    assert world.events == ["download"]


def test_a_writable_no_op_completes_without_staging_behind_a_fence(world, root):
    result = world.run(root, text="nothing")
    assert result.output["workspace"]["ref"] == A
    assert world.events == ["download", "fence", "noop"]


def test_a_no_op_completes_with_the_ref_that_its_callable_reconciled(world, root):
    result = world.run(root, text="nothing", complete_noop_workspace=lambda *_: C)
    assert result.output["workspace"] == {**INPUT["workspace"], "ref": C}


def test_a_no_op_that_its_callable_refuses_fails(world, root):
    world.fail["noop"] = RuntimeError("the branch has moved")
    result = world.run(root, text="nothing")
    assert (result.status, result.output) == ("FAILED", None)
    assert "the branch has moved" in result.reason_for_incompletion


def test_an_attempt_that_is_stale_at_its_no_op_fails_before_the_callable(world, root):
    world.fresh = [SimpleNamespace(**{**vars(world.attempt), "status": "TIMED_OUT"})]
    result = world.run(root, text="nothing")
    assert result.status == "FAILED"
    assert world.events == ["download", "fence"]


def test_a_no_op_without_its_callable_fails_closed(world, root):
    result = world.run(root, text="nothing", complete_noop_workspace=None)
    assert result.status == "FAILED"
    assert "complete_noop_workspace" in result.reason_for_incompletion
    assert world.published == {}


def test_the_attempt_fence_is_taken_before_and_after_staging(world, root):
    world.run(root)
    assert world.events == ["download", "fence", "stage", "fence", "publish", "clean"]


@pytest.mark.parametrize("change", [{"status": "CANCELED"}, {"retry_count": 1}, {"task_id": "t-2"}])
def test_an_attempt_that_is_stale_before_staging_stages_nothing(world, root, change):
    world.fresh = [SimpleNamespace(**{**vars(world.attempt), **change})]
    result = world.run(root)
    assert result.status == "FAILED"
    assert world.events == ["download", "fence"]


@pytest.mark.parametrize("change", [{"status": "TIMED_OUT"}, {"workflow_instance_id": "wf-2"}])
def test_an_attempt_that_is_stale_after_staging_publishes_nothing_and_cleans(world, root, change):
    world.fresh = [world.attempt, SimpleNamespace(**{**vars(world.attempt), **change})]
    result = world.run(root)
    assert result.status == "FAILED"
    assert world.published == {}
    assert world.staged == {}
    assert world.events[-1] == "clean"


@pytest.mark.parametrize("task_def", [WRITE, READ], ids=["writable", "read-only"])
@pytest.mark.parametrize("text", ["hello", "boom", "nothing", "exit"])
def test_local_and_staging_resources_are_gone_afterwards(world, root, task_def, text):
    world.run(root, task_def, text=text)
    assert world.staged == {}
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("step", ["download", "fence", "stage", "publish"])
def test_what_is_raised_within_the_attempt_becomes_its_result(world, root, step):
    world.fail[step] = RuntimeError("the wire broke")
    result = world.run(root)
    assert result.status == "FAILED"
    assert "the wire broke" in result.reason_for_incompletion
    assert result.output is None
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(("text", "told"), [("boom", "ValueError: it went boom"), ("exit", "sys.exit(0)")])
def test_a_body_that_raises_or_exits_is_a_failed_attempt_that_stages_nothing(world, root, text, told):
    result = world.run(root, text=text)
    assert (result.status, result.output) == ("FAILED", None)
    assert told in result.reason_for_incompletion
    assert world.events == ["download"]


def test_a_failed_publication_still_cleans_staging(world, root):
    world.fail["publish"] = RuntimeError("no")
    world.run(root)
    assert world.events[-1] == "clean"


@pytest.mark.parametrize(
    "error", [RuntimeError("the observer gave up"), KeyboardInterrupt()], ids=["error", "interrupt"]
)
def test_staging_that_returned_is_cleaned_though_its_phase_does_not_end_well(world, root, error):
    def observer(event):
        if (event.phase, event.kind) == (Phase.STAGE, "completed"):
            raise error

    interrupted = isinstance(error, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
        result = world.run(root, observer=observer)
        assert "the observer gave up" in result.reason_for_incompletion
    assert world.events == ["download", "fence", "stage", "clean"]
    assert world.staged == {}
    assert list(root.iterdir()) == []


def test_an_interrupt_is_passed_on_and_nothing_is_left(world, root):
    world.fail["publish"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.run(root)
    assert world.staged == {}
    assert list(root.iterdir()) == []


def test_a_workspace_free_task_is_rejected(world, root):
    with pytest.raises(TaskInputError, match=r"seed\.free"):
        world.run(root, FREE)


def test_any_object_with_the_attributes_is_an_attempt_and_its_attributes_reach_the_store(world, root):
    world.attempt.colour = "blue"
    world.run(root, execution_id="e-1")
    (execution,) = world.executions
    assert (execution.colour, execution.task_id, execution.execution_id) == ("blue", "t-1", "e-1")
    with pytest.raises(AttributeError):
        execution.shape  # noqa: B018 - the attempt has none


def test_the_owner_marker_names_the_worker_and_the_living_process(world, root):
    world.run(root, owner_worker_id="songs-3")
    assert world.owner["worker_id"] == "songs-3"
    assert world.owner["pid"] == os.getpid()


def test_the_execution_id_isolates_directory_and_staging(world, root):
    world.run(root, execution_id="exec7")
    assert "exec7" in world.seen_dirs[0].parent.name
    assert world.executions[0].execution_id == "exec7"
    assert "exec7" in perago.staging_branch_name(world.executions[0])
    other = replace(world.executions[0], execution_id="exec8")
    assert perago.staging_branch_name(other) != perago.staging_branch_name(world.executions[0])


def test_a_new_execution_id_is_made_when_omitted(world, root):
    world.run(root)
    world.run(root)
    first, second = (execution.execution_id for execution in world.executions)
    assert first
    assert second
    assert first != second


@pytest.mark.parametrize("returned", ["", " ", None, 7])
def test_a_publication_that_says_no_commit_fails_in_plain_words(world, root, returned):
    result = world.run(root, publish_workspace=lambda *_: returned)
    assert (result.status, result.output) == ("FAILED", None)
    assert result.reason_for_incompletion == (
        f"publish_workspace returned {returned!r}, which is not a commit id, so the head of branch 'main' is unknown. "
        "Look at the branch, and make the callable return the id of the published commit"
    )
    assert world.events[-1] == "clean"


@pytest.mark.parametrize("returned", ["", None])
def test_a_no_op_that_says_no_commit_fails_in_plain_words(world, root, returned):
    result = world.run(root, text="nothing", complete_noop_workspace=lambda *_: returned)
    assert result.status == "FAILED"
    assert result.reason_for_incompletion.startswith(f"complete_noop_workspace returned {returned!r}, which is not a ")


class Odd:
    """Neither true nor false, as tables are."""

    def __bool__(self) -> bool:
        raise ValueError("neither")


@dataclass(frozen=True)
class Half:
    commit: str | None


@pytest.mark.parametrize("returned", [None, "exec-1", Half(None), StagedWorkspace("r", "b", 7)])
def test_what_staging_returned_is_cleaned_whatever_it_is(world, root, returned):
    cleaned = []
    result = world.run(root, stage_workspace=lambda *_: returned, cleanup_staging=cleaned.append)
    assert (result.status, result.output) == ("FAILED", None)
    assert cleaned == [returned]


def test_an_object_that_has_only_a_commit_is_published_and_cleaned(world, root):
    cleaned = []
    result = world.run(
        root,
        stage_workspace=lambda *_: Half("c"),
        publish_workspace=lambda *_: C,
        cleanup_staging=cleaned.append,
    )
    assert result.status == "COMPLETED", result.reason_for_incompletion
    assert cleaned == [Half("c")]


def test_a_commit_that_is_no_text_is_said_to_be_none(world, root):
    result = world.run(root, stage_workspace=lambda *_: StagedWorkspace("r", "b", 7))
    assert result.reason_for_incompletion == (
        "stage_workspace returned a StagedWorkspace whose commit is 7, which is not a commit id. Nothing was "
        "published. Make it return StagedWorkspace(repository, branch, commit) for the staged commit"
    )


@pytest.mark.parametrize(
    "returned",
    [7, "text", Path("there"), {"in.txt": 5}, {"in.txt": Path("there")}, {"in.txt": "no digest"}, [1], Odd()],
)
def test_what_a_download_returns_is_ignored_unless_it_is_digests(world, root, returned):
    def download(*arguments):
        world.download_workspace(*arguments)
        return returned

    result = world.run(root, download_workspace=download)
    assert result.status == "COMPLETED", result.reason_for_incompletion


@pytest.mark.parametrize("returned", [None, "exec-1"])
def test_a_staging_that_says_not_what_it_staged_fails_in_plain_words(world, root, returned):
    result = world.run(root, stage_workspace=lambda *_: returned)
    assert (result.status, result.output) == ("FAILED", None)
    assert result.reason_for_incompletion == (
        f"stage_workspace returned {returned!r}, which is not a StagedWorkspace. Nothing was published. Make it "
        "return StagedWorkspace(repository, branch, commit) for the staged commit"
    )


def test_an_engine_that_says_nothing_of_the_attempt_fails_it_in_plain_words(world, root):
    result = world.run(root, load_current_attempt=lambda _: None)
    assert (result.status, result.output) == ("FAILED", None)
    assert result.reason_for_incompletion == (
        "load_current_attempt returned None instead of a task object, so the task's owner is unknown. "
        "Nothing was published. Make the callable return the engine's present state of the task"
    )


@pytest.mark.parametrize("length", [0, -1])
def test_a_length_that_leaves_no_reason_is_refused(world, root, length):
    world.fail["download"] = RuntimeError("x")
    with pytest.raises(ValueError, match=f"max_length={length} leaves no reason.*give 1 or more"):
        world.run(root, failure_reason_max_length=length)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("length", [1, 7, 500])
def test_a_reason_is_cut(world, root, length):
    world.fail["download"] = RuntimeError("x" * 1000)
    result = world.run(root, failure_reason_max_length=length)
    assert len(result.reason_for_incompletion) == length


CLEANUP_FAULTS = [RuntimeError("will not go"), SystemExit("will not go"), asyncio.CancelledError("will not go")]


@pytest.mark.parametrize("fault", CLEANUP_FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_failed_cleanup_of_a_completed_attempt_is_logged_and_changes_nothing(world, root, caplog, fault):
    world.fail["clean"] = fault
    with caplog.at_level(logging.WARNING):
        result = world.run(root)
    assert result.status == "COMPLETED"
    assert "will not go" in caplog.text


@pytest.mark.parametrize("fault", CLEANUP_FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_failed_cleanup_of_a_failed_attempt_is_logged_and_keeps_the_first_reason(world, root, caplog, fault):
    world.fail = {"publish": RuntimeError("refused"), "clean": fault}
    with caplog.at_level(logging.WARNING):
        result = world.run(root)
    assert "refused" in result.reason_for_incompletion
    assert "will not go" in caplog.text


@pytest.mark.parametrize("fault", CLEANUP_FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(("text", "told"), [("hello", None), ("boom", "ValueError: it went boom")])
def test_an_attempt_s_directory_that_will_not_go_is_logged_and_changes_nothing(
    world, root, caplog, monkeypatch, fault, text, told
):
    def remove(directory):
        raise fault

    monkeypatch.setattr(AttemptDirectory, "remove", remove)
    with caplog.at_level(logging.WARNING):
        result = world.run(root, text=text)
    assert result.reason_for_incompletion == told
    assert "will not go" in caplog.text


def test_an_interrupt_of_a_cleanup_is_passed_on(world, root):
    world.fail["clean"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.run(root)
    assert list(root.iterdir()) == []


def test_a_terminal_error_of_the_body_is_told_apart(world, root):
    world.fail["download"] = TaskTerminalError("never again")
    result = world.run(root)
    assert result.status == "FAILED_WITH_TERMINAL_ERROR"
    assert result.reason_for_incompletion == "never again"


def test_the_ids_of_attempt_and_worker_are_defaults(world, root, monkeypatch):
    monkeypatch.setenv("PERAGO_WORKER_ID", "songs0001")
    world.attempt = SimpleNamespace(**{**vars(world.attempt), "execution_id": "given-1"})
    world.run(root)
    assert world.owner["worker_id"] == "songs0001"
    assert world.executions[-1].execution_id == "given-1"
    world.run(root, execution_id="own", owner_worker_id="songs0002")
    assert (world.owner["worker_id"], world.executions[-1].execution_id) == ("songs0002", "own")


def test_a_no_op_without_its_callable_that_is_stale_fails_as_stale(world, root):
    world.fresh = [SimpleNamespace(**{**vars(world.attempt), "status": "CANCELED"})]
    result = world.run(root, text="nothing", complete_noop_workspace=None)
    assert "no longer belongs to this attempt" in result.reason_for_incompletion
    assert world.events == ["download", "fence"]
