"""A repository for each test; `git fsck` finds nothing wrong with it afterwards."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from git_support import Bench, fsck


@pytest.fixture
def bench(tmp_path):
    """An empty repository with nothing in it; checked whole at the end."""
    made = Bench(tmp_path)
    yield made
    assert fsck(made.path) == ""


@pytest.fixture
def loose_bench(tmp_path):
    """As `bench`, for tests that put into the repository what `git fsck` would complain of."""
    return Bench(tmp_path)
