"""How long nothing has happened on the branch of a transactional run."""

from datetime import UTC, datetime, timedelta

import pytest

from perago.values.models import AttemptIdentity, run_branch_age, run_branch_name

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("begun", "committed", "age"),
    [
        pytest.param(DAY, 30 * DAY, DAY, id="no commits of its own yet: its head is an old one of the target"),
        pytest.param(30 * DAY, DAY, DAY, id="a run that takes long"),
        pytest.param(-DAY, 30 * DAY, -DAY, id="begun by a clock that is ahead"),
    ],
)
def test_it_counts_from_the_beginning_or_from_the_newest_commit(begun, committed, age):
    scheduled = round((NOW - begun).timestamp() * 1000)
    identity = AttemptIdentity(workflow_instance_id="w", task_id="t", retry_count=0, scheduled_time=scheduled)
    assert run_branch_age(run_branch_name(identity), NOW - committed, NOW) == age.total_seconds()


@pytest.mark.parametrize("name", ["main", "perago-run-w", "perago-run-20261399t000000z-w-0", "perago-w-t-0-e"])
def test_no_other_branch_has_an_age(name):
    assert run_branch_age(name, NOW, NOW) is None
