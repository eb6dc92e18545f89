"""Random histories: a warm workspace is what a cold one is. PERAGO_TEST_WARM for more of them; 10,000 take an hour.

Each planted bug is a rule that is left out, and is caught by the same histories.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from perago.workspace.manifest import Manifest
from perago.workspace.warm import compare
from perago.workspace.warm.compare import Verdict
from warm_histories import run_histories

HISTORIES, PARTS = int(os.environ.get("PERAGO_TEST_WARM", "200")), 4
CAUGHT_WITHIN = 400

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")


@pytest.mark.parametrize("part", range(PARTS))
def test_a_warm_workspace_is_what_a_cold_one_is(tmp_path, part):
    kept, faults = run_histories(tmp_path, range(part, HISTORIES, PARTS))
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


@pytest.mark.parametrize(
    "plant",
    [without_ctime, without_removal, without_content, without_directories],
)
def test_a_planted_bug_is_caught(tmp_path, monkeypatch, plant):
    plant(monkeypatch)
    for seed in range(CAUGHT_WITHIN):
        _, faults = run_histories(tmp_path, range(seed, seed + 1))
        if faults:
            return
    raise AssertionError(f"{CAUGHT_WITHIN} histories have not noticed it")
