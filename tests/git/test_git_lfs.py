"""Large files: the layout of git-lfs, streamed, checked on the way back; and small files that look like pointers."""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_support import Bench, git, write_files
from perago.errors import StoreError, WorkspaceContentError
from perago.files.beneath import Beneath
from perago.stores.git.lfs import LFS_THRESHOLD, LfsStore, Pointer, looks_like_pointer, parse_pointer
from perago.stores.git.repository import BareRepository
from perago.workspace.reading import open_workspace_file, read_whole

LARGE = b"0123456789abcdef" * (LFS_THRESHOLD // 16)
LARGE_SHA = hashlib.sha256(LARGE).hexdigest()
POINTER_TEXT = f"version https://git-lfs.github.com/spec/v1\noid sha256:{LARGE_SHA}\nsize {len(LARGE)}\n"


def object_path(bench, content: bytes) -> Path:
    sha = hashlib.sha256(content).hexdigest()
    return bench.path / "lfs/objects" / sha[:2] / sha[2:4] / sha


def test_a_file_of_the_threshold_lies_where_git_lfs_looks_for_it(bench):
    ref = bench.import_files({"at": LARGE, "below": LARGE[:-1]})
    assert bench.git("cat-file", "-p", f"{ref}:at") + "\n" == POINTER_TEXT
    assert bench.git("cat-file", "-s", f"{ref}:below") == str(len(LARGE) - 1)
    assert object_path(bench, LARGE).read_bytes() == LARGE
    assert [path.name for path in (bench.path / "lfs/objects").rglob("*") if path.is_file()] == [LARGE_SHA]
    assert bench.content(ref) == {"at": LARGE, "below": LARGE[:-1]}


def test_a_task_publishes_and_reads_large_files_with_their_digests(bench):
    base = bench.import_files({"a": b"a"})
    ref = bench.publish_files(base, {"large": LARGE})
    directory = bench.root / "again"
    directory.mkdir()
    digests = bench.store.download_workspace(bench.input(ref), bench.download(ref).spec, directory)
    assert digests == {
        "a": "git-sha1:" + hashlib.sha1(b"blob 1\0a").hexdigest(),
        "large": f"sha256:{LARGE_SHA}",
    }


def test_the_executable_bit_of_a_large_file_is_kept(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"tool": LARGE})
    (work.directory / "tool").chmod(0o755)
    assert bench.download(bench.finish(work)).executables == {"tool"}


def test_content_that_is_there_is_not_written_again_but_made_young(bench):
    base = bench.import_files({"large": LARGE})
    os.utime(object_path(bench, LARGE), (1, 1))
    before = object_path(bench, LARGE).stat()
    ref = bench.publish_files(base, {"copy": LARGE, "large": None})
    after = object_path(bench, LARGE).stat()
    assert before.st_ino == after.st_ino
    assert after.st_mtime > 1  # or who removes unreferenced objects by their age could take it from a running attempt
    assert bench.content(ref) == {"copy": LARGE}
    assert list((bench.path / "lfs/tmp").iterdir()) == []


def test_an_object_cut_short_by_a_crash_is_written_anew(bench):
    base = bench.import_files({"a": b"a"})
    object_path(bench, LARGE).parent.mkdir(parents=True)
    object_path(bench, LARGE).write_bytes(LARGE[:100])
    ref = bench.publish_files(base, {"large": LARGE})
    assert bench.content(ref)["large"] == LARGE


def test_a_missing_object_names_the_file_the_object_and_the_mend(bench):
    base = bench.import_files({"data/large": LARGE, "a": b"a"})
    object_path(bench, LARGE).unlink()
    with pytest.raises(StoreError, match=rf"data/large .*sha256:{LARGE_SHA}.*git -C .* lfs fetch --all"):
        bench.download(base)


@pytest.mark.parametrize("damage", [LARGE[:-1], LARGE[:-1] + b"X", LARGE + b"more"])
def test_a_damaged_object_is_noticed(bench, damage):
    base = bench.import_files({"large": LARGE})
    object_path(bench, LARGE).chmod(0o644)
    object_path(bench, LARGE).write_bytes(damage)
    with pytest.raises(StoreError, match="damaged"):
        bench.download(base)


