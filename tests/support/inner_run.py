"""A run of pytest by itself on a few tests, with what holds for all of ours (`conftest.py`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from servers.machine import slowness

TESTS = Path(__file__).parents[1]


def run_tests(directory: Path, code: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of some code in a directory; pytest's cache is in its `cache`."""
    (directory / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (directory / "test_it.py").write_text(code)
    given = ["-c", TESTS.parent / "pyproject.toml", "--rootdir", directory, "-o", f"cache_dir={directory / 'cache'}"]
    environment = {
        **os.environ,
        "CI": "",
        "PERAGO_TEST_SHARE": "1/1",
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), *sys.path]),
        **variables,
    }
    command = [sys.executable, "-m", "pytest", *given, *options, directory]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60 * slowness()
    )
