"""Names of staging branches: lakeFS takes them, they say since when, and nobody else's is taken for one."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.stores.lakefs.publication.branches import (
    STAGING_PREFIX,
    StagingBranch,
    canary_name,
    content_name,
    import_name,
    parse_staging,
    staging_name,
)
from perago.testing.contract.bench import engine_task
from perago.values.models import AttemptIdentity, TaskExecution

NOW = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
LAKEFS_BRANCH = re.compile(r"\w[-\w]*", re.ASCII)


def execution(**fields):
    attempt = engine_task(**{"task_id": "task-1", **fields})
    return TaskExecution(attempt=attempt, identity=AttemptIdentity.of(attempt), execution_id="execution-1")


@given(st.text(), st.text(), st.text())
def test_any_names_of_an_engine_make_a_branch(workflow, reference, task):
    made = execution(workflow_instance_id=workflow, reference_task_name=reference, task_id=task)
    for name in (staging_name(made, NOW), content_name(staging_name(made, NOW))):
        assert LAKEFS_BRANCH.fullmatch(name)
        assert len(name) <= 230
        assert parse_staging(name) == StagingBranch(name, NOW.replace(microsecond=0))


def test_two_executions_never_share_one():
    assert staging_name(execution(), NOW) != staging_name(execution(retry_count=1), NOW)


def test_times_are_utc_and_sort_as_names():
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert staging_name(execution(), elsewhere) == staging_name(execution(), NOW)
    names = [staging_name(execution(), NOW + timedelta(seconds=seconds)) for seconds in (0, 1, 60, 86_400, 10**8)]
    assert names == sorted(names)


def test_scratch_branches_are_ours_too():
    for name in (canary_name(NOW, "0a1b"), import_name(NOW, "0a1b")):
        assert name.startswith(STAGING_PREFIX)
        assert parse_staging(name) == StagingBranch(name, NOW.replace(microsecond=0))


@pytest.mark.parametrize(
    "name",
    [
        "main",
        "perago-",
        "perago-mine",
        "perago-20260304t050607z",
        "perago-20260304t050607z-",
        "perago-20261304t050607z-x",
        "perago-20260304T050607Z-x",
        "perago-20260304t050607z-X",
        "x-perago-20260304t050607z-x",
        "perago-20260304t050607z-x\n",
    ],
)
def test_what_is_none_of_ours_is_left_alone(name):
    assert parse_staging(name) is None
