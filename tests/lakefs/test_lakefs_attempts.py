"""Whole attempts on a real lakeFS, with an engine in memory: what becomes of the branch, and what is said."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from attempt_ports import ports_of
from perago import WorkspaceSpec, run_workspace_task_attempt, task
from perago.ports import Phase
from perago.stores.lakefs import LakeFSStore
from perago.testing import MemoryEngine


class Params(BaseModel):
    text: str = "hello"


class Result(BaseModel):
    said: str


class Scene:
    """One workflow of one task on one branch. `body` is what the task does, `at` what happens at a phase's start."""

    def __init__(self, bench, root, **spec):
        self.bench, self.engine, self.root = bench, MemoryEngine(), root
        self.runs = 0
        self.body = lambda workspace, params: (workspace / "out.txt").write_text(params.text)
        self.at = {}
        self.base = bench.commit({"in.txt": b"input", "old.txt": b"old"})
        scene = self

        @task(name="say", owner_email="ada@example.org", workspace=WorkspaceSpec(**spec))
        def say(workspace: Path, params: Params) -> Result:
            scene.runs += 1
            scene.body(workspace, params)
            return Result(said=params.text)

        self.task = say.__perago_task__
        workspace = bench.input(self.base).model_dump()
        self.engine.schedule("say", {"workspace": workspace, "params": {}})

    def attempt(self, *, report=True, store=None, text=None):
        """Deliver the next try, and run it whole; returns its result."""
        delivered = self.engine.poll()
        given = dict(delivered.input_data)
        if text is not None:
            given["params"] = {"text": text}
        result = run_workspace_task_attempt(
            self.task,
            given,
            delivered,
            self.root,
            **ports_of(store or self.bench.store, self.engine),
            observer=self._observe,
        )
        if report:
            self.engine.report_result(delivered, result)
        else:
            self.engine.timeout(delivered.task_id)
        return result

    def _observe(self, event):
        happening = self.at.pop((event.phase, event.kind), None)
        if happening is not None:
            happening()


def ref_of(result):
    assert result.output is not None, result.reason_for_incompletion
    return result.output["workspace"]["ref"]


@pytest.fixture
def make_scene(bench, tmp_path):
    made = []

    def make(**spec):
        made.append(Scene(bench, tmp_path / "workspaces", **spec))
        return made[-1]

    yield make
    assert bench.staged() == []
    assert [left for scene in made if scene.root.exists() for left in scene.root.iterdir()] == []


def test_the_methods_of_the_store_are_the_callables_of_an_attempt(make_scene):
    """As the published example has it, without the optional calls."""
    scene = make_scene()
    delivered, store = scene.engine.poll(), scene.bench.store
    result = run_workspace_task_attempt(
        scene.task,
        delivered.input_data,
        delivered,
        scene.root,
        download_workspace=store.download_workspace,
        load_current_attempt=scene.engine.load_current_attempt,
        stage_workspace=store.stage_workspace,
        publish_workspace=store.publish_workspace,
        cleanup_staging=store.cleanup_staging,
    )
    assert result.status == "COMPLETED"
    assert scene.bench.line() == [ref_of(result), scene.base]
    assert scene.bench.files(ref_of(result)) == {"in.txt": b"input", "old.txt": b"old", "out.txt": b"hello"}


def test_what_a_dead_worker_published_is_adopted_behind_a_seal(make_scene):
    scene = make_scene()
    published = ref_of(scene.attempt(report=False))
    again = scene.attempt()
    assert (ref_of(again), scene.runs) == (published, 1)
    seal, *below = scene.bench.line()
    assert below == [published, scene.base]
    assert scene.bench.newest(scene.base).is_seal
    assert scene.bench.files(seal) == scene.bench.files(published)
    assert scene.engine.status() == "COMPLETED"


