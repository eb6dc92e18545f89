"""What a file system folds, as the probe finds it."""

from __future__ import annotations

import os

import pytest

from perago.errors import WorkspaceStorageError
from perago.workspace.folding import probe_folding


def test_the_probe_says_what_the_file_system_does_and_leaves_nothing(tmp_path):
    folding = probe_folding(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "case").touch()
    (tmp_path / "\u00e9").touch()
    assert folding.case == os.path.lexists(tmp_path / "CASE")
    assert folding.unicode == os.path.lexists(tmp_path / "e\u0301")


def test_many_probes_at_once_do_not_disturb_each_other(tmp_path):
    assert len({probe_folding(tmp_path) for _ in range(20)}) == 1


def test_a_directory_that_takes_no_file_is_a_storage_error(tmp_path, open_directory, as_nobody):
    with pytest.raises(WorkspaceStorageError, match="cannot write in"):
        probe_folding(tmp_path / "none")
    closed = open_directory / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(WorkspaceStorageError, match="permission"):
        as_nobody(lambda: probe_folding(closed))
