"""The layers of ARCHITECTURE.md are held: an import that breaks them is found."""

import os
import shutil
import subprocess
import sys
import tomllib
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


UI = {f"perago.ui.{page}" for page in ("app", "follow", "render", "report", "serve")}
KNOWN_BY = {
    "click": {"perago.cli"},
    "rich": {"perago.cli"},
    "starlette": UI,
    "uvicorn": UI,
    "jinja2": UI,
    "markupsafe": UI,
    "opentelemetry": {"perago.telemetry"},
    "openlineage": {"perago.telemetry"},
    "prometheus_client": {"perago.telemetry"},
    "aiohttp": {"perago.http"},
    "urllib3": {"perago.http"},
    "pygit2": {"perago.stores.git"},
    "psutil": {"perago.stores.git", "perago.worker", "perago.workspace"},
    "perago.stores.git": {"perago.settings", "perago.stores.git", "perago.stores.lakefs"},
    "perago.stores.lakefs": {"perago.settings", "perago.stores.git", "perago.stores.lakefs"},
}
"""Who may import it. The contracts list everybody else by name, so that a new room would escape them."""


def modules() -> set[str]:
    sources = ROOT / "src"
    paths = (path.relative_to(sources).with_suffix("") for path in (sources / "perago").rglob("*.py"))
    return {".".join(path.parts) for path in paths if not path.name.startswith("_")}


def covers(rooms: set[str], module: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("known", KNOWN_BY)
def test_a_contract_holds_for_each_room_that_may_not_import(known):
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    forbidden = (each["source_modules"] for each in contracts if known in each.get("forbidden_modules", ()))
    held = {source for sources in forbidden for source in sources}
    assert {module for module in modules() if not covers(held | KNOWN_BY[known], module)} == set()


def test_a_room_that_no_contract_names_is_found():
    assert not covers({"perago.ui", "perago.files"}, "perago.filed.new")
    assert covers({"perago.ui", "perago.files"}, "perago.files.new")


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
    "what finds a repository knows a run": ("running/repos/address.py", "perago.running.task"),
    "a run knows the command line": ("running/request.py", "click"),
    "a run knows a terminal": ("running/view.py", "rich"),
    "a store knows an HTTP library": ("stores/lakefs/api/client.py", "aiohttp"),
    "an engine knows an HTTP library": ("engines/conductor/client.py", "urllib3"),
    "a workspace knows git": ("workspace/manifest.py", "pygit2"),
    "a page knows a command": ("ui/runs.py", "perago.cli.output"),
    "boxes know what escapes": ("ui/boxes.py", "markupsafe"),
    "a preview knows the web": ("ui/preview/make.py", "starlette"),
    "a command knows the web": ("cli/commands/ui.py", "starlette"),
    "what is asked knows the page": ("asking/log.py", "perago.ui.render"),
    "a run knows processes": ("running/task.py", "psutil"),
    "the index knows processes": ("index/history.py", "psutil"),
    "the index knows git": ("index/history.py", "pygit2"),
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
