"""Where a body can run: in a plain Python program, under `perago run`, and in a worker. All tell the same of it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from perago.stores.git import GitStore
from perago.stores.git.provider import git_settings
from supervised import Supervised

MODULES = Path(__file__).parents[1] / "bodies" / "modules"
SECONDS = 240.0
"""That one body may take: large libraries, loaded by several processes on a machine that is busy."""

TURNS = (["run-fork-off", "worker-spawn-enforce"], ["run-spawn-enforce", "worker-fork-off"])
"""Places, starts and sandboxes that bodies take in turn: each body meets all values, and all bodies each turn."""

_PLAIN = """
import importlib, json, sys
from pathlib import Path
module, name, params, result = sys.argv[1:]
sys.argv = [""]
module = importlib.import_module(module)
done = getattr(module, name)(Path.cwd(), module.Params(**json.loads(params)))
Path(result).write_text(json.dumps(done.value))
"""

_PERAGO_RUN = [sys.executable, "-m", "perago", "run", "--repo", "data.git", "--json"]


@dataclass(frozen=True)
class Seen:
    """What came of a body.

    Attributes:
        reason: why it failed; "": it completed.
        value: of its result.
        files: of its workspace afterwards, by path: text, or what the file's reader finds (`READERS`).
        stderr: what was written there, as far as the place knows.
    """

    reason: str = ""
    value: Any = None
    files: dict[str, Any] = field(default_factory=dict)
    stderr: str = field(default="", compare=False)


class Place(Protocol):
    root: Path
    """That of the workspaces."""
    body_start: str

    def run(self, target: str, **params: Any) -> Seen: ...


class PlainPython:
    """A program that calls the function in an empty directory, and ends.

    Args:
        python_path: where modules are found.
    """

    def __init__(self, directory: Path, python_path: str = str(MODULES)) -> None:
        self.root = self._directory = directory
        self._python_path = python_path
        self._runs = 0

    def run(self, target: str, **params: Any) -> Seen:
        self._runs += 1
        place = self._directory / f"plain-{self._runs}"
        (place / "workspace").mkdir(parents=True)
        module, name = target.split(":")
        environment = {**os.environ, "PYTHONPATH": self._python_path}
        done = subprocess.run(
            [sys.executable, "-c", _PLAIN, module, name, json.dumps(params), str(place / "result.json")],
            cwd=place / "workspace",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode != 0:
            return Seen(reason=done.stderr)
        value = json.loads((place / "result.json").read_text())
        return Seen(value=value, files=files_in(place / "workspace"), stderr=done.stderr)


class Repository:
    """A git repository whose branches are empty to begin with."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "data.git"
        self.store = GitStore.create(self.path)
        self._directory = directory
        (directory / "empty").mkdir()
        self._branches = 0

    def new_branch(self) -> str:
        self._branches += 1
        name = f"branch-{self._branches}"
        self.store.import_directory(self._directory / "empty", name, "begin")
        return name

    def files(self, branch: str) -> dict[str, Any]:
        out = self._directory / f"out-{branch}"
        self.store.export(self.store.branch_head(branch), "", out)
        return files_in(out)


class PeragoRun:
    """`perago run`."""

    def __init__(
        self, directory: Path, body_start: str, python_path: str = str(MODULES), *, sandbox: str = "off"
    ) -> None:
        self.root = directory / "workspaces"
        self.body_start = body_start
        self._directory = directory
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PERAGO_", "LAKECTL_"))},
            "PYTHONPATH": python_path,
            "PERAGO_WORKSPACE_ROOT": str(self.root),
            "PERAGO_SANDBOX": sandbox,
            "XDG_STATE_HOME": str(directory / "state"),
            "PERAGO_BODY_START": body_start,
        }
        self.repository = Repository(directory)

    def run(self, target: str, **params: Any) -> Seen:
        branch = self.repository.new_branch()
        done = subprocess.run(
            [*_PERAGO_RUN, target, "--params", json.dumps(params), "--branch", branch],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        said = json.loads(done.stdout) if done.stdout else {"reason": done.stderr, "output": None}
        if said["output"] is None:
            return Seen(reason=said["reason"], stderr=done.stderr)
        value = said["output"]["result"]["value"]
        return Seen(value=value, files=self.repository.files(branch), stderr=done.stderr)


class Worker:
    """A worker with one slot, on the in-memory engine. A context manager."""

    def __init__(self, directory: Path, body_start: str, targets: list[str], *, sandbox: str = "off") -> None:
        self.root = directory / "workspaces"
        self.body_start = body_start
        self.repository = Repository(directory)
        store = git_settings(self.repository.path)
        self.supervised = Supervised(
            self.root, targets=targets, store=store, body_start=body_start, sandbox=sandbox, slots=1
        )

    def __enter__(self) -> Worker:
        self.supervised.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.supervised.__exit__(*exc_info)

    def run(self, target: str, **params: Any) -> Seen:
        branch = self.repository.new_branch()
        ref = self.repository.store.branch_head(branch)
        workspace = {"repository": "data", "branch": branch, "refType": "commit", "ref": ref}
        task = target.partition(":")[2]
        input_data = {"workspace": workspace, "params": params}
        name = self.supervised.schedule(task, input_data=input_data, retries=0)
        last = self.supervised.ended(name, SECONDS)
        if last.output is None:
            return Seen(reason=self.supervised.engine.tasks.reason(last.task_id) or "no reason")
        return Seen(value=last.output["result"]["value"], files=self.repository.files(branch))


def files_in(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            read = READERS.get(path.suffix, Path.read_text)
            found[path.relative_to(directory).as_posix()] = read(path)
    return found


def _table_of_sqlite(path: Path) -> Any:
    database = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return database.execute("select * from found").fetchall()
    except sqlite3.Error as exc:
        return str(exc)
    finally:
        database.close()


READERS: dict[str, Callable[[Path], Any]] = {".db": _table_of_sqlite, ".dat": Path.read_bytes}
"""What tells the content of a file, by its suffix."""
