"""What is kept of an attempt whose result waits on disk."""

from dataclasses import fields

from perago.values.models import AttemptIdentity
from perago.worker.supervisor.delivery import KeptAttempt


def test_an_attempt_is_kept_with_all_that_identifies_it():
    assert {field.name for field in fields(AttemptIdentity)} < {field.name for field in fields(KeptAttempt)}
