"""What keeps a publication from moving an unexpected head, and what the error says if nothing can."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from perago.errors import (
    DirtyBranchError,
    FenceUnavailableError,
    HeadMovedError,
    PublishFenceError,
    PublishVetoedError,
    RuntimeConfigError,
    StoreError,
)
from perago.ports import Phase
from perago.values.history import Merge, Publish
from publication_support import FENCE_PATH, SECONDS
from servers.faults import Delay, Refuse, Rule
from servers.lakefs_hooks import store_on
from waiting import wait_for

VETO = b"""name: quality gate
on:
  pre-merge:
    branches: [main]
hooks:
  - id: enough_rows
    type: lua
    properties:
      script: error("only 3 rows")
"""


# ---- exact


def test_the_server_itself_refuses_the_merge_on_another_head(bench):
    """The store looks before it merges; this asks the hook that stands behind it."""
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    person = bench.commit({"c": b"3"})
    with bench.raw() as repository:
        metadata = {"perago.expected_parent": base}
        refused = repository.merge(staged.workspace.commit, "main", metadata)
        assert (refused.status, repository.head("main")) == (412, person)
        assert "perago_fence" in refused.message


def test_people_merge_past_the_fence_as_they_like(bench):
    base = bench.publish(bench.commit({"a": b"1"}), {"b": b"2"})
    with bench.raw() as repository:
        repository.branch("feature", base)
        repository.commit_files("feature", {"c": b"3"})
        repository.commit_files("main", {"d": b"4"})
        assert repository.merge("feature", "main").status == 200


def test_the_canary_sings_once_and_leaves_nothing(proxied):
    base = proxied.commit({"a": b"1"})
    ref = proxied.publish(base, {"b": b"2"})
    proxied.publish(ref, {"c": b"3"})
    merges = [seen for seen in proxied.proxy.seen() if "/merge/" in seen.target]
    assert [seen.status for seen in merges] == [412, 200, 200]
    assert "canary" in merges[0].target
    assert proxied.staged() == []


def test_a_server_without_hooks_publishes_nothing_and_says_what_can_be_done(make_bench, lakefs_without_actions):
    bench = make_bench(lakefs_without_actions)
    base = bench.commit({"a": b"1"})
    with pytest.raises(FenceUnavailableError, match=r"actions\.enabled.*fence='cooperative'"):
        bench.publish(base, {"b": b"2"})
    assert (bench.line(), bench.staged()) == ([base], [])


@pytest.mark.parametrize("empty", [False, True], ids=["content", "an empty commit"])
def test_hooks_that_are_switched_off_after_the_canary_are_found_out_afterwards(make_bench, start_lakefs, empty):
    """A person commits between the look at the head and the merge, which nothing refuses any more."""
    server = start_lakefs()
    bench = make_bench(server, proxied=True)
    base = bench.publish(bench.commit({"a": b"1"}), {"b": b"2"})
    staged = bench.staged_edit(base, {"c": b"3"})
    server.kill()
    config = server.directory / "lakefs.yaml"
    settings = json.loads(config.read_text())
    settings["actions"]["enabled"] = False
    config.write_text(json.dumps(settings))
    server.start()
    late = bench.proxy.add(Rule(Delay(2), method="POST", path="/merge/main"))
    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(staged.publish)
        wait_for(lambda: late.fired, "the merge is on its way")
        with bench.raw() as repository:
            if not empty:
                repository.put("main", "theirs", b"4")
            person = repository.commit("main", allow_empty=empty)["id"]
        with pytest.raises(PublishFenceError, match=r"actions\.enabled.*Nothing is lost") as refused:
            publishing.result(SECONDS)
    assert not isinstance(refused.value, HeadMovedError)
    assert bench.line()[1:3] == [person, base]
    assert bench.newest(base).counting_stamp is None


def test_a_merge_that_holds_other_content_is_no_publication(proxied):
    base = proxied.publish(proxied.commit({"a": b"1"}), {"b": b"2"})
    staged = proxied.staged_edit(base, {"c": b"3"})
    with proxied.raw() as repository:
        staged_commit = repository.show(staged.workspace.commit)
    other = staged_commit | {"parents": [base, staged_commit["id"]], "meta_range_id": "0" * 64}
    merged = proxied.proxy.add(Rule(Refuse(200, body=json.dumps(other).encode()), method="GET", path="/commits/"))
    with pytest.raises(PublishFenceError):
        staged.publish()
    assert merged.fired == 1


@pytest.mark.parametrize("fence", ["", "Exact", "none", None])
def test_other_kinds_of_fence_are_a_configuration_error(lakefs_server, fence):
    with pytest.raises(RuntimeConfigError, match="'exact' or 'cooperative'"):
        store_on(lakefs_server, fence=fence)


def test_another_hook_that_refuses_is_named(bench):
    base = bench.put_action("gate.yaml", VETO)
    with pytest.raises(PublishVetoedError, match=r"'enough_rows' of action 'quality gate'.*only 3 rows") as refused:
        bench.publish(base, {"b": b"2"})
    assert not isinstance(refused.value, PublishFenceError)
    assert (bench.line(), bench.staged()) == ([base], [])


def test_a_hook_that_refuses_every_merge_is_named_and_not_taken_for_the_fence(bench):
    """It refuses the canary's merge too, beside Perago's own hook."""
    base = bench.put_action("gate.yaml", VETO.replace(b"    branches: [main]\n", b""))
    with pytest.raises(PublishVetoedError, match=r"'enough_rows' of action 'quality gate'.*only 3 rows"):
        bench.publish(base, {"b": b"2"})
    assert (bench.line(), bench.staged()) == ([base], [])


def test_a_hook_that_refuses_the_commit_on_the_staging_branch_is_named(bench):
    base = bench.put_action("gate.yaml", VETO.replace(b"pre-merge", b"pre-commit").replace(b"[main]", b"['perago-*']"))
    with pytest.raises(StoreError, match=r"'quality gate' hook 'enough_rows'.*only 3 rows"):
        bench.publish(base, {"b": b"2"})
    assert (bench.line(), bench.staged()) == ([base], [])


def test_another_hook_is_not_blamed_for_a_head_that_moved(bench):
    base = bench.put_action("gate.yaml", VETO)
    staged = bench.staged_edit(base, {"b": b"2"})
    bench.commit({"c": b"3"})
    with pytest.raises(HeadMovedError):
        staged.finish()


# ---- what stands in the way


def test_a_dirty_branch_is_refused_before_anything_is_uploaded(make_bench, lakefs_server):
    proxied = make_bench(lakefs_server, proxied=True, merge_timeout_seconds=1)
    base = proxied.commit({"a": b"1"})
    with proxied.raw() as repository:
        repository.put("main", "half", b"done")
    with pytest.raises(DirtyBranchError, match=r"of 'half', and lakeFS .*lakectl branch reset"):
        proxied.publish(base, {"b": b"2"})
    assert not any(seen.method == "POST" and "/objects?" in seen.target for seen in proxied.proxy.seen())
    with proxied.raw() as repository:
        assert repository.get("main", "half") == b"done"
        assert repository.expect("GET", "/branches/main/diff")["results"][0]["path"] == "half"
    assert (proxied.line(), proxied.staged()) == ([base], [])


def test_a_branch_that_became_dirty_after_staging_is_not_published_to(make_bench, lakefs_server):
    bench = make_bench(lakefs_server, merge_timeout_seconds=1)
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    with bench.raw() as repository:
        repository.put("main", "half", b"done")
        for number in range(10):
            repository.put("main", f"line {number}\n", b"done")
        with pytest.raises(DirtyBranchError, match=r"of 'half', .*'line 8\\n', and others, .*lakectl branch reset"):
            staged.finish()
        assert repository.get("main", "half") == b"done"
    assert (bench.line(), bench.staged()) == ([base], [])


def test_what_somebody_is_about_to_commit_is_waited_for(bench):
    """The person's commit comes while the attempt waits, so that the head has moved then, and that is said."""
    base = bench.commit({"a": b"1"})
    with bench.raw() as repository, ThreadPoolExecutor(1) as threads:
        repository.put("main", "half", b"done")
        publishing = threads.submit(bench.publish, base, {"b": b"2"})
        person = repository.commit("main")["id"]
        with pytest.raises(PublishFenceError):
            publishing.result(SECONDS)
    assert (bench.line(), bench.staged()) == ([person, base], [])


