"""A history that git wrote, read for an index; content that is committed again, or that git has collected meanwhile."""

import hashlib
import os
import time
from datetime import timedelta

import pytest

from clocks import LaterClock
from git_support import EVERYTHING, Bench, git, make_execution, run_branch
from perago.errors import SourceGoneError, StoreError
from perago.ports import MAX_MESSAGE
from perago.stores.git import GitStore
from perago.stores.git.objects import ObjectReader
from perago.stores.git.packs import PACK_FROM
from perago.values.history import Merge, Publish
from perago.values.models import Changes
from perago.workspace.digest import digest_bytes

LARGE = b"0123456789abcdef" * (1 << 17)
COMMITS = 2_000
SECONDS = 30
"""Far more than it takes."""


def read(bench, known=()):
    """The commits that are not known, by id."""
    return {entry.id: entry for entry in GitStore(bench.path).commits_since("data", {*known}.__contains__)}


def publish_copy(bench, source, plan=None, **changes):
    """Publish files of a commit again, by an attempt whose input is the head."""
    base = bench.head()
    execution = make_execution(base, changes=Changes(**changes), plan=plan or Publish(base))
    staged = bench.store.stage_copy(source, bench.input(base), EVERYTHING, execution)
    try:
        return bench.store.publish_workspace(staged, bench.input(base), EVERYTHING, execution)
    finally:
        bench.store.cleanup_staging(staged)


def refuse_copy(bench, source, match, **changes):
    """It is refused as gone, and nothing is left."""
    head = bench.head()
    with pytest.raises(SourceGoneError, match=match):
        publish_copy(bench, source, **changes)
    assert (bench.head(), bench.git("for-each-ref", "refs/perago")) == (head, "")


def loose(bench, object_id):
    return bench.path / "objects" / object_id[:2] / object_id[2:]


def large_object(bench, content):
    digest = hashlib.sha256(content).hexdigest()
    return bench.path / "lfs/objects" / digest[:2] / digest[2:4] / digest


@pytest.fixture
def in_clone(bench):
    """Runs git on the main branch of a clone, and pushes; returns the new head."""
    bench.import_files({"a": b"1"})
    path = bench.root / "clone"
    git(bench.root, "clone", "--quiet", str(bench.path), str(path))

    def run(*arguments):
        git(path, "pull", "--quiet", "--ff-only")
        git(path, *arguments)
        git(path, "push", "--quiet")
        return bench.head()

    return run


# ---- listings


def test_a_listing_reads_only_what_could_be_a_pointer(bench, monkeypatch):
    as_long_as_a_pointer = b"x" * 128
    files = {"empty": b"", "small": b"x" * 60, "like": as_long_as_a_pointer, "more": b"x" * 1024, "large": LARGE}
    bench.import_files(files)
    read, honest = [], ObjectReader.blob

    def blob(self, blob_id):
        read.append(blob_id)
        return honest(self, blob_id)

    monkeypatch.setattr(ObjectReader, "blob", blob)
    found = bench.store.list_workspace(bench.input(bench.head()), EVERYTHING)
    assert len(read) == 2, "that of the large file, and what is as long as one"
    assert {path: file.size for path, file in found.items()} == {path: len(data) for path, data in files.items()}
    assert found["large"].digest == digest_bytes(LARGE, "sha256")
    for path in ("empty", "small", "like", "more"):
        assert found[path].digest == digest_bytes(files[path], "git-sha1")


@pytest.mark.parametrize(("size", "end"), [("0", ""), ("9", "\n"), ("9" * 19, "\n")])
def test_the_shortest_and_the_longest_pointer_are_read(bench, size, end):
    bench.import_files({"a": b"1"})
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {size}{end}".encode()
    ref = bench.person_commits({"large": pointer})
    found = bench.store.list_workspace(bench.input(ref), EVERYTHING)["large"]
    assert (found.size, found.digest) == (int(size), f"sha256:{'0' * 64}")


# ---- the history


def test_a_revert_by_git_names_what_it_reverts(bench, in_clone):
    published = bench.publish_files(bench.head(), {"b": b"2"})
    reverting = in_clone("revert", "--no-edit", published)
    found = read(bench)
    assert found[reverting].subject == f'Revert "{found[published].subject}"'
    assert found[reverting].message == f"This reverts commit {published}."
    assert found[reverting].stamp is None


def test_a_revert_of_a_merge_names_it_too(bench, in_clone):
    side = bench.publish_files(bench.head(), {"b": b"2"})
    bench.git("branch", "side", side)
    bench.git("update-ref", "refs/heads/main", f"{side}~1")
    beside = bench.person_commits({"c": b"3"})
    merge = in_clone("merge", "--quiet", "--no-ff", "--no-edit", "origin/side")
    reverting = in_clone("revert", "--no-edit", "-m", "1", merge)
    found = read(bench)
    assert found[merge].parents == (beside, side)
    assert f"This reverts commit {merge}, reversing\nchanges made to {beside}." in found[reverting].message


