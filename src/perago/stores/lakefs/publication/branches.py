"""Names of the hidden staging branches. A name identifies the owner and the time.

The time is in the name because a lakeFS branch does not record one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from perago.values.models import TaskExecution, staging_branch_name

STAGING_PREFIX = "perago-"
"""All of Perago's branches start with this; a protection rule must not match it."""

_TIME = "%Y%m%dt%H%M%Sz"
_NAME = re.compile(rf"{STAGING_PREFIX}(\d{{8}}t\d{{6}}z)-[a-z0-9-]+")
_CANARY, _IMPORT = "canary", "import"
_CONTENT_SUFFIX = "-content"


@dataclass(frozen=True)
class StagingBranch:
    """A staging branch, parsed from its name.

    Attributes:
        made_at: UTC, whole seconds.
    """

    name: str
    made_at: datetime


def staging_name(execution: TaskExecution, now: datetime) -> str:
    """A new branch name for what an execution stages; at most 217 characters of `[a-z0-9-]`."""
    whose = staging_branch_name(execution).removeprefix(STAGING_PREFIX)
    return f"{STAGING_PREFIX}{_time(now)}-{whose}"


def content_name(name: str) -> str:
    """The branch beside a staging branch for content that is prepared there and then committed on the head."""
    return name + _CONTENT_SUFFIX


def canary_name(now: datetime, token: str) -> str:
    """A scratch branch; `token` makes it unique."""
    return f"{STAGING_PREFIX}{_time(now)}-{_CANARY}-{token}"


def import_name(now: datetime, token: str) -> str:
    """A branch for a person's import; `token` makes it unique."""
    return f"{STAGING_PREFIX}{_time(now)}-{_IMPORT}-{token}"


def parse_staging(name: str) -> StagingBranch | None:
    """Parse a name that this module made; None for any other name."""
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
