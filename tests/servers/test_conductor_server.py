"""The Conductor server of the tests: it starts, keeps its data over a kill, and leaves nothing behind."""

import os

import pytest

from servers.conductor_api import fresh, simple


@pytest.mark.slow
def test_data_and_address_outlive_a_kill_and_closing_removes_everything(start_conductor):
    server = start_conductor()
    with server.api() as api:
        task = api.define_task(fresh("task"))
        workflow = api.start_workflow(api.define_workflow(fresh("flow"), [simple(task, "only")]))
        first = api.wait_for_task(task)
    pid, url = server.pid, server.url
    server.kill()
    with pytest.raises(OSError), server.api() as api:
        api.task(first["taskId"])
    server.start()
    assert (server.url, server.pid != pid) == (url, True)
    with server.api() as api:
        assert api.task(first["taskId"])["status"] == "IN_PROGRESS"
        api.update(first, "COMPLETED")
        assert api.wait_for_end(workflow)["status"] == "COMPLETED"
    pid, directory = server.pid, server.directory
    server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not directory.exists()
