"""What the commands ask of a lakeFS repository: looking, importing, exporting, and clearing up."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clocks import LaterClock
from perago.errors import (
    FenceUnavailableError,
    ObjectNameError,
    PrefixNotFoundError,
    RefNotFoundError,
    RepositoryNotFoundError,
    WorkspaceContentError,
    WorkspaceStorageError,
)
from perago.testing.contract.bench import read_files
from perago.values.findings import Kind
from perago.values.history import Publish
from perago.values.spec import WorkspaceSpec
from publication_support import FENCE_PATH, SECONDS
from servers.faults import Delay, Rule
from servers.lakefs_hooks import store_on
from waiting import wait_for


@pytest.fixture
def repository(bench):
    return bench.store.repository(bench.hooks.name)


@pytest.fixture
def source(tmp_path):
    """Makes a directory with files in it."""

    def make(files, name="source"):
        root = tmp_path / name
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        root.mkdir(exist_ok=True)
        return root

    return make


# ---- looking


def test_branches_are_those_that_people_work_on(bench, repository):
    base = bench.commit({"a": b"1"})
    bench.commit({"b": b"1"}, "other")
    bench.staged_edit(base, {"c": b"2"})
    assert repository.branches() == ["main", "other"]
    assert (repository.branch_head("main"), repository.branch_head("missing")) == (base, None)


def test_commits_are_found_by_what_people_call_them(bench, repository):
    first = bench.commit({"a": b"1"})
    second = bench.commit({"a": b"2"})
    with bench.raw() as raw:
        raw.expect("POST", "/tags", data={"id": "v1", "ref": first})
    named = {"main": second, "main~1": first, "v1": first, first: first, second[:16]: second}
    assert {name: repository.resolve(name) for name in named} == named
    for name in ("missing", "0" * 64, "a b", ""):
        with pytest.raises(RefNotFoundError):
            repository.resolve(name)


def test_the_log_tells_who_published_what(bench, repository):
    base = bench.commit({"a": b"1", "b": b"1"})
    staged = bench.staged_edit(base, {"a": b"2", "b": None, "c": b"3", "d": b"4"})
    ref = staged.finish()
    copied = bench.copy(ref)
    newest, published, first, root = repository.log("main", 10)
    assert (newest.id, newest.stamp) == (copied, None)
    assert (published.id, published.stamp.execution_id) == (ref, staged.execution.execution_id)
    assert (published.added, published.modified, published.deleted) == (2, 1, 1)
    assert published.subject == "build: +2 ~1 -1 files"
    assert (first.id, first.stamp, first.added, first.subject) == (base, None, 2, "by hand")
    assert abs(first.time - datetime.now(UTC)) < timedelta(hours=1)
    assert (root.parents, root.added) == ((), 0)
    assert [entry.id for entry in repository.log(ref, 1)] == [ref]


def test_the_log_shows_a_commit_of_a_time_that_python_does_not_have(bench, repository):
    bench.commit({"a": b"1"})
    date = 9_999_999_999_999  # one before the year 1 is left out by the server's own log
    with bench.raw() as raw:
        raw.expect("POST", "/branches/main/commits", data={"message": "x", "date": date, "allow_empty": True})
    assert [(entry.subject, entry.time.year == 9999) for entry in repository.log("main", 2)] == [
        ("x", True),
        ("by hand", False),
    ]


def test_a_long_log_is_read_as_far_as_it_is_asked_for(bench, repository):
    commits = [bench.commit({"a": b"%d" % number}) for number in range(20)]
    entries = repository.log("main", 18)
    assert next(entries).id == commits[-1]
    assert [entry.id for entry in entries] == commits[-2:1:-1]


@pytest.mark.parametrize("call", ["branches", "resolve", "log", "import", "export", "examine"])
def test_a_repository_that_is_not_there_is_named(bench, source, tmp_path, call):
    missing = bench.store.repository("missing")
    calls = {
        "branches": missing.branches,
        "resolve": lambda: missing.resolve("main"),
        "log": lambda: list(missing.log("main", 1)),
        "import": lambda: missing.import_directory(source({"a": b"1"}), "main", "imported"),
        "export": lambda: missing.export("0" * 64, "", tmp_path / "out"),
        "examine": lambda: list(missing.examine(older_than_seconds=0)),
    }
    with pytest.raises((RepositoryNotFoundError, RefNotFoundError), match="'missing'"):
        calls[call]()


# ---- in


def test_an_import_is_one_commit_without_a_stamp(bench, repository, source):
    base = bench.commit({"a": b"1", "b": b"1", "d/c": b"1"})
    given = source({"a": b"1", "b": b"2", "e/f": b"3"})
    ref = repository.import_directory(given, "main", "from disk", mirror=True)
    assert bench.line() == [ref, base]
    assert bench.files(ref) == {"a": b"1", "b": b"2", "e/f": b"3"}
    (commit,) = bench.history(base).commits
    assert (commit.stamp, commit.subject) == (None, "from disk")
    assert bench.staged() == []


def test_only_what_differs_is_imported(bench, repository, source):
    base = bench.commit({"a": b"1", "b": b"1"})
    ref = repository.import_directory(source({"a": b"1", "b": b"2"}), "main", "from disk")
    with bench.raw() as raw:
        kept = [raw.stat(commit, "a")["physical_address"] for commit in (base, ref)]
    assert kept[0] == kept[1]
    assert repository.import_directory(source({"a": b"1", "b": b"2"}), "main", "again") is None
    assert bench.head() == ref


def test_the_executable_bit_is_imported(bench, repository, source):
    bench.commit({"a": b"1"})
    root = source({"a": b"1"})
    (root / "a").chmod(0o755)
    ref = repository.import_directory(root, "main", "from disk")
    assert bench.lay_out(ref).executables == {"a"}


def test_an_import_leaves_what_stands_for_a_directory(bench, repository, source):
    bench.commit({"data/": b"", "data/a": b"1", "gone/": b"", "gone/a": b"1"})
    given = source({"data/a": b"1", "data/b": b"2"})
    ref = repository.import_directory(given, "main", "from disk", mirror=True)
    assert bench.files(ref) == {"data/": b"", "data/a": b"1", "data/b": b"2", "gone/": b""}
    assert repository.import_directory(given, "main", "again", mirror=True) is None


def test_what_stands_for_a_directory_is_not_exported(bench, repository, tmp_path):
    base = bench.commit({"data/": b"", "data/a": b"1", "data/none/": b""})
    for prefix in ("", "data"):
        repository.export(base, prefix, tmp_path / f"out-{prefix}")
    assert read_files(tmp_path / "out-") == {"data/a": b"1"}
    assert read_files(tmp_path / "out-data") == {"a": b"1"}


def test_an_object_at_the_prefix_itself_is_named_whole(bench):
    base = bench.commit({"data/": b"full", "data/a": b"1"})
    with pytest.raises(ObjectNameError, match="'data/' ends with '/'"):
        bench.lay_out(base, WorkspaceSpec(prefix="data"))


def test_what_is_not_selected_is_left_alone(bench, repository, source):
    bench.commit({"p/a.csv": b"1", "p/b.txt": b"1", "q": b"1"})
    spec = WorkspaceSpec(prefix="p", include=["*.csv"])
    ref = repository.import_directory(source({"c.csv": b"2", "d.txt": b"2"}), "main", "some", spec=spec, mirror=True)
    assert bench.files(ref) == {"p/c.csv": b"2", "p/b.txt": b"1", "q": b"1"}


def test_a_branch_that_is_not_there_is_made_with_nothing_else_on_it(bench, repository, source):
    bench.commit({"a": b"1"})
    ref = repository.import_directory(source({"b": b"2"}), "fresh", "first")
    assert repository.branch_head("fresh") == ref
    assert bench.files(ref) == {"b": b"2"}


def test_an_import_is_made_again_on_a_head_that_moved(make_bench, lakefs_server, source):
    """A person commits while the import stages: at its first commit, by a rule of the proxy's."""
    bench = make_bench(lakefs_server, proxied=True)
    bench.publish(bench.commit({"a": b"1"}), {"warm": b"1"})
    late = bench.proxy.add(Rule(Delay(1), method="POST", path="/merge/main"))
    with ThreadPoolExecutor(1) as threads:
        job = bench.store.repository(bench.hooks.name)
        importing = threads.submit(job.import_directory, source({"b": b"2"}), "main", "from disk", mirror=True)
        wait_for(lambda: late.fired, "the merge is on its way")
        person = bench.commit({"theirs": b"3"})
        ref = importing.result(SECONDS)
    assert bench.line()[:2] == [ref, person]
    assert bench.files(ref) == {"b": b"2"}
    assert bench.staged() == []


