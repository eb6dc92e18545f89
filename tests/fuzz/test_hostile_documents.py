"""Documents of servers, processes and files: each is read whole, or refused by an error of ours that says something."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from hostile import as_json, check_told, hunt, like, texts, values
from perago import WorkspaceSpec, load_runtime_config, task
from perago.attempt.parse import expect_fields, parse_params, parse_workspace_input
from perago.engines.conductor import mapping
from perago.engines.conductor.taskdefs import differences
from perago.errors import PeragoError, RuntimeConfigError, StoreError, TaskExecutionError, TaskInputError
from perago.http.answer import Answer
from perago.http.refusals import MAX_SHOWN_CHARACTERS, message_of
from perago.stores.git.locks import _parse as parse_unfinished
from perago.stores.lakefs.api.answers import Branch, Commit, ObjectStats
from perago.stores.lakefs.api.calls import page_of, read
from perago.tasks.taskdef import build_taskdef
from perago.values.redaction import mask_text
from perago.worker.attempts.in_process import parse_message
from perago.worker.supervisor.delivery import ResultSpool
from perago.worker.supervisor.status import read_status
from perago.workspace.manifest import Manifest
from perago.workspace.owner import OwnerMarker, liveness

TASK = {
    "status": "IN_PROGRESS",
    "workflowInstanceId": "w",
    "taskId": "t",
    "retryCount": 0,
    "referenceTaskName": "build",
    "taskDefName": "build",
    "scheduledTime": 1,
    "pollCount": 1,
    "seq": 1,
    "inputData": {"workspace": {"ref": "a" * 64}, "params": {}},
    "outputData": {},
    "responseTimeoutSeconds": 60,
    "externalInputPayloadStoragePath": "x",
    "endTime": 2,
    "retriedTaskId": "t0",
}
WORKSPACE = {"repository": "r", "branch": "b", "refType": "commit", "ref": "a" * 64}
COMMIT = {
    "id": "a" * 64,
    "parents": ["b" * 64],
    "meta_range_id": "m",
    "message": "m",
    "committer": "c",
    "creation_date": 1,
    "metadata": {"k": "v"},
}
OBJECT = {"path": "a", "physical_address": "local://x", "checksum": "c", "size_bytes": 1, "mtime": 1, "metadata": {}}
PLANTED = "hunter2-Tr0ub4dor-hunter2"


class Params(BaseModel):
    rows: int = 0
    name: str = ""
    password: SecretStr = SecretStr("")


@task(name="hostile.build", owner_email="tests@example.org", workspace=WorkspaceSpec())
def build(workspace: Path, params: Params) -> Params:
    return params


BUILD = build.__perago_task__


@hunt
@given(found=like(TASK) | values)
def test_a_task_of_conductor_is_an_attempt_or_a_value_error(found):
    for of in (mapping.attempt_of, mapping.try_of) if isinstance(found, dict) else ():
        try:
            of(found)
        except ValueError as exc:
            check_told(exc)
    try:
        attempt = mapping.polled_attempt_of(found)
    except ValueError as exc:
        refusal = mapping.refusal(found, str(exc))
        assert refusal is None or (refusal["taskId"] and refusal["workflowInstanceId"])
    else:
        assert attempt.task_id == found["taskId"]


@hunt
@given(workflow=like({"workflowId": "w", "tasks": [TASK]}), tasks=st.lists(like(TASK), max_size=3))
def test_a_workflow_of_conductor_is_a_record_or_a_value_error(workflow, tasks):
    for found in (workflow, {**workflow, "tasks": tasks}):
        try:
            record = mapping.instance_of(found)
        except ValueError as exc:
            check_told(exc)
        else:
            assert len(record.tries) <= len(found["tasks"])


@hunt
@given(found=like({"workspace": WORKSPACE, "params": {"rows": 1}}), workspace=like(WORKSPACE), params=values)
def test_an_input_is_taken_or_refused_without_its_secrets(found, workspace, params):
    for given_input in (found, {"workspace": workspace, "params": params}):
        planted = {**given_input, "params": {"rows": given_input.get("params"), "password": [PLANTED]}}
        for value in (given_input, planted):
            try:
                expect_fields(BUILD, value, ("workspace", "params"), only=True)
                parse_workspace_input(BUILD, value["workspace"])
                parse_params(BUILD, value)
            except TaskInputError as exc:
                check_told(exc, "hostile.build", hidden=PLANTED)


@hunt
@given(registered=st.none() | like(build_taskdef(BUILD)) | st.dictionaries(texts, values, max_size=4))
def test_a_registered_taskdef_of_any_shape_is_compared(registered):
    lines = differences(build_taskdef(BUILD), registered)
    assert all(isinstance(line, str) for line in lines)
    assert differences(build_taskdef(BUILD), build_taskdef(BUILD)) == []


@hunt
@given(body=as_json(like(COMMIT) | like({"results": [COMMIT], "pagination": {"has_more": False}}) | values))
def test_an_answer_of_lakefs_is_read_or_a_store_error(body):
    answer = Answer(200, {}, body)
    readers = [Commit.of, Branch.of, ObjectStats.of, lambda found: page_of(found, Commit.of)]
    for of in readers:
        try:
            read("getCommit", answer, of)
        except StoreError as exc:
            check_told(exc, "getCommit")


@hunt
@given(body=as_json(like({"message": f"the password={PLANTED} is wrong"})))
def test_a_refusal_is_told_on_one_short_line_without_secrets(body):
    told = message_of(body)
    assert told
    assert told.isprintable()
    assert len(told) <= MAX_SHOWN_CHARACTERS
    assert PLANTED not in told


@hunt
@given(found=like({"kind": "done", "status": "COMPLETED", "output": {}, "reason": None}) | values)
def test_what_an_executor_sends_is_a_message_or_an_error_of_ours(found):
    try:
        parse_message(found)
    except TaskExecutionError as exc:
        check_told(exc)


@hunt
@given(text=texts, key=st.sampled_from(["password", "api_key", "secret", "token", "Authorization", "db_password"]))
@pytest.mark.parametrize("form", ["{key}={secret}", "{key}: {secret}", '"{key}": "{secret}"', "https://me:{secret}@h/"])
def test_a_secret_in_somebody_elses_words_is_masked(text, key, form):
    for told in (f"{text} {form}", f"{form} {text}"):
        masked = mask_text(told.replace("{key}", key).replace("{secret}", PLANTED))
        assert PLANTED not in masked
        assert mask_text(masked) == masked


@contextmanager
def _file(data: bytes, name: str = "file") -> Iterator[Path]:
    """A file of its own, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="perago-hostile-") as directory:
        path = Path(directory) / "below" / name
        path.parent.mkdir()
        path.write_bytes(data)
        yield path


