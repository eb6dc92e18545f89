"""A server's history as a whole, and content that the server copies: calls, pages, reverts, and bytes that are gone."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached_task import CachedRuns
from perago.attempt.cached import CachedAttempt
from perago.attempt.reuse import Miss
from perago.errors import ObjectNameError, SourceGoneError
from perago.ports import Phase, ReusableStore
from perago.stores.lakefs import log
from perago.stores.lakefs.api.answers import Commit, LakeFSError
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.content import copying
from perago.testing.contract.bench import EVERYTHING, MAIN
from perago.testing.contract.store_reuse import LARGE, Source, read
from perago.testing.contract.store_runs import Run
from perago.values.history import Merge, Publish
from perago.values.models import Changes
from perago.values.spec import WorkspaceSpec
from publication_support import moved_content, recorded_calls
from servers.faults import Refuse, Repeat, Rule, Swallow
from servers.json_api import ApiError
from servers.lakefs_hooks import ACTIONS

MAX_REQUESTS = 60


# ---- the history


def test_a_revert_by_the_server_names_what_it_reverts_in_its_subject(bench):
    base = bench.commit({"a": b"1"})
    published = bench.publish(base, {"b": b"2"})
    person = bench.commit({"c": b"3"})
    with bench.raw() as repository:
        repository.expect("POST", "/branches/main/revert", data={"ref": person, "parent_number": 0})
        first = repository.head(MAIN)
        repository.expect("POST", "/branches/main/revert", data={"ref": published, "parent_number": 1})
        second = repository.head(MAIN)
        repository.expect("POST", "/branches/main/revert", data={"ref": "main~1", "parent_number": 0})
        by_name = repository.head(MAIN)
    found = read(bench)
    assert (found[first].subject, found[first].message) == (f"Revert {person}", "")
    assert (found[second].subject, found[second].parents) == (f"Revert {published}", (first,))
    assert found[by_name].subject == "Revert main~1", "as it was asked for: not the id of a commit"


def test_a_branch_whose_head_is_known_costs_no_log(bench):
    base = bench.commit({"a": b"1"})
    for number in range(3):
        bench.commit({"a": b"2"}, f"other-{number}")
    known = read(bench)
    with recorded_calls() as calls:
        assert read(bench, known.__contains__) == {}
    assert calls == ["GET branches"]
    ref = bench.publish(base, {"b": b"2"})
    with recorded_calls() as calls:
        assert read(bench, known.__contains__).keys() == {ref}
    assert calls == ["GET branches", f"GET refs/{ref}/commits"]


@pytest.mark.parametrize("page", [1, 2, 5])
def test_a_history_is_read_in_pages(bench, monkeypatch, page):
    monkeypatch.setattr(log, "FIRST_LOOK", 1)
    monkeypatch.setattr(log, "PAGE", page)
    base = bench.commit({"a": b"1"})
    made = [base, *(bench.publish(bench.head(), {"b": b"%d" % number}) for number in range(3))]
    for name in ("left", "right"):
        with bench.raw() as repository:
            repository.branch(name, bench.head())
        made += [bench.commit({name: b"%d" % number}, name) for number in range(3)]
    with bench.raw() as repository:
        made += [repository.merge(name, MAIN).json()["reference"] for name in ("left", "right")]
    made.append(bench.commit({"c": b"1"}))
    with recorded_calls() as calls:
        found = read(bench)
    assert found.keys() == {*made, bench.show(base)["parents"][0]}
    assert len(calls) <= 1 + len(found), "each log finds a commit that no other has found"
    assert read(bench, {*made[:4]}.__contains__).keys() == {*made[4:]}


def test_neither_staged_commits_nor_their_branches_are_read_but_other_hidden_ones(bench, tmp_path):
    base = bench.commit({"a": b"1"})
    bench.publish(base, {"b": b"2"})
    source = tmp_path / "source"
    source.mkdir()
    (source / "c").write_bytes(b"3")
    bench.store.repository(bench.hooks.name).import_directory(source, MAIN, "Import\n\nwith a text")
    imported = bench.head()
    left = bench.staged_edit(imported, {"d": b"4"}, Publish(imported))
    with bench.raw() as repository:
        repository.branch("perago-notes", imported, hidden=True)
    theirs = bench.commit({"e": b"5"}, "perago-notes")
    found = read(bench)
    assert found.keys() == {*bench.line(), bench.show(base)["parents"][0], theirs}
    assert (found[imported].subject, found[imported].message) == ("Import", "with a text")
    assert (found[imported].parents, found[imported].stamp) == ((bench.line()[1],), None)
    left.clean()


def test_a_repository_has_the_history_of_its_store(bench):
    bench.commit({"a": b"1"})
    repository = bench.store.repository(bench.hooks.name)
    assert isinstance(repository, ReusableStore)
    assert {entry.id for entry in repository.commits_since(bench.hooks.name, lambda _: False)} == read(bench).keys()


@st.composite
def histories(draw):
    """The parents of each commit, of which each has a lower number, the order of logs, heads, and known commits."""
    count = draw(st.integers(1, 12))
    parents = {0: ()}
    for number in range(1, count):
        earlier = st.lists(st.integers(0, number - 1), min_size=1, max_size=2, unique=True)
        parents[number] = tuple(draw(earlier))
    numbers = st.integers(0, count - 1)
    return parents, draw(st.permutations(range(count))), draw(st.lists(numbers)), draw(st.lists(numbers, max_size=3))


def before(parents, heads):
    """The heads, and all that came before."""
    found, waiting = set(), [*heads]
    while waiting:
        number = waiting.pop()
        found.add(number)
        waiting += parents[number]
    return found


@given(histories(), st.integers(1, 4))
def test_any_history_is_read_whole_whatever_the_order_of_its_logs(history, amount):
    """Clocks differ, so a log may have a commit before one that was made on it. It begins with the one it is of."""
    parents, order, heads, tips = history
    known, reads = before(parents, tips), []

    def log_of(ref, _):
        reads.append(ref)
        rest = [number for number in order if number in before(parents, [int(ref)]) and number != int(ref)]
        return [_commit(number, parents) for number in [int(ref), *rest][:amount]]

    found = list(log.commits_since([*map(str, heads)], lambda ref: int(ref) in known, log_of))
    assert sorted(int(entry.id) for entry in found) == sorted(before(parents, heads) - known)
    assert len(reads) <= len(found)
    assert len({*reads}) == len(reads)


def _commit(number, parents):
    return Commit(str(number), tuple(map(str, parents[number])), "m", "message", "ada", number)


# ---- content that is there


def test_the_server_copies_and_only_first_bytes_come_here(bench):
    source = Source.publish(bench, {"a": b"1"}, {"large": LARGE, "b": b"2", "empty": b""})
    base = bench.commit({"a": b"1"})
    with recorded_calls() as calls:
        staged = source.stage(base, Publish(base))
    objects = moved_content(calls)
    kinds = {kind: sum(kind in call for call in objects) for kind in ("objects/stat", "POST", "objects/copy")}
    assert (len(objects), kinds) == (10, {"objects/stat": 3, "POST": 4, "objects/copy": 3}), "and the fence is put"
    assert bench.files(staged.finish()) == {"a": b"1", "large": LARGE, "b": b"2", "empty": b""}


def test_a_copy_keeps_metadata_and_goes_on_as_any_file(bench):
    tool = {"perago-executable": "true", "owner": "ada"}
    with bench.raw() as repository:
        repository.branch("elsewhere", MAIN)
        repository.put("elsewhere", "tool", b"#!", tool)
        ref = repository.commit("elsewhere")["id"]
        base = bench.commit({"a": b"1"})
        published = Source(bench, ref, Changes(added=("tool",)), EVERYTHING).publish_on(base)
        assert repository.stat(published, "tool")["metadata"] == tool
    assert bench.lay_out(published).executables == {"tool"}
    again = bench.publish(published, {"tool": b"#!/bin/sh"}, Publish(published))
    assert bench.files(again) == {"a": b"1", "tool": b"#!/bin/sh"}


def test_progress_is_of_files_and_not_of_bytes(make_bench, lakefs_server):
    events = []
    bench = make_bench(lakefs_server, observer=events.append)
    source = Source.publish(bench, {"a": b"1"}, {"b": b"2", "c": b"3"})
    base = bench.commit({"a": b"1"})
    source.publish_on(base)
    told = events[-1]
    assert (told.phase, told.kind) == (Phase.STAGE, "progress")
    assert {name: told.attributes[name] for name in ("files", "bytes", "total_files")} == {
        "files": 2,
        "bytes": 0,
        "total_files": 2,
    }


def test_the_server_s_actions_are_not_copied(bench):
    ref = bench.put_action("theirs.yaml", b"name: theirs\non:\n  post-merge:\nhooks: []\n")
    base = bench.commit({"a": b"1"})
    source = Source(bench, ref, Changes(added=("theirs.yaml",)), WorkspaceSpec(prefix=ACTIONS.rstrip("/")))
    with pytest.raises(ObjectNameError, match="server's actions"):
        source.stage(base)
    assert bench.staged() == []


@pytest.mark.parametrize("beside", [False, True])
def test_a_copy_without_hooks_has_a_fence_of_its_own(make_bench, lakefs_server, beside):
    bench = make_bench(lakefs_server, fence="cooperative")
    source = Source.publish(bench, {"a": b"1"}, {"b": b"2"})
    base = bench.commit({"a": b"1"})
    foreign = bench.commit({"c": b"theirs"}) if beside else base
    ref = source.publish_on(base, Merge(foreign, (foreign,)) if beside else Publish(base))
    assert bench.files(ref) == {"a": b"1", "b": b"2", **({"c": b"theirs"} if beside else {})}
    fence = f"{ACTIONS}perago_fence.yaml"
    assert bench.actions(ref)[fence] != bench.actions(source.ref)[fence]
    assert bench.staged() == []


@pytest.mark.parametrize("linked", [False, True], ids=["copied", "linked"])
def test_a_copy_on_a_block_store_of_its_own(make_bench, lakefs_on_s3, monkeypatch, linked):
    """S3 copies no more than 5 GiB at once. What is larger gets the same address."""
    if linked:
        monkeypatch.setattr(copying, "MAX_WHOLE_BYTES", len(LARGE) - 1)
    bench = make_bench(lakefs_on_s3)
    source = Source.publish(bench, {"a": b"1"}, {"large": LARGE, "b": b"2"}, executable="large")
    base = bench.commit({"a": b"1"})
    foreign = bench.commit({"c": b"theirs"})
    ref = source.publish_on(base, Merge(foreign, (foreign,)))
    assert bench.files(ref) == {"a": b"1", "large": LARGE, "b": b"2", "c": b"theirs"}
    assert bench.lay_out(ref).executables == {"large"}
    with bench.raw() as repository:
        same = {
            path: len({repository.stat(commit, path)["physical_address"] for commit in (source.ref, ref)}) == 1
            for path in ("large", "b")
        }
    assert same == {"large": linked, "b": False}


# ---- content that is gone


@pytest.fixture(params=["local", "s3"])
def blocks(request, make_bench):
    """A bench, and a function that removes the bytes of an object from the block store."""
    if request.param == "local":
        bench = make_bench(request.getfixturevalue("start_lakefs")())

        def file_of(address):
            return Path(address.removeprefix("local://"))
    else:
        bench, s3_server = make_bench(request.getfixturevalue("lakefs_on_s3")), request.getfixturevalue("s3_server")

        def file_of(address):
            return s3_server.objects / address.removeprefix(s3_server.storage)

    def remove(ref, path):
        with bench.raw() as repository:
            file_of(repository.stat(ref, path)["physical_address"]).unlink()

    return bench, remove


def test_bytes_that_are_gone_are_noticed_by_a_read_alone(blocks):
    """What the code relies on: the server says nothing of it otherwise, or calls it a fault of its own."""
    bench, remove = blocks
    ref = bench.commit({"a": b"some content"})
    remove(ref, "a")
    with bench.raw() as repository:
        at, first = f"/refs/{ref}/objects", {"Range": "bytes=0-0"}
        assert repository.call("GET", f"{at}/stat", query={"path": "a"}).status == 200
        assert repository.call("HEAD", at, query={"path": "a"}, headers=first).status == 206
        assert repository.call("GET", at, query={"path": "a"}, headers=first).status == 410
        data = {"src_path": "a", "src_ref": ref}
        assert repository.call("POST", "/branches/main/objects/copy", query={"dest_path": "b"}, data=data).status == 500


@pytest.mark.parametrize("name", ["b", "large", "empty"])
def test_a_copy_of_bytes_that_are_gone_is_refused_at_once(blocks, name):
    bench, remove = blocks
    source = Source.publish(bench, {"a": b"1"}, {"b": b"2", "large": LARGE, "empty": b""})
    base = bench.commit({"a": b"1"})
    remove(source.ref, name)
    begun = time.monotonic()
    with recorded_calls() as calls, pytest.raises(SourceGoneError, match=f"{source.ref[:12]}.*'{name}'"):
        source.stage(base, Publish(base))
    assert time.monotonic() - begun < 10, "what the server calls a fault of its own is tried again for 30 s"
    assert not any(call.endswith("/copy") for call in calls)
    assert (bench.line(), bench.staged()) == ([base], [])


def test_a_copy_of_bytes_that_go_meanwhile_is_refused_too(blocks, monkeypatch):
    bench, remove = blocks
    source = Source.publish(bench, {"a": b"1"}, {"b": b"2"})
    base = bench.commit({"a": b"1"})

    async def copy_object(self, *_, **__):
        remove(source.ref, "b")
        raise LakeFSError("copyObject", "here", status=500, message="no such file")

    monkeypatch.setattr(LakeFSClient, "copy_object", copy_object)
    with pytest.raises(SourceGoneError, match="'b' is not there any more"):
        source.stage(base, Publish(base))
    assert (bench.line(), bench.staged()) == ([base], [])


def test_a_copy_that_the_server_refuses_is_not_taken_for_gone(proxied):
    source = Source.publish(proxied, {"a": b"1"}, {"b": b"2"})
    base = proxied.commit({"a": b"1"})
    proxied.proxy.add(Rule(Refuse(403), path="/objects/copy"))
    with pytest.raises(LakeFSError, match="403"):
        source.stage(base, Publish(base))
    proxied.proxy.clear()
    assert (proxied.line(), proxied.staged()) == ([base], [])


def run_again_after_a_collection(blocks, directory):
    """A task with a cache, whose earlier output a collection has removed from the block store; returns its outcome."""
    bench, remove = blocks
    runs = CachedRuns(bench.store, directory)
    made = runs.run(bench.input(bench.commit({"in/a": b"one"})))
    remove(made, "out/a")
    edited = bench.commit({"out/a": b"by hand"})
    ref = runs.run(bench.input(edited))
    assert bench.files(ref) == {"in/a": b"one", "out/a": b"ONE"}
    assert bench.line()[:2] == [ref, edited]
    assert bench.staged() == []
    stamp = bench.newest(edited).counting_stamp
    return runs, ref, stamp


def test_an_attempt_computes_what_a_collection_has_removed(blocks, tmp_path):
    runs, ref, stamp = run_again_after_a_collection(blocks, tmp_path)
    assert (runs.computed, stamp.cached_from) == (2, None)
    bench, _ = blocks
    again = runs.run(bench.input(bench.commit({"out/a": b"by hand again"})))
    assert (runs.computed, bench.newest(ref).counting_stamp.cached_from) == (2, ref)
    assert bench.files(again) == {"in/a": b"one", "out/a": b"ONE"}


def take_the_servers_word(monkeypatch):
    """It says that an object is there, and stages the address of bytes that are gone."""

    async def check_bytes(*_):
        return None

    async def copied(self, source):
        return await self.transfer.client.stage_object(self.transfer.repository, self.branch, source.path, source)

    monkeypatch.setattr(LakeFSClient, "check_bytes", check_bytes)
    monkeypatch.setattr(copying.Copying, "_copied", copied)


def fail_with_what_is_gone(monkeypatch):
    def taken(self, key, *_):
        earlier = self._earlier(key)
        return self._published(earlier[0]) if earlier and not isinstance(earlier, Miss) else None

    monkeypatch.setattr(CachedAttempt, "_taken", taken)


@pytest.mark.parametrize(
    ("plant", "match"), [(take_the_servers_word, "410"), (fail_with_what_is_gone, "not there any more")]
)
def test_a_bug_that_publishes_what_is_gone_or_fails_is_caught(blocks, tmp_path, monkeypatch, plant, match):
    plant(monkeypatch)
    with pytest.raises((AssertionError, ApiError), match=match):
        run_again_after_a_collection(blocks, tmp_path)


# ---- faults


UNCLEAR = {"500": Refuse(500), "applied, then lost": Swallow(), "sent twice, last answer": Repeat(last=True)}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_a_copy_is_published_once_whatever_request_meets_a_fault(proxied, kind):
    source = Source.publish(proxied, {"a": b"1"}, {"a": b"2", "b": b"2"})
    for number in range(MAX_REQUESTS):
        base = proxied.commit({"a": b"1", "b": None, "c": b"%d" % number})
        foreign = proxied.commit({"d": b"%d" % number})
        execution = source.execution(base, Merge(foreign, (foreign,)))
        rule = proxied.proxy.add(Rule(UNCLEAR[kind], skip=number))
        published = source.stage_as(base, execution).finish()
        proxied.proxy.clear()
        assert proxied.line()[:3] == [published, foreign, base]
        assert proxied.files(published) == {"a": b"2", "b": b"2", "c": b"%d" % number, "d": b"%d" % number}
        assert proxied.staged() == []
        if not rule.fired:
            assert number >= 15
            return
    pytest.fail("too many requests")


def test_a_history_is_read_whatever_request_meets_a_fault(proxied):
    base = proxied.commit({"a": b"1"})
    run = Run.begin(proxied)
    made = {base, run.publish({"b": b"1"}), proxied.commit({"c": b"1"})}
    for number in range(MAX_REQUESTS):
        rule = proxied.proxy.add(Rule(Refuse(500), skip=number))
        assert read(proxied).keys() >= made
        proxied.proxy.clear()
        if not rule.fired:
            return
    pytest.fail("too many requests")
