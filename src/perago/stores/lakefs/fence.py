"""The publish fence in the server: an action file in the staged commit, which vetoes a merge onto any other head.

lakeFS reads the actions of a merge from its *source* commit, and runs them within the write that moves the branch, once
for each try of it. So a file in the staged commit makes the merge an exact compare-and-swap, whatever the target holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

from perago.errors import ObjectNameError, PublishFenceError
from perago.names import show_name
from perago.stores.lakefs.values import ObjectStats

FenceMode = Literal["exact", "cooperative"]

ACTIONS_PREFIX = "_lakefs_actions/"
"""Objects below it are code that the server runs with the publisher's rights. No workspace sees or changes them."""

FENCE_PATH = ACTIONS_PREFIX + "perago_fence.yaml"
ACTION_NAME = "perago fence"
HOOK_ID = "perago_fence"

EXPECTED_PARENT = "perago.expected_parent"
"""Metadata of a merge: the full id of the head that it may move; the action file reads it."""

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
    """Whether an object belongs to the server's actions, and so to no workspace."""
    return name.startswith(ACTIONS_PREFIX) or name == ACTIONS_PREFIX.rstrip("/")


def fence_content(mode: FenceMode, execution_id: str) -> bytes:
    """The action file that a publication carries.

    Without hooks ("cooperative") it is another one each time: lakeFS then refuses the second of two merges that were
    staged on one head, because both changed this file.
    """
    if mode == "exact":
        return EXACT_FENCE
    return (
        EXACT_FENCE + b"# cooperative publication " + hashlib.sha256(execution_id.encode()).hexdigest().encode() + b"\n"
    )


def holds_fence(actions: Mapping[str, ObjectStats], content: bytes) -> bool:
    """Whether the action file among these objects is this one; the checksum of a single upload is its MD5."""
    found = actions.get(FENCE_PATH)
    expected = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return found is not None and (found.checksum, found.size) == (expected, len(content))


def check_actions(head: Mapping[str, ObjectStats], staged: Mapping[str, ObjectStats], content: bytes) -> None:
    """Refuse to publish a commit that would change the server's actions, or that lacks the fence.

    Args:
        head, staged: the objects below `ACTIONS_PREFIX` of the commit that is to be moved, and of the staged one.

    Raises:
        PublishFenceError
    """
    if not holds_fence(staged, content):
        raise PublishFenceError(
            f"the staged commit does not hold Perago's own {FENCE_PATH}, so that nothing would guard its publication. "
            f"Nothing was published. Somebody else writes to Perago's staging branches; keep them off"
        )
    changed = sorted(
        path for path in (head.keys() | staged.keys()) - {FENCE_PATH} if _fact(head, path) != _fact(staged, path)
    )
    if changed:
        raise PublishFenceError(
            f"publishing would change the server's actions, which no task may do: "
            f"{', '.join(map(show_name, changed))}. Nothing was published. Run the task again from the present head"
        )


def refuse_actions(names: Iterable[str]) -> None:
    """Refuse to write what the server would run.

    Raises:
        ObjectNameError
    """
    for name in names:
        if is_action(name):
            raise ObjectNameError(
                f"{show_name(name)} is among the server's actions, and a task may not change what the server runs; "
                f"write another path. Actions are changed by people, with lakectl"
            )


def _fact(actions: Mapping[str, ObjectStats], path: str) -> tuple[str, int] | None:
    found = actions.get(path)
    return (found.checksum, found.size) if found is not None else None
