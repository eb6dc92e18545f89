"""The pytest plugin: fixtures for the tests of tasks.

pytest loads it, through the `pytest11` entry point, in every run of everyone who has Perago installed. So it has
fixtures and nothing else, and imports nothing of Perago before one of them is asked for.
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
    """Lay out files in a new directory, for a function that the test calls itself: `perago_workspace({"in.txt": "…"})`.

    A directory is copied. What the test leaves there stays for a look, as pytest keeps `tmp_path`.
    """
    from perago.testing.given import lay_out_given

    return partial(lay_out_given, tmp_path)


@pytest.fixture
def perago_body(tmp_path: Path) -> Callable[..., BodyRun[Any]]:
    """`perago.testing.run_body`; the workspace of a body that failed stays in `<tmp_path>/kept/`."""
    from perago.testing.body import run_body

    return partial(run_body, root=tmp_path)


@pytest.fixture
def perago_workflow(tmp_path: Path) -> Callable[..., MemoryWorkflow]:
    """Make a `perago.testing.MemoryWorkflow`; the workspaces of failed attempts stay in `<tmp_path>/kept/`."""
    from perago.testing.kit import MemoryWorkflow

    return partial(MemoryWorkflow, root=tmp_path)