def test_a_stamp_is_no_part_of_a_message_but_other_trailers_are(bench, in_clone):
    published = bench.publish_files(bench.head(), {"b": b"2"})
    about = read(bench)[published].message
    assert about.startswith("Task build_ref of workflow ")
    bench.person_commits({"b": None})
    picked = in_clone("cherry-pick", "-x", "-s", published)
    copy = read(bench)[picked]
    theirs = f"(cherry picked from commit {published})\nSigned-off-by: Ada <ada@example.org>"
    assert (copy.message, copy.stamp) == (f"{about}\n\n{theirs}", None)


def test_messages_of_people_are_read_whatever_they_are(bench):
    bench.import_files({"a": b"1"})
    texts = {
        "subject alone": ("subject alone", ""),
        "\n\nsubject\nand text at once": ("subject", "and text at once"),
        "subject\n\n  one\n\ntwo\nPerago-Task: mentioned\n": ("subject", "one\n\ntwo\nPerago-Task: mentioned"),
        "subject\n\n" + "x" * 2 * MAX_MESSAGE: ("subject", "x" * MAX_MESSAGE),
        "subject\n\n\u00e4\u6f22\u202e": ("subject", "\u00e4\u6f22\u202e"),
    }
    for text, expected in texts.items():
        tree = bench.git("rev-parse", "main^{tree}")
        made = bench.git("hash-object", "-t", "commit", "-w", "--stdin", text=_commit(tree, bench.head(), text))
        bench.git("update-ref", "refs/heads/main", made)
        entry = read(bench)[made]
        assert (entry.subject, entry.message) == expected


def _commit(tree, parent, message):
    who = "Ada <ada@example.org> 1700000000 +0000"
    return f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n{message}"


def test_branches_are_read_wherever_they_are_and_nothing_else(loose_bench):
    bench = loose_bench
    base = bench.import_files({"a": b"1"})
    head = bench.person_commits({"a": b"2"})
    tagged = bench.person_commits({"a": b"tagged"})
    bench.git("tag", "-a", "-m", "kept", "kept")
    bench.git("update-ref", "refs/perago/staging/left", tagged)
    bench.git("update-ref", "refs/heads/main", head)
    bench.git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    bench.git("symbolic-ref", "refs/heads/dangling", "refs/heads/missing")
    bench.git("branch", "d/e")
    bench.git("worktree", "add", "--quiet", str(bench.root / "tree"), "d/e")
    bench.git("pack-refs", "--all")
    bench.git("branch", "other", base)
    bench.git("worktree", "add", "--quiet", "--detach", str(bench.root / "detached"), tagged)
    assert read(bench).keys() == {base, head}


def test_a_branch_whose_head_is_missing_is_told(loose_bench):
    base = loose_bench.import_files({"a": b"1"})
    (loose_bench.path / "refs/heads/broken").write_text("1" * 40 + "\n")
    with pytest.raises(StoreError, match="1" * 40):
        read(loose_bench)
    assert read(loose_bench, ["1" * 40]).keys() == {base}


def test_many_commits_are_read_without_their_trees(loose_bench):
    base = loose_bench.import_files({"a": b"1"})
    stamped = loose_bench.publish_files(base, {"b": b"2"})
    message = loose_bench.git("log", "-1", "--format=%B", stamped)
    lines = [f"reset refs/heads/main\nfrom {stamped}"]
    for number in range(COMMITS):
        data = f"{number}{message}"
        lines.append(f"commit refs/heads/main\ncommitter Ada <a@b> {number} +0000\ndata {len(data)}\n{data}")
    loose_bench.git("fast-import", "--quiet", text="\n".join(lines) + "\n")
    for commit in (base, stamped):
        loose(loose_bench, loose_bench.git("rev-parse", f"{commit}^{{tree}}")).unlink()
    begun = time.monotonic()
    found = read(loose_bench)
    assert time.monotonic() - begun < SECONDS
    assert len(found) == COMMITS + 2
    assert [entry.id for entry in found.values() if entry.stamp is not None] == [stamped]
    begun = time.monotonic()
    assert read(loose_bench, found) == {}
    assert time.monotonic() - begun < 1


# ---- content that is there


