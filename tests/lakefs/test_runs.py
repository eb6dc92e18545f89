"""Transactional runs on a real lakeFS: their branches, what becomes of the target, and what moves."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

from clocks import LaterClock
from perago import WorkspaceSpec, task
from perago.attempt.context import RunContext
from perago.attempt.run import run_attempt
from perago.errors import BranchNotFoundError, StoreError
from perago.ports import Phase, SystemClock
from perago.stores.lakefs.publication.draft import CommitDraft
from perago.tasks.declare import task_of
from perago.testing import MemoryEngine
from perago.testing.contract.store_runs import RUN, Run
from perago.values.findings import Kind
from perago.values.history import Merge
from perago.workflows.builtin import builtin_task
from perago.workflows.graph import BEGIN_TASK, END_TASK
from publication_support import moved_content, recorded_calls
from servers.faults import Refuse, Repeat, Rule, Swallow
from servers.lakefs_hooks import ACTIONS, store_on

AT_MOST_CALLS = 14
"""Of begin and end together, for a run that nobody disturbs."""

WHOLE = (BEGIN_TASK, "one", "two", END_TASK)


class Params(BaseModel):
    text: str


class Result(BaseModel):
    pass


class RunScene:
    """One transactional workflow of two tasks, which write the files `one` and `two` below a prefix.

    Attributes:
        words: content of the files, by task.
        at: what happens when a phase of an attempt starts; once.
    """

    def __init__(
        self, bench, root, *, prefix="data", isolation="serializable", branch="main", words=("1", "2"), before=0
    ):
        self.bench, self.root, self.isolation, self.prefix = bench, root, isolation, prefix
        self.words = dict(zip(("one", "two"), words, strict=True))
        self.engine, self.at = MemoryEngine(retries=0), {}
        self.workflow = [self.engine.start_workflow() for _ in range(before + 1)][-1]
        target = {"repository": bench.hooks.name, "branch": branch}
        self._schedule(BEGIN_TASK, {"workspace": target, "params": {}})
        self._schedule("one", lambda record: self._given(record, BEGIN_TASK), BEGIN_TASK)
        self._schedule("two", lambda record: self._given(record, "one"), "one")
        self._schedule(END_TASK, self._end, "two")

    def _schedule(self, name, given, *after):
        self.engine.schedule(name, given, after=after, workflow=self.workflow)

    @property
    def record(self):
        return self.engine.record(self.workflow)

    @staticmethod
    def _output(record, name):
        return next(dict(entry.output) for entry in reversed(record.of(name)) if entry.output is not None)

    def _given(self, record, name):
        return {"workspace": self._output(record, name)["workspace"], "params": {"text": ""}}

    def _end(self, record):
        params = {
            "workflow": "pair",
            "run": self._output(record, "two")["workspace"],
            "scopes": [{"prefix": self.prefix}] if self.isolation == "serializable" else [],
            "isolation": self.isolation,
        }
        return {"workspace": self._output(record, BEGIN_TASK)["result"]["target"], "params": params}

    def task_of(self, name):
        @task(name=name, owner_email="ada@example.org", workspace=WorkspaceSpec(prefix=self.prefix))
        def write(workspace: Path, params: Params) -> Result:
            (workspace / name).write_text(self.words[name])
            return Result()

        return task_of(write)

    def poll(self, name):
        attempt = self.engine.poll(name)
        assert attempt is not None, (name, self.record)
        return attempt

    def result_of(self, attempt, store=None):
        name = attempt.task_def_name
        return run_attempt(
            builtin_task(name) if name.startswith("perago.") else self.task_of(name),
            attempt.input_data,
            attempt,
            RunContext(observer=self._observe),
            workspace_root=self.root,
            open_store=lambda: store or self.bench.store,
            engine=self.engine,
        )

    def run(self, *names, store=None):
        """Run the next try of each task; returns the last one's reason, or None if it completed."""
        for name in names:
            attempt = self.poll(name)
            result = self.result_of(attempt, store)
            self.engine.report_result(attempt, result)
        return result.reason_for_incompletion

    def rerun(self, name):
        """Hand out a task again, with all that follow it."""
        self.engine.rerun(self.record.of(name)[-1].task_id)

    def _observe(self, event):
        happening = self.at.pop(event.phase, None) if event.kind == "started" else None
        if happening is not None:
            happening()

    @property
    def branch(self):
        """The run's."""
        return self._output(self.record, BEGIN_TASK)["workspace"]["branch"]

    def stamp(self):
        """The stamp of the target's head."""
        base = self._output(self.record, BEGIN_TASK)["result"]["target"]["ref"]
        return self.bench.newest(base).counting_stamp


