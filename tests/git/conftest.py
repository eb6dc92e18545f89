"""A repository for each test; `git fsck` finds nothing wrong with it afterwards."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def syscalls(tmp_path_factory):
    """A library that writes down what a program syncs and renames, and can kill it in between; see syscalls.c."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    library = tmp_path_factory.mktemp("syscalls") / "syscalls.so"
    source = Path(__file__).parent / "syscalls.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    return library
