"""Names within the commands that messages give."""

from __future__ import annotations

import shlex


def uri(repository: str, *below: str) -> str:
    """`lakefs://…` as one word of a shell: the names come from a task's input, and may be anything."""
    return shlex.quote("/".join(("lakefs:/", repository, *below)))
