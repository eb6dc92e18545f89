"""The layers of ARCHITECTURE.md are held: an import that breaks them is found."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINT = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the package, to plant imports in."""
    directory = tmp_path_factory.mktemp("layers")
    shutil.copytree(ROOT / "src" / "perago", directory / "perago", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", directory)
    return directory


def lint(tree):
    """Exit code, and what was said."""
    ran = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_the_package_keeps_its_layers(tree):
    code, said = lint(tree)
    assert code == 0, said
    assert "0 broken" in said


PLANTED = {
    "an adapter knows the core": ("stores/git/store.py", "perago.attempt.run"),
    "a store knows the other": ("stores/git/store.py", "perago.stores.lakefs.api.values"),
    "a store knows an engine": ("stores/lakefs/store.py", "perago.engines.limits"),
    "an engine knows the other": ("engines/local/__init__.py", "perago.engines.conductor.mapping"),
    "an engine knows tasks": ("engines/limits.py", "perago.tasks.metrics"),
    "connections know telemetry": ("http/retry.py", "perago.telemetry.instruments"),
    "telemetry knows plans": ("telemetry/measures.py", "perago.plans"),
    "telemetry knows stamps": ("telemetry/measures.py", "perago.stamps"),
    "telemetry knows repositories": ("telemetry/measures.py", "perago.repositories"),
    "a worker knows the testing kit": ("worker/polling.py", "perago.testing.store"),
}


@pytest.mark.parametrize(("file", "imported"), PLANTED.values(), ids=PLANTED)
def test_an_import_that_breaks_them_is_found(tree, file, imported):
    path = tree / "perago" / file
    before = path.read_text()
    path.write_text(f"{before}\n\ndef planted() -> None:\n    import {imported}\n")
    try:
        code, said = lint(tree)
    finally:
        path.write_text(before)
    assert code == 1, said
    assert imported in said