@pytest.mark.parametrize("damage", [LARGE[:-1] + b"X", b"\0" * len(LARGE)], ids=["a byte", "zeros"])
def test_a_damaged_object_is_replaced_by_the_whole_copy_that_is_stored(bench, damage):
    files = {"large": LARGE, "version": POINTER_TEXT.encode()}
    base = bench.import_files(files)
    for path, content in (("large", damage), ("version", b"x" * len(POINTER_TEXT))):
        object_path(bench, files[path]).chmod(0o644)
        object_path(bench, files[path]).write_bytes(content)
    assert bench.content(bench.import_files(files, "other")) == files
    assert bench.content(base) == files, "which has the same content"
    assert list((bench.path / "lfs/tmp").iterdir()) == []


LOOK_ALIKES = [
    POINTER_TEXT.encode(),
    POINTER_TEXT.encode().rstrip(),
    POINTER_TEXT.replace("\n", "\r\n").encode(),
    POINTER_TEXT.replace("git-lfs.github.com/spec/v1", "hawser.github.com/spec/v1").encode(),
    b"version http://git-media.io/v/2\noid sha256:" + b"0" * 64 + b"\nsize 3\n",
    POINTER_TEXT.replace("oid", f"ext-0-x sha256:{'0' * 64}\noid").encode(),
]


@pytest.mark.parametrize("content", LOOK_ALIKES, ids=range(len(LOOK_ALIKES)))
def test_a_small_file_that_looks_like_a_pointer_comes_back_as_it_is(bench, content):
    base = bench.import_files({"fixture.txt": content})
    assert bench.content(base) == {"fixture.txt": content}
    ref = bench.publish_files(base, {"copy.txt": content, "fixture.txt": None})
    assert bench.content(ref) == {"copy.txt": content}
    assert object_path(bench, content).read_bytes() == content


def test_a_pointer_that_git_lfs_wrote_is_followed(bench):
    bench.import_files({"a": b"a"})
    object_path(bench, LARGE).parent.mkdir(parents=True)
    object_path(bench, LARGE).write_bytes(LARGE)
    assert bench.content(bench.person_commits({"large": POINTER_TEXT.encode()}))["large"] == LARGE


def test_a_pointer_with_extensions_is_refused(bench):
    bench.import_files({"a": b"a"})
    pointer = POINTER_TEXT.replace("oid", f"ext-0-x sha256:{'0' * 64}\noid").encode()
    with pytest.raises(StoreError, match="pointer of d/large uses extensions"):
        bench.download(bench.person_commits({"d/large": pointer}))


def test_an_unfinished_pointer_of_a_person_is_a_text(bench):
    bench.import_files({"a": b"a"})
    text = b"version https://git-lfs.github.com/spec/v1\nwhat is this?\n"
    assert bench.content(bench.person_commits({"note": text}))["note"] == text


@given(st.binary(max_size=1100) | st.sampled_from(LOOK_ALIKES).flatmap(lambda text: st.just(text + b"\n" * 3)))
def test_whatever_is_read_as_a_pointer_looks_like_one(data):
    try:
        pointer = parse_pointer(data, "large")
    except StoreError:
        pointer = Pointer("", 0)
    assert pointer is None or looks_like_pointer(data)


@given(st.binary(max_size=100), st.integers(0, 2**63 - 1))
def test_a_pointer_reads_back(content, size):
    pointer = Pointer(hashlib.sha256(content).hexdigest(), size)
    assert parse_pointer(pointer.encode(), "large") == pointer


def test_a_clone_with_the_objects_copied_is_what_git_lfs_reads(bench, tmp_path):
    """git-lfs replaces a pointer by lfs/objects/aa/bb/<oid>; here the specification is followed by hand."""
    ref = bench.import_files({"large": LARGE, "small": b"s"})
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(bench.path), str(clone))
    assert git(clone, "rev-parse", "HEAD") == ref
    lines = (clone / "large").read_text().splitlines()
    assert lines[0] == "version https://git-lfs.github.com/spec/v1"
    fields = dict(line.split(" ", 1) for line in lines)
    assert list(fields) == ["version", "oid", "size"]
    kind, _, oid = fields["oid"].partition(":")
    content = (bench.path / "lfs/objects" / oid[:2] / oid[2:4] / oid).read_bytes()
    assert (kind, oid, fields["size"]) == ("sha256", hashlib.sha256(content).hexdigest(), str(len(content)))
    assert len((clone / "large").read_bytes()) < 1024


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("meddle", [touch, append])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, meddle):
    write_files(tmp_path, {"d/file": b"content"})

    def read():
        with Beneath(tmp_path) as files, open_workspace_file(files, "d/file") as (descriptor, _):
            meddle(tmp_path / "d/file")
            read_whole(descriptor, "d/file", os.fstat(descriptor).st_size)

    with pytest.raises(WorkspaceContentError, match="d/file changed while it was being staged"):
        read()