@pytest.mark.parametrize("staged_before", [False, True])
def test_what_somebody_discards_after_seconds_is_waited_for(make_bench, lakefs_server, staged_before, caplog):
    bench = make_bench(lakefs_server, proxied=True, merge_timeout_seconds=SECONDS)
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"}) if staged_before else None
    with bench.raw() as repository, ThreadPoolExecutor(1) as threads:
        repository.put("main", "half", b"done")
        looks = len(looks_for_uncommitted(bench))
        publishing = threads.submit(staged.finish) if staged else threads.submit(bench.publish, base, {"b": b"2"})
        wait_for(lambda: len(looks_for_uncommitted(bench)) >= looks + 7, "its looks", SECONDS)
        assert not publishing.done()
        repository.expect("PUT", "/branches/main", data={"type": "reset"})
        published = publishing.result(SECONDS)
    assert bench.line() == [published, base]
    assert bench.staged() == []
    assert "branch main has uncommitted changes of 'half'; waiting for their commit" in caplog.messages


def looks_for_uncommitted(bench):
    return [seen for seen in bench.proxy.seen() if "/branches/main/diff" in seen.target]


def test_a_rule_that_protects_staging_branches_is_named(bench):
    base = bench.commit({"a": b"1"})
    with bench.raw() as repository:
        rules = [{"pattern": "release"}, {"pattern": "perago-*"}]
        repository.expect("PUT", "/settings/branch_protection", data=rules)
        repository.branch("perago-probe", base)

        def refuses():
            answer = repository.call("POST", "/branches/perago-probe/commits", data={"message": "m"})
            return answer.status == 403

        wait_for(refuses, "the server knows its new rule")
        repository.delete_branch("perago-probe")
    for edit in ({"b": b"2"}, {"a": None}):
        with pytest.raises(StoreError, match=r"'perago-\*'") as refused:
            bench.publish(base, edit)
        assert "'release'" not in str(refused.value)
        assert not refused.value.retry_can_help
    assert (bench.line(), bench.staged()) == ([base], [])