@pytest.fixture
def base(bench):
    return bench.commit({"data/a": b"1", "other/a": b"1"})


@pytest.fixture
def scene(bench, base, tmp_path):
    return RunScene(bench, tmp_path / "root")


# ---- the whole of a run


def test_a_run_that_nobody_disturbs_begins_and_ends_with_few_calls_and_moves_no_content(bench, scene, tmp_path):
    """Also if each task runs in another process, which has published to the repository before."""
    scene.run(*WHOLE)
    root, server = tmp_path / "root", bench.hooks.server
    with store_on(server) as one, store_on(server) as other:
        for number, store in enumerate((one, other)):
            assert RunScene(bench, root, words=(f"warm {number}", "2")).run(*WHOLE, store=store) is None
        run = RunScene(bench, root, words=("3", "4"))
        with recorded_calls() as calls:
            run.run(BEGIN_TASK, store=one)
        run.run("one", "two")
        with recorded_calls() as calls_of_end:
            assert run.run(END_TASK, store=other) is None
    calls += calls_of_end
    assert len(calls) <= AT_MOST_CALLS, calls
    assert moved_content(calls) == []
    assert bench.files(bench.head()) == {"data/a": b"1", "data/one": b"3", "data/two": b"4", "other/a": b"1"}
    assert bench.staged() == []


def test_a_reader_of_the_target_sees_all_of_a_run_or_nothing(bench, scene):
    seen, ended = [], threading.Event()

    def read():
        with bench.raw() as repository:
            while not ended.is_set():
                seen.append({found["path"] for found in repository.objects("main", "data/")})

    def commit_beside():
        bench.commit({"other/b": b"theirs"})

    reader = threading.Thread(target=read)
    reader.start()
    try:
        scene.run(BEGIN_TASK, "one", "two")
        scene.at[Phase.PUBLISH] = commit_beside
        assert scene.run(END_TASK) is None
    finally:
        ended.set()
        reader.join()
    assert seen[0] == {"data/a"}
    assert all(paths in ({"data/a"}, {"data/a", "data/one", "data/two"}) for paths in seen)
    assert bench.files(bench.head()).keys() == {"data/a", "data/one", "data/two", "other/a", "other/b"}


def test_two_runs_that_end_at_once_are_both_published(bench, base, tmp_path):
    scenes = [RunScene(bench, tmp_path / name, prefix=name, before=n) for n, name in enumerate(("left", "right"))]
    staged = threading.Barrier(2)
    for scene in scenes:
        scene.run(BEGIN_TASK, "one", "two")
        scene.at[Phase.PUBLISH] = staged.wait
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda scene: scene.run(END_TASK), scenes)) == [None, None]
    written = {f"{name}/{file}" for name in ("left", "right") for file in ("one", "two")}
    assert bench.files(bench.head()).keys() == {"data/a", "other/a", *written}
    assert (len(bench.line()), bench.line()[-1], bench.staged()) == (3, base, [])


def test_a_zombie_of_the_end_publishes_nothing_more(bench, scene):
    """It stands still after its last fence, while another delivery of its task ends the run."""
    scene.run(BEGIN_TASK, "one", "two")
    zombie = scene.poll(END_TASK)

    def end():
        scene.engine.requeue(zombie.task_id)
        assert scene.run(END_TASK) is None

    scene.at[Phase.PUBLISH] = end
    late = scene.result_of(zombie)
    assert "no longer belongs to this attempt" in late.reason_for_incompletion
    assert (len(bench.line()), bench.staged()) == (2, [])


