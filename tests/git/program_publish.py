"""One attempt in a process of its own: adds the given files to a branch's head and publishes.

usage: program_publish.py REPOSITORY BRANCH WORKSPACE_DIR
Prints the published commit. OPEN_FILES in the environment: it may have so many open.
"""

import os
import resource
import sys
from pathlib import Path

from git_support import EVERYTHING, make_execution, read_files
from perago.stores.git import GitStore
from perago.values.history import Publish
from perago.values.models import Changes, WorkspaceInput


def main() -> None:
    repository, branch, workspace = sys.argv[1:]
    if "OPEN_FILES" in os.environ:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(os.environ["OPEN_FILES"]),) * 2)
    store = GitStore(repository)
    head = store.branch_head(branch)
    assert head is not None
    directory = Path(workspace)
    workspace_input = WorkspaceInput(repository="data", branch=branch, refType="commit", ref=head)
    changes = Changes(added=tuple(sorted(read_files(directory))))
    execution = make_execution(head, changes=changes, plan=Publish(head))
    staged = store.stage_workspace(directory, workspace_input, EVERYTHING, execution)
    print(store.publish_workspace(staged, workspace_input, EVERYTHING, execution), flush=True)
    store.cleanup_staging(staged)


main()
