"""Decides whether a call is retried, and when: from facts to seconds, or None."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from perago.http.answer import Answer, FaultKind, HttpFault, retry_after_of
from perago.values.backoff import backoff

PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses of servers and proxies after which a retry can help."""

PATIENT_PAUSE_SECONDS = 2.0
"""Limit of a pause while a server is away, so that its return is noticed soon."""


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of retries.

    Attributes:
        tries: per call, including the first.
        base_seconds: upper limit of the first pause, which doubles for each further one ("full jitter").
        patience_seconds: how long a server that has answered before, and now refuses connections or has no time, is
            tried again, however often. It may be restarting.
        longest_seconds: limit of a pause. A server that asks for more in `Retry-After` gets no further try.
    """

    tries: int = 5
    base_seconds: float = 0.1
    longest_seconds: float = 10.0
    patience_seconds: float = 30.0


def retry_delay(
    policy: RetryPolicy,
    *,
    tries: int,
    idempotent: bool,
    outcome: HttpFault | int,
    retry_after: float | None,
    jitter: float,
    away_seconds: float | None = None,
) -> float | None:
    """Seconds until the next try; None for no further try.

    Args:
        tries: made so far.
        idempotent: repeating it does no harm. Other calls are retried only if nothing was sent.
        outcome: the fault, or the status of the answer.
        retry_after: seconds that the server asked for.
        jitter: a random number from 0 to 1.
        away_seconds: since the first failed try; None if the server has not answered before.
    """
    is_last = tries >= policy.tries
    if is_last and not (away_seconds is not None and away_seconds < policy.patience_seconds and _may_return(outcome)):
        return None
    if not _may_help(outcome, idempotent):
        return None
    longest = min(policy.longest_seconds, PATIENT_PAUSE_SECONDS) if is_last else policy.longest_seconds
    delay = jitter * backoff(policy.base_seconds, longest, tries - 1)
    if retry_after is None:
        return delay
    return max(retry_after, delay) if retry_after <= policy.longest_seconds else None


def _may_help(outcome: HttpFault | int, idempotent: bool) -> bool:
    if isinstance(outcome, int):
        return idempotent and outcome in PASSING_STATUSES
    if outcome.kind in (FaultKind.TLS, FaultKind.MALFORMED):
        return False
    return idempotent or not outcome.was_sent


def _may_return(outcome: HttpFault | int) -> bool:
    """Whether the server is away or busy, rather than failing on this very call."""
    return isinstance(outcome, int) or outcome.kind is FaultKind.UNREACHABLE


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
        self._failing_since: float | None = None

    def pause_after(self, outcome: Answer | HttpFault, *, is_known: bool = False) -> float | None:
        """Count a try. Returns the seconds until the next one; None if this outcome is final.

        Args:
            is_known: the server has answered before.
        """
        self._made += 1
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if isinstance(outcome, Answer) and outcome.status < 400:
            return None
        delay = retry_delay(
            self._policy,
            tries=self._made,
            idempotent=self._idempotent,
            outcome=outcome.status if isinstance(outcome, Answer) else outcome,
            retry_after=retry_after_of(outcome.headers) if isinstance(outcome, Answer) else None,
            jitter=random.random(),  # noqa: S311 - spreads load, not for security
            away_seconds=now - self._failing_since if is_known else None,
        )
        return None if delay is None or now + delay >= self.deadline else delay


def answer_of(outcome: Answer | HttpFault) -> Answer:
    """The answer of a call.

    Raises:
        HttpFault: there is none.
    """
    if isinstance(outcome, HttpFault):
        raise outcome
    return outcome