@pytest.mark.parametrize("path", ["_lakefs_actions/mine.yaml", "back\\slash"])
def test_an_import_takes_no_name_that_a_workspace_could_not(bench, repository, source, path):
    base = bench.commit({"a": b"1"})
    with pytest.raises(ObjectNameError):
        repository.import_directory(source({path: b"1"}), "main", "from disk")
    assert (bench.head(), bench.staged()) == (base, [])


def test_links_are_not_imported(bench, repository, source):
    base = bench.commit({"a": b"1"})
    root = source({"b": b"1"})
    (root / "link").symlink_to("b")
    with pytest.raises(WorkspaceContentError, match="link"):
        repository.import_directory(root, "main", "from disk")
    assert bench.head() == base


def test_an_import_is_guarded_like_a_publication(make_bench, lakefs_without_actions, source):
    bench = make_bench(lakefs_without_actions)
    base = bench.commit({"a": b"1"})
    repository = bench.store.repository(bench.hooks.name)
    with pytest.raises(FenceUnavailableError):
        repository.import_directory(source({"b": b"1"}), "main", "from disk")
    assert (bench.head(), bench.staged()) == (base, [])


def test_a_repository_is_made_once(lakefs_server, bench):
    if lakefs_server.storage != "local://":
        pytest.skip("needs a server of its own: leave PERAGO_TEST_LAKEFS_URL unset")
    made = bench.store.repository(f"{bench.hooks.name}-more")
    made.create(f"local://{made.name}", "trunk")
    made.create(f"local://{made.name}", "other")
    assert made.branches() == ["trunk"]


