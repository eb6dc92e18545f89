"""Facts of lakeFS: what it has answered outlives its end, and what was under way is done wholly or not at all."""

import http.client
import random
import threading
import time
from contextlib import suppress

import pytest

from facts_support import fenced, publish, stage
from servers.fixtures import repository_on
from servers.lakefs_api import LakeFSRepository
from servers.process import ServerFailedError

TURNS = 6


@pytest.fixture
def server(start_lakefs):
    return start_lakefs()


def restart(server, end, repository):
    repository.api.close()  # its connection ends too; the next call makes a new one
    with suppress(ServerFailedError):  # on SIGTERM lakeFS may wait for a merge for ever; then it was killed
        getattr(server, end)()
    server.start()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_answered_is_kept(server, end):
    with repository_on(server) as repository:
        head = fenced(repository)
        staged = stage(repository, head, {"mine": b"mine"})
        repository.put(repository.branch("dirty", head), "uncommitted", b"u")
        assert publish(repository, staged, head).status == 200
        published = repository.head("main")
        restart(server, end, repository)
        assert repository.head("main") == published
        assert repository.show("main")["parents"] == [head, staged]
        assert repository.get("main", "mine") == b"mine"
        assert repository.get("dirty", "uncommitted") == b"u"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_merge_under_way_at_the_end_is_whole_or_not_there(server, end):
    chance = random.Random(1)
    with repository_on(server) as repository:
        head = fenced(repository)
        for turn in range(TURNS):
            staged = stage(repository, head, {"mine": str(turn).encode()})
            merging = threading.Thread(target=_merge, args=(server, repository.name, staged, head))
            merging.start()
            time.sleep(chance.uniform(0.0, 0.008))
            restart(server, end, repository)
            merging.join()
            found = repository.show("main")
            if found["id"] == head:
                assert publish(repository, staged, head).status == 200, "once more, on the same head"
            else:
                assert publish(repository, staged, head).status == 400, "the second one changes nothing"
            found = repository.show("main")
            assert found["parents"] == [head, staged]
            assert repository.get("main", "mine") == str(turn).encode()
            head = found["id"]
        assert len(repository.line("main")) == TURNS + 2


def _merge(server, name, staged, head):
    with server.api() as api:
        try:
            publish(LakeFSRepository(api, name), staged, head)
        except (http.client.HTTPException, OSError):
            return  # it is to be cut
