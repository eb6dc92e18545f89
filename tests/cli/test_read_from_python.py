"""`perago.log`, `perago.runs`, `perago.list_files` and `perago.read_file`: what a repository holds, as values."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path

import pygit2
import pytest

import perago as package
from perago import CommitSummary, RunSummary
from perago.errors import (
    BranchNotFoundError,
    ObjectNameError,
    PrefixNotFoundError,
    RefNotFoundError,
    RepositoryNotFoundError,
    StoreError,
    TaskInputError,
)
from perago.ports import LogEntry, commit_time
from perago.testing.contract.bench import make_stamp

LARGE = os.urandom(3 << 20)
"""In git it is kept beside the tree, in git-lfs layout; lakeFS sends it in parts."""


@pytest.fixture(params=["git", "lakefs"])
def stored(request, tmp_path):
    """A project with a repository, which `place` names, and one commit on main."""
    if request.param == "git":
        found = request.getfixturevalue("repository")
        found.place = {"repo": "data.git"}
    else:
        found = request.getfixturevalue("songs")
        found.place = {"repo": found.on_main[1]}
    return found


@pytest.fixture
def bodies(stored):
    import cli_bodies

    return cli_bodies


def test_the_log_has_what_the_command_shows(stored, bodies, perago):
    place = stored.place
    done = package.run(bodies.replace_all, {"text": "new"}, **place, branch="main")
    newest, imported, *_ = package.log(**place)
    assert (newest.kind, newest.commit, newest.run_id) == ("publication", done.commit, done.run_id)
    assert (newest.task_name, newest.path, newest.tries) == ("replace_all", "replace_all", 1)
    assert (newest.params["text"], newest.result) == ("new", {"length": 3})
    assert newest.input_ref == newest.parents[0] == imported.commit
    assert (newest.added, newest.modified, newest.deleted) == (1, 1, 1)
    assert newest.duration > 0
    assert newest.time.utcoffset() is not None
    assert (imported.kind, imported.task_name, imported.params, imported.tries) == ("commit", None, None, None)

    shown = perago("log", "--repo", place["repo"], "--json").json
    stamp = shown[0]["stamp"]
    assert [entry["commit"] for entry in shown] == [entry.commit for entry in package.log(**place)]
    assert [entry["kind"] for entry in shown] == [entry.kind for entry in package.log(**place)]
    assert (stamp["task"], stamp["worker"], stamp["result"]) == (newest.task_name, newest.worker, newest.result)
    assert [entry.commit for entry in package.log(**place, branch="main", limit=1)] == [done.commit]
    assert json.dumps(asdict(newest), default=str), "a row of a table"


def test_runs_are_those_that_the_command_shows(stored, bodies, perago):
    place = stored.place
    assert package.runs(**place) == []
    first = package.run(bodies.write, **place, branch="main")
    second = package.run(bodies.write, {"text": "more"}, **place, branch="main")
    newest, older = package.runs(**place)
    assert isinstance(newest, RunSummary)
    assert (newest.run_id, newest.status, newest.output_ref) == (second.run_id, "COMPLETED", second.commit)
    assert older.run_id == first.run_id
    assert package.runs(**place, limit=1) == [newest]
    shown = perago("runs", "--repo", place["repo"], "--json").json
    assert [run["run_id"] for run in shown] == [newest.run_id, older.run_id]


def test_files_are_listed_and_read_as_they_were_at_a_commit(stored, bodies):
    place = stored.place
    before = package.log(**place)[0].commit
    after = package.run(bodies.replace_all, {"text": "new"}, **place, branch="main").commit
    assert package.list_files(**place, ref=before) == ["in/a.txt", "in/b.txt", "other.txt"]
    assert package.list_files("in", **place) == package.list_files("/in", **place) == ["in/a.txt", "in/new.txt"]
    assert package.read_file("in/a.txt", **place, ref=before[:12]) == b"alpha"
    assert package.read_file("in/a.txt", **place, ref=after) == package.read_file("in/a.txt", **place) != b"alpha"
    assert package.read_file("in/new.txt", **place, branch="main") == b"new"


def test_a_large_file_is_read_whole_or_refused_with_the_command_that_writes_it(stored, perago):
    place = stored.place
    stored.write({"deep/in/large.bin": "", "empty": ""})
    (stored.path / "source" / "deep" / "in" / "large.bin").write_bytes(LARGE)
    assert perago("import", "source", "--repo", place["repo"]).code == 0
    assert package.read_file("deep/in/large.bin", **place, max_bytes=len(LARGE)) == LARGE
    assert package.read_file("empty", **place) == b""
    with pytest.raises(TaskInputError, match="more than max_bytes=1000") as refused:
        package.read_file("deep/in/large.bin", **place, max_bytes=1000)
    command = str(refused.value).split("`")[1].split()
    out = stored.path / "out"
    assert perago(*[str(out) if word == "DIR" else word for word in command[1:]]).code == 0
    assert (out / "large.bin").read_bytes() == LARGE


def test_what_is_not_there_or_wrong_is_told(stored):
    place = stored.place
    for path in ("none.txt", "in", "in/a.txt/b"):
        with pytest.raises(PrefixNotFoundError, match=rf"has no file '{path}'\. perago\.list_files"):
            package.read_file(path, **place)
    with pytest.raises((PrefixNotFoundError, ObjectNameError)):
        package.read_file("../a", **place)
    with pytest.raises((PrefixNotFoundError, ObjectNameError)):
        package.read_file("", **place)
    with pytest.raises(PrefixNotFoundError, match="none"):
        package.list_files("none", **place)
    with pytest.raises(TaskInputError, match="prefix='a//b': a prefix"):
        package.list_files("a//b", **place)
    with pytest.raises(RefNotFoundError):
        package.list_files(**place, ref="0" * 12)
    with pytest.raises(BranchNotFoundError, match="'none'"):
        package.log(**place, branch="none")
    with pytest.raises(RepositoryNotFoundError):
        package.runs("lakefs://not-there" if "lakefs" in place["repo"] else "none.git")


def test_arguments_that_contradict_each_other_or_are_missing_are_refused(repository):
    with pytest.raises(TaskInputError, match="branch= or ref=, not both"):
        package.read_file("other.txt", repo="data.git", branch="main", ref="main")
    for call in (package.log, package.list_files, lambda: package.read_file("other.txt")):
        with pytest.raises(TaskInputError, match=r"repo= is missing: .*PERAGO_REPO"):
            call()
    for call in (package.log, package.runs):
        with pytest.raises(TaskInputError, match="limit=0 lists nothing"):
            call("data.git", limit=0)


def test_the_settings_name_the_place_and_what_was_taken_is_logged(repository, monkeypatch, caplog):
    import cli_bodies

    monkeypatch.setenv("PERAGO_REPO", "data.git")
    (repository.path / "perago.toml").write_text('branch = "other"\n')
    with pytest.raises(BranchNotFoundError, match="'other'"):
        package.log()
    monkeypatch.setenv("PERAGO_BRANCH", "main")
    with caplog.at_level(logging.INFO, "perago.run"):
        done = package.run(cli_bodies.write, {"text": "new"})
    assert caplog.messages[0] == "repo=data.git (PERAGO_REPO, the environment)"
    assert "branch=main (PERAGO_BRANCH, the environment)" in caplog.messages
    assert [entry.commit for entry in package.log(limit=1)] == [done.commit]
    assert [run.run_id for run in package.runs()] == [done.run_id]
    assert set(done.changes.added) <= set(package.list_files(ref=done.commit))
    assert package.read_file("other.txt", ref=done.commit) == b"other"


def test_runs_of_tasks_without_a_workspace_need_no_repository(perago):
    done = package.run("cli_bodies:add", {"numbers": [1]})
    (run,) = package.runs()
    assert (run.run_id, run.repository, run.output_ref) == (done.run_id, None, None)


def test_a_transactional_run_is_an_entry_with_its_workflow(stored, perago, monkeypatch, tmp_path):
    (tmp_path / "gate").write_text("go on")
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "gate"))
    import cli_transactional

    done = package.run(cli_transactional.whole, {"number": 1}, **stored.place, branch="main")
    newest = package.log(**stored.place)[0]
    assert (newest.kind, newest.commit, newest.run_id) == ("publication", done.commit, done.run_id)
    assert newest.task_name == "cli_whole"
    assert len(newest.result["tasks"]) == newest.result["commits"]


def test_a_seal_says_what_it_completes_and_a_task_of_a_sub_workflow_its_path():
    tree = {"root_workflow_id": "root", "path": "s/x"}
    stamp = replace(make_stamp("0", 1), **tree, completes="c", abandoned=("d",), params=None)
    entry = LogEntry(
        id="1",
        parents=("0",),
        author="a",
        time=commit_time(0),
        subject="s",
        stamp=stamp,
        added=0,
        modified=0,
        deleted=0,
    )
    seal = CommitSummary.of(entry)
    assert (seal.kind, seal.completes, seal.replaced) == ("seal", "c", ("d",))
    assert (seal.run_id, seal.task_name, seal.path, seal.params) == ("root", "build", "s/x", None)


def test_links_in_git_are_no_files(repository):
    made = pygit2.Repository("data.git")
    head = made[made.references["refs/heads/main"].target]
    builder = made.TreeBuilder(head.tree)
    builder.insert("link", made.create_blob(b"other.txt"), pygit2.enums.FileMode.LINK)
    author = pygit2.Signature("A", "a@example.org")
    made.create_commit("refs/heads/main", author, author, "A link", builder.write(), [head.id])
    assert package.list_files(repo="data.git") == ["in/a.txt", "in/b.txt", "other.txt"]
    with pytest.raises(PrefixNotFoundError, match="has no file 'link'"):
        package.read_file("link", repo=Path("data.git"))


def test_damaged_content_is_not_returned(repository, perago):
    (repository.path / "source" / "large.bin").write_bytes(LARGE)
    assert perago("import", "source", "--repo", "data.git").code == 0
    (kept,) = (path for path in Path("data.git/lfs/objects").rglob("*") if path.is_file())
    kept.chmod(0o644)
    kept.write_bytes(LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"the content of large\.bin is damaged"):
        package.read_file("large.bin", repo="data.git")


def test_they_work_within_a_running_event_loop(stored):
    async def read():
        commits = package.log(**stored.place)
        return commits, package.read_file("in/a.txt", **stored.place, ref=commits[0].commit)

    (commit, *_), content = asyncio.run(read())
    assert isinstance(commit, CommitSummary)
    assert content == b"alpha"