def test_a_protected_target_is_published_to(bench):
    """People protect `main` against direct changes; a publication is a merge."""
    base = bench.commit({"a": b"1"})
    with bench.raw() as repository:
        repository.expect("PUT", "/settings/branch_protection", data=[{"pattern": "main"}])
    ref = bench.publish(base, {"b": b"2"})
    assert bench.line() == [ref, base]


# ---- cooperative


@pytest.fixture
def cooperative(make_bench, lakefs_without_actions):
    return make_bench(lakefs_without_actions, fence="cooperative", proxied=True)


def test_cooperative_attempts_publish_without_hooks(cooperative):
    base = cooperative.commit({"a": b"1"})
    ref = cooperative.publish(base, {"b": b"2"})
    assert cooperative.files(ref) == {"a": b"1", "b": b"2"}
    assert cooperative.line() == [ref, base]
    assert cooperative.newest(base).counting_stamp is not None
    assert cooperative.staged() == []


def test_cooperative_attempts_keep_off_each_other(cooperative):
    """Both have looked at the head; the server merges one of them, by a conflict on the file that both rewrote."""
    base = cooperative.commit({"a": b"1"})
    one, other = (cooperative.staged_edit(base, {path: b"2"}) for path in ("b", "c"))
    with cooperative.raw() as repository:
        answers = [repository.merge(staged.workspace.commit, "main") for staged in (one, other)]
    assert [answer.status for answer in answers] == [200, 409]


