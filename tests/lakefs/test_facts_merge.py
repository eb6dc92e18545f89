"""Facts of lakeFS: merging, and the compare-and-swap that a hook makes of it."""

import itertools
import threading
from collections import Counter

import pytest

from facts_support import EXPECTED, FENCE, FENCE_PATH, NO_COMMIT, VETO, fenced, publish, stage, stage_empty
from servers.fixtures import repository_on
from servers.lakefs_api import LakeFSRepository


@pytest.fixture
def repository(lakefs_repository):
    return lakefs_repository


# ---- a plain merge


def test_a_plain_merge_is_no_compare_and_swap(repository):
    head = repository.commit_files("main", {"a": b"a"})
    staged = stage(repository, head, {"mine": b"mine"})
    theirs = repository.commit_files("main", {"theirs": b"theirs"})
    assert repository.merge(staged, "main", {EXPECTED: head}).status == 200
    assert repository.show("main")["parents"] == [theirs, staged]
    assert set(repository.files("main")) == {"a", "mine", "theirs"}


def test_merging_a_commit_again_changes_nothing(repository):
    staged = stage(repository, repository.head("main"), {"a": b"a"})
    assert repository.merge(staged, "main").status == 200
    head = repository.head("main")
    again = repository.merge(staged, "main")
    assert (again.status, again.message) == (400, "update branch main: no changes")
    repository.commit_files("main", {"a": b"other"})
    assert repository.merge(staged, "main").status == 400, "also when the target has moved on"
    assert repository.line("main")[1] == head


def test_a_squashed_merge_again_makes_another_commit(repository):
    staged = stage(repository, repository.head("main"), {"a": b"a"})
    assert repository.merge(staged, "main", squash_merge=True).status == 200
    first = repository.show("main")
    assert len(first["parents"]) == 1
    assert repository.merge(staged, "main", squash_merge=True).status == 200
    assert repository.head("main") != first["id"]


def test_what_a_merge_commit_says(repository):
    head = repository.commit_files("main", {"a": b"a"})
    staged = stage(repository, head, {"b": b"b"})
    made = repository.merge(staged, "main", {"perago.stamp": "x", "ключ": "ä\n\U0001f600", "empty": ""}, message="done")
    commit = repository.show(made.json()["reference"])
    assert commit["id"] == repository.head("main")
    assert commit["parents"] == [head, staged]
    assert commit["meta_range_id"] == repository.show(staged)["meta_range_id"]
    assert commit["message"] == "done"
    assert commit["metadata"] == {
        "perago.stamp": "x",
        "ключ": "ä\n\U0001f600",
        "empty": "",
        ".lakefs.merge.strategy": "default",
    }


def test_large_metadata_comes_back_whole(repository):
    stamp = {f"perago.{number}": "é" * 16_384 for number in range(8)}
    staged = stage(repository, repository.head("main"), {"a": b"a"})
    assert repository.merge(staged, "main", stamp).status == 200
    found = repository.show("main")["metadata"]
    assert {name: found[name] for name in stamp} == stamp


@pytest.mark.parametrize("options", [{}, {"force": True}, {"allow_empty": True}])
def test_a_target_with_uncommitted_data_takes_no_merge(repository, options):
    staged = stage(repository, repository.head("main"), {"a": b"a"})
    repository.put("main", "uncommitted", b"x")
    answer = repository.merge(staged, "main", **options)
    assert (answer.status, answer.message) == (400, "uncommitted changes (dirty branch)")
    repository.delete("main", "uncommitted")
    assert repository.merge(staged, "main", **options).status == 200


def test_the_uncommitted_is_not_looked_at_on_the_side_of_the_source(repository):
    head = repository.head("main")
    branch = repository.branch("staging", head)
    staged = repository.commit_files(branch, {"a": b"a"})
    repository.put(branch, "late", b"late")
    assert repository.merge(staged, "main").status == 200
    assert set(repository.files("main")) == {"a"}


def test_a_conflict_is_told_as_one(repository):
    head = repository.commit_files("main", {"a": b"a"})
    staged = stage(repository, head, {"a": b"mine"})
    theirs = repository.commit_files("main", {"a": b"theirs"})
    answer = repository.merge(staged, "main")
    assert answer.status == 409
    assert repository.head("main") == theirs


def test_what_is_not_there(repository):
    staged = stage(repository, repository.head("main"), {"a": b"a"})
    assert repository.merge(staged, "gone").status == 404
    assert repository.merge(NO_COMMIT, "main").status == 404


