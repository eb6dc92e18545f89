"""Begins a run and publishes another, whose commit is given: for each line of stdin in a process that is killed.

usage: program_end.py REPOSITORY, with lines "CALL NEW_RUN_BRANCH RUN_COMMIT"
Prints how the process ended. It is killed at that call, or for "moved" right after the branch moved; see
syscalls.c. Each is forked, which is quicker than a start.
"""

import os
import sys

from git_support import EVERYTHING, make_execution
from perago.stores.git import GitStore
from perago.stores.git.locks import Patience
from perago.values.history import Merge
from perago.values.models import WorkspaceInput


def begin_and_end(repository: str, begun: str, ref: str) -> None:
    store = GitStore(repository, patience=Patience(watch=0.05))
    head = store.create_run_branch("data", begun, "main")
    (foreign,) = store.log(head, 1)
    target = WorkspaceInput(repository="data", branch="main", refType="commit", ref=foreign.parents[0])
    changes = store.changes_of_run(target, ref)
    execution = make_execution(target.ref, changes=changes, plan=Merge(head, (head,)), number=1)
    staged = store.stage_run(target, ref, execution)
    store.publish_workspace(staged, target, EVERYTHING, execution)
    store.cleanup_staging(staged)


for line in sys.stdin:
    call, *arguments = line.split()
    child = os.fork()
    if child == 0:
        os.environ.update({"KILL_AFTER": "/refs/heads/main"} if call == "moved" else {"KILL_AT": call})
        code = 1
        try:
            begin_and_end(sys.argv[1], *arguments)
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
