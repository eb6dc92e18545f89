"""Facts of lakeFS: branches, history, protection, and who may ask."""

import pytest

from facts_support import stage
from servers.lakefs_api import LakeFSApi


@pytest.fixture
def repository(lakefs_repository):
    return lakefs_repository


def test_hidden_branches_are_shown_to_those_who_ask(repository):
    repository.branch("perago-1", repository.head("main"), hidden=True)
    repository.branch("plain", repository.head("main"))
    assert repository.branches() == ["main", "plain"]
    assert repository.branches(hidden=True) == ["main", "perago-1", "plain"]
    assert repository.branches("perago-", hidden=True) == ["perago-1"]


def test_a_branch_says_its_name_and_commit_only(repository):
    head = repository.head("main")
    repository.branch("perago-1", head, hidden=True)
    assert repository.expect("GET", "/branches/perago-1") == {"id": "perago-1", "commit_id": head}


def test_there_is_one_branch_of_a_name(repository):
    repository.branch("one", repository.head("main"))
    answer = repository.call("POST", "/branches", data={"name": "one", "source": "main"})
    assert answer.status == 409


@pytest.mark.parametrize("name", ["a_b", "a-b", "_a", "A1", "a" * 300])
def test_names_that_branches_may_have(repository, name):
    repository.branch(name, repository.head("main"))
    assert name in repository.branches()


@pytest.mark.parametrize("name", ["a/b", "a.b", "a:b", "-a", "ä"])
def test_names_that_branches_may_not_have(repository, name):
    assert repository.call("POST", "/branches", data={"name": name, "source": "main"}).status == 400


def test_a_branch_goes_at_once_with_what_is_uncommitted(repository):
    branch = repository.branch("staging", repository.head("main"))
    staged = repository.commit_files(branch, {"a": b"a"})
    repository.put(branch, "late", b"late")
    repository.delete_branch(branch)
    assert repository.call("POST", f"/branches/{branch}/objects", query={"path": "x"}, body=b"x").status == 404
    assert repository.call("POST", f"/branches/{branch}/commits", data={"message": "x"}).status == 404
    assert repository.call("DELETE", f"/branches/{branch}").status == 404
    assert repository.files(staged) == {"a": b"a"}, "what was committed on it can still be read ..."
    assert repository.merge(staged, "main").status == 200, "... and merged"


def test_the_log_ends_with_the_commit_to_stop_at(repository):
    commits = [repository.commit_files("main", {"a": str(number).encode()}) for number in range(4)]
    staged = stage(repository, commits[-1], {"b": b"b"})
    repository.merge(staged, "main")
    found = [commit["id"] for commit in repository.log("main", stop_at=commits[1])]
    assert found == [repository.head("main"), *reversed(commits[1:])]
    assert staged not in found
    everything = repository.expect("GET", "/refs/main/commits", query={"stop_at": commits[1]})["results"]
    assert staged in [commit["id"] for commit in everything], "but for those who do not ask for first parents"


def test_a_log_whose_end_is_not_met_goes_to_the_root(repository):
    commits = [repository.commit_files("main", {"a": str(number).encode()}) for number in range(3)]
    aside = stage(repository, commits[0], {"b": b"b"})
    assert [commit["id"] for commit in repository.log("main", stop_at=aside)] == repository.line("main")
    assert repository.log("main")[-1]["parents"] == []


def test_the_log_comes_in_pages(repository):
    commits = [repository.commit_files("main", {"a": str(number).encode()}) for number in range(5)]
    page = repository.expect("GET", "/refs/main/commits", query={"first_parent": True, "amount": 2})
    assert [commit["id"] for commit in page["results"]] == [commits[4], commits[3]]
    assert page["pagination"]["has_more"]
    after = page["pagination"]["next_offset"]
    page = repository.expect("GET", "/refs/main/commits", query={"first_parent": True, "amount": 2, "after": after})
    assert [commit["id"] for commit in page["results"]] == [commits[2], commits[1]]


def test_protection_stops_writing_not_merging(repository):
    rules = [{"pattern": "main"}, {"pattern": "stg-*"}]  # first of all: the server remembers for seconds that none are
    assert repository.call("PUT", "/settings/branch_protection", data=rules).status == 204
    assert repository.call("POST", "/branches", data={"name": "stg-1", "source": "main"}).status == 201
    for branch in ("main", "stg-1"):
        put = repository.call("POST", f"/branches/{branch}/objects", query={"path": "x"}, body=b"x")
        assert (put.status, put.message) == (403, "cannot write to protected branch")
        commit = repository.call("POST", f"/branches/{branch}/commits", data={"message": "m", "allow_empty": True})
        assert (commit.status, commit.message) == (403, "cannot commit to protected branch")
        deletion = repository.call("POST", f"/branches/{branch}/objects/delete", data={"paths": ["a"]})
        assert "cannot write to protected branch" in deletion.body.decode()
    assert repository.merge(stage(repository, "main", {"b": b"b"}), "main").status == 200
    assert repository.files("main") == {"b": b"b"}


def test_who_may_not(lakefs_server, repository):
    with LakeFSApi(lakefs_server.url, lakefs_server.access_key_id, "wrong") as wrong:
        assert wrong.call("GET", f"/repositories/{repository.name}/branches/main").status == 401
    with LakeFSApi(lakefs_server.url, "AKIAUNKNOWN", "wrong") as unknown:
        assert unknown.call("GET", f"/repositories/{repository.name}/branches/main").status == 401


def test_a_repository_that_is_not_there(lakefs_server):
    with lakefs_server.api() as api:
        answer = api.call("GET", "/repositories/perago-gone/branches/main")
        assert (answer.status, answer.message) == (404, "repository not found")
