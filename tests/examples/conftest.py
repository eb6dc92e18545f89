from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples' directory, their modules importable."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return EXAMPLES