# ---- beside other commits


def test_a_run_is_merged_with_changes_outside_its_scope_and_moves_no_content(bench, base, scene):
    """Bits, metadata and the server's actions included."""
    tool = {"perago-executable": "true", "owner": "ada"}
    with bench.raw() as repository:
        repository.put("main", "data/tool", b"#!", tool)
        repository.commit("main")
        scene.run(BEGIN_TASK, "one", "two")
        repository.put("main", "other/tool", b"#!", tool)
        repository.delete("main", "other/a")
        repository.put("main", f"{ACTIONS}theirs.yaml", b"name: theirs\non:\n  post-merge:\nhooks: []\n")
        repository.commit("main")
        with recorded_calls() as calls:
            assert scene.run(END_TASK) is None
        merged = bench.head()
        assert {path: repository.stat(merged, path)["metadata"] for path in ("data/tool", "other/tool")} == {
            "data/tool": tool,
            "other/tool": tool,
        }
    assert bench.files(merged).keys() == {"data/a", "data/one", "data/two", "data/tool", "other/tool"}
    assert bench.actions(merged).keys() == {f"{ACTIONS}theirs.yaml", f"{ACTIONS}perago_fence.yaml"}
    assert moved_content(calls) == []


@pytest.mark.parametrize(("isolation", "path"), [("serializable", "data/new"), ("snapshot", "data/one")])
def test_a_run_is_refused_where_others_were_and_its_branch_is_kept(bench, base, tmp_path, isolation, path):
    scene = RunScene(bench, tmp_path, isolation=isolation)
    scene.run(BEGIN_TASK, "one", "two")
    theirs = bench.commit({path: b"theirs"})
    reason = scene.run(END_TASK)
    assert path in reason
    assert f"The run is kept on branch {scene.branch!r}" in reason
    assert (bench.line(), bench.staged()) == ([theirs, base], [])
    assert len(bench.line(scene.branch)) == 3


def test_a_run_branch_that_a_person_has_merged_and_taken_back_is_published_all_the_same(bench, base, tmp_path):
    """The server's own merge base of the two would be a commit of the run, so that what it did before were lost."""
    scene = RunScene(bench, tmp_path, isolation="snapshot")
    scene.run(BEGIN_TASK, "one", "two")
    with bench.raw() as repository:
        assert repository.merge(scene.branch, "main").status == 200
    bench.commit({"data/one": None, "data/two": None})
    assert scene.run(END_TASK) is None
    assert bench.files(bench.head()) == {"data/a": b"1", "data/one": b"1", "data/two": b"2", "other/a": b"1"}


def test_a_merge_that_is_not_the_sum_of_both_is_not_published(bench, base, monkeypatch):
    run = Run.begin(bench)
    ref = run.publish({"data/a": b"2"})
    foreign = bench.commit({"other/a": b"theirs"})

    honest = CommitDraft.merge
    monkeypatch.setattr(CommitDraft, "merge", lambda self, branch, parent, _: honest(self, branch, parent, base))
    with pytest.raises(StoreError, match="is not the sum of their changes"):
        run.end(ref, Merge(foreign, (foreign,)))
    assert (bench.line(), bench.staged()) == ([foreign, base], [])


@pytest.mark.parametrize("beside", [False, True])
def test_a_rerun_after_the_end_undoes_what_was_published(bench, scene, beside):
    scene.run(*WHOLE)
    ended = bench.head()
    if beside:
        bench.commit({"other/a": b"theirs"})
    scene.rerun("two")
    scene.words["two"] = "again"
    scene.run("two")
    with recorded_calls() as calls:
        assert scene.run(END_TASK) is None
    other = b"theirs" if beside else b"1"
    assert bench.files(bench.head()) == {"data/a": b"1", "data/one": b"1", "data/two": b"again", "other/a": other}
    assert scene.stamp().abandoned == (ended,)
    copies = [call for call in moved_content(calls) if call.endswith("/copy")]
    assert (len(copies), len(moved_content(calls))) == ((1, 1) if beside else (0, 0)), "only what differs is copied"


