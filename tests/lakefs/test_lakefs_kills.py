"""`perago run` on a real lakeFS is killed before and after each of its phases; `--resume` brings it to its end."""

import json
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from clocks import LaterClock
from perago.ports import Phase
from perago.values.stamps import from_pairs
from servers.fixtures import repository_on
from servers.lakefs_hooks import ACTIONS, STAGING, store_on

KILLS = Path(__file__).parents[1] / "kills"
BEFORE = {"log.txt": b"", "kept.txt": b"kept"}
AFTER = {"log.txt": b"1\n", "kept.txt": b"kept", "new/1": b"1"}
MAX_BOUNDARIES = 60
SECONDS = 120


class Project:
    """A repository on the server, and `perago` in processes of its own on it."""

    def __init__(self, directory, server, repository):
        self.directory, self.repository = directory, repository
        self.address = f"lakefs://{repository.name}"
        self.root = directory / "workspaces"
        directory.mkdir()
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PERAGO_", "LAKECTL_", "COV"))
        }
        self.environment = kept | {
            "PYTHONPATH": f"{KILLS / 'modules'}:{KILLS.parent / 'support'}",
            "PERAGO_WORKSPACE_ROOT": str(self.root),
            "PERAGO_CACHE_DIR": str(directory / "cache"),
            "XDG_STATE_HOME": str(directory / "state"),
            "LAKECTL_SERVER_ENDPOINT_URL": server.url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": server.access_key_id,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": server.secret_access_key,
        }
        self.base = repository.commit_files("main", BEFORE)

    def perago(self, *arguments, kill_at=None):
        """Run `perago` to its end, or to its death at a boundary of its phases."""
        program = ["-m", "perago"] if kill_at is None else [str(KILLS / "program_killed.py"), str(kill_at)]
        return subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def run(self, kill_at=None):
        return self.perago(
            *("run", "kill_bodies:append", "--repo", self.address, "--branch", "main", "--param", "line=1", "--json"),
            kill_at=kill_at,
        )

    def newest(self):
        return json.loads(self.perago("runs", "--repo", self.address, "--json").stdout)[0]

    def publications(self):
        """Ids of the commits above the beginning that are no seals."""
        commits = [commit for commit in self.repository.log("main", stop_at=self.base) if commit["id"] != self.base]
        stamps = [(commit, self._stamp(commit)) for commit in commits]
        assert all(stamp.expected_head == commit["parents"][0] for commit, stamp in stamps)
        return [commit["id"] for commit, stamp in stamps if stamp.completes is None]

    @staticmethod
    def _stamp(commit):
        pairs = {name.removeprefix("perago."): value for name, value in commit["metadata"].items()}
        stamp = from_pairs(pairs)
        assert stamp is not None, "somebody else wrote"
        return stamp

    def content(self):
        found = self.repository.files("main")
        return {path: data for path, data in found.items() if not path.startswith(ACTIONS)}


@pytest.mark.timeout(900)
def test_a_run_killed_at_any_boundary_of_its_phases_is_resumed(tmp_path, lakefs_server):
    boundaries = []
    for number in range(1, MAX_BOUNDARIES):
        with repository_on(lakefs_server) as repository:
            project = Project(tmp_path / str(number), lakefs_server, repository)
            killed = project.run(kill_at=number)
            where = re.search(r"^killed at (\S+)$", killed.stderr, re.MULTILINE)
            if where is None:
                assert killed.returncode == 0, killed.stderr
                break
            assert killed.returncode == -signal.SIGKILL
            boundaries.append(where[1])
            resume(project, where[1])
            check_outcome(project, lakefs_server, where[1])
    expected = {f"{phase}.{kind}" for phase in set(Phase) - {Phase.POLL} for kind in ("started", "completed")}
    assert expected <= set(boundaries)


def resume(project, where):
    """A run that had been recorded COMPLETED before it was killed says so, and stays as it is."""
    newest = project.newest()
    ended = project.perago("run", "--resume", newest["run_id"], "--repo", project.address, "--json")
    expected = 2 if newest["status"] == "COMPLETED" else 0
    assert ended.returncode == expected, (where, ended.stderr)


def check_outcome(project, server, where):
    assert project.newest()["status"] == "COMPLETED", where
    assert len(project.publications()) == 1, where
    assert project.content() == AFTER, where
    assert list(project.root.iterdir()) == [], where
    with store_on(server, clock=LaterClock(timedelta(days=365))) as later:
        later.repository(project.repository.name).sweep(3600)
    assert project.repository.branches(STAGING, hidden=True) == [], where
