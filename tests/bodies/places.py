"""Where a body can run: in a plain Python program, under `perago run`, and in a worker. All tell the same of it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from supervised import Supervised

from perago.stores.git import GitStore
from perago.worker.executor_messages import GitSettings

MODULES = Path(__file__).parent / "modules"

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
        files: of its workspace afterwards, by path: text, or the rows of a database's table.
    """

    reason: str = ""
    value: Any = None
    files: dict[str, Any] = field(default_factory=dict)


class Place(Protocol):
    def run(self, target: str, **params: Any) -> Seen: ...


class PlainPython:
    """A program that calls the function in an empty directory, and ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runs = 0

    def run(self, target: str, **params: Any) -> Seen:
        self._runs += 1
        place = self._directory / f"plain-{self._runs}"
        (place / "workspace").mkdir(parents=True)
        module, name = target.split(":")
        environment = {**os.environ, "PYTHONPATH": str(MODULES)}
        done = subprocess.run(
            [sys.executable, "-c", _PLAIN, module, name, json.dumps(params), str(place / "result.json")],
            cwd=place / "workspace",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode != 0:
            return Seen(reason=done.stderr)
        return Seen(value=json.loads((place / "result.json").read_text()), files=files_in(place / "workspace"))


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

    def __init__(self, directory: Path, body_start: str) -> None:
        self._directory = directory
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PERAGO_", "LAKECTL_"))},
            "PYTHONPATH": str(MODULES),
            "PERAGO_WORKSPACE_ROOT": str(directory / "workspaces"),
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
            timeout=120,
        )
        said = json.loads(done.stdout) if done.stdout else {"reason": done.stderr, "output": None}
        if said["output"] is None:
            return Seen(reason=said["reason"])
        return Seen(value=said["output"]["result"]["value"], files=self.repository.files(branch))


class Worker:
    """A worker with one slot, on the in-memory engine. A context manager."""

    def __init__(self, directory: Path, body_start: str, targets: list[str]) -> None:
        self.repository = Repository(directory)
        store = GitSettings(path=str(self.repository.path))
        self.supervised = Supervised(
            directory / "workspaces", targets=targets, store=store, body_start=body_start, slots=1
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
        last = self.supervised.ended(name, 60)
        if last.output is None:
            return Seen(reason=self.supervised.engine.tasks.reason(last.task_id) or "no reason")
        return Seen(value=last.output["result"]["value"], files=self.repository.files(branch))


def files_in(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(directory.rglob("*")):
        if path.suffix == ".db":
            database = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
            try:
                found[path.name] = database.execute("select * from found").fetchall()
            except sqlite3.Error as exc:
                found[path.name] = str(exc)
            finally:
                database.close()
        elif path.is_file():
            found[path.relative_to(directory).as_posix()] = path.read_text()
    return found
