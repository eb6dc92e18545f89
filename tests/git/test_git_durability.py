"""What is published survives a crash of the machine: everything is synced before the branch moves, and then the branch.

A library between the program and libc writes down the order of the calls.
"""

import re

from git_support import publish_in_a_process


def position(calls, pattern):
    """Where the first call that matches stands."""
    found = [number for number, call in enumerate(calls) if re.search(pattern, call)]
    assert found, f"no call matches {pattern}: {calls}"
    return found[0]


def test_every_object_and_the_branch_are_synced_in_order(bench, syscalls):
    bench.import_files({"a": b"a"})
    ended = publish_in_a_process(bench, {"b": b"b", "c/d": b"d"}, syscalls=syscalls)
    assert ended.code == 0
    moved = position(ended.calls, r"rename .*/refs/heads/main$")
    objects = [call for call in ended.calls[:moved] if "fsync" in call and "/objects/tmp_obj_" in call]
    assert len(objects) == 5  # two blobs, two trees, one commit
    named = [
        call
        for call in ended.calls[:moved]
        if re.search(r"rename .*/objects/tmp_obj_\S+ \S*/objects/\w\w/\w{38}$", call)
    ]
    assert len(named) == 5
    for call in named:
        directory = call.split()[-1].rpartition("/")[0]
        assert f"fsync {directory}" in ended.calls[ended.calls.index(call) : moved]
    assert position(ended.calls, r"fsync .*/refs/heads/main\.lock$") < moved
    assert position(ended.calls, r"fsync .*/data\.git/refs/heads$") > moved
    assert all("/objects/" not in call for call in ended.calls[moved:])


def test_the_name_of_an_object_that_is_there_already_is_synced_too(bench, syscalls):
    """Its writer may have died before it synced the name."""
    bench.import_files({"a": b"a"})
    (bench.root / "b").write_bytes(b"b")
    blob = bench.git("hash-object", "-w", str(bench.root / "b"))
    ended = publish_in_a_process(bench, {"b": b"b"}, syscalls=syscalls)
    moved = position(ended.calls, r"rename .*/refs/heads/main$")
    assert position(ended.calls, rf"fsync .*/objects/{blob[:2]}$") < moved
    assert not any(blob[2:] in call for call in ended.calls), "it is not written again"


def test_the_objects_of_one_commit_are_synced_before_any_of_them_has_its_name(bench, syscalls):
    """One after the other, each would wait for the disk anew."""
    bench.import_files({"a": b"a"})
    ended = publish_in_a_process(bench, {"b": b"b", "c": b"c", "d/e": b"e"}, syscalls=syscalls)
    synced = [number for number, call in enumerate(ended.calls) if re.search(r"fsync .*/objects/tmp_obj_", call)]
    assert len(synced) == 6
    assert synced[-1] < position(ended.calls, r"rename .*/objects/tmp_obj_")


def test_so_many_objects_that_not_all_can_be_open_are_synced_in_batches(bench, syscalls):
    bench.import_files({"a": b"a"})
    files = {f"{number}/{number}/{number}": b"%d" % number for number in range(99)}
    ended = publish_in_a_process(bench, files, syscalls=syscalls, open_files=128)
    assert ended.code == 0, ended.output
    moved = position(ended.calls, r"rename .*/refs/heads/main$")
    assert len([call for call in ended.calls[:moved] if re.search(r"fsync .*/objects/tmp_obj_", call)]) == 99 * 3 + 2
    directories = {
        call.split()[-1].rpartition("/")[0] for call in ended.calls if "rename" in call and "tmp_obj" in call
    }
    assert {f"fsync {directory}" for directory in directories} <= set(ended.calls[:moved])
    assert bench.content(bench.head()) == {"a": b"a", **files}


def test_a_large_file_is_synced_before_it_has_its_name_and_its_name_before_the_branch_moves(bench, syscalls):
    bench.import_files({"a": b"a"})
    ended = publish_in_a_process(bench, {"large": b"x" * (1 << 20)}, syscalls=syscalls)
    named = position(ended.calls, r"rename .*/lfs/tmp/.*/lfs/objects/")
    assert position(ended.calls, r"fsync .*/lfs/tmp/") < named
    directory = position(ended.calls, r"fsync .*/lfs/objects/\w\w/\w\w$")
    assert named < directory < position(ended.calls, r"rename .*/refs/heads/main$")


def test_the_name_of_a_large_file_that_is_there_already_is_synced_too(bench, syscalls):
    """Its writer may have died before it synced the name."""
    large = b"x" * (1 << 20)
    bench.import_files({"a": large})
    ended = publish_in_a_process(bench, {"b": large}, syscalls=syscalls)
    assert ended.code == 0
    moved = position(ended.calls, r"rename .*/refs/heads/main$")
    assert position(ended.calls, r"fsync .*/lfs/objects/\w\w/\w\w$") < moved
    assert not any(re.search(r"rename .*/lfs/objects/", call) for call in ended.calls), "it is not written again"


def test_a_pack_is_synced_before_its_index_makes_it_visible(bench, syscalls):
    bench.import_files({"a": b"a"})
    ended = publish_in_a_process(bench, {f"f{number}": b"%d" % number for number in range(150)}, syscalls=syscalls)
    pack, index = position(ended.calls, r"rename .*\.pack$"), position(ended.calls, r"rename .*\.idx$")
    assert position(ended.calls, r"fsync .*/tmp_pack_") < pack < index
    assert position(ended.calls, r"fsync .*/tmp_idx_") < index
    assert (
        index < position(ended.calls, r"fsync .*/objects/pack$") < position(ended.calls, r"rename .*/refs/heads/main$")
    )
