"""What lies in a directory that may not be searched is told, and not taken for missing.

From Python 3.14 on, `Path.exists`, `is_file` and `is_dir` say False for it. Earlier ones raise the error.
"""

from __future__ import annotations

import pytest

from perago import RuntimeConfigError, load_runtime_config
from perago.errors import StoreError, WorkspaceStorageError
from perago.ports import SystemClock
from perago.stores.git.repository import BareRepository
from perago.worker.supervisor.delivery import SPOOL_DIRECTORY
from perago.worker.supervisor.examine import examine
from perago.worker.supervisor.lock import supervisor_directory


@pytest.fixture
def closed(open_directory):
    """A directory that may not be searched."""
    path = open_directory / "closed"
    path.mkdir(mode=0)
    return path


def raised(error, call):
    """What it raised, as text: not every error can be sent from one process to another."""
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_a_repository(closed, as_nobody):
    told = as_nobody(lambda: raised(StoreError, lambda: BareRepository(closed / "data.git").handle))
    assert "no permission in" in told
    assert "perago import" not in told


def test_a_directory_of_secrets(closed, as_nobody):
    def load():
        load_runtime_config("module", cwd=closed.parent, process_env={"PERAGO_SECRETS_DIR": str(closed)})

    told = as_nobody(lambda: raised(RuntimeConfigError, load))
    assert f"(PERAGO_SECRETS_DIR {closed}) cannot be read: Permission denied" in told


def test_results_that_a_worker_has_kept(open_directory, as_nobody):
    spool = supervisor_directory(open_directory) / SPOOL_DIRECTORY
    spool.parent.mkdir(parents=True, mode=0)
    told = as_nobody(lambda: raised(WorkspaceStorageError, lambda: list(examine(open_directory, SystemClock()))))
    assert told == f"{spool} cannot be read: Permission denied; check its permissions"
