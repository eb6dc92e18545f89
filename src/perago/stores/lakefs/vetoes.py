"""Who refused a merge: Perago's own hook, or another one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.fence import ACTION_NAME, HOOK_ID

HOOK_REFUSED = 412

_RUN = re.compile(r"run id '([^']+)'")
_HOOK = re.compile(r"failed on action '([^']*)' hook '([^']*)'")
_FAILED = "failed"


@dataclass(frozen=True)
class Veto:
    """One hook that refused: names of action and hook, as the action files have them."""

    action: str
    hook: str

    @property
    def is_ours(self) -> bool:
        return (self.action, self.hook) == (ACTION_NAME, HOOK_ID)

    def __str__(self) -> str:
        return f"hook {self.hook!r} of action {self.action!r}"


async def vetoes(client: LakeFSClient, repository: str, refusal: LakeFSError) -> list[Veto]:
    """The hooks behind a 412: as the server recorded them, else as its message names them; none where neither does."""
    run = _RUN.search(refusal.message)
    if run is not None:
        try:
            hooks = await client.list_hook_runs(repository, run[1])
        except LakeFSError:
            hooks = []
        found = [Veto(hook.action, hook.hook_id) for hook in hooks if hook.status == _FAILED]
        if found:
            return found
    return [Veto(action, hook) for action, hook in _HOOK.findall(refusal.message)]
