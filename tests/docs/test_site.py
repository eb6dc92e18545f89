"""The site builds without a warning, and its reference leaves nothing out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sphinx.util.inventory import InventoryFile

import perago
from pages import PROJECT, options
from perago import errors, testing
from perago.settings.variables import Variables


@pytest.fixture
def described(tmp_path):
    """Everything that the site has an entry for, by kind."""
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going", "docs", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    inventory = InventoryFile.loads((tmp_path / "objects.inv").read_bytes(), uri="")
    return {kind: set(entries) for kind, entries in inventory.data.items()}


def test_the_reference_leaves_nothing_out(described):
    assert set(Variables.model_fields) == described["std:envvar"]

    told = {f"perago-{command}.{option}" for command, taken in options().items() for option in taken}
    assert told <= described["std:cmdoption"]

    python = {name for kind, names in described.items() if kind.startswith("py:") for name in names}
    assert {f"perago.{name}" for name in perago.__all__} <= python
    assert {f"perago.testing.{name}" for name in testing.__all__} <= python

    found = vars(errors).items()
    names = {name for name, value in found if isinstance(value, type) and issubclass(value, errors.PeragoError)}
    homes = {name: "perago" if name in perago.__all__ else "perago.errors" for name in names}
    assert {f"{home}.{name}" for name, home in homes.items()} <= described["py:exception"]
