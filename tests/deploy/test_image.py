"""The image of deploy/Dockerfile, built here: a worker in it, on a read-only file system, with real servers."""

from __future__ import annotations

import errno
import signal
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from pipeline_support import surroundings
from servers.process import free_port
from start_support import TaskFlow, in_body
from waiting import wait_for
from worker_image import ContainedWorker, what_is_missing, worker_image

MODULES = Path(__file__).parent / "modules"
READ_ONLY = ["/", "/app", "/etc", "/opt/perago"]
OF_THE_WORKER = ["/tmp", "/var/lib/perago", "/var/cache/perago"]  # writable in the container, but not by a body
OF_THE_BODY = ["$TMPDIR", "$HOME", "/dev/shm"]


@pytest.fixture
def image():
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    with worker_image() as image:
        yield image


@pytest.fixture
def worker(image, conductor, conductor_server, lakefs_server, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(MODULES))
    flow = TaskFlow(conductor, "image_tasks")
    variables = surroundings(conductor_server, lakefs_server)
    url, address = variables.pop("CONDUCTOR_SERVER_URL"), f"127.0.0.1:{free_port()}"
    arguments = ["image_tasks", "--domain", flow.domain, "-j", "2", "--json"]
    worker = ContainedWorker(
        image, tmp_path / "worker", url, MODULES, arguments, PERAGO_HEALTH_ADDRESS=address, **variables
    )
    worker.flow, worker.address = flow, address
    return worker


@pytest.mark.first
@pytest.mark.timeout(1800)  # the base is made once
def test_a_worker_completes_a_workflow_and_drains_on_sigterm_on_a_read_only_file_system(
    worker, image, lakefs_repository, lakefs_server
):
    flow = worker.flow
    ref = lakefs_repository.commit_files("main", {"readme.txt": b"data"})
    workspace = {"repository": lakefs_repository.name, "branch": "main", "refType": "commit", "ref": ref}
    registered = worker.perago("register", "image_tasks")
    assert registered.returncode == 0, registered.stderr
    with worker:
        wait_for(lambda: is_ready(worker), "/readyz of the worker", 90)
        (first,) = psutil.Process(worker.pid).children()
        assert Path(first.exe()).name == "tini"
        inside = [first, *first.children(recursive=True)]
        assert {process.uids() for process in inside} == {(10001, 10001, 10001)}

        write_to = [*READ_ONLY, *OF_THE_WORKER, *OF_THE_BODY]
        looked = flow.start("image.look", {"write_to": write_to}, workspace=workspace)
        output = flow.completed(looked, 120)
        expected = [errno.EROFS] * len(READ_ONLY) + [errno.EACCES] * len(OF_THE_WORKER) + [None] * len(OF_THE_BODY)
        assert output["result"]["errors"] == expected
        assert output["workspace"]["ref"] == lakefs_repository.head("main")

        last = flow.start("image.look", {"seconds": 2}, workspace=output["workspace"])
        wait_for(lambda: in_body(worker, flow.task(last)["taskId"]), "the body of the last task")
        first.send_signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.told()
        assert flow.completed(last)["workspace"]["ref"] == lakefs_repository.head("main")
    assert {"readme.txt", "after-0.0", "after-2.0"} <= set(lakefs_repository.files("main"))
    assert lakefs_server.secret_access_key not in worker.told() + worker.output.read_text()


def is_ready(worker):
    assert worker.process.poll() is None, worker.told() + worker.output.read_text()
    try:
        with urlopen(f"http://{worker.address}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
