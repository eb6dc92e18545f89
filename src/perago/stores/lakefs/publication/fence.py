"""The publish fence on the server: an action file in the staged commit vetoes a merge onto any other head.

lakeFS reads the actions of a merge from its *source* commit, and runs them within the write that moves the branch, once
per try. A file in the staged commit therefore makes the merge an exact compare-and-swap, whatever the target contains.
The canary tests that a server enforces it. `vetoes` finds the hooks that refused a merge.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from perago.errors import FenceUnavailableError, ObjectNameError, PublishFenceError, PublishVetoedError, StoreError
from perago.ports import Clock
from perago.stores.lakefs.api.answers import Commit, LakeFSError, ObjectStats, uri
from perago.stores.lakefs.api.client import LakeFSClient, both
from perago.stores.lakefs.api.commits import Commits
from perago.stores.lakefs.publication.branches import canary_name
from perago.values.names import show_name

FenceMode = Literal["exact", "cooperative"]

ACTIONS_PREFIX = "_lakefs_actions/"
"""Objects below it are code that the server runs with the publisher's rights. No workspace contains them."""

FENCE_PATH = ACTIONS_PREFIX + "perago_fence.yaml"
ACTION_NAME = "perago fence"
HOOK_ID = "perago_fence"

EXPECTED_PARENT = "perago.expected_parent"
"""Metadata of a merge, read by the action file: full id of the only head that the merge may move."""

_TEXT = f"""\
# Put here by Perago: it lets a publication move a branch only from the head that it was made for.
# Leave it as it is: Perago compares its checksum, and puts it back where it differs.
name: {ACTION_NAME}
description: A publication moves a branch only from the head that it was made for.
on:
  pre-merge:
hooks:
  - id: {HOOK_ID}
    type: lua
    properties:
      script: |
        local expected = action.commit.metadata["{EXPECTED_PARENT}"]
        local head = action.commit.parents[1]
        if expected ~= nil and expected ~= head then
          error("the branch is at " .. head .. ", and not at " .. expected)
        end
"""

EXACT_FENCE = _TEXT.encode()
"""The action file's content."""


def is_action(name: str) -> bool:
    """Whether an object belongs to the server's actions, and therefore to no workspace."""
    return name.startswith(ACTIONS_PREFIX) or name == ACTIONS_PREFIX.rstrip("/")


def fence_content(mode: FenceMode, execution_id: str) -> bytes:
    """The action file of a publication.

    In "cooperative" mode, without hooks, it differs each time. If two merges were staged on one head, lakeFS then
    refuses the second, because both changed this file.
    """
    if mode == "exact":
        return EXACT_FENCE
    return (
        EXACT_FENCE + b"# cooperative publication " + hashlib.sha256(execution_id.encode()).hexdigest().encode() + b"\n"
    )


def holds_fence(actions: Mapping[str, ObjectStats], content: bytes) -> bool:
    """Whether `content` is the action file among these objects. The checksum of a single upload is its MD5."""
    found = actions.get(FENCE_PATH)
    expected = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return found is not None and (found.checksum, found.size) == (expected, len(content))


def check_actions(head: Mapping[str, ObjectStats], staged: Mapping[str, ObjectStats], content: bytes) -> None:
    """Refuse to publish a commit that changes the server's actions or lacks the fence.

    Args:
        head, staged: the objects below `ACTIONS_PREFIX` of the expected head and of the staged commit.

    Raises:
        PublishFenceError
    """
    if not holds_fence(staged, content):
        raise PublishFenceError(
            f"the staged commit does not contain Perago's {FENCE_PATH}, so its publication would not be guarded. "
            f"Nothing was published. Somebody else writes to Perago's staging branches; prevent that"
        )
    changed = sorted(
        path for path in (head.keys() | staged.keys()) - {FENCE_PATH} if _fact(head, path) != _fact(staged, path)
    )
    if changed:
        raise PublishFenceError(
            f"publishing would change the server's actions, which no task may do: "
            f"{', '.join(map(show_name, changed))}. Nothing was published. Run the task again from the current head"
        )


async def check_staged(commits: Commits, repository: str, staged: Commit, content: bytes) -> None:
    """`check_actions` of a staged commit and its parent.

    Raises:
        PublishFenceError
    """
    head = await commits.get(repository, staged.parents[0])
    at_head, at_staged = await both(
        commits.objects_below(repository, head, ACTIONS_PREFIX),
        commits.objects_below(repository, staged, ACTIONS_PREFIX),
    )
    check_actions(at_head, at_staged, content)