# ---- with the hook: exact


def test_the_hook_refuses_any_head_but_the_expected_one(repository):
    head = fenced(repository)
    staged = stage(repository, head, {"mine": b"mine"})
    theirs = repository.commit_files("main", {"theirs": b"theirs"})
    refused = publish(repository, staged, head)
    assert refused.status == 412
    assert "pre-merge hook aborted" in refused.message
    assert "hook 'expected_parent'" in refused.message
    assert f"expected {head}, found {theirs}" in refused.message
    assert repository.head("main") == theirs
    assert publish(repository, stage(repository, theirs, {"mine": b"mine"}), theirs).status == 200


def test_the_same_publication_again_is_refused_or_changes_nothing(repository):
    head = fenced(repository)
    staged = stage(repository, head, {"mine": b"mine"})
    assert publish(repository, staged, head).status == 200
    published = repository.head("main")
    assert publish(repository, staged, head).status == 400
    assert publish(repository, staged, head, allow_empty=True).status == 412
    assert repository.head("main") == published


def test_many_refusals_are_no_hindrance(repository):
    head = fenced(repository)
    staged = stage(repository, head, {"mine": b"mine"})
    assert {publish(repository, staged, NO_COMMIT).status for _ in range(30)} == {412}
    assert publish(repository, staged, head).status == 200
    assert repository.line("main")[:2] == [repository.head("main"), head]


def test_the_hook_is_read_from_the_source_commit(repository):
    head = repository.commit_files("main", {"a": b"a"})
    staged = stage(repository, head, {"b": b"b", FENCE_PATH: FENCE})
    assert publish(repository, staged, NO_COMMIT).status == 412, "although the target has no hook"
    assert publish(repository, staged, head).status == 200
    assert FENCE_PATH in repository.files("main"), "and from now on has it"


def test_a_source_without_the_hook_passes_in_silence(repository):
    head = fenced(repository)
    staged = stage(repository, head, {"mine": b"mine", FENCE_PATH: None})
    repository.commit_files("main", {"theirs": b"theirs"})
    assert publish(repository, staged, head).status == 200


def test_a_misspelled_field_passes_in_silence(repository):
    head = fenced(repository)
    staged = stage(repository, head, {"mine": b"mine"})
    repository.commit_files("main", {"theirs": b"theirs"})
    answer = repository.call("POST", f"/refs/{staged}/merge/main", data={"metadta": {EXPECTED: head}})
    assert answer.status == 200


def test_a_server_without_actions_passes_in_silence(lakefs_without_actions):
    with repository_on(lakefs_without_actions) as repository:
        head = fenced(repository)
        staged = stage(repository, head, {"mine": b"mine"})
        repository.commit_files("main", {"theirs": b"theirs"})
        assert publish(repository, staged, head).status == 200


def test_another_hook_refuses_in_its_own_name(repository):
    head = repository.commit_files("main", {FENCE_PATH: FENCE, "_lakefs_actions/house.yaml": VETO})
    refused = publish(repository, stage(repository, head, {"mine": b"mine"}), head)
    assert refused.status == 412
    assert "action 'house-rules' hook 'no_merges_today'" in refused.message
    assert "not on a Friday" in refused.message
    assert "expected_parent" not in refused.message
    run = refused.message.split("run id '")[1].split("'")[0]
    hooks = repository.expect("GET", f"/actions/runs/{run}/hooks")["results"]
    assert {(hook["action"], hook["hook_id"], hook["status"]) for hook in hooks} == {
        ("house-rules", "no_merges_today", "failed"),
        ("some-fence", "expected_parent", "completed"),
    }


def test_an_action_file_that_cannot_be_read_stops_every_commit_with_a_500(repository):
    repository.put("main", "_lakefs_actions/broken.yaml", b"name: [")
    answer = repository.call("POST", "/branches/main/commits", data={"message": "m"})
    assert answer.status == 500
    assert "parsing file _lakefs_actions/broken.yaml" in answer.message


