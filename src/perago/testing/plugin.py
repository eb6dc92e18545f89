"""The pytest plugin: fixtures for tests of tasks.

pytest loads it through the `pytest11` entry point in every run of everyone who has Perago installed. So it has only
fixtures, and imports nothing of Perago until one is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perago.testing.body import BodyRun
    from perago.testing.given import Files
    from perago.testing.kit import MemoryWorkflow


@pytest.fixture
def perago_workspace(tmp_path: Path) -> Callable[[Files], Path]:
    """Write files to a new directory, for a function that the test calls itself: `perago_workspace({"in.txt": "…"})`.

    A directory is copied. The files stay after the test, because pytest keeps `tmp_path`.
    """
    from perago.testing.given import lay_out_given

    return partial(lay_out_given, tmp_path)


@pytest.fixture
def perago_body(tmp_path: Path) -> Callable[..., BodyRun[Any]]:
    """`perago.testing.run_body`; the workspace of a failed body stays in `<tmp_path>/kept/`."""
    from perago.testing.body import run_body

    return partial(run_body, root=tmp_path)


@pytest.fixture
def perago_workflow(tmp_path: Path) -> Callable[..., MemoryWorkflow]:
    """Create a `perago.testing.MemoryWorkflow`; the workspaces of failed attempts stay in `<tmp_path>/kept/`."""
    from perago.testing.kit import MemoryWorkflow

    return partial(MemoryWorkflow, root=tmp_path)