def test_cooperative_publications_that_lose_are_told(cooperative):
    base = cooperative.commit({"a": b"1"})
    one, other = (cooperative.staged_edit(base, {path: b"2"}) for path in ("b", "c"))
    ref = one.finish()
    with pytest.raises(HeadMovedError):
        other.finish()
    assert cooperative.line() == [ref, base]


def test_cooperative_seals_are_seals(cooperative):
    base = cooperative.commit({"a": b"1"})
    ref = cooperative.publish(base, {"b": b"2"})
    seal = cooperative.seal(base, ref, ref)
    assert cooperative.newest(base).is_seal
    assert cooperative.files(seal) == cooperative.files(ref)
    again = cooperative.publish_on(seal, base, {"b": b"2"}, (ref,))
    assert cooperative.files(again) == {"a": b"1", "b": b"2"}


def test_a_commit_that_slips_in_is_found_out_and_nothing_is_lost(cooperative):
    """The person commits between the look at the head and the merge: without hooks the server merges both."""
    base = cooperative.commit({"a": b"1"})
    staged = cooperative.staged_edit(base, {"b": b"2"})
    late = cooperative.proxy.add(Rule(Delay(2), method="POST", path="/merge/main"))
    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(staged.publish)
        wait_for(lambda: late.fired, "the merge is on its way")
        person = cooperative.commit({"c": b"3"})
        with pytest.raises(PublishFenceError, match=r"cooperative.*Nothing is lost") as refused:
            publishing.result(SECONDS)
    assert not isinstance(refused.value, HeadMovedError)
    head, *below = cooperative.line()
    assert below == [person, base]
    assert cooperative.files(head) == {"a": b"1", "b": b"2", "c": b"3"}
    assert cooperative.newest(base).counting_stamp is None


def test_each_cooperative_publication_says_what_it_does_not_guarantee(make_bench, lakefs_without_actions):
    events = []
    bench = make_bench(lakefs_without_actions, fence="cooperative", observer=events.append)
    base = bench.commit({"a": b"1"})
    ref = bench.publish(base, {"b": b"2"})
    told = [event for event in events if event.phase is Phase.PUBLISH]
    assert len(told) == 1
    assert "not guaranteed" in told[0].attributes["fence"]
    assert re.search(r"cooperative.*not guaranteed", bench.show(ref)["message"])


def test_exact_and_cooperative_attempts_follow_each_other(make_bench, lakefs_server):
    exact = make_bench(lakefs_server)
    base = exact.commit({"a": b"1"})
    first = exact.publish(base, {"b": b"2"})
    with store_on(lakefs_server, fence="cooperative") as other:
        exact.store, kept = other, exact.store
        second = exact.publish(first, {"c": b"3"})
        exact.store = kept
    third = exact.publish(second, {"d": b"4"})
    assert exact.files(third) == {"a": b"1", "b": b"2", "c": b"3", "d": b"4"}
    assert exact.actions(first) == exact.actions(third)
    assert exact.actions(second) != exact.actions(third)


@pytest.mark.parametrize("plan", ["publish", "merge"])
def test_a_repository_on_which_the_fence_is_new_takes_every_plan(bench, plan):
    base = bench.commit({"a": b"1", "gone": b"1"})
    other = bench.commit({"b": b"2", "gone": None})
    made = Publish(other, (other,)) if plan == "publish" else Merge(other, (other,))
    ref = bench.publish(base, {"c": b"3"}, made)
    assert FENCE_PATH in bench.actions(ref)
    kept = {"a": b"1", "c": b"3"}
    assert bench.files(ref) == (kept | {"gone": b"1"} if plan == "publish" else kept | {"b": b"2"})