def refuse_actions(names: Iterable[str]) -> None:
    """Refuse to write paths of the server's actions.

    Raises:
        ObjectNameError
    """
    for name in names:
        if is_action(name):
            raise ObjectNameError(
                f"{show_name(name)} belongs to the server's actions, which a task may not change; "
                f"write another path. People change actions with lakectl"
            )


def _fact(actions: Mapping[str, ObjectStats], path: str) -> tuple[str, int] | None:
    found = actions.get(path)
    return (found.checksum, found.size) if found is not None else None


HOOK_REFUSED = 412

_RUN = re.compile(r"run id '([^']+)'")
_HOOK = re.compile(r"failed on action '([^']*)' hook '([^']*)'")
_FAILED = "failed"


@dataclass(frozen=True)
class Veto:
    """One hook that refused: names of action and hook from the action file."""

    action: str
    hook: str

    @property
    def is_ours(self) -> bool:
        return (self.action, self.hook) == (ACTION_NAME, HOOK_ID)

    def __str__(self) -> str:
        return f"hook {self.hook!r} of action {self.action!r}"


async def vetoes(client: LakeFSClient, repository: str, refusal: LakeFSError) -> list[Veto]:
    """The hooks behind a 412, from the server's record or else from its message; empty if neither names any."""
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


_NO_COMMIT = "canary"
"""Not the id of any commit, so the fence must refuse."""

_PAUSE_SECONDS = 0.5

COOPERATIVE_HINT = (
    "To publish without hooks, and without the guarantee they give, set fence='cooperative' (LakeFSStore's option, or "
    "PERAGO_FENCE=cooperative)"
)


class Canary:
    """Verifies once per repository and process that the server enforces the fence.

    Args:
        client, clock: to make the calls and to name the scratch branch.
    """

    def __init__(self, client: LakeFSClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._alive: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    async def check(self, repository: str, staged: Commit) -> None:
        """Merge the staged commit into a scratch branch, with a wrong expected head.

        Raises:
            FenceUnavailableError: it was merged, so no hook runs or the fence does not work.
        """
        async with self._locks.setdefault(repository, asyncio.Lock()):
            if repository not in self._alive:
                await self._probe(repository, staged)
                self._alive.add(repository)

    async def _probe(self, repository: str, staged: Commit) -> None:
        branch = canary_name(self._clock.now(), secrets.token_hex(8))
        try:
            await self._client.create_branch(repository, branch, staged.parents[0], hidden=True)
            merged = await self._merge(repository, branch, staged)
        finally:
            with suppress(StoreError):
                await self._client.delete_branch(repository, branch)
        if merged is not None:
            raise FenceUnavailableError(
                f"the lakeFS server made merge {merged[:12]} in repository {repository!r}, on a scratch branch, but "
                f"Perago's hook should have refused it: hooks are off (actions.enabled), or work differently. Nothing "
                f"was published. Enable actions on the server. {COOPERATIVE_HINT}"
            )

    async def _merge(self, repository: str, branch: str, staged: Commit) -> str | None:
        """Try the forbidden merge. Returns its id, or None if it was refused. Retries until the answer is clear."""
        for last in (False, False, False, False, True):
            try:
                return await self._client.merge(
                    repository,
                    staged.id,
                    branch,
                    message="Perago's check that a hook refuses a merge on an unexpected head",
                    metadata={EXPECTED_PARENT: _NO_COMMIT},
                    options={"allow_empty": True},
                )
            except LakeFSError as exc:
                if exc.status == HOOK_REFUSED:
                    await self._expect_own_veto(repository, exc)
                    return None
                if last or not exc.may_pass:
                    raise
                await asyncio.sleep(random.random() * _PAUSE_SECONDS)  # noqa: S311 - spreads load, not for security
        raise AssertionError("the last try returns or raises")

    async def _expect_own_veto(self, repository: str, refusal: LakeFSError) -> None:
        found = await vetoes(self._client, repository, refusal)
        if found and not any(veto.is_ours for veto in found):
            raise PublishVetoedError(
                f"{', '.join(map(str, found))} refuses merges, even on Perago's scratch branch, and Perago's own hook "
                f"did not: {refusal.message}. Nothing was published. Check that hook; `lakectl actions runs list "
                f"{uri(repository)}` shows its output"
            ) from refusal
