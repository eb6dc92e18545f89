"""A client and its transfers on a server, for tests of moving data."""

import contextlib
import random
from pathlib import Path

from perago.http.loop import LoopThread
from perago.ports import Kept
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.content.upload import Upload
from perago.stores.lakefs.materialize import check_layout, lay_out, plan_layout
from perago.values.spec import WorkspaceSpec

MIB = 1024 * 1024


def ignore(_size):
    pass


@contextlib.contextmanager
def transfer_to(url, server, repository, *, cache=None, ca_file=None, connections=48, **options):
    """A Transfer through a URL of the server: its own, or a proxy's."""
    client = LakeFSClient.connect(
        url, server.access_key_id, server.secret_access_key, ca_file=ca_file, connections=connections
    )
    loop = LoopThread("transfer-test", client.close)  # calls that still run are ended first, as in a store
    try:
        facts = loop.run(client.get_config())
        yield Transfer(client, loop, repository, facts, cache, **options)
    finally:
        loop.close()


def download(transfer, commit, target: Path, *, may_be_missing=True, done=ignore, kept=(), **spec):
    """Lay out a commit in a new directory, but for what is kept, digest by path; returns the digests."""
    spec = WorkspaceSpec(**spec)
    layout = transfer.loop.run(plan_layout(transfer, commit, spec, may_be_missing=may_be_missing))
    target.mkdir(exist_ok=True)
    check_layout(layout, target)
    return lay_out(transfer, layout, target, done, kept=Kept(dict(kept), ()))


def upload(transfer, branch, source: Path, *, root="", deleted=(), written=None, done=ignore):
    """Bring a branch to what a directory has; returns what stands at each path."""
    paths = sorted(files_of(source)) if written is None else written
    return transfer.loop.run(Upload(transfer, branch, source, root, done).run(paths, deleted))


def files_of(directory: Path):
    """Path -> content of all files below."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def write_files(directory: Path, files):
    for path, content in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def noise(size, seed=1):
    """Bytes that do not repeat, the same for a seed."""
    return random.Random(seed).randbytes(size)
