"""Listings that this host keeps: who needs no listing, who asks for differences, and that nobody gets another one."""

import contextlib
from dataclasses import replace

import pytest

from cache_support import entry_files
from perago.stores.lakefs.content.kept_listings import KeptListings
from perago.stores.lakefs.listing import find_files, list_files
from perago.values.history import Merge, Publish
from perago.values.models import Changes
from perago.values.spec import WorkspaceSpec
from perago.workspace.cache import ObjectCache
from publication_support import LakeFSBench, recorded_calls
from servers.fixtures import repository_on
from servers.lakefs_hooks import ACTIONS, LakeFSHooks, store_on
from transfer_support import transfer_to, upload, write_files

MANY = 2300
"""Objects, for three calls of a listing."""

ALL = WorkspaceSpec()
UNUSUAL = {"naïve ütf & 100% ?#+.csv": b"1", "emoji \U0001f600/\uffee": b"2", "d/00001/below": b"3", "d.": b"4"}
ACTION = b"name: theirs\non:\n  post-merge:\nhooks: []\n"
LISTS = (3, 0, 0)


@pytest.fixture(scope="module")
def large(lakefs_server, tmp_path_factory):
    """A repository with many objects, and of every kind."""
    source = tmp_path_factory.mktemp("source")
    write_files(source, {f"d/{number:05}.txt": b"%d" % number for number in range(MANY)} | UNUSUAL)
    (source / "d/00007.txt").chmod(0o755)
    with (
        repository_on(lakefs_server) as repository,
        transfer_to(lakefs_server.url, lakefs_server, repository.name) as transfer,
    ):
        upload(transfer, "main", source)
        for marker in ("d/", "empty/"):
            repository.put("main", marker, b"")
        repository.put("main", ACTIONS + "theirs.yaml", ACTION)
        repository.commit("main")
        yield repository


class Host:
    """Attempts of a host on a branch of its own.

    Attributes:
        base: the branch's first commit.
    """

    def __init__(self, server, repository, branch, root, cache):
        self.server, self.repository, self.branch, self.root, self.cache = server, repository, branch, root, cache
        self.base = repository.head(branch)
        self.benches = 0

    @contextlib.contextmanager
    def bench(self):
        """A store of its own; at its end nothing is being kept any more."""
        hooks = LakeFSHooks()
        hooks.server, hooks.name = self.server, self.repository.name
        with store_on(self.server, cache=self.cache) as hooks.store:
            self.benches += 1
            directory = self.root / f"bench-{self.benches}"
            directory.mkdir()
            yield LakeFSBench(hooks, directory)

    def objects(self, ref, spec=ALL):
        """What a layout gets, and the calls that this takes: (objects, (listings, differences, looks at objects))."""
        listings = KeptListings(self.cache)
        with (
            transfer_to(
                self.server.url, self.server, self.repository.name, cache=self.cache, listings=listings
            ) as transfer,
            recorded_calls() as calls,
        ):
            files = transfer.loop.run(find_files(transfer, ref, spec))
            transfer.loop.run(listings.settled())
        ends = ("objects/ls", f"diff/{ref}", "objects/stat")
        return files, tuple(sum(call.endswith(end) for call in calls) for end in ends)

    def listed(self, ref, spec=ALL):
        """What the server lists."""
        with transfer_to(self.server.url, self.server, self.repository.name) as transfer:
            return transfer.loop.run(list_files(transfer.client, self.repository.name, ref, spec))

    def publish(self, base, files, plan=None, spec=ALL):
        """A whole attempt with a store of its own; returns the published commit."""
        with self.bench() as bench:
            return bench.publish(base, files, plan or Publish(base), spec=spec, branch=self.branch)

    def commit(self, files):
        """A person's commit."""
        return self.repository.commit_files(self.branch, files)


@pytest.fixture
def make_host(lakefs_server, tmp_path, request):
    with contextlib.ExitStack() as opened:

        def make(repository, cache_bytes=1 << 30):
            cache = opened.enter_context(ObjectCache(tmp_path / "cache", cache_bytes))
            branch = repository.branch(f"b{abs(hash(request.node.name))}", "main")
            return Host(lakefs_server, repository, branch, tmp_path, cache)

        yield make


