"""What the tests of publishing share: the contract's bench on a lakeFS, and looks at the server by plain HTTP."""

from __future__ import annotations

from contextlib import contextmanager
from unittest.mock import patch

from perago.http.session import HttpSession
from perago.testing.contract.bench import Bench
from servers.lakefs_hooks import ACTIONS

FENCE_PATH = ACTIONS + "perago_fence.yaml"
SECONDS = 20


class LakeFSBench(Bench):
    """Steps of attempts on one repository.

    Attributes:
        proxy: between store and server; None: there is none.
    """

    def __init__(self, hooks, root, proxy=None):
        super().__init__(hooks, hooks.store, root)
        self.proxy = proxy

    @property
    def raw(self):
        """The repository by plain HTTP, as a context."""
        return self.hooks.raw

    def show(self, commit):
        with self.raw() as repository:
            return repository.show(commit)

    def put_action(self, name, text, branch="main"):
        """A person adds an action file; returns the commit."""
        with self.raw() as repository:
            return repository.commit_files(branch, {ACTIONS + name: text})

    def actions(self, ref):
        with self.raw() as repository:
            return repository.files(ref, ACTIONS)

    def staged_edit(self, base, files, plan=None, **stamp):
        """An attempt that has staged these edits."""
        work = self.lay_out(base)
        work.edit(files)
        return self.stage(work, plan, **stamp)


@contextmanager
def recorded_calls():
    """Method and path, below the repository, of each call to the server."""
    calls = []
    honest = HttpSession.call

    async def call(self, request, *, timeout):
        calls.append(f"{request.method} {'/'.join(request.url.path.split('/')[5:])}")
        return await honest(self, request, timeout=timeout)

    with patch.object(HttpSession, "call", call):
        yield calls


def moved_content(calls):
    """Those that upload, copy or read an object."""
    return [call for call in calls if "/objects" in call and not call.endswith("/ls")]
