"""Moves the files of a directory to a branch, or those of a commit to a directory, as an attempt does.

usage: python -m benchmarks.transfers.program_move URL REPOSITORY up|down DIRECTORY REF [CACHE]
with the access key in PERAGO_BENCH_KEY_ID and PERAGO_BENCH_SECRET. Prints the seconds as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

from perago.http.loop import LoopThread
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.content.upload import Upload
from perago.stores.lakefs.materialize import check_layout, lay_out, plan_layout
from perago.values.spec import WorkspaceSpec
from perago.workspace.cache import ObjectCache

CACHE_BYTES = 10 * 1024**3
CONNECTIONS = 48
"""As `LakeFSStore` by default."""


def main() -> None:
    """Move them and print the seconds."""
    url, repository, direction, directory, ref, *cached = sys.argv[1:]
    with ExitStack() as opened:
        cache = opened.enter_context(ObjectCache(Path(cached[0]), CACHE_BYTES)) if cached else None
        loop = opened.enter_context(closing(LoopThread("transfers")))
        key, secret = os.environ["PERAGO_BENCH_KEY_ID"], os.environ["PERAGO_BENCH_SECRET"]
        client = LakeFSClient.connect(url, key, secret, connections=CONNECTIONS)
        opened.callback(lambda: loop.run(client.close()))
        began = time.perf_counter()
        transfer = Transfer(client, loop, repository, loop.run(client.get_config()), cache)
        (send if direction == "up" else fetch)(transfer, ref, Path(directory))
        print(json.dumps(time.perf_counter() - began))


def send(transfer: Transfer, branch: str, source: Path) -> None:
    """Upload a directory."""
    paths = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    transfer.loop.run(Upload(transfer, branch, source, "", lambda _: None).run(sorted(paths), ()))


def fetch(transfer: Transfer, commit: str, target: Path) -> None:
    """Download a commit."""
    layout = transfer.loop.run(plan_layout(transfer, commit, WorkspaceSpec(), may_be_missing=False))
    target.mkdir()
    check_layout(layout, target)
    lay_out(transfer, layout, target, lambda _: None)


if __name__ == "__main__":
    main()
