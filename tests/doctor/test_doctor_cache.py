"""The host's object cache: what killed processes left half written in it, and damaged entries."""

import hashlib
import os
import subprocess
import sys

from perago.workspace.cache import ObjectCache

FILL = """
import sys
from pathlib import Path
from perago.workspace.cache import ObjectCache
cache = ObjectCache(Path(sys.argv[1]), 1 << 30)
cache.add("key", b"content", "md5:" + "0" * 32)
print("there", flush=True)
sys.stdin.read()
"""


def start_filling(project):
    """A process that has filled the cache, and lives until its stdin ends."""
    command = [sys.executable, "-c", FILL, str(project.cache)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    return process


def make_partial_old(project):
    (directory,) = (project.cache / "objects-1" / "partial").iterdir()
    os.utime(directory, (0, 0))
    return directory


def test_what_a_killed_process_left_is_found_and_removed_and_a_living_ones_not(project):
    process = start_filling(project)
    directory = make_partial_old(project)
    assert project.doctor().findings == []
    process.kill()
    process.communicate(timeout=30)
    found = project.doctor().only("temporary_file")
    assert found["what"] == str(directory)
    assert "dead" in found["why"]
    assert project.doctor("--fix").code == 0
    assert not directory.exists()
    assert project.doctor().findings == []


def test_a_damaged_entry_is_found_by_reading_all_and_removed(project):
    content = b"x" * 3_000_000
    with ObjectCache(project.cache, 1 << 30) as cache:
        for key, data in (("small", b"small"), ("large", content), ("other", b"other")):
            cache.add(key, data, "sha256:" + hashlib.sha256(data).hexdigest())
    entries = {path.stat().st_size: path for path in (project.cache / "objects-1" / "entries").glob("*/*")}
    large = entries[max(entries)]
    with large.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"damage")
    assert project.doctor().findings == []
    found = project.doctor("--deep").only("damaged_cache_entry")
    assert found["what"] == str(large)
    assert project.doctor("--deep", "--fix").code == 0
    assert not large.exists()
    assert len(list((project.cache / "objects-1" / "entries").glob("*/*"))) == 2


def test_no_cache_is_no_finding_and_none_is_made(project):
    assert project.doctor("--deep").findings == []
    assert not project.cache.exists()
