"""A worker as the first process of a container: it heeds SIGTERM, and lets no ended process stay."""

from __future__ import annotations

import shutil
import signal
import subprocess

import psutil
import pytest

from perago.stores.git import GitStore
from start_support import MODULES, StartedWorker, TaskFlow, in_body
from waiting import wait_for

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


class FirstProcess(StartedWorker):
    """The worker is process 1 of a namespace of its own, as in a container without an init."""

    def start(self) -> None:
        self._command = [*NAMESPACE, *self._command]
        super().start()

    @property
    def is_ready(self) -> bool:
        worker = self.status()["worker"]
        return worker is not None and worker["pid"] == 1 and bool(worker["polled_at"])

    @property
    def first(self) -> psutil.Process:
        """Process 1, as it is seen from outside."""
        (found,) = psutil.Process(self.pid).children()
        return found

    def ended_but_there(self) -> list[str]:
        """Processes that nobody has collected."""
        return [str(it) for it in self.first.children(recursive=True) if it.status() == psutil.STATUS_ZOMBIE]


@pytest.fixture
def worker(conductor, conductor_server, tmp_path, monkeypatch):
    if (
        shutil.which("unshare") is None
        or subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs unshare of util-linux, and root")
    monkeypatch.syspath_prepend(str(MODULES))
    flow = TaskFlow(conductor, "supervised_bodies")
    GitStore.create(tmp_path / "data.git")
    options = ("--domain", flow.domain, "--repo", str(tmp_path / "data.git"), "-j", "2")
    with FirstProcess(tmp_path, conductor_server.api_url, ["supervised_bodies"], *options) as started:
        started.flow = flow
        yield started.wait_ready()


def test_it_collects_what_bodies_leave_and_drains_on_sigterm(worker, tmp_path):
    left = worker.flow.start("light.leave_a_process", {"path": str(tmp_path / "left")})
    worker.flow.start("light.die", {"text": "killed"})
    worker.flow.completed(left)
    wait_for(lambda: "gets another executor" in worker.told(), "the executor to be replaced", 60)
    echoed = worker.flow.start("light.echo", {"text": "still here"})
    assert worker.flow.completed(echoed)["result"]["text"] == "still here"
    wait_for(lambda: not worker.ended_but_there(), "ended processes to be collected")
    last = worker.flow.start("light.sleep", {"seconds": 2})
    # Not only handed out: what no slot has yet is given back at the signal.
    wait_for(lambda: in_body(worker, worker.flow.task(last)["taskId"]), "the body")
    worker.first.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert worker.flow.completed(last)["result"]["text"] == "slept"
