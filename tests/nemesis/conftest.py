"""Where the modules of the nemesis are found."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "modules"))
