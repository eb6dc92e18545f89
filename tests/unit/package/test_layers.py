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
    "a store knows the other": ("stores/git/store.py", "perago.stores.lakefs.api.answers"),
    "a store knows an engine": ("stores/lakefs/store.py", "perago.engines.limits"),
    "an engine knows the other": ("engines/local/__init__.py", "perago.engines.conductor.mapping"),
    "workflows know a store": ("workflows/check.py", "perago.stores.git.trees"),
    "workflows know an engine": ("workflows/decide.py", "perago.engines.limits"),
    "an engine knows tasks": ("engines/limits.py", "perago.tasks.metrics"),
    "connections know telemetry": ("http/retry.py", "perago.telemetry.instruments"),
    "telemetry knows plans": ("telemetry/measures.py", "perago.values.plans"),
    "telemetry knows stamps": ("telemetry/measures.py", "perago.values.stamps"),
    "a value knows the ports": ("values/record.py", "perago.ports"),
    "an older value knows a younger one": ("values/history.py", "perago.values.stamps"),
    "a worker knows the testing kit": ("worker/supervisor/polling.py", "perago.testing.store"),
    "an attempt knows its supervisor": ("worker/attempts/job.py", "perago.worker.supervisor.slot"),
    "an executor knows slots": ("worker/executor/main.py", "perago.worker.supervisor.slot"),
    "an executor knows an engine's client": ("worker/executor/runner.py", "perago.engines.conductor.client"),
    "an executor knows the settings": ("worker/executor/main.py", "perago.settings.config"),
    "a supervisor loads a store": ("worker/supervisor/held.py", "perago.stores.git"),
    "a supervisor loads tasks": ("worker/supervisor/slot.py", "perago.tasks.load"),
    "a supervisor runs attempts": ("worker/supervisor/slot.py", "perago.worker.executor.runner"),
    "a process knows tasks": ("worker/process/zygote.py", "perago.tasks.declare"),
    "content knows publications": ("stores/lakefs/content/upload.py", "perago.stores.lakefs.publication.fence"),
    "the API knows the store": ("stores/lakefs/api/client.py", "perago.stores.lakefs.connection"),
    "a run knows a command": ("cli/run/task.py", "perago.cli.commands.log"),
    "a run knows which store there is": ("running/task.py", "perago.stores.git.store"),
    "a run knows the command line": ("running/request.py", "click"),
    "a run knows a terminal": ("running/view.py", "rich"),
    "a store knows an HTTP library": ("stores/lakefs/api/client.py", "aiohttp"),
    "an engine knows an HTTP library": ("engines/conductor/client.py", "urllib3"),
    "a workspace knows git": ("workspace/manifest.py", "pygit2"),
    "a page knows a command": ("ui/runs.py", "perago.cli.output"),
    "a preview knows the web": ("ui/preview/make.py", "starlette"),
    "a command knows the web": ("cli/commands/ui.py", "starlette"),
    "what is asked knows the page": ("asking/log.py", "perago.ui.render"),
    "a run knows processes": ("running/task.py", "psutil"),
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