@pytest.fixture
def host(make_host, large):
    return make_host(large)


def test_an_attempt_on_what_this_host_has_published_lists_nothing(host):
    changes = {"d/00001.txt": b"changed", "d/00002.txt": None, "new/a": b"same", "new/b": b"same", "a": b"", "z": b"1"}
    first = host.publish(host.base, changes)
    assert host.objects(first) == (host.listed(first), (0, 0, 0))
    second = host.publish(first, {"new/a": b"newer", "z": None})
    assert host.objects(second) == (host.listed(second), (0, 0, 0))
    assert host.objects(host.base) == (host.listed(host.base), (0, 0, 0))
    assert {stats.path for stats in host.objects(second)[0] if stats.executable} == {"d/00007.txt"}


def test_it_makes_no_call_of_a_listing_as_a_whole(host):
    with host.bench() as bench:
        first = bench.publish(host.base, {"new": b"1"}, Publish(host.base), branch=host.branch)
        with recorded_calls() as calls:  # at once
            work = bench.lay_out(first, ALL, host.branch)
    with host.bench() as bench, recorded_calls() as later:
        assert bench.lay_out(first, ALL, host.branch).before == work.before
    assert work.before["new"] == b"1"
    assert len(work.before) == len(host.listed(first))
    assert not [call for call in calls + later if "objects/ls" in call or "/diff/" in call]


def test_what_the_first_task_publishes_is_known_too(make_host, lakefs_repository):
    host = make_host(lakefs_repository)
    first = host.publish(host.base, {f"{number:04}": b"%d" % number for number in range(1100)})
    assert host.objects(first) == (host.listed(first), (0, 0, 0))


def test_a_file_that_becomes_executable_is_known(host):
    with host.bench() as bench:
        work = bench.lay_out(host.base, ALL, host.branch)
        work.make_executable("d/00003.txt")
        ref = bench.stage(work, Publish(host.base)).finish()
    assert host.objects(ref) == (host.listed(ref), (0, 0, 0))


FOREIGN = {
    "d/00001.txt": b"changed",
    "d/00002.txt": None,
    "d/00009.dat": b"of another kind",
    "d/": b"not empty any more",
    "empty/": None,
    "new/": b"",
    "new/naïve ?#+": b"2",
    "other": b"outside of d",
    ACTIONS + "theirs.yaml": ACTION.replace(b"theirs", b"others"),
}


@pytest.mark.parametrize(
    ("spec", "looked"),
    [
        (ALL, 5),
        (WorkspaceSpec(prefix="d"), 3),
        (WorkspaceSpec(include=("d/*.txt", "other")), 2),
        (WorkspaceSpec(exclude=("**/*.dat",)), 4),
        (WorkspaceSpec(prefix="d", exclude=("00001.txt",)), 2),
    ],
)
def test_after_a_foreign_commit_the_differences_are_enough(host, spec, looked):
    prefixes = 2 if spec.include else 1
    assert host.objects(host.base, spec) == (host.listed(host.base, spec), (2 + prefixes, 0, 0))
    foreign = host.commit(FOREIGN)
    assert host.objects(foreign, spec) == (host.listed(foreign, spec), (0, prefixes, looked))
    assert host.objects(foreign, spec) == (host.listed(foreign, spec), (0, 0, 0))
    assert host.objects(host.base, spec) == (host.listed(host.base, spec), (0, 0, 0))


def test_a_listing_below_a_prefix_is_made_of_what_was_published_below_it(host):
    spec = WorkspaceSpec(prefix="d", exclude=("0000*",))
    ref = host.publish(host.base, {"new": b"1", "02000.txt": None}, spec=spec)
    assert host.objects(ref, spec) == (host.listed(ref, spec), (0, 0, 0))
    assert host.objects(ref)[1] == LISTS
    assert host.objects(ref, WorkspaceSpec(prefix="empty")) == ((), (1, 0, 0))