def test_what_is_no_longer_wanted_is_replaced_and_stays_in_the_history(make_scene):
    scene = make_scene()
    abandoned = ref_of(scene.attempt(report=False, text="other params"))
    scene.body = lambda workspace, params: (workspace / "new.txt").write_text(params.text)
    ref = ref_of(scene.attempt())
    assert scene.bench.line() == [ref, abandoned, scene.base]
    assert scene.bench.files(ref) == {"in.txt": b"input", "old.txt": b"old", "new.txt": b"hello"}
    assert scene.runs == 2


def test_a_persons_commit_made_while_the_task_ran_is_kept_and_the_attempt_says_so(make_scene):
    scene = make_scene()
    person = []
    scene.at[Phase.BODY, "completed"] = lambda: person.append(scene.bench.commit({"theirs": b"1"}))
    result = scene.attempt()
    assert result.status == "FAILED"
    assert person[0][:12] in result.reason_for_incompletion
    assert "Not published" in result.reason_for_incompletion
    assert scene.bench.line() == [person[0], scene.base]


def test_a_commit_before_the_body_is_refused_before_the_body(make_scene):
    scene = make_scene()
    person = scene.bench.commit({"theirs": b"1"})
    result = scene.attempt()
    assert person[:12] in result.reason_for_incompletion
    assert (scene.runs, scene.bench.line()) == (0, [person, scene.base])


def test_snapshot_isolation_merges_with_what_a_person_did_elsewhere(make_scene):
    scene = make_scene(isolation="snapshot")
    person = []
    scene.at[Phase.PUBLISH, "started"] = lambda: person.append(scene.bench.commit({"theirs": b"1", "old.txt": None}))
    ref = ref_of(scene.attempt())
    assert scene.bench.line() == [ref, person[0], scene.base]
    assert scene.bench.files(ref) == {"in.txt": b"input", "theirs": b"1", "out.txt": b"hello"}


def test_snapshot_isolation_names_the_paths_that_a_person_changed_too(make_scene):
    scene = make_scene(isolation="snapshot")
    person = []
    scene.at[Phase.BODY, "completed"] = lambda: person.append(scene.bench.commit({"out.txt": b"theirs"}))
    result = scene.attempt()
    assert "'out.txt'" in result.reason_for_incompletion
    assert scene.bench.line() == [person[0], scene.base]


def test_a_task_without_changes_completes_with_its_input(make_scene):
    scene = make_scene()
    scene.body = lambda workspace, params: None
    assert ref_of(scene.attempt()) == scene.base
    assert scene.bench.line() == [scene.base]


def test_a_reading_task_writes_nothing(make_scene):
    scene = make_scene(read_only=True)
    assert ref_of(scene.attempt()) == scene.base
    assert scene.bench.line() == [scene.base]


def test_a_directory_swapped_for_a_link_between_diff_and_upload_brings_nothing_onto_the_branch(make_scene, tmp_path):
    scene, seen, outside = make_scene(), [], tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("root:x:0:0")

    def body(workspace, params):
        (workspace / "d").mkdir()
        (workspace / "d/passwd").write_text(params.text)
        seen.append(workspace / "d")

    def swap():
        seen[0].rename(seen[0].with_name("aside"))
        seen[0].symlink_to(outside)

    scene.body = body
    scene.at[Phase.STAGE, "started"] = swap
    result = scene.attempt()
    assert result.status == "FAILED"
    assert "d/passwd" in result.reason_for_incompletion
    assert scene.bench.line() == [scene.base]
    assert (outside / "passwd").read_text() == "root:x:0:0"


def test_wrong_credentials_fail_the_attempt_and_are_not_told(make_scene, lakefs_server):
    scene = make_scene()
    secret = "hunter2-hunter2"
    with LakeFSStore(
        endpoint_url=lakefs_server.url, access_key_id=lakefs_server.access_key_id, secret_access_key=secret
    ) as store:
        result = scene.attempt(store=store)
    assert result.status == "FAILED"
    assert "401" in result.reason_for_incompletion
    assert secret not in result.reason_for_incompletion
    assert scene.bench.line() == [scene.base]