def test_a_rerun_that_changes_nothing_takes_back_what_was_published(bench, scene):
    scene.run(*WHOLE)
    scene.rerun("one")
    with bench.raw() as repository:
        repository.expect("PUT", f"/branches/{scene.branch}/hard_reset", query={"ref": bench.line()[-1]})
    scene.task_of = reading
    assert scene.run("one", "two", END_TASK) is None
    assert bench.files(bench.head()) == {"data/a": b"1", "other/a": b"1"}


def reading(name):
    @task(name=name, owner_email="ada@example.org", workspace=WorkspaceSpec(read_only=True))
    def read(workspace: Path, params: Params) -> Result:
        return Result()

    return task_of(read)


# ---- without hooks


@pytest.mark.parametrize("beside", [False, True])
def test_without_hooks_each_end_has_a_fence_of_its_own(make_bench, lakefs_server, tmp_path, beside):
    bench = make_bench(lakefs_server, fence="cooperative")
    bench.commit({"data/a": b"1"})
    scene = RunScene(bench, tmp_path)
    scene.run(BEGIN_TASK, "one", "two")
    if beside:
        bench.commit({"other/a": b"theirs"})
    assert scene.run(END_TASK) is None
    theirs = {"other/a": b"theirs"} if beside else {}
    assert bench.files(bench.head()) == {"data/a": b"1", "data/one": b"1", "data/two": b"2", **theirs}
    fences = [bench.actions(ref)[f"{ACTIONS}perago_fence.yaml"] for ref in ("main", scene.branch)]
    assert fences[0] != fences[1]
    assert bench.staged() == []


# ---- what is not there, or not as it was


def test_a_target_that_was_deleted_is_named_and_the_run_kept(bench, tmp_path):
    bench.commit({"data/a": b"1"}, "work")
    scene = RunScene(bench, tmp_path, branch="work")
    scene.run(BEGIN_TASK, "one", "two")
    with bench.raw() as repository:
        repository.delete_branch("work")
    assert "has no branch 'work'" in scene.run(END_TASK)
    assert len(bench.line(scene.branch)) == 3
    assert bench.staged() == []


def test_a_run_whose_branch_was_deleted_is_refused(bench, base, scene):
    scene.run(BEGIN_TASK, "one", "two")
    with bench.raw() as repository:
        repository.delete_branch(scene.branch)
    assert f"has no branch {scene.branch!r}" in scene.run(END_TASK)
    assert (bench.line(), bench.staged()) == ([base], [])


def test_a_run_whose_branch_a_person_moved_is_refused_and_kept(bench, base, scene):
    scene.run(BEGIN_TASK, "one", "two")
    theirs = bench.commit({"data/a": b"theirs"}, scene.branch)
    assert f"has committed {theirs[:12]} to it" in scene.run(END_TASK)
    assert (bench.line(), bench.head(scene.branch)) == ([base], theirs)


def test_uncommitted_changes_of_the_target_are_waited_for_and_named(bench, base, scene):
    scene.run(BEGIN_TASK, "one", "two")
    with bench.raw() as repository, store_on(bench.hooks.server, merge_timeout_seconds=0.5) as store:
        repository.put("main", "other/b", b"half")
        assert "uncommitted changes of 'other/b'" in scene.run(END_TASK, store=store)
        repository.delete("main", "other/b")
    assert (bench.line(), bench.staged()) == ([base], [])


