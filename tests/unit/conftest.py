"""Another user, for tests that show nothing if they run as root."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forks import fork

NOBODY = 65534


@pytest.fixture
def as_nobody() -> Callable:
    """Run a function as a user without rights, in a process of its own; its value, or what it raised, comes back.

    `before` is run there first, while it is still root's.
    """
    if os.geteuid() != 0:
        return lambda function, before=None: function()
    if not hasattr(os, "setresuid"):
        pytest.skip("this system does not let root become another user for a while: Linux does")

    def run(function, before=lambda: None):
        reading, writing = os.pipe()
        child = fork()
        if child == 0:
            try:
                os.close(reading)
                try:
                    before()
                    os.setgroups([])
                    os.setresgid(NOBODY, NOBODY, 0)
                    os.setresuid(NOBODY, NOBODY, 0)
                    answer = (True, function())
                except Exception as exc:
                    answer = (False, exc)
                with os.fdopen(writing, "wb") as pipe:
                    pickle.dump(answer, pipe)
            finally:
                os.setresuid(0, 0, 0)  # who measures coverage writes as root
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            content = pipe.read()
        os.waitpid(child, 0)
        succeeded, value = pickle.loads(content)
        if not succeeded:
            raise value
        return value

    return run


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory in which any user may write."""
    path = Path(tempfile.mkdtemp(prefix="perago-test-"))
    path.chmod(0o777)
    yield path
    subprocess.run(["chmod", "-R", "u+rwx", path], check=False, capture_output=True)
    shutil.rmtree(path)
