"""What a publication leaves on a lakeFS branch, and what is never touched."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from perago.errors import BranchNotFoundError, HeadMovedError, ObjectNameError, PublishFenceError, StoreError
from perago.testing.contract.bench import EVERYTHING
from perago.values.history import Merge, Publish
from perago.values.models import StagedWorkspace
from perago.values.spec import WorkspaceSpec
from publication_support import FENCE_PATH
from servers.faults import Delay, Rule
from waiting import wait_for


def test_a_publication_is_a_merge_of_the_staged_commit_onto_the_expected_head(bench):
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    ref = staged.finish()
    published, own = bench.show(ref), bench.show(staged.workspace.commit)
    assert published["parents"] == [base, own["id"]]
    assert own["parents"] == [base]
    assert published["meta_range_id"] == own["meta_range_id"]
    assert published["message"].startswith("build: +1 ~0 -0 files\n")


def test_the_stamp_is_in_the_merge_and_the_staged_commit_carries_none_that_counts(bench):
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    ref = staged.finish()
    metadata = bench.show(ref)["metadata"]
    assert metadata["perago.execution-id"] == staged.execution.execution_id
    assert metadata["perago.expected_parent"] == base
    assert not any(name.startswith("perago.") for name in bench.show(staged.workspace.commit)["metadata"])


def test_the_runtime_puts_the_fence_there_once(bench):
    base = bench.commit({"a": b"1"})
    assert bench.actions(base) == {}
    first = bench.publish(base, {"b": b"2"})
    second = bench.publish(first, {"c": b"3"})
    with bench.raw() as repository:
        kept = [repository.stat(ref, FENCE_PATH)["physical_address"] for ref in (first, second)]
    assert kept[0] == kept[1]
    assert list(bench.actions(second)) == [FENCE_PATH]


def test_a_fence_that_somebody_changed_is_put_back(bench):
    base = bench.publish(bench.commit({"a": b"1"}), {"b": b"2"})
    text = bench.actions(base)[FENCE_PATH]
    tampered = bench.put_action("perago_fence.yaml", text.replace(b"expected ~= head", b"false"))
    ref = bench.publish(tampered, {"c": b"3"})
    assert bench.actions(ref)[FENCE_PATH] == text


def test_no_workspace_sees_the_servers_actions(bench):
    base = bench.publish(bench.commit({"a": b"1"}), {"b": b"2"})
    base = bench.put_action("theirs.yaml", b"name: theirs\non:\n  post-merge:\nhooks: []\n")
    work = bench.lay_out(base)
    assert work.before == {"a": b"1", "b": b"2"}
    ref = bench.publish(base, {"a": None, "b": None})
    assert bench.lay_out(ref).before == {}
    assert bench.actions(ref).keys() == {FENCE_PATH, "_lakefs_actions/theirs.yaml"}


@pytest.mark.parametrize("path", ["_lakefs_actions/mine.yaml", "_lakefs_actions/perago_fence.yaml", "_lakefs_actions"])
def test_no_workspace_changes_the_servers_actions(bench, path):
    base = bench.commit({"a": b"1"})
    work = bench.lay_out(base)
    work.edit({path: b"name: mine\non:\n  pre-merge:\nhooks: []\n", "b": b"2"})
    with pytest.raises(ObjectNameError, match="_lakefs_actions"):
        bench.stage(work)
    assert (bench.line(), bench.staged()) == ([base], [])


def test_a_prefix_leads_not_into_the_servers_actions(bench):
    base = bench.put_action("theirs.yaml", b"name: theirs\non:\n  post-merge:\nhooks: []\n")
    work = bench.lay_out(base, WorkspaceSpec(prefix="_lakefs_actions"))
    assert work.before == {}
    work.edit({"mine.yaml": b"1"})
    with pytest.raises(ObjectNameError, match="_lakefs_actions"):
        bench.stage(work)


def test_actions_that_a_person_changed_stay_through_a_merge(bench):
    base = bench.publish(bench.commit({"a": b"1"}), {"b": b"1"})
    foreign = bench.put_action("theirs.yaml", b"name: theirs\non:\n  post-merge:\nhooks: []\n")
    ref = bench.publish(base, {"a": b"2"}, Merge(foreign, (foreign,)))
    assert bench.actions(ref).keys() == {FENCE_PATH, "_lakefs_actions/theirs.yaml"}
    assert bench.files(ref) == {"a": b"2", "b": b"1"}


def test_a_publication_that_would_take_actions_back_is_refused(bench):
    """A plan that calls a person's commit abandoned is wrong; the server's actions are safe even then."""
    base = bench.commit({"a": b"1"})
    theirs = bench.put_action("theirs.yaml", b"name: theirs\non:\n  post-merge:\nhooks: []\n")
    with pytest.raises(PublishFenceError, match=r"theirs\.yaml"):
        bench.publish(base, {"a": b"2"}, Publish(theirs, (theirs,)))
    assert (bench.head(), bench.staged()) == (theirs, [])


def test_replacing_moves_no_bytes(bench):
    base = bench.commit({"kept": b"k" * 1000, "changed": b"1"})
    first = bench.publish(base, {"changed": b"2", "kept": None, "stray": b"3"})
    second = bench.publish_on(first, base, {"changed": b"4"}, (first,))
    with bench.raw() as repository:
        addresses = [repository.stat(ref, "kept")["physical_address"] for ref in (base, second)]
    assert addresses[0] == addresses[1]
    assert bench.files(second) == {"kept": b"k" * 1000, "changed": b"4"}
    assert bench.line() == [second, first, base]


def test_what_abandoned_commits_did_is_undone_with_all_that_belongs_to_it(bench):
    base = bench.commit({"tool": b"#!", "kept": b"1"})
    with bench.raw() as repository:
        repository.put("main", "tool", b"#!", {"perago-executable": "true", "owner": "ada"})
        base = repository.commit("main")["id"]
    abandoned = bench.publish(base, {"tool": b"wrong", "kept": None, "stray": b"wrong"})
    foreign = bench.commit({"theirs": b"2"})
    ref = bench.publish(base, {"mine": b"3"}, Merge(foreign, (foreign,), (abandoned,)))
    assert bench.files(ref) == {"tool": b"#!", "kept": b"1", "theirs": b"2", "mine": b"3"}
    with bench.raw() as repository:
        assert repository.stat(ref, "tool")["metadata"] == {"perago-executable": "true", "owner": "ada"}


def test_a_foreign_change_that_an_abandoned_commit_undid_is_brought_back(bench):
    base = bench.commit({"a": b"1"})
    foreign = bench.commit({"a": b"theirs"})
    abandoned = bench.publish(foreign, {"a": b"1"})
    ref = bench.publish(base, {"b": b"mine"}, Merge(abandoned, (foreign,), (abandoned,)))
    assert bench.files(ref) == {"a": b"theirs", "b": b"mine"}


def test_a_staged_commit_of_nobody_is_not_published(bench):
    base = bench.commit({"a": b"1"})
    with bench.raw() as repository:
        root = repository.line("main")[-1]
    staged = bench.staged_edit(base, {"b": b"2"})
    for commit, why in ((root, "not staged"), (bench.hooks.unknown_commit, bench.hooks.unknown_commit)):
        unknown = StagedWorkspace(staged.workspace.repository, staged.workspace.branch, commit)
        with pytest.raises(StoreError, match=why):
            bench.store.publish_workspace(unknown, staged.work.workspace_input, EVERYTHING, staged.execution)
    assert bench.line() == [base]


def test_a_branch_that_is_none_of_ours_is_never_cleaned_up(bench):
    base = bench.commit({"a": b"1"})
    with pytest.raises(StoreError, match="was not removed"):
        bench.store.cleanup_staging(StagedWorkspace(bench.hooks.name, "main", base))
    assert bench.head() == base


def test_a_staging_branch_that_was_deleted_is_published_all_the_same(bench):
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    with bench.raw() as repository:
        repository.delete_branch(staged.workspace.branch)
    ref = staged.finish()
    assert bench.files(ref) == {"a": b"1", "b": b"2"}


def test_a_branch_that_was_reset_by_hand_is_no_place_to_publish(bench):
    """The input is not in the history of the new head."""
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    with bench.raw() as repository:
        root = repository.line("main")[-1]
        repository.expect("PUT", "/branches/main/hard_reset", query={"ref": root})
    with pytest.raises(HeadMovedError):
        staged.finish()
    with pytest.raises(PublishFenceError, match="not among the last"):
        bench.history(base)
    assert bench.head() == root


def test_a_branch_that_is_gone_by_now_is_named(bench):
    base = bench.commit({"a": b"1"}, "other")
    work = bench.lay_out(base, branch="other")
    work.edit({"b": b"2"})
    staged = bench.stage(work)
    with bench.raw() as repository:
        repository.delete_branch("other")
    with pytest.raises(BranchNotFoundError, match="no branch 'other'"):
        staged.publish()
    staged.clean()
    with bench.raw() as repository:
        assert repository.branches() == ["main"]
    assert bench.staged() == []


@pytest.mark.parametrize("branch", ["caf\udce9", "\ud800"])
def test_a_branch_whose_name_is_no_text_is_not_there(bench, branch):
    """JSON can hold such a name, so the input of a task can, too."""
    base = bench.commit({"a": b"1"})
    with pytest.raises(BranchNotFoundError, match="has no branch"):
        bench.history(base, branch)


def test_tags_and_commits_are_no_branches(bench):
    base = bench.commit({"a": b"1"})
    with bench.raw() as repository:
        repository.expect("POST", "/tags", data={"id": "v1", "ref": base})
    for name in ("v1", base, "main~0"):
        with pytest.raises(StoreError, match="no branch"):
            bench.history(base, name)


def test_what_an_observer_raises_ends_staging_and_leaves_nothing(make_bench, lakefs_server):
    def observe(event):
        raise RuntimeError("the sink is full")

    bench = make_bench(lakefs_server, observer=observe)
    base = bench.commit({"a": b"1"})
    work = bench.lay_out(bench.commit({"a": None}))
    work.edit({"b": b"2", "c": b"3"})
    with pytest.raises(RuntimeError, match="the sink is full"):
        bench.stage(work)
    assert (bench.line()[1:], bench.staged()) == ([base], [])


def test_an_interrupt_while_content_is_on_its_way_leaves_nothing(proxied):
    """As Ctrl-C does it: an exception in the thread that waits for the store."""
    base = proxied.commit({"a": b"1"})
    work = proxied.lay_out(base)
    work.edit({"b": b"2"})
    late = proxied.proxy.add(Rule(Delay(3), method="POST", path="/objects"))

    def interrupt(_signal, _frame):
        raise KeyboardInterrupt

    def interrupt_when_it_is_on_its_way():
        wait_for(lambda: late.fired, "the request is on its way")
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    watching = threading.Thread(target=interrupt_when_it_is_on_its_way)
    try:
        watching.start()
        with pytest.raises(KeyboardInterrupt):
            proxied.stage(work)
    finally:
        watching.join()
        signal.signal(signal.SIGALRM, before)
    assert (proxied.line(), proxied.staged()) == ([base], [])
    assert proxied.publish(base, {"b": b"2"}) == proxied.head()


def test_several_threads_share_a_store_and_a_canary(bench):
    base = bench.commit({"a": b"1"})
    staged = [bench.staged_edit(base, {f"f{number}": b"1"}) for number in range(3)]
    with ThreadPoolExecutor(8) as threads:
        histories = [threads.submit(bench.history, base) for _ in range(16)]
        outs = [threads.submit(bench.lay_out, base) for _ in range(8)]
        assert {future.result().head for future in histories} == {base}
        assert all(future.result().before == {"a": b"1"} for future in outs)
    for entry in staged:
        entry.clean()


def test_a_closed_store_takes_no_call_and_can_be_closed_again(make_bench, lakefs_server):
    bench = make_bench(lakefs_server)
    base = bench.commit({"a": b"1"})
    bench.history(base)
    bench.store.close()
    bench.store.close()
    with pytest.raises(RuntimeError, match="closed"):
        bench.history(base)