FILES = {
    "manifest": like({"format": 1, "taken_at_ns": 1, "tick_ns": 1, "files": 0}),
    "owner": like(
        {
            "host": "h",
            "boot_id": "b",
            "pid": 1,
            "process_started": 1.0,
            "worker_id": "w",
            "task_id": "t",
            "execution_id": "e",
            "created_at": "c",
            "pid_namespace": None,
        }
    ),
}


@hunt
@given(data=as_json(FILES["manifest"]))
def test_a_manifest_is_read_or_an_error_of_ours(data):
    with _file(data) as path:
        try:
            Manifest.load(path)
        except PeragoError as exc:
            check_told(exc)


@hunt
@example(data=b'{"host": "h", "boot_id": "b", "pid": Infinity}')
@given(data=as_json(FILES["owner"]))
def test_a_marker_is_read_or_none_and_nothing_is_killed_for_it(data):
    with _file(data) as path:
        marker = OwnerMarker.read(path)
        assert marker is None or liveness(marker) in ("alive", "dead", "unknown")


@hunt
@given(data=as_json(values))
def test_results_that_waited_statuses_and_records_of_locks_are_read_or_passed_over(data):
    with _file(data, "kept.json") as path:
        assert ResultSpool(path.parent).load() == []
        assert read_status(path.parent) is None
        parse_unfinished(data)


VARIABLES = [
    "CONDUCTOR_SERVER_URL",
    "CONDUCTOR_AUTH_KEY",
    "LAKECTL_SERVER_ENDPOINT_URL",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID",
    "PERAGO_EXECUTION_MODE",
    "PERAGO_WORKER_ID",
    "PERAGO_CACHE_MAX_SIZE",
    "PERAGO_LOG_RETENTION",
    "PERAGO_WORKSPACE_GC_TTL",
    "PERAGO_FENCE",
    "PERAGO_CHECKSUMS",
    "PERAGO_FAILURE_REASON_MAX_LENGTH",
]
environments = st.dictionaries(
    st.sampled_from(VARIABLES), st.sampled_from(["1", "1h", "http://h/api", "2GB", "-1", "9" * 40]) | texts, max_size=4
)


@hunt
@given(environment=environments, toml=st.sampled_from(['worker_id = "', "[lakefs]\n", "x = [", "a.b = "]), more=texts)
def test_a_configuration_is_taken_or_refused_with_all_faults_and_no_secret(environment, toml, more):
    environment = {**environment, "CONDUCTOR_AUTH_SECRET": PLANTED, "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": PLANTED}
    with _file((toml + more).encode(errors="replace"), "perago.toml") as path:
        for cwd in (path.parent, path.parent.parent):
            try:
                config = load_runtime_config("m", cwd=cwd, process_env=environment, probe_roots=False)
            except RuntimeConfigError as exc:
                check_told(exc, hidden=PLANTED)
            else:
                assert PLANTED not in repr(config)