def test_what_is_copied_is_young_again_and_not_written_anew(bench):
    bench.import_files({"a": b"1"})
    source = bench.publish_files(bench.head(), {"b": b"2", "large": LARGE})
    bench.person_commits({"b": None, "large": None})
    blobs = {name: bench.git("rev-parse", f"{source}:{name}") for name in ("b", "large")}
    old = [*(loose(bench, blob) for blob in blobs.values()), large_object(bench, LARGE)]
    for path in old:
        os.utime(path, (1, 1))
    inodes = [path.stat().st_ino for path in old]
    copy = publish_copy(bench, source, added=("b", "large"))
    assert [path.stat().st_ino for path in old] == inodes
    assert all(path.stat().st_mtime > 1 for path in old)  # or `git gc` and doctor could take them meanwhile
    assert {name: bench.git("rev-parse", f"{copy}:{name}") for name in blobs} == blobs
    assert bench.content(copy) == {"a": b"1", "b": b"2", "large": LARGE}


@pytest.mark.parametrize("count", [3, PACK_FROM + 3])
def test_what_is_packed_is_copied_as_well(bench, count):
    bench.import_files({"a": b"1"})
    files = {f"d{number}/file": b"%d" % number for number in range(count)}
    source = bench.publish_files(bench.head(), files)
    foreign = bench.person_commits(dict.fromkeys(files))
    bench.git("gc", "--quiet")
    copy = publish_copy(bench, source, Merge(foreign, ()), added=tuple(files))
    assert bench.content(copy) == {"a": b"1", **files}


def test_a_copy_reads_no_content(bench):
    """Also files that are too damaged to be read are published."""
    bench.import_files({"a": b"1"})
    source = bench.publish_files(bench.head(), {"b": os.urandom(10_000)})
    bench.person_commits({"b": None})
    path = loose(bench, bench.git("rev-parse", f"{source}:b"))
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1_000])
    copy = publish_copy(bench, source, added=("b",))
    path.write_bytes(content)
    assert bench.content(copy) == bench.content(source)


def test_the_result_of_a_run_that_was_swept_is_copied_until_git_collects_it(bench):
    base = bench.import_files({"a": b"1"})
    branch = run_branch("wf")
    bench.store.create_run_branch("data", branch, "main")
    source = bench.publish_files(base, {"b": b"2"}, branch=branch)
    assert GitStore(bench.path, clock=LaterClock(timedelta(days=8))).sweep(3600).runs == (branch,)
    assert source not in read(bench)
    copy = publish_copy(bench, source, added=("b",))
    assert bench.content(copy) == {"a": b"1", "b": b"2"}
    bench.git("gc", "--prune=now", "--quiet")
    bench.person_commits({"b": None})
    # Of another process: libgit2 may still know the commit here, and its tree is that of the copy.
    refuse_copy(Bench(bench.root, GitStore(bench.path)), source, source, added=("b",))
    assert bench.content(publish_copy(bench, copy, added=("b",))) == {"a": b"1", "b": b"2"}


# ---- content that is gone


def test_a_copy_of_a_missing_blob_is_refused(loose_bench):
    loose_bench.import_files({"a": b"1"})
    source = loose_bench.publish_files(loose_bench.head(), {"b": b"2", "c": b"3"})
    loose_bench.person_commits({"b": None, "c": None})
    loose(loose_bench, loose_bench.git("rev-parse", f"{source}:c")).unlink()
    refuse_copy(loose_bench, source, "cannot be published again", added=("b", "c"))
    assert loose_bench.content(publish_copy(loose_bench, source, added=("b",))) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("how", ["gone", "cut short"])
def test_a_copy_of_a_missing_large_file_is_refused(bench, how):
    bench.import_files({"a": b"1"})
    source = bench.publish_files(bench.head(), {"large": LARGE})
    bench.person_commits({"large": None})
    path = large_object(bench, LARGE)
    path.chmod(0o644)
    path.unlink() if how == "gone" else path.write_bytes(LARGE[:100])
    refuse_copy(bench, source, f"'large', object sha256:{path.name}, is missing", added=("large",))


def test_a_copy_of_a_missing_directory_is_refused(loose_bench):
    loose_bench.import_files({"a": b"1"})
    source = loose_bench.publish_files(loose_bench.head(), {"d/b": b"2"})
    loose_bench.person_commits({"d/b": None})
    loose(loose_bench, loose_bench.git("rev-parse", f"{source}:d")).unlink()
    refuse_copy(loose_bench, source, "not all of it is there", added=("d/b",))


@pytest.mark.parametrize("kind", ["a link", "a submodule"])
def test_what_is_no_file_is_not_copied(bench, kind):
    base = bench.import_files({"a": b"1"})
    target = bench.git("hash-object", "-w", "--stdin", text="a") if kind == "a link" else base
    entry = f"{'120000 blob' if kind == 'a link' else '160000 commit'} {target}\tb\n"
    source = bench.git("commit-tree", bench.git("mktree", text=entry), "-m", kind)
    refuse_copy(bench, source, "no file 'b'", added=("b",))
