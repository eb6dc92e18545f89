"""Digests of files and bytes."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.errors import WorkspaceContentError, WorkspaceStorageError
from perago.files.beneath import Beneath
from perago.workspace import digest
from perago.workspace.digest import CHUNK_BYTES, algorithm_of, digest_bytes, digest_file, is_known, new_hasher

SIZES = [0, 1, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7]


def digest_of(path, algorithm, size):
    with Beneath(path.parent) as files:
        return digest_file(files, path.name, algorithm, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_and_its_bytes_have_one_digest(tmp_path, size):
    content = os.urandom(size)
    path = tmp_path / "f"
    path.write_bytes(content)
    assert digest_of(path, "sha256", size) == "sha256:" + hashlib.sha256(content).hexdigest()
    assert digest_of(path, "md5", size) == "md5:" + hashlib.md5(content).hexdigest()
    assert digest_of(path, "git-sha1", size) == digest_bytes(content, "git-sha1")
    assert digest_of(path, "sha256", size) == digest_bytes(content, "sha256")


@given(st.binary(max_size=40), st.integers(1, 12), st.lists(st.integers(0, 40)))
def test_content_in_parts_has_the_md5_of_their_md5s(content, part, cuts):
    hasher = new_hasher(f"md5-of-parts/{part}", len(content))
    ends = sorted({min(cut, len(content)) for cut in cuts} | {len(content)})
    for first, end in itertools.pairwise([0, *ends]):
        hasher.update(content[first:end])
    md5s = [hashlib.md5(content[first : first + part]) for first in range(0, len(content), part)]
    assert hasher.md5s == [md5.hexdigest() for md5 in md5s]
    of_all = hashlib.md5(b"".join(md5.digest() for md5 in md5s)).hexdigest()
    assert hasher.hexdigest() == f"{of_all}-{len(md5s)}"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_sha1_is_gits_own_id(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"hello\n" * 1000)
    told = subprocess.run(["git", "hash-object", "--no-filters", path], check=True, capture_output=True, text=True)
    assert digest_of(path, "git-sha1", 6000) == "git-sha1:" + told.stdout.strip()


def test_a_large_file_is_never_whole_in_memory(tmp_path):
    path = tmp_path / "large"
    size = 64 * CHUNK_BYTES
    with path.open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        digest_of(path, "sha256", size)
        assert tracemalloc.get_traced_memory()[1] < 2 * CHUNK_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("told", [0, 4, 6])
@pytest.mark.parametrize("algorithm", ["sha256", "git-sha1"])
def test_a_file_that_is_not_of_the_size_told_is_refused(tmp_path, told, algorithm):
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    with pytest.raises(WorkspaceContentError, match="changed while it was read"):
        digest_of(path, algorithm, told)


def test_a_file_that_grows_is_read_no_further_than_that_tells(tmp_path, monkeypatch):
    """A process that the task has left running may write to it for ever."""
    path, pieces = tmp_path / "log", []
    path.write_bytes(b"x" * 3 * CHUNK_BYTES)
    counting = SimpleNamespace(update=lambda piece: pieces.append(len(piece)))
    monkeypatch.setattr(digest, "new_hasher", lambda *_: counting)
    with pytest.raises(WorkspaceContentError, match="10 bytes before, more now"):
        digest_of(path, "sha256", 10)
    assert sum(pieces) == 11


def test_what_took_the_files_place_is_refused_at_once(tmp_path):
    path = tmp_path / "f"
    with pytest.raises(WorkspaceContentError, match="was removed after"):
        digest_of(path, "sha256", 0)
    os.mkfifo(path)
    with pytest.raises(WorkspaceContentError, match="no longer a regular file"):
        digest_of(path, "sha256", 0)
    path.unlink()
    (tmp_path / "other").write_bytes(b"")
    path.symlink_to("other")
    with pytest.raises(WorkspaceContentError, match="was removed after"):
        digest_of(path, "sha256", 0)
    path.unlink()
    path.mkdir()
    with pytest.raises(WorkspaceContentError, match="no longer a regular file"):
        digest_of(path, "sha256", 0)


def test_an_unreadable_file_is_the_bodys_fault(open_directory, as_nobody):
    path = open_directory / "f"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(WorkspaceContentError, match="read permission"):
        as_nobody(lambda: digest_of(path, "sha256", 1))


def test_other_faults_of_the_system_are_storage_errors(tmp_path):
    with pytest.raises(WorkspaceStorageError, match="cannot read file"):
        digest_of(tmp_path / ("x" * 300), "sha256", 1)


def test_an_unknown_algorithm_is_refused(tmp_path):
    with pytest.raises(ValueError, match="crc32"):
        digest_bytes(b"", "crc32")
    with pytest.raises(ValueError, match="crc32"):
        digest_of(tmp_path, "crc32", 1)


def test_known_digests_are_told_from_others():
    assert is_known(digest_bytes(b"", "sha256"))
    assert is_known(digest_bytes(b"", "git-sha1"))
    assert is_known(digest_bytes(b"", "md5-of-parts/5"))
    unknown = ("", "sha256", "sha256:", "crc32:abc", ":abc", "md5-of-parts:abc", "md5-of-parts/0:abc", "md5/5:abc")
    assert not any(is_known(text) for text in unknown)
    assert algorithm_of("git-sha1:abc") == "git-sha1"
