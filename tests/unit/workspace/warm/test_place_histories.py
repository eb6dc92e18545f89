"""Random histories: a warm workspace is what a cold one is. PERAGO_TEST_WARM for more of them; 10,000 take a quarter of
an hour.

Each planted bug is a rule that is left out, and is caught by the same histories.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from perago.workspace.directory import WORKSPACE_DIRECTORY
from perago.workspace.manifest import Manifest
from perago.workspace.warm import compare
from perago.workspace.warm.compare import Verdict
from perago.workspace.warm.place import RECORD_FILE, WarmStay
from perago.workspace.warm.record import System
from warm_histories import run_histories

HISTORIES = int(os.environ.get("PERAGO_TEST_WARM", "200"))
PARTS = max(4, HISTORIES // 250)
CAUGHT_WITHIN = 400

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")


@pytest.mark.parametrize("part", range(PARTS))
def test_a_warm_workspace_is_what_a_cold_one_is(quick_disk, part):
    kept, faults = run_histories(quick_disk, range(part, HISTORIES, PARTS))
    assert faults == []
    assert kept > HISTORIES // PARTS  # else nothing was shown


def without_ctime(monkeypatch):
    """The ctime tells nothing."""
    real = compare.judge

    def judge(path, status, wanted, record, rules):
        was = record.manifest.entries.get(path)
        if was is not None:
            stat = was.stat._replace(ctime_ns=status.st_ctime_ns)
            record = replace(record, manifest=replace(record.manifest, entries={path: was._replace(stat=stat)}))
        return real(path, status, wanted, record, replace(rules, settled_ns=sys.maxsize))

    monkeypatch.setattr(compare, "judge", judge)
    monkeypatch.setattr(Manifest, "is_racy", lambda self, stat: stat.mtime_ns >= self.taken_at_ns - self.tick_ns)


def without_removal(monkeypatch):
    """What was laid out and the input does not have stays."""
    real = compare.judge

    def judge(path, status, wanted, record, rules):
        if wanted is None and path in record.contents:
            return Verdict.STAYS
        return real(path, status, wanted, record, rules)

    monkeypatch.setattr(compare, "judge", judge)


def without_content(monkeypatch):
    """What was laid out is not compared with the input, as with the record of another prefix."""
    real = compare.judge

    def judge(path, status, wanted, record, rules):
        if wanted is not None and path in record.contents:
            wanted = wanted._replace(content=record.contents[path])
        return real(path, status, wanted, record, rules)

    monkeypatch.setattr(compare, "judge", judge)


def without_directories(monkeypatch):
    """Directories stay as a body left them."""
    monkeypatch.setattr(compare, "_check_directory", lambda *_: None)


def without_system(monkeypatch):
    """The record of another host, disk or time is believed."""
    monkeypatch.setattr(System, "is_same", lambda *_: True)


def without_an_owner(monkeypatch):
    """Who takes a workspace does not look whether an attempt has it."""
    real = WarmStay._take  # noqa: SLF001 - the bug replaces it
    taken_by = dict[Path, tuple[Path, bytes]]()

    def take(self, taken, *wanted):
        root, workspace = self._root, self._directory.workspace
        if real(self, taken, *wanted):
            taken_by[root] = workspace, (taken / RECORD_FILE).read_bytes()
            return True
        other, known = taken_by.pop(root, (workspace, b""))
        if other == workspace or not other.exists():
            return False
        taken.mkdir()
        other.rename(taken / WORKSPACE_DIRECTORY)
        (taken / RECORD_FILE).write_bytes(known)
        other.mkdir()
        return True

    monkeypatch.setattr(WarmStay, "_take", take)


@pytest.mark.parametrize(
    "plant",
    [without_ctime, without_removal, without_content, without_directories, without_system, without_an_owner],
)
def test_a_planted_bug_is_caught(quick_disk, monkeypatch, plant):
    plant(monkeypatch)
    for seed in range(CAUGHT_WITHIN):
        _, faults = run_histories(quick_disk, range(seed, seed + 1))
        if faults:
            return
    raise AssertionError(f"{CAUGHT_WITHIN} histories have not noticed it")