def test_publishers_race_and_none_gets_past_another(lakefs_server):
    """The hook runs inside the server's retry loop, and in each turn again: comparison and update are one."""
    with repository_on(lakefs_server) as repository:
        first = fenced(repository)
        outcomes: list[tuple[int, str, str]] = []
        by_hand: list[str] = []
        threads = [threading.Thread(target=_publisher, args=(lakefs_server, repository, outcomes)) for _ in range(4)]
        threads.append(threading.Thread(target=_person, args=(lakefs_server, repository, by_hand)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        line = repository.line("main")
        parents = dict(itertools.pairwise(line))
        won = {reference: head for status, head, reference in outcomes if status == 200}
        assert {status for status, _, _ in outcomes} <= {200, 400, 412, 429}
        assert all(parents[commit] == head for commit, head in won.items()), "one was published on an unexpected head"
        assert max(Counter(won.values()).values()) == 1, "two winners on one head"
        assert set(line) >= {first, *won, *by_hand}, "a commit was lost"
        assert len(line) == 2 + len(won) + len(by_hand)
        assert any(status == 412 for status, _, _ in outcomes), "nobody raced"
        assert won
        assert by_hand


def _publisher(server, shared, outcomes, rounds=8):
    with server.api() as api:
        repository = LakeFSRepository(api, shared.name)
        for turn in range(rounds):
            head = repository.head("main")
            staged = stage(repository, head, {f"{threading.get_ident()}-{turn}": b"x"})
            answer = publish(repository, staged, head)
            outcomes.append((answer.status, head, answer.json().get("reference", "")))


def _person(server, shared, by_hand, rounds=12):
    with server.api() as api:
        repository = LakeFSRepository(api, shared.name)
        for turn in range(rounds):
            repository.put("main", f"by-hand-{turn}", b"x")
            by_hand.append(repository.commit("main")["id"])


# ---- exactly the wanted content on top of any head


def test_a_commit_takes_a_meta_range_and_gets_exactly_its_tree(repository):
    base = repository.commit_files("main", {"a": b"a", "gone": b"gone"})
    wanted = repository.show(stage(repository, base, {"a": b"mine", "gone": None}))
    head = repository.commit_files("main", {"abandoned": b"abandoned"})
    branch = repository.branch("on-top", head, hidden=True)
    made = repository.commit(branch, source_metarange=wanted["meta_range_id"])
    assert made["parents"] == [head]
    assert made["meta_range_id"] == wanted["meta_range_id"]
    assert repository.files(made["id"]) == {"a": b"mine"}
    assert repository.merge(made["id"], "main").status == 200
    assert repository.files("main") == {"a": b"mine"}
    assert head in repository.line("main")


def test_a_meta_range_commits_also_what_is_there_already(repository):
    head = repository.commit_files("main", {"a": b"a"})
    branch = repository.branch("again", head, hidden=True)
    made = repository.commit(branch, source_metarange=repository.show(head)["meta_range_id"])
    assert made["parents"] == [head]


def test_a_meta_range_that_is_none_is_accepted_and_cannot_be_read(repository):
    branch = repository.branch("bogus", repository.head("main"))
    answer = repository.call(
        "POST", f"/branches/{branch}/commits", query={"source_metarange": NO_COMMIT}, data={"message": "bogus"}
    )
    assert answer.status == 201
    assert repository.call("GET", f"/refs/{branch}/objects/ls").status == 410


# ---- commits that change nothing, such as seals


def test_an_empty_commit_wants_to_be_allowed(repository):
    branch = repository.branch("seal", repository.head("main"))
    data = {"message": "seal", "metadata": {}}
    refused = repository.call("POST", f"/branches/{branch}/commits", data=data)
    assert (refused.status, refused.message) == (400, "commit: no changes")
    assert repository.call("POST", f"/branches/{branch}/commits", data={**data, "allow_empty": True}).status == 201


def test_an_empty_commit_is_merged_if_that_is_allowed_and_only_from_the_expected_head(repository):
    head = fenced(repository)
    seal = stage_empty(repository, head, {"seal": "of something"})
    refused = publish(repository, seal, head)
    assert (refused.status, refused.message) == (400, "update branch main: no changes")
    assert publish(repository, seal, NO_COMMIT, allow_empty=True).status == 412
    assert publish(repository, seal, head, allow_empty=True).status == 200
    commit = repository.show("main")
    assert commit["parents"] == [head, seal]
    assert commit["meta_range_id"] == repository.show(head)["meta_range_id"]
    assert publish(repository, seal, head, allow_empty=True).status == 412, "the head has moved, so it is done once"


def test_an_allowed_empty_merge_is_not_bound_to_happen_once(repository):
    head = fenced(repository)
    seal = stage_empty(repository, head)
    assert publish(repository, seal, head, allow_empty=True).status == 200
    second = repository.head("main")
    assert publish(repository, seal, second, allow_empty=True).status == 200
    assert repository.show("main")["parents"] == [second, seal]
