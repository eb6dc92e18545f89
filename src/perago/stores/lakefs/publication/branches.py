"""Names of the hidden branches that attempts stage on: whose they are, and since when.

A lakeFS branch tells no time by itself, so the name does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from perago.values.models import TaskExecution, staging_branch_name

STAGING_PREFIX = "perago-"
"""Every branch of ours begins so; a protection rule may not match it."""

_TIME = "%Y%m%dt%H%M%Sz"
_NAME = re.compile(rf"{STAGING_PREFIX}(\d{{8}}t\d{{6}}z)-[a-z0-9-]+")
_CANARY, _IMPORT = "canary", "import"
_CONTENT_SUFFIX = "-content"


@dataclass(frozen=True)
class StagingBranch:
    """A branch of ours, as its name tells.

    Attributes:
        made_at: UTC, whole seconds.
    """

    name: str
    made_at: datetime


def staging_name(execution: TaskExecution, now: datetime) -> str:
    """A branch name for what an execution stages from now on; at most 217 characters of `[a-z0-9-]`."""
    whose = staging_branch_name(execution).removeprefix(STAGING_PREFIX)
    return f"{STAGING_PREFIX}{_time(now)}-{whose}"


def content_name(name: str) -> str:
    """The branch beside a staging branch, on which the content is put together that is then committed on the head."""
    return name + _CONTENT_SUFFIX


def canary_name(now: datetime, token: str) -> str:
    """A scratch branch; `token` makes it nobody else's."""
    return f"{STAGING_PREFIX}{_time(now)}-{_CANARY}-{token}"


def import_name(now: datetime, token: str) -> str:
    """A branch for what a person imports; `token` makes it nobody else's."""
    return f"{STAGING_PREFIX}{_time(now)}-{_IMPORT}-{token}"


def parse_staging(name: str) -> StagingBranch | None:
    """Read a name that this module made; None: it is none of ours, whatever it begins with."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        made_at = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return StagingBranch(name, made_at)


def _time(now: datetime) -> str:
    return now.astimezone(UTC).strftime(_TIME)