# ---- out


def test_an_export_is_what_a_task_would_see(bench, repository, tmp_path):
    ref = bench.publish(bench.commit({"a": b"1", "d/b": b"2"}), {"d/c": b"3"})
    assert repository.export(ref, "", tmp_path / "all") == 3
    assert read_files(tmp_path / "all") == {"a": b"1", "d/b": b"2", "d/c": b"3"}
    assert repository.export(ref, "d", tmp_path / "some") == 2
    assert read_files(tmp_path / "some") == {"b": b"2", "c": b"3"}


def test_an_export_overwrites_nothing(bench, repository, tmp_path):
    base = bench.commit({"a": b"1"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a").write_bytes(b"mine")
    with pytest.raises(WorkspaceStorageError, match="not empty"):
        repository.export(base, "", tmp_path / "mine")
    assert read_files(tmp_path / "mine") == {"a": b"mine"}


def test_an_export_of_what_is_not_there_is_refused(bench, repository, tmp_path):
    base = bench.commit({"a": b"1"})
    for ref in ("main", bench.hooks.unknown_commit):
        with pytest.raises(RefNotFoundError):
            repository.export(ref, "", tmp_path / "out")
    with pytest.raises(PrefixNotFoundError):
        repository.export(base, "missing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- clearing up


@pytest.fixture
def later(bench, lakefs_server):
    """The repository a day later."""
    with store_on(lakefs_server, clock=LaterClock()) as store:
        yield store.repository(bench.hooks.name)


def test_old_staging_branches_are_swept_and_young_ones_left(bench, repository, later):
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    assert repository.sweep(3600) == ()
    assert later.sweep(3600) == (staged.workspace.branch,)
    assert bench.staged() == []
    assert later.sweep(3600) == ()


def test_the_engines_word_counts_more_than_age(bench, repository, later):
    base = bench.commit({"a": b"1"})
    alive, dead = bench.staged_edit(base, {"b": b"2"}), bench.staged_edit(base, {"c": b"3"})
    word = {alive.execution.workflow_instance_id: "alive", dead.execution.workflow_instance_id: "dead"}
    swept = [store.sweep(3600, lambda stamp: word[stamp.workflow_instance_id]) for store in (repository, later)]
    assert swept == [(dead.workspace.branch,), ()]
    assert bench.staged() == [alive.workspace.branch]


def test_an_attempt_whose_branch_was_swept_publishes_or_fails_and_nothing_else(bench, later):
    """Its commit is still there until lakeFS collects garbage, so that it can be merged."""
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    later.sweep(3600)
    ref = staged.finish()
    assert bench.line() == [ref, base]


def test_what_killed_attempts_left_before_their_commit_is_told_by_age(bench, later):
    base = bench.commit({"a": b"1"})
    with bench.raw() as raw:
        left = raw.branch("perago-20260102t030405z-wf-1-task-content", base, hidden=True)
        raw.put(left, "half", b"done")
    assert later.sweep(3600, lambda _: pytest.fail("nobody knows whose it is")) == (left,)


def test_branches_of_other_people_are_never_swept(bench, later):
    base = bench.commit({"a": b"1"})
    names = ["perago-mine", "perago-20260102", "perago-20269902t030405z-x", "perago-20260102t030405z-Mine"]
    with bench.raw() as raw:
        for name in names:
            raw.branch(name, base, hidden=True)
    assert later.sweep(0) == ()
    assert sorted(bench.staged()) == sorted(names)


def test_an_examination_finds_leftovers_and_mends_them(bench, repository, later):
    base = bench.commit({"a": b"1"})
    staged = bench.staged_edit(base, {"b": b"2"})
    assert list(repository.examine(older_than_seconds=3600)) == []
    (finding,) = later.examine(older_than_seconds=3600)
    assert (finding.kind, finding.what) == (Kind.STAGED_COMMIT, staged.workspace.branch)
    assert finding.age_seconds > 3600
    assert finding.mend()
    assert finding.mend()
    assert bench.staged() == []


def test_an_examination_tells_stamps_that_do_not_count(bench, repository):
    base = bench.commit({"a": b"1"})
    ref = bench.publish(base, {"b": b"2"})
    bench.commit({"b": None})
    copied = bench.copy(ref)
    with bench.raw() as raw:
        raw.put("main", "c", b"3")
        broken = raw.commit("main", "broken", {"perago.task": "build"})["id"]
    found = {finding.what[7:19]: finding for finding in repository.examine(older_than_seconds=3600)}
    assert found.keys() == {copied[:12], broken[:12]}
    assert (found[copied[:12]].kind, found[copied[:12]].is_note) == (Kind.STAMP_THAT_DOES_NOT_COUNT, True)
    assert all(finding.mend is None for finding in found.values())


def test_a_deep_examination_reads_what_is_there(start_lakefs, make_bench):
    """The block store is the server's own disk, where this test spoils an object and removes another."""
    server = start_lakefs()
    bench = make_bench(server)
    large = b"large" * (1 << 20)
    files = {"fine": b"1", "spoiled": b"22", "gone": b"333", "short": b"55555", "large": large, "large and fine": large}
    bench.commit(files)
    with bench.raw() as raw:
        places = {
            path: raw.stat("main", path)["physical_address"].removeprefix("local://")
            for path in ("spoiled", "gone", "short", "large")
        }
    Path(places["spoiled"]).write_bytes(b"no")
    Path(places["large"]).write_bytes(large.upper())
    Path(places["gone"]).unlink()
    Path(places["short"]).write_bytes(b"55")
    repository = bench.store.repository(bench.hooks.name)
    assert list(repository.examine(older_than_seconds=3600)) == []
    found = {finding.what: finding for finding in repository.examine(older_than_seconds=3600, deep=True)}
    assert {what.split("'")[1]: finding.is_note for what, finding in found.items()} == {
        "spoiled": False,
        "gone": False,
        "short": False,
        "large": True,  # it may have come in parts
    }
    assert all(finding.kind is Kind.DAMAGED_OBJECT for finding in found.values())
    with store_on(server, checksums="opaque") as store:
        looked = store.repository(bench.hooks.name).examine(older_than_seconds=3600, deep=True)
        assert [finding.what.split("'")[1] for finding in looked] == ["gone", "short"]  # sizes alone are compared


def test_a_repository_has_the_ports_of_an_attempt(bench, repository):
    base = bench.commit({"a": b"1"})
    bench.store = repository
    ref = bench.publish(base, {"b": b"2"}, Publish(base))
    assert bench.line() == [ref, base]
    assert FENCE_PATH in bench.actions(ref)
