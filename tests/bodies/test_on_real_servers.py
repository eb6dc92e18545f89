"""The same bodies in a worker of a real Conductor, on a real lakeFS."""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from landlock import needs_landlock
from places import MODULES, Seen, files_in
from planted import expect_all_refused, neighbours
from start_support import StartedWorker, TaskFlow
from waiting import wait_for

SHM = Path("/dev/shm")
ROWS = [
    "leave_a_file_open",
    "leave_a_file_open_elsewhere",
    "leave_a_database_open",
    "leave_a_database_in_a_cycle",
    "write_at_exit",
    "leave_a_thread",
    "leave_without_stdout",
    "use_pools",
    "fork_from_threads",
    "change_everything",
    "log_to_a_file",
    "ignore_children",
    "run_what_fails",
    "limit_file_sizes",
    "take_all_modes",
    "write_a_file",
    "set_an_alarm",
    "sleep_over_the_alarm",
]
FAILURES = {
    ("crash_at_the_end", ""): "was killed by SIGSEGV",
    ("exit_at_the_end", ""): "exited with code 3",
    ("die", "exit"): "exited with code 3",
    ("die", "segfault"): "SIGSEGV",
    ("die", "memory"): "SIGKILL, perhaps because the machine ran",
    ("raise_much", ""): "ValueError: xxx",
}
"""A body and its param, and what the attempt's reason says."""


class RealWorker:
    def __init__(self, flow: TaskFlow, repository: Any, directory: Path) -> None:
        self._flow, self._repository, self._directory = flow, repository, directory
        self._root = repository.head("main")
        self._runs = 0

    def start(self, task: str, **params: Any) -> tuple[str, str]:
        """Start a workflow of one task on a branch of its own; returns its id and the branch."""
        self._runs += 1
        branch = f"branch-{self._runs}"
        self._repository.branch(branch, self._root)
        workspace = {"repository": self._repository.name, "branch": branch, "refType": "commit", "ref": self._root}
        return self._flow.start(task, params, workspace=workspace), branch

    def run(self, target: str, **params: Any) -> Seen:
        workflow, branch = self.start(target.partition(":")[2], **params)
        if self._flow.api.wait_for_end(workflow, 120)["status"] != "COMPLETED":
            return Seen(reason=self._flow.task(workflow)["reasonForIncompletion"])
        output = self._flow.task(workflow)["outputData"]
        out = self._directory / branch
        for path, content in self._repository.files(branch).items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(content)
        files = {path: content for path, content in files_in(out).items() if not path.startswith("_lakefs_actions/")}
        return Seen(value=output["result"]["value"], files=files)


@pytest.fixture
def credentials(lakefs_server: Any, tmp_path: Path) -> dict[str, str]:
    """In a file of settings: no variable of the worker's environment holds them."""
    (tmp_path / ".env").write_text(
        f"LAKECTL_SERVER_ENDPOINT_URL={lakefs_server.url}\n"
        f"LAKECTL_CREDENTIALS_ACCESS_KEY_ID={lakefs_server.access_key_id}\n"
        f"LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY={lakefs_server.secret_access_key}\n"
    )
    return {}


@pytest.fixture
def start(
    conductor: Any,
    conductor_server: Any,
    lakefs_repository: Any,
    credentials: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., RealWorker]]:
    """Starts a worker whose bodies begin as told."""
    monkeypatch.syspath_prepend(str(MODULES))
    workers = []

    def make(
        body_start: str, module: str = "plain_rows", sandbox: str = "off", files: dict[str, bytes] | None = None
    ) -> RealWorker:
        if files:
            lakefs_repository.commit_files("main", files)
        flow = TaskFlow(conductor, module)
        variables = {"PERAGO_BODY_START": body_start, "PERAGO_SANDBOX": sandbox, "PYTHONPATH": str(MODULES)}
        worker = StartedWorker(
            *(tmp_path, conductor_server.api_url, [module], "--domain", flow.domain, "-j", "2"),
            **variables,
            **credentials,
        )
        workers.append(worker)
        worker.__enter__().wait_ready()
        return RealWorker(flow, lakefs_repository, tmp_path / "out")

    yield make
    for worker in workers:
        worker.__exit__()


@pytest.mark.parametrize("body_start", ["fork", "spawn"])
def test_a_body_does_twice_what_a_program_does_on_real_servers(start, plain, body_start):
    worker = start(body_start)
    expected = {row: plain.run(f"plain_rows:{row}") for row in ROWS}
    for _ in range(2):
        assert {row: worker.run(f"plain_rows:{row}") for row in ROWS} == expected


@needs_landlock
@pytest.mark.parametrize("body_start", ["fork", "spawn"])
def test_whatever_a_confined_body_reaches_for_is_refused_on_real_servers(start, tmp_path, body_start):
    """What neighbours have planted, the credentials, the log, and the object cache that the workspace came from."""
    worker = start(body_start, "confined_rows", "enforce", {"large.txt": b"x" * 256_000})
    assert worker.run("confined_rows:have_an_own_place").reason == ""
    outside = tmp_path / "outside"
    outside.mkdir()
    with neighbours(outside, tmp_path / "workspaces") as planted:
        cached = files_below(tmp_path / "cache")
        assert cached
        own = [tmp_path / ".env", *files_below(tmp_path / "logs"), *cached]
        planted["others"] |= {str(path.relative_to(tmp_path)): str(path) for path in own}
        seen = worker.run("confined_rows:reach_for_everything", **planted)
        assert seen.reason == ""
        expect_all_refused(seen.value, planted)
        before = {path: path.read_bytes() for path in cached}
        assert worker.run("confined_rows:change_all_files").files["large.txt"] == "changed"
        assert {path: path.read_bytes() for path in cached} == before


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("body_start", ["fork", "spawn"])
def test_what_ends_badly_on_real_servers_says_how_and_leaves_nothing(start, body_start):
    worker = start(body_start)
    for (body, name), words in FAILURES.items():
        reason = worker.run(f"plain_rows:{body}", name=name).reason
        assert words in reason
        assert len(reason) <= 500
    memory = f"perago-{uuid.uuid4().hex}"
    assert worker.run("plain_rows:leave_shared_memory", name=memory).reason == ""
    assert not (SHM / memory).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the memory of a process")
def test_no_credential_of_the_store_is_in_a_body_s_memory(start, lakefs_server, tmp_path):
    worker = start("fork")
    told = tmp_path / "pid.txt"
    worker.start("wait_to_be_looked_at", name=str(told))
    wait_for(lambda: told.exists() and told.read_text().endswith("\n"), "the body", 60)
    pid = int(told.read_text())
    secret = lakefs_server.secret_access_key.encode()
    assert not _holds(pid, secret)
    assert _holds(pid, hashlib.sha256(b"a mark").hexdigest().encode()), "the look finds what is there"
    told.unlink()


def _holds(pid: int, text: bytes) -> bool:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            if line.split()[1][0] != "r" or "[v" in line:
                continue
            memory.seek(begin)
            try:
                if text in memory.read(end - begin):
                    return True
            except OSError:
                continue
    return False
