"""What is registered against what is declared."""

import pytest

from perago.engines.conductor.taskdefs import differences

DECLARED = {
    "name": "build",
    "ownerEmail": "a@example.com",
    "retryCount": 3,
    "responseTimeoutSeconds": 600,
    "inputKeys": ["params"],
    "inputSchema": {"name": "build.input", "version": 1, "type": "JSON", "data": {"type": "object"}},
}
OF_THE_SERVER = {
    "createTime": 5,
    "updateTime": 6,
    "createdBy": "",
    "inputTemplate": {},
    "rateLimitPerFrequency": 0,
    "rateLimitFrequencyInSeconds": 1,
    "enforceSchema": False,
}


def registered(**values):
    document = {**DECLARED, **OF_THE_SERVER, **values}
    document["inputSchema"] = {**document["inputSchema"], "createTime": 5, "ownerApp": None}
    return {name: value for name, value in document.items() if value is not ...}


def changes(lines):
    return [line for line in lines if line[0] in "+-" and not line.startswith(("+++", "---"))]


def test_what_the_server_adds_is_no_difference():
    assert differences(DECLARED, registered()) == []


def test_a_difference_is_shown_as_what_registering_would_do():
    lines = differences(DECLARED, registered(retryCount=5))
    assert changes(lines) == ['-  "retryCount": 5', '+  "retryCount": 3']
    assert lines[0] == "--- build (registered)"
    assert lines[1] == "+++ build (declared)"


def test_a_taskdef_that_is_missing_is_all_new():
    lines = differences(DECLARED, None)
    assert changes(lines)
    assert all(line.startswith("+") for line in changes(lines))
    assert '+  "retryCount": 3' in lines


@pytest.mark.parametrize("limit", ["concurrentExecLimit", "rateLimitPerFrequency"])
def test_a_limit_that_only_the_server_has_is_a_difference(limit):
    assert changes(differences(DECLARED, registered(**{limit: 7}))) != []


@pytest.mark.parametrize("field", ["maxRetryDelaySeconds", "backoffJitterMs", "totalTimeoutSeconds"])
@pytest.mark.parametrize(("value", "differs"), [(0, False), (5, True)])
def test_a_bound_that_an_older_server_does_not_know_is_a_difference_only_where_it_is_one(field, value, differs):
    document = registered(**{field: ...})
    assert bool(differences({**DECLARED, field: value}, document)) is differs


def test_a_limit_of_zero_is_none():
    assert differences(DECLARED, registered(concurrentExecLimit=0, rateLimitPerFrequency=0)) == []


def test_a_limit_that_is_declared_and_not_registered_is_a_difference():
    lines = differences({**DECLARED, "concurrentExecLimit": 4}, registered())
    assert changes(lines) == ['+  "concurrentExecLimit": 4,']


def test_a_description_that_only_the_server_has_is_a_difference():
    assert changes(differences(DECLARED, registered(description="old"))) == ['-  "description": "old",']


def test_a_schema_is_compared_whole():
    other = {"name": "build.input", "version": 1, "type": "JSON", "data": {"type": "object", "required": ["x"]}}
    assert changes(differences(DECLARED, registered(inputSchema=other))) != []


def test_a_schema_that_is_missing_is_a_difference():
    lacking = registered()
    del lacking["inputSchema"]
    assert changes(differences(DECLARED, lacking)) != []
