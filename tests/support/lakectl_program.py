"""lakeFS's command line, as it was built beside the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.once import cache_directory


def lakectl_program() -> Path:
    """The path of the newest `lakectl` that the tests have built. Skips the test if there is none."""
    found = sorted(cache_directory().glob("lakefs-*/lakectl"))
    if not found:
        pytest.skip("needs lakectl, which is built with a lakeFS server of the tests' own")
    return found[-1]
