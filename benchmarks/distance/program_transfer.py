"""Downloads a commit, and uploads what was downloaded to a new branch. Prints the seconds of each as JSON.

usage: python -m benchmarks.distance.program_transfer URL REPOSITORY BRANCH DIRECTORY
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from perago.http.loop import LoopThread
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.content.upload import Upload
from perago.stores.lakefs.materialize import check_layout, lay_out, plan_layout
from perago.values.spec import WorkspaceSpec


def main() -> None:
    url, repository, branch, directory = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
    head = os.environ["PERAGO_BENCH_HEAD"]
    client = LakeFSClient.connect(url, os.environ["PERAGO_BENCH_KEY_ID"], os.environ["PERAGO_BENCH_SECRET"])
    loop = LoopThread("transfer", client.close)
    began = time.perf_counter()
    transfer = Transfer(client, loop, repository, loop.run(client.get_config()))
    layout = loop.run(plan_layout(transfer, head, WorkspaceSpec(), may_be_missing=False))
    directory.mkdir()
    check_layout(layout, directory)
    lay_out(transfer, layout, directory, lambda _: None)
    down = time.perf_counter() - began
    loop.run(client.create_branch(repository, branch, head))
    began = time.perf_counter()
    upload = Upload(transfer, branch, directory, "", lambda _: None)
    loop.run(upload.run([stats.path for stats in layout.files], []))
    up = time.perf_counter() - began
    loop.close()
    print(json.dumps({"down": down, "up": up}))


if __name__ == "__main__":
    main()
