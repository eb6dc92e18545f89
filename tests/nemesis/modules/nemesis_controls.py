"""Who owns the tasks of the nemesis, and how they are retried."""

from __future__ import annotations

from perago import RetryPolicy, TaskControls, TimeoutPolicy

OWNER = "tests@example.org"
LEASE_SECONDS = 6
RETRIES = 4
CONTROLS = TaskControls(
    retry=RetryPolicy(count=RETRIES, delay_seconds=0),
    timeout=TimeoutPolicy(policy="RETRY", response_seconds=LEASE_SECONDS),
)
