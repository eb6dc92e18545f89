"""A process that forks after it has used a store: both go on, each by its own connections; and one that just ends."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from perago.stores.lakefs import LakeFSStore

url, key, secret, name, what = sys.argv[1:]
store = LakeFSStore(endpoint_url=url, access_key_id=key, secret_access_key=secret)
head = store.repository(name).branch_head("main")
child = os.fork()
if child == 0:
    if what == "uses":
        assert store.repository(name).branch_head("main") == head
    if what != "leaves":
        store.close()
    print("child done", flush=True)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
for _ in range(3):
    assert store.repository(name).branch_head("main") == head
store.close()
print("parent done")
"""


@pytest.mark.parametrize("what", ["uses", "closes", "leaves"])
def test_a_fork_takes_nothing_from_its_parent(lakefs_server, lakefs_repository, what):
    settings = [lakefs_server.url, lakefs_server.access_key_id, lakefs_server.secret_access_key, lakefs_repository.name]
    # from Python 3.12 on, a fork beside threads is warned of
    program = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", PROGRAM, *settings, what]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("child done\nparent done\n", "")


UNCLOSED = """
import sys
from perago.stores.lakefs import LakeFSStore

url, key, secret, name = sys.argv[1:]
store = LakeFSStore(endpoint_url=url, access_key_id=key, secret_access_key=secret)
assert store.repository(name).branch_head("main")
print("done")
"""


def test_a_process_that_does_not_close_its_store_ends_without_a_word(lakefs_server, lakefs_repository):
    settings = [lakefs_server.url, lakefs_server.access_key_id, lakefs_server.secret_access_key, lakefs_repository.name]
    program = [sys.executable, "-c", UNCLOSED, *settings]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
