"""Whether a call is made once more, and after how long: from facts to a number of seconds, or None."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from perago.http.answer import Answer, retry_after_of
from perago.http.faults import FaultKind, HttpFault

PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""Answers of servers and of proxies before them that another try may not get."""


@dataclass(frozen=True)
class RetryPolicy:
    """The bounds of retrying.

    Attributes:
        tries: of one call in all.
        base_seconds: the first pause is drawn from zero to this, each next one from twice the range ("full jitter").
        longest_seconds: of a pause; a server that asks for more in `Retry-After` gets no other try.
    """

    tries: int = 5
    base_seconds: float = 0.1
    longest_seconds: float = 10.0


def retry_delay(
    policy: RetryPolicy,
    *,
    tries: int,
    idempotent: bool,
    outcome: HttpFault | int,
    retry_after: float | None,
    jitter: float,
) -> float | None:
    """Seconds to wait before the next try; None: there is none.

    Args:
        tries: made so far.
        idempotent: doing it twice is as good as once. What is not is tried again only where nothing was sent.
        outcome: the fault, or the status of the answer.
        retry_after: seconds that the server asked for.
        jitter: a random number from 0 to 1.
    """
    if tries >= policy.tries or not _may_help(outcome, idempotent):
        return None
    delay = jitter * min(policy.longest_seconds, policy.base_seconds * 2.0 ** (tries - 1))
    if retry_after is None:
        return delay
    return max(retry_after, delay) if retry_after <= policy.longest_seconds else None


def _may_help(outcome: HttpFault | int, idempotent: bool) -> bool:
    if isinstance(outcome, int):
        return idempotent and outcome in PASSING_STATUSES
    if outcome.kind in (FaultKind.TLS, FaultKind.MALFORMED):
        return False
    return idempotent or not outcome.was_sent


class Tries:
    """The tries of one call, until its deadline.

    Args:
        idempotent: as in `retry_delay`.
        deadline: of all tries together, monotonic seconds.
    """

    def __init__(self, policy: RetryPolicy, *, idempotent: bool, deadline: float) -> None:
        self.deadline = deadline
        self._policy = policy
        self._idempotent = idempotent
        self._made = 0

    def pause_after(self, outcome: Answer | HttpFault) -> float | None:
        """Count a try; returns the seconds until the next one. None: this outcome is the call's."""
        self._made += 1
        if isinstance(outcome, Answer) and outcome.status < 400:
            return None
        delay = retry_delay(
            self._policy,
            tries=self._made,
            idempotent=self._idempotent,
            outcome=outcome.status if isinstance(outcome, Answer) else outcome,
            retry_after=retry_after_of(outcome.headers) if isinstance(outcome, Answer) else None,
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
        )
        return None if delay is None or time.monotonic() + delay >= self.deadline else delay


def answer_of(outcome: Answer | HttpFault) -> Answer:
    """The answer of a call.

    Raises:
        HttpFault: there is none.
    """
    if isinstance(outcome, HttpFault):
        raise outcome
    return outcome
