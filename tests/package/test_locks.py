"""What the locked requirements hold: they install the same everywhere, from whatever registry a machine uses."""

from __future__ import annotations

import re

import pytest

from package_support import PROJECT

LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))
_PINNED = re.compile(r"[\w.-]+(\[[\w,-]+\])?==\S+( ; [^-].*?)?( +--hash=sha256:[0-9a-f]{64})+")


@pytest.mark.parametrize("lock", LOCKS, ids=[lock.name for lock in LOCKS])
def test_a_lock_has_hashes_for_each_package_and_names_no_registry(lock):
    lines = lock.read_text().replace("\\\n", "").splitlines()
    assert len(lines) > 10
    assert [line for line in lines if _PINNED.fullmatch(line) is None] == []


def test_there_is_a_lock_for_each_way_to_install():
    assert {"run.txt", "dev.txt", "units.txt"} <= {lock.name for lock in LOCKS}
