"""What the in-memory store offers to tests besides the ports; the ports are held to the contract suite."""

import threading

import pytest

from perago.errors import BranchNotFoundError, ObjectNameError, PublishFenceError, RepositoryNotFoundError, StoreError
from perago.testing import MemoryAttempt, MemoryStore
from perago.values.history import Publish, Stamp
from perago.values.models import AttemptIdentity, Changes, TaskExecution
from perago.values.plans import MAX_HISTORY
from perago.values.spec import WorkspaceSpec

EVERYTHING = WorkspaceSpec()


def execution(base, *, plan=None, changes=None, name="1"):
    attempt = MemoryAttempt(
        status="IN_PROGRESS",
        workflow_instance_id="wf",
        task_id=name,
        retry_count=0,
        reference_task_name="t",
        task_def_name="t",
        scheduled_time=1,
        poll_count=1,
        seq=1,
        input_data={},
    )
    stamp = Stamp(
        task="t",
        workflow_instance_id="wf",
        reference_task_name="t",
        task_id=name,
        retry_count=0,
        scheduled_time=1,
        poll_count=1,
        execution_id=name,
        input_ref=base,
        params_digest="p",
        code_digest="c",
        result_digest="r",
    )
    identity = AttemptIdentity.of(attempt)
    return TaskExecution(
        attempt=attempt, identity=identity, execution_id=name, stamp=stamp, plan=plan, changes=changes or Changes()
    )


def publish(store, directory, work):
    staged = store.stage_workspace(directory, store.input(ref=work.stamp.input_ref), EVERYTHING, work)
    ref = store.publish_workspace(staged, store.input(), EVERYTHING, work)
    store.cleanup_staging(staged)
    return ref


def test_a_persons_commits_add_change_and_remove(tmp_path):
    store = MemoryStore()
    first = store.commit("main", {"a": "1", "b": b"2"}, executable=["b"])
    second = store.commit("main", {"a": None, "c": "3"}, "Grace", subject="tidy up")
    assert store.files("main") == {"b": b"2", "c": b"3"}
    assert store.files(first) == {"a": b"1", "b": b"2"}
    assert store.executables("main") == {"b"}
    assert store.history("main") == [second, first]
    assert store.branches() == ["main"]
    (facts,) = store.read_history(store.input(ref=first)).commits
    assert (facts.author, facts.subject, facts.stamp) == ("Grace", "tidy up", None)


def test_the_same_steps_give_the_same_ids():
    ids = [[store.commit("main", {"a": str(n)}) for n in range(3)] for store in (MemoryStore(), MemoryStore())]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3
    assert MemoryStore("other").commit("main", {"a": "0"}) not in ids[0]


def test_an_input_names_the_repository(tmp_path):
    store = MemoryStore("sales")
    store.commit("main", {"a": "1"})
    assert store.input().repository == "sales"
    with pytest.raises(RepositoryNotFoundError, match="'sales'"):
        store.read_history(store.input().model_copy(update={"repository": "stock"}))


def test_what_is_staged_can_be_seen_until_it_is_cleaned_up(tmp_path):
    store = MemoryStore()
    base = store.commit("main", {"a": "1"})
    staged = store.stage_workspace(tmp_path, store.input(), EVERYTHING, execution(base))
    assert store.staged() == [staged.branch]
    store.cleanup_staging(staged)
    assert store.staged() == []


def test_a_cherry_picked_commit_keeps_its_stamp_which_does_not_count(tmp_path):
    store = MemoryStore()
    base = store.commit("main", {"a": "1"})
    (tmp_path / "b").write_text("2")
    ref = publish(store, tmp_path, execution(base, changes=Changes(added=("b",))))
    store.commit("main", {"b": None})
    copy = store.cherry_pick(ref, "main")
    assert store.files("main") == {"a": b"1", "b": b"2"}
    assert store.stamp_of(copy) == store.stamp_of(ref)
    newest, _, published = store.read_history(store.input(ref=base)).commits
    assert (newest.id, newest.counting_stamp) == (copy, None)
    assert published.counting_stamp == store.stamp_of(ref)


def test_hostile_names_can_be_committed_and_are_refused_whole(tmp_path):
    store = MemoryStore()
    store.commit("main", {"fine": "1", "../out": "2"})
    with pytest.raises(ObjectNameError, match=r"\.\./out"):
        store.download_workspace(store.input(), EVERYTHING, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_named(tmp_path):
    store = MemoryStore()
    for look in (store.head, store.history):
        with pytest.raises(BranchNotFoundError, match="'main'"):
            look("main")
    with pytest.raises(StoreError, match="no commit nowhere"):
        store.files("nowhere")
    base = store.commit("main", {"a": "1"})
    with pytest.raises(StoreError, match="no commit " + "f" * 40):
        store.stage_workspace(tmp_path, store.input(), EVERYTHING, execution(base, plan=Publish("f" * 40)))
    assert store.staged() == []


def test_an_input_that_is_too_far_back_is_refused():
    store = MemoryStore()
    too_old, oldest = (store.commit("main", {}) for _ in range(2))
    for _ in range(MAX_HISTORY):
        store.commit("main", {})
    assert len(store.read_history(store.input(ref=oldest)).commits) == MAX_HISTORY
    with pytest.raises(PublishFenceError, match=too_old[:12]):
        store.read_history(store.input(ref=too_old))


def test_people_who_commit_at_once_lose_nothing():
    store = MemoryStore()
    base = store.commit("main", {"a": "0"})

    def work(name):
        for number in range(50):
            store.commit("main", {f"{name}/{number}": "x"})

    threads = [threading.Thread(target=work, args=(name,)) for name in "bcde"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(store.files("main")) == len(store.history("main")) == 201
    assert store.history("main")[-1] == base
