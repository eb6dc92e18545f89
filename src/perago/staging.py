"""The name under which an execution stages, the same on every store."""

from __future__ import annotations

import hashlib
import json
import re

from perago.models import Attempt, AttemptIdentity

_PART_LENGTH = 40
_NUMBER_LENGTH = 10
_DIGEST_LENGTH = 16


def staging_branch_name(attempt: Attempt) -> str:
    """A branch name for what this execution stages.

    Readable first (workflow instance, reference task name, task id, retry count, and the execution id where the object
    has one, each cut), then a digest of all of them in full, so that two executions never share one.

    Returns:
        at most 200 characters of `[a-z0-9-]`, beginning with a letter.
    """
    identity = AttemptIdentity.of(attempt)
    parts = (
        identity.workflow_instance_id,
        identity.reference_task_name,
        identity.task_id,
        str(identity.retry_count),
        getattr(attempt, "execution_id", None),
    )
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGEST_LENGTH]
    lengths = (_PART_LENGTH, _PART_LENGTH, _PART_LENGTH, _NUMBER_LENGTH, _PART_LENGTH)
    slugs = [_slug(part or "", length) for part, length in zip(parts, lengths, strict=True)]
    return "-".join(["perago", *filter(None, slugs), digest])


def _slug(text: str, length: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:length].strip("-")
