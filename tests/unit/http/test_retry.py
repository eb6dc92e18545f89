"""When a call is made once more, and when never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.http.answer import FaultKind, HttpFault
from perago.http.retry import PASSING_STATUSES, PATIENT_PAUSE_SECONDS, RetryPolicy, retry_delay

POLICY = RetryPolicy(tries=4, base_seconds=0.1, longest_seconds=5.0)


def delay(outcome, *, tries=1, idempotent=True, retry_after=None, jitter=1.0):
    return retry_delay(
        POLICY, tries=tries, idempotent=idempotent, outcome=outcome, retry_after=retry_after, jitter=jitter
    )


def fault(kind):
    return HttpFault(kind, "test")


@pytest.mark.parametrize("status", sorted(PASSING_STATUSES))
def test_a_status_that_passes_is_retried_where_twice_is_as_good_as_once(status):
    assert delay(status) is not None
    assert delay(status, idempotent=False) is None


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 409, 410, 412, 416, 501, 507])
def test_an_answer_that_will_be_the_same_is_final(status):
    assert delay(status) is None


@pytest.mark.parametrize(
    ("kind", "once_or_twice", "only_once"),
    [
        (FaultKind.UNREACHABLE, True, True),
        (FaultKind.CUT, True, False),
        (FaultKind.TIMEOUT, True, False),
        (FaultKind.TLS, False, False),
        (FaultKind.MALFORMED, False, False),
    ],
)
def test_what_may_have_arrived_is_not_sent_again_blindly(kind, once_or_twice, only_once):
    assert (delay(fault(kind)) is not None) is once_or_twice
    assert (delay(fault(kind), idempotent=False) is not None) is only_once


def test_pauses_double_up_to_the_longest_and_tries_end():
    assert [delay(503, tries=tries) for tries in (1, 2, 3, 4)] == [0.1, 0.2, 0.4, None]
    long = RetryPolicy(tries=100, base_seconds=0.1, longest_seconds=5.0)
    assert (
        retry_delay(long, tries=99, idempotent=True, outcome=fault(FaultKind.CUT), retry_after=None, jitter=1.0) == 5.0
    )


def test_a_server_that_has_answered_before_is_waited_for_as_long_as_patience_lasts():
    def patient(outcome, away_seconds, **options):
        given = {"tries": 40, "idempotent": True, "retry_after": None, "jitter": 1.0, **options}
        return retry_delay(RetryPolicy(patience_seconds=30), outcome=outcome, away_seconds=away_seconds, **given)

    gone = fault(FaultKind.UNREACHABLE)
    assert patient(gone, 29.9) == patient(503, 29.9) == PATIENT_PAUSE_SECONDS
    assert patient(gone, 29.9, idempotent=False) == PATIENT_PAUSE_SECONDS
    assert patient(503, 29.9, idempotent=False) is None
    assert patient(gone, 30.0) is None
    assert patient(gone, None) is None
    assert patient(fault(FaultKind.CUT), 1.0) is None
    assert patient(404, 1.0) is None


def test_the_server_says_how_long_to_wait_up_to_a_bound():
    assert delay(429, retry_after=3.0) == 3.0
    assert delay(429, retry_after=0.0) == 0.1
    assert delay(429, retry_after=5.1) is None


@given(
    tries=st.integers(1, 1000),
    jitter=st.floats(0, 1),
    retry_after=st.none() | st.floats(0, 1e9),
    outcome=st.integers(100, 599) | st.sampled_from([fault(kind) for kind in FaultKind]),
    idempotent=st.booleans(),
)
def test_a_pause_is_never_longer_than_the_bound(tries, jitter, retry_after, outcome, idempotent):
    pause = delay(outcome, tries=tries, idempotent=idempotent, retry_after=retry_after, jitter=jitter)
    assert pause is None or (0 <= pause <= POLICY.longest_seconds and tries < POLICY.tries)