def test_a_run_begins_at_a_branch_or_a_full_commit_id_only(bench, base):
    with bench.raw() as repository:
        repository.expect("POST", "/tags", data={"id": "v1", "ref": base})
    for name in ("v1", base[:12], base.upper(), "main~0"):
        with pytest.raises(BranchNotFoundError, match="has no branch"):
            Run.begin(bench, name)
    with bench.raw() as repository:
        assert repository.branches(hidden=True) == ["main"], "and the branch of a run is hidden"
        assert Run.begin(bench, base).base == base
        assert (repository.branches(), repository.branches(hidden=True)) == (["main"], ["main", RUN])


# ---- clearing up


def named_at(when):
    """The name of the branch of a run that began then."""
    return f"perago-run-{when:%Y%m%dt%H%M%Sz}-contract-0123456789abcdef"


def test_the_branch_of_a_run_is_swept_by_the_newer_of_its_time_and_that_of_its_head(bench, base, scene):
    """Without commits of its own it is at a commit of the target, which may be old."""
    clock = LaterClock()
    day = (clock.now() - SystemClock().now()).total_seconds()
    begun, old, used = named_at(clock.now()), named_at(datetime(2020, 1, 1, tzinfo=UTC)), scene
    for branch in (begun, old):
        Run.begin(bench, branch=branch)
    scene.run(BEGIN_TASK, "one")
    now = bench.store.repository(bench.hooks.name)
    with store_on(bench.hooks.server, clock=clock) as store:
        later = store.repository(bench.hooks.name)
        assert now.sweep(0, runs_older_than_seconds=day / 2) == ()
        assert later.sweep(0, lambda _: "dead", runs_older_than_seconds=2 * day) == ()
        limits = {old: day / 2, used.branch: math.inf, begun: 2 * day}
        (finding,) = later.examine(older_than_seconds=0, run_age_limit=limits.__getitem__)
        assert (finding.what, finding.mend()) == (old, True)
        limits[used.branch] = day / 2
        (finding,) = later.examine(older_than_seconds=0, run_age_limit=limits.__getitem__)
        limits[used.branch] = math.inf
        assert not finding.mend()
        limits[used.branch] = day / 2
        assert (finding.kind, finding.what, finding.age_seconds > day / 2) == (Kind.RUN_BRANCH, used.branch, True)
        assert finding.mend()
        with bench.raw() as repository:
            assert repository.branches(hidden=True) == ["main", begun]


# ---- faults


UNCLEAR = {"500": Refuse(500), "applied, then lost": Swallow(), "sent twice, last answer": Repeat(last=True)}

MAX_REQUESTS = 60


@pytest.mark.parametrize("kind", UNCLEAR)
def test_a_run_begins_once_whatever_request_meets_a_fault(proxied, kind):
    base = proxied.commit({"a": b"1"})
    for number in range(MAX_REQUESTS):
        branch = f"{RUN[:-4]}{number:04}"
        rule = proxied.proxy.add(Rule(UNCLEAR[kind], skip=number))
        assert Run.begin(proxied, branch=branch).base == base
        proxied.proxy.clear()
        if not rule.fired:
            assert number >= 2
            return
    pytest.fail("too many requests")


@pytest.mark.parametrize("kind", ["500", "applied, then lost"])
def test_a_run_is_merged_once_whatever_request_meets_a_fault(proxied, kind):
    """With a person's commit, which takes the most calls."""
    for number in range(MAX_REQUESTS):
        base = proxied.commit({"a": b"%d" % number, "b": b"%d" % number, "c": None})
        run = Run.begin(proxied, branch=f"{RUN[:-4]}{number:04}")
        ref = run.publish({"a": b"mine", "c": b"mine"})
        foreign = proxied.commit({"b": b"theirs"})
        execution = run.execution(ref, Merge(foreign, (foreign,)))
        rule = proxied.proxy.add(Rule(UNCLEAR[kind], skip=number))
        published = run.stage_as(ref, execution).finish()
        proxied.proxy.clear()
        assert proxied.line()[:3] == [published, foreign, base]
        assert proxied.files(published) == {"a": b"mine", "b": b"theirs", "c": b"mine"}
        assert proxied.staged() == []
        if not rule.fired:
            assert number >= 15
            return
    pytest.fail("too many requests")
