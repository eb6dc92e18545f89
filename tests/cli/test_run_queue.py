"""`perago run` waits until those of this host that write its branch have published."""

import signal

import pytest

from perago.values.models import WorkspaceInput
from perago.workspace.queue import host_queue
from servers.machine import slowness
from waiting import wait_for

REPO = ("--repo", "data.git", "--branch", "main")


@pytest.fixture
def waiting(repository):
    """Starts a run while another process has its turn; yields when the run waits, with what ends that turn."""
    state = repository.path.parent / "state" / "perago"
    turn = host_queue(state, str(repository.repo), is_server=False)(
        WorkspaceInput(repository="data", branch="main", refType="commit", ref="A"), bool
    )
    turn.__enter__()
    process = repository.start("run", "cli_bodies:write", *REPO)
    try:
        wait_for(lambda: len(list((state / "queue").glob("*-*"))) == 2, "the run's place in the queue")
        yield process, lambda: turn.__exit__(None, None, None)
    finally:
        process.kill()
        process.communicate()


def test_a_run_publishes_in_its_turn(repository, waiting):
    process, end_turn = waiting
    head = repository.head()
    assert process.poll() is None
    end_turn()
    _, err = process.communicate(timeout=60 * slowness())
    assert process.returncode == 0, err
    assert repository.git("rev-parse", "main~1") == head


def test_a_run_that_is_cancelled_in_the_queue_ends_at_once(repository, waiting):
    process, end_turn = waiting
    head = repository.head()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60 * slowness())
    assert process.returncode == 130, err
    assert repository.head() == head
    end_turn()
    assert [path.name for path in (repository.path.parent / "state" / "perago" / "queue").iterdir()] == ["lock"]