def test_after_many_changes_it_is_listed(host):
    host.objects(host.base)
    few = host.commit({f"d/{number:05}.txt": None for number in range(100, 1090)})
    assert host.objects(few) == (host.listed(few), (0, 1, 0))
    many = host.commit({f"d/{number:05}.txt": None for number in range(1090, 2190)})
    assert host.objects(many) == (host.listed(many), (1, 1, 0))
    assert host.objects(host.base)[1] == (0, 0, 0)


def test_after_more_changes_than_a_look_at_each_is_worth_it_is_listed(host):
    host.objects(host.base)
    ref = host.commit({f"more/{number}": b"%d" % number for number in range(40)})
    assert host.objects(ref) == (host.listed(ref), (3, 1, 0))


def test_a_merge_with_foreign_commits_is_not_guessed(host):
    host.objects(host.base)
    foreign = host.commit({"theirs": b"1"})
    ref = host.publish(host.base, {"own": b"2"}, Merge(foreign, (foreign,)))
    assert host.objects(ref) == (host.listed(ref), (0, 1, 2))


def test_what_replaces_an_abandoned_publication_is_known(host):
    abandoned = host.publish(host.base, {"d/00001.txt": b"abandoned", "abandoned": b"1"})
    ref = host.publish(host.base, {"kept": b"2"}, Publish(abandoned, (abandoned,)))
    assert host.objects(ref) == (host.listed(ref), (0, 0, 0))


def test_what_the_server_may_have_left_as_it_was_is_not_guessed(host):
    with host.bench() as bench:
        work = bench.lay_out(host.base, ALL, host.branch)
        work.edit({"new": b"1"})
        changes = Changes(added=("new",), modified=("d/00001.txt",))
        execution = bench.execution(host.base, changes=changes, plan=Publish(host.base), branch=host.branch)
        ref = bench.stage_as(work, execution).finish()
    assert host.objects(ref) == (host.listed(ref), (0, 1, 1))


def test_an_attempt_that_lost_its_swap_is_known_by_what_it_staged_last(host):
    with host.bench() as bench:
        work = bench.lay_out(host.base, ALL, host.branch)
        work.edit({"new": b"1"})
        execution = bench.execution(host.base, changes=work.changes(), plan=Publish(host.base), branch=host.branch)
        bench.stage_as(work, execution)
        theirs = host.commit({"theirs": b"1"})
        ref = bench.stage_as(work, replace(execution, plan=Merge(theirs, (theirs,)))).finish()
    assert host.objects(ref) == (host.listed(ref), (0, 1, 2))


@pytest.mark.parametrize("damage", [b"", b"perago-listing-1", None], ids=["cut", "other content", "a bit"])
def test_damage_is_found_and_costs_a_listing(host, damage):
    host.objects(host.base)
    for path in entry_files(host.cache):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage is None else damage)
    assert host.objects(host.base) == (host.listed(host.base), LISTS)
    assert host.objects(host.base) == (host.listed(host.base), (0, 0, 0))


def test_without_a_cache_nothing_is_kept(make_host, large, tmp_path):
    host = make_host(large, cache_bytes=0)
    ref = host.publish(host.base, {"new": b"1"})
    assert host.objects(ref) == (host.listed(ref), LISTS)
    assert host.objects(ref)[1] == LISTS
    assert not (tmp_path / "cache").exists()


def test_objects_that_went_to_the_block_store_itself_are_known(lakefs_on_s3, tmp_path):
    with repository_on(lakefs_on_s3) as repository, ObjectCache(tmp_path / "cache", 1 << 30) as cache:
        host = Host(lakefs_on_s3, repository, "main", tmp_path, cache)
        large = bytes(range(256)) * (9 << 12)
        files = {f"{number:04}": b"%d" % number for number in range(1100)}
        ref = host.publish(host.base, {**files, "large": large, "again": large, "in parts": large * 2})
        assert host.objects(ref) == (host.listed(ref), (0, 0, 0))
