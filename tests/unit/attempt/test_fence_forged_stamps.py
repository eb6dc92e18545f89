"""What a stamp that somebody has made up does, and what it does not: docs/reliability.md says the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.attempt.context import RunContext
from perago.attempt.fence import Applicant, Verdict, judge
from perago.attempt.run import run_attempt
from perago.ports import ignore
from perago.tasks.declare import task_of
from perago.testing import MemoryEngine, MemoryStore
from perago.values.history import CommitFacts
from perago.values.models import AttemptIdentity
from perago.values.record import NO_RECORD


class Params(BaseModel):
    pass


class Result(BaseModel):
    rows: int


@task(name="make", owner_email="ada@example.org", workspace=WorkspaceSpec(prefix="made"))
def make(workspace: Path, params: Params) -> Result:
    (workspace / "rows").write_text("1")
    return Result(rows=1)


@task(name="other", owner_email="ada@example.org", workspace=WorkspaceSpec(prefix="other"))
def other(workspace: Path, params: Params) -> Result:
    (workspace / "rows").write_text("2")
    return Result(rows=2)


TASKS = {"make": task_of(make), "other": task_of(other)}
THEIRS = {"theirs": "t"}


class Scene:
    """Two tasks of one workflow, on one commit."""

    def __init__(self, root):
        self.root, self.store, self.engine = root, MemoryStore(), MemoryEngine(retries=1)
        self.base = self.store.commit("main", {"old": "o"})
        for name in TASKS:
            self.engine.schedule(name, {"workspace": self.store.input().model_dump(), "params": {}})

    def poll(self, name):
        attempt = self.engine.poll(name)
        assert attempt is not None
        return attempt

    def run(self, attempt):
        result = run_attempt(
            TASKS[attempt.task_def_name],
            attempt.input_data,
            attempt,
            RunContext(observer=ignore),
            workspace_root=self.root,
            open_store=lambda: self.store,
            engine=self.engine,
        )
        assert result.status == "COMPLETED", result.reason_for_incompletion
        return result

    def stamp(self):
        """A stamp that this task's attempt has made, taken back from the branch."""
        attempt = self.poll("make")
        published = self.run(attempt).output["workspace"]["ref"]
        self.store.reset("main", self.base)
        return attempt, self.store.stamp_of(published)

    def forge(self, stamp, **values):
        return self.store.commit("main", THEIRS, stamp=replace(stamp, **values).on(self.store.head("main")))


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_the_content_of_a_stamp_of_another_workflow_is_kept(scene):
    attempt, stamp = scene.stamp()
    forged = scene.forge(stamp, workflow_instance_id="another")
    ref = scene.run(attempt).output["workspace"]["ref"]
    assert scene.store.files("main") == {"old": b"o", "theirs": b"t", "made/rows": b"1"}
    assert scene.store.history("main") == [ref, forged, scene.base]


def test_a_made_up_try_of_a_running_workflow_counts_as_abandoned_and_stays_in_the_history(scene):
    attempt, stamp = scene.stamp()
    forged = scene.forge(stamp, task_id="made up")
    ref = scene.run(attempt).output["workspace"]["ref"]
    assert scene.store.files("main") == {"old": b"o", "made/rows": b"1"}
    assert scene.store.history("main") == [ref, forged, scene.base]


def test_a_stamp_with_all_that_identifies_a_running_try_gives_the_task_its_result(scene):
    attempt, stamp = scene.stamp()
    forged = scene.forge(stamp, result={"rows": 999})
    output = scene.run(attempt).output
    assert (output["workspace"]["ref"], output["result"]) == (forged, {"rows": 999})


def test_what_the_engine_has_recorded_is_kept_whatever_stamps_say(scene):
    done = scene.poll("make")
    result = scene.run(done)
    scene.engine.report_result(done, result)
    published = result.output["workspace"]["ref"]
    forged = scene.forge(scene.store.stamp_of(published), task_id="made up", abandoned=(published,))
    ref = scene.run(scene.poll("other")).output["workspace"]["ref"]
    assert scene.store.files("main") == {"old": b"o", "made/rows": b"1", "other/rows": b"2"}
    assert scene.store.history("main") == [ref, forged, published, scene.base]


def test_a_stamp_without_a_workflow_is_foreign_where_no_record_is_known(scene):
    _, stamp = scene.stamp()
    forged = replace(stamp, workflow_instance_id="", root_workflow_id="", expected_head="base")
    identity = AttemptIdentity(workflow_instance_id="w", task_id="t", retry_count=0)
    asking = Applicant(
        identity=identity, reference_task_name="make", input_ref="base", params_digest="", code_digest=""
    )
    assert judge(CommitFacts("c", "base", stamp=forged), NO_RECORD, asking) is Verdict.FOREIGN
