"""Secrets, put wherever one can be configured, are looked for in everything that a worker tells anybody.

Not looked at: the environment of its processes, where the secrets were put (`/proc/<pid>/environ` is for its user
alone); the input that Conductor was given; and files that a body writes into its workspace, which are its author's.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lineage_receiver import LineageReceiver
from perago.settings import load_runtime_config
from perago.stores.git.provider import git_settings
from perago.telemetry.json_lines import JsonLinesFile
from perago.telemetry.otel import OtelSettings, OtelTelemetry
from perago.telemetry.otel import Receiver as Where
from perago.values import redaction
from perago.worker.attempts.journal import LOGGER
from supervised import Supervised
from tests.telemetry.test_start_telemetry import address_of, asked, value
from waiting import wait_for

CANARIES = {
    "CANARY_DB_PASSWORD": "canary-of-the-database-1f3a",
    "CANARY_API_KEY": "canary/of+an-api-77aa",
    "OTEL_EXPORTER_OTLP_HEADERS": "x-token=Bearer%20canary-of-a-header-90bd",
    "HTTPS_PROXY": "http://me:canary-of-a-proxy-33ce@127.0.0.1:9",
    "CONDUCTOR_AUTH_KEY": "canary-of-a-key-id-c4d8",
    "CONDUCTOR_AUTH_SECRET": "canary-of-a-key-secret-08fb",
}
WORDS = (
    "canary-of-the-database-1f3a",
    "canary/of+an-api-77aa",
    "canary-of-a-header-90bd",
    "canary-of-a-proxy-33ce",
    "canary-of-a-key-id-c4d8",
    "canary-of-a-key-secret-08fb",
)
IN_PARAMS = "canary-in-params-51e0"
SLIPS = (
    f"password={IN_PARAMS} https://bucket.example/key?X-Amz-Signature={IN_PARAMS}&x=1 http://me:{IN_PARAMS}@host/ "
    f'<a href="https://bucket.example/key?x=1&amp;X-Amz-Signature={IN_PARAMS}">'
)
IN_ENDPOINT = "canary-in-the-endpoint-62df"


IN_LINEAGE = "canary-of-lineage-2b7c"


@pytest.fixture
def lineage():
    with LineageReceiver() as lineage:
        yield lineage


def test_no_secret_is_told(flow, start, receiver, lineage, conductor, lakefs_server, lakefs_repository, tmp_path):
    lakefs_repository.commit_files("main", {"readme.txt": b"data"})
    lakefs_repository.branch("other", "main")  # or whoever comes second would fail for what the first one published
    variables = {
        **CANARIES,
        "LAKECTL_SERVER_ENDPOINT_URL": lakefs_server.url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": lakefs_server.access_key_id,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": lakefs_server.secret_access_key,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url.replace("://", f"://me:{IN_ENDPOINT}@"),
        "OPENLINEAGE_URL": lineage.url,
        "OPENLINEAGE_API_KEY": IN_LINEAGE,
        "PERAGO_HEALTH_ADDRESS": "127.0.0.1:0",
        "PERAGO_PROMETHEUS": "on",
    }
    told: dict[str, str] = {}
    with start("-j", "2", **variables) as worker:
        worker.wait_ready()
        url = address_of(worker)
        main, other = (workspace(lakefs_repository, branch) for branch in ("main", "other"))
        flows = [
            flow.start("tell.trace", {"text": CANARIES["CANARY_DB_PASSWORD"]}, workspace=main),
            flow.start("tell.secrets", {"text": SLIPS}, workspace=other),
        ]
        ended = [conductor.wait_for_end(each, 120)["status"] for each in flows]
        assert ended == ["COMPLETED", "FAILED"]
        wait_for(lambda: asked(url, "/readyz")[0] == 200, "the worker to be ready")
        assert value(url, "perago_cache_lookups_total") == len(flows)  # one file each
        told |= {f"GET {path}": asked(url, path)[1] for path in ("/healthz", "/readyz", "/metrics")}
        told["perago status"] = worker.perago_status("--json")[1] + worker.perago_status()[1]
        processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        assert len(processes) >= 3
        told["command lines"] = "\n".join(map(command_line_of, processes))
        told |= files_of(worker.root)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    for number, task in enumerate(flow.task(each) for each in flows):
        result = {name: task.get(name) for name in ("outputData", "reasonForIncompletion", "workerId")}
        log = conductor.expect("GET", f"/tasks/{task['taskId']}/log") or []
        told[f"result {number}"], told[f"task log {number}"] = json.dumps(result), json.dumps(log)
    assert "connecting with" in told["task log 1"]  # something was said, and masked
    assert "could not connect" in told["result 1"]
    told["commits"] = json.dumps(lakefs_repository.log("main"))
    assert "tell.trace" in told["commits"]
    told["telemetry"] = "\n".join(body.decode(errors="replace") for body in receiver.raw)
    assert "could not connect" in told["telemetry"]
    told["lineage"] = json.dumps(lineage.events)
    assert "could not connect" in told["lineage"]
    told |= {"stdout": worker.output.read_text(), "stderr": worker.told(), **files_of(worker.logs)}
    words = [*WORDS, IN_PARAMS, IN_ENDPOINT, IN_LINEAGE, lakefs_server.access_key_id, lakefs_server.secret_access_key]
    assert [(where, word) for where, text in told.items() for word in words if word in text] == []


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_no_secret_is_told_by_either_kind_of_executor(mode, receiver, repository, tmp_path, monkeypatch):
    """Without servers: what would go to the engine, the log, the receiver, a scrape, a commit, and files."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "modules"))
    for name, text in CANARIES.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", "http://127.0.0.1:9/api")
    load_runtime_config("m", cwd=tmp_path, probe_roots=False)
    endpoints = {signal: Where(endpoint=f"{receiver.url}/v1/{signal}") for signal in ("metrics", "traces")}
    telemetry = OtelTelemetry(OtelSettings(instance_id="worker-1", prometheus=True, **endpoints))
    log = JsonLinesFile(tmp_path / "logs", "w", max_bytes=10**8, retention_seconds=1e6, common={})
    monkeypatch.setattr(LOGGER, "level", logging.DEBUG)
    LOGGER.addHandler(log)
    store = git_settings(tmp_path / "data.git")
    options = {"mode": mode, "telemetry": telemetry, "targets": ["telemetry_tasks"], "store": store}
    try:
        with Supervised(tmp_path / "root", **options) as worker:
            about = {"repository": "data", "branch": "main", "refType": "commit", "ref": repository.branch_head("main")}
            slip = worker.schedule("tell.secrets", input_data={"workspace": about, "params": {"text": SLIPS}})
            reason = worker.engine.tasks.reason(worker.ended(slip).task_id)
            password = {"text": CANARIES["CANARY_DB_PASSWORD"]}
            worker.completed(worker.schedule("tell.trace", input_data={"workspace": about, "params": password}))
        assert telemetry.close()
    finally:
        LOGGER.removeHandler(log)
        log.close()
    stamp = next(iter(repository.log(repository.branch_head("main"), 1))).stamp
    told = {
        "reason": reason,
        "task logs": json.dumps(worker.engine.logs),
        "log": log.path.read_text(),
        "scrape": telemetry.prometheus_text().decode(),
        "telemetry": "\n".join(body.decode(errors="replace") for body in receiver.raw),
        "stamp": str(stamp),
        **files_of(tmp_path / "root"),
    }
    assert "could not connect" in told["reason"]
    assert "connecting with" in told["task logs"]
    assert stamp.params == {"text": redaction.MASK}
    assert [(where, word) for where, text in told.items() for word in (*WORDS, IN_PARAMS) if word in text] == []


def command_line_of(process: psutil.Process) -> str:
    """As `ps` shows it; of one that has ended, nothing."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def workspace(repository, branch: str) -> dict[str, str]:
    return {"repository": repository.name, "branch": branch, "refType": "commit", "ref": repository.head(branch)}


def files_of(root: Path) -> dict[str, str]:
    return dict(_files_of(root))


def _files_of(root: Path) -> Iterator[tuple[str, str]]:
    for path in root.rglob("*"):
        if path.is_file():
            yield str(path), path.read_text(errors="replace")