@pytest.mark.parametrize("size", [6, 8])
def test_a_small_file_of_another_size_than_it_had_is_refused(tmp_path, size):
    write_files(tmp_path, {"file": b"content"})
    with (
        pytest.raises(WorkspaceContentError, match="changed while"),
        Beneath(tmp_path) as files,
        open_workspace_file(files, "file") as (descriptor, _),
    ):
        read_whole(descriptor, "file", size)


@pytest.mark.parametrize("how", ["store", "digest"])
def test_a_large_file_that_grows_is_read_no_further_than_that_tells(bench, how):
    """A process that the task has left running may write to it for ever."""
    file, moved = bench.root / "log", []
    file.write_bytes(LARGE * 3)
    large_files = LfsStore(BareRepository(bench.path))
    actions = {
        "store": lambda descriptor: large_files.store(descriptor, "log", len(LARGE), moved.append),
        "digest": lambda descriptor: large_files.digest(descriptor, "log", len(LARGE)),
    }
    with file.open("rb", buffering=0) as opened:
        with pytest.raises(WorkspaceContentError, match="log changed while it was being staged"):
            actions[how](opened.fileno())
        assert opened.tell() == len(LARGE) + 1
    assert sum(moved) == (len(LARGE) + 1 if how == "store" else 0)


@pytest.mark.parametrize("size", [len(LARGE) - 1, len(LARGE) + 1])
def test_a_large_file_of_another_size_than_it_had_is_refused_and_leaves_nothing(bench, size):
    write_files(bench.root, {"large": LARGE})
    with (bench.root / "large").open("rb") as file, pytest.raises(WorkspaceContentError, match="large changed while"):
        LfsStore(BareRepository(bench.path)).store(file.fileno(), "large", size, lambda _: None)
    assert list((bench.path / "lfs").rglob("*/*/*/*")) == []
    assert list((bench.path / "lfs/tmp").iterdir()) == []


def test_temporary_files_of_dead_owners_go_and_those_of_the_living_stay(bench):
    bench.import_files({"a": b"a"})
    directory = bench.path / "lfs/tmp"
    directory.mkdir(parents=True)
    dead, living, young = directory / "dead", directory / "living", directory / "young"
    for path in (dead, living, young):
        path.write_bytes(b"x")
    for path in (dead, living):
        os.utime(path, (time.time() - 100, time.time() - 100))
    with living.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert LfsStore(BareRepository(bench.path)).sweep() == 1
    assert {path.name for path in directory.iterdir()} == {"living", "young"}


MEMORY = """
import re, resource, sys
from pathlib import Path
from git_support import EVERYTHING, make_execution
from perago.values.history import Publish
from perago.values.models import Changes, WorkspaceInput
from perago.stores.git import GitStore
store = GitStore(sys.argv[1])
head = store.branch_head("main")
given = WorkspaceInput(repository="data", branch="main", refType="commit", ref=head)
execution = make_execution(head, changes=Changes(added=("large",)), plan=Publish(head))
staged = store.stage_workspace(Path(sys.argv[2]), given, EVERYTHING, execution)
ref = store.publish_workspace(staged, given, EVERYTHING, execution)
target = Path(sys.argv[3])
target.mkdir()
store.export(ref, "/", target)
if sys.platform == "linux":  # where ru_maxrss counts what the parent had when it forked
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def round_trip_in_a_process(bench: Bench, size: int) -> int:
    """Publish and read back a file of this size in another process; returns the most memory it had, in bytes."""
    bench.import_files({"a": b"a"})
    source, target = bench.root / "in", bench.root / "out"
    source.mkdir()
    with (source / "large").open("wb") as file:
        file.truncate(size)
    command = [sys.executable, "-c", MEMORY, bench.path, source, target]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=280)
    assert (target / "large").stat().st_size == size
    return int(done.stdout)


def test_memory_does_not_grow_with_the_size_of_a_file(bench):
    assert round_trip_in_a_process(bench, 64 << 20) < 100_000_000


def test_two_gibibytes_pass_with_less_than_150_megabytes_of_memory(bench):
    assert round_trip_in_a_process(bench, 2 << 30) < 150_000_000
