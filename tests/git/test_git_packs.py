"""Packs that we write: git and libgit2 read them."""

import os
import random

import pytest
from pygit2.enums import ObjectType

from git_support import write_files
from perago.errors import WorkspaceContentError
from perago.ports import SystemClock
from perago.stores.git import packs
from perago.stores.git.commits import Identity, write_commit
from perago.stores.git.objects import FILE, TreeEntry, serialize_tree
from perago.stores.git.repository import BareRepository


def publish_blobs(bench, blobs: list[bytes]) -> str:
    """A commit with these blobs, all of it in one pack."""
    with packs.open_writer(BareRepository(bench.path), packs.PACK_FROM) as writer:
        entries = [TreeEntry(f"f{n:05}", FILE, writer.write(ObjectType.BLOB, blob)) for n, blob in enumerate(blobs)]
        tree = writer.write(ObjectType.TREE, serialize_tree(entries))
        identity, clock = Identity("Ada", "ada@example.org"), SystemClock()
        commit = write_commit(writer, tree=tree, parents=(), identity=identity, message="m\n", clock=clock)
    bench.git("update-ref", "refs/heads/main", commit)
    return commit


def packs_of(bench):
    return sorted(path.suffix for path in (bench.path / "objects/pack").iterdir())


def test_sizes_of_every_kind_are_read_back(bench):
    sizes = [0, 1, 15, 16, 17, 2047, 2048, 2049, 262_143, 262_144, 1_000_000]
    blobs = [random.Random(size).randbytes(size) for size in sizes]
    commit = publish_blobs(bench, blobs)
    assert packs_of(bench) == [".idx", ".pack"]
    assert list(dict(sorted(bench.content(commit).items())).values()) == blobs
    (index,) = (bench.path / "objects/pack").glob("*.idx")
    assert "fail" not in bench.git("verify-pack", str(index))


def test_content_that_comes_twice_is_packed_once(bench):
    publish_blobs(bench, [b"same"] * 50 + [b"other"])
    (index,) = (bench.path / "objects/pack").glob("*.idx")
    assert bench.git("verify-pack", "-v", str(index)).count(" blob ") == 2


def test_offsets_beyond_31_bits_are_read_back(bench, monkeypatch):
    """The same index format, with the border moved to where a test can reach it."""
    monkeypatch.setattr(packs, "_LARGE_FROM", 40)
    blobs = [os.urandom(30) for _ in range(20)]
    commit = publish_blobs(bench, blobs)
    (index,) = (bench.path / "objects/pack").glob("*.idx")
    bench.git("verify-pack", str(index))
    assert list(dict(sorted(bench.content(commit).items())).values()) == blobs


def test_a_failure_leaves_no_pack(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {f"f{number}": b"x%d" % number for number in range(200)})
    changed = work.changes()
    (work.directory / "f99").unlink()
    with pytest.raises(WorkspaceContentError, match="f99"):
        bench.stage(work, changes=changed)
    assert packs_of(bench) == []


def test_a_commit_of_many_files_is_one_pack_and_one_of_few_is_none(bench):
    base = bench.import_files({"a": b"a"})
    assert packs_of(bench) == []
    ref = bench.publish_files(base, {f"d{n % 7}/f{n}": b"%d" % n for n in range(packs.PACK_FROM)})
    assert packs_of(bench) == [".idx", ".pack"]
    assert len(bench.content(ref)) == packs.PACK_FROM + 1
