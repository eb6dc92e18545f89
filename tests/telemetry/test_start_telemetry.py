"""`perago start` on a real Conductor, as those see it who look after it: a scrape, a receiver, health, status."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from waiting import wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
FROM_INPUT = "${workflow.input.traceparent}"
"""As a workflow's definition hands its trace on; it comes to null where the workflow was given none."""
TASKS = 6


def test_a_worker_of_two_processes_is_seen_exactly(flow, start, receiver, repository, tmp_path):
    variables = {
        "PERAGO_HEALTH_ADDRESS": "127.0.0.1:0",
        "PERAGO_PROMETHEUS": "on",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    with start("-j", "2", "--repo", str(tmp_path / "data.git"), **variables) as worker:
        worker.wait_ready()
        url = address_of(worker)
        workflows = [flow.start("tell.nothing", {"text": "x"}, traceparent=FROM_INPUT) for _ in range(TASKS)]
        workspace = {
            "repository": "data",
            "branch": "main",
            "refType": "commit",
            "ref": repository.branch_head("main"),
        }
        given = {"traceparent": TRACEPARENT}
        traced = flow.start("tell.trace", {"text": "one"}, given, workspace=workspace, traceparent=FROM_INPUT)
        for workflow in workflows:
            flow.completed(workflow)
        output = flow.completed(traced)

        # a scrape
        wait_for(lambda: value(url, "perago_attempt_duration_seconds_count", perago_task_name="tell.trace") == 1, "it")
        assert value(url, "perago_attempt_duration_seconds_count", perago_task_name="tell.nothing") == 0
        assert value(url, "silence_count") == TASKS
        assert value(url, "lines_length_sum", kind="text", perago_task_name="tell.trace") == 3
        assert value(url, "perago_publications_total", perago_publication_how="published") == 1
        for direction in ("download", "upload"):
            assert value(url, "perago_workspace_duration_seconds_count", perago_direction=direction) == 1
        assert value(url, "perago_workspace_io_bytes_total", perago_direction="download") == len("data")
        assert value(url, "perago_workspace_io_bytes_total", perago_direction="upload") == len("one\n")
        assert value(url, "perago_workspace_files_total", perago_direction="upload") == 1
        wait_for(lambda: value(url, "perago_worker_slots", perago_slot_state="idle") == 2, "both slots")
        assert value(url, "perago_attempt_active") == 0

        # health and status
        wait_for(lambda: asked(url, "/readyz")[0] == 200, "the worker to be ready")
        assert asked(url, "/healthz")[0] == 200
        assert asked(url, "/elsewhere")[0] == 404
        wait_for(lambda: worker.perago_status("--ready")[0] == 0, "the status")
        told = json.loads(worker.perago_status("--json")[1])
        assert (told["running"], told["ready"]) == (True, True)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    code, said = worker.perago_status("--json", "--ready")
    assert (code, json.loads(said)["ready"]) == (1, False)

    # the trace: the workflow's, the attempt's, the body's, the stamp's
    stamp = next(iter(repository.log(output["workspace"]["ref"], 1))).stamp
    (attempt,) = [span for span in receiver.spans if span.name == "attempt tell.trace"]
    own = f"00-{TRACE}-{attempt.span_id.hex()}-01"
    assert output["result"] == {"traceparent": own, "environment": own}
    assert stamp.traceparent == own
    assert receiver.resource["deployment.environment.name"] == "test"
    assert receiver.total("perago.attempt.duration") == 1
    assert receiver.total("silence") == TASKS


def test_a_worker_without_its_servers_is_live_and_not_ready(flow, start, conductor, repository, tmp_path):
    with start("--repo", str(tmp_path / "data.git"), PERAGO_HEALTH_ADDRESS="127.0.0.1:0") as worker:
        worker.wait_ready()
        url = address_of(worker)
        wait_for(lambda: asked(url, "/readyz")[0] == 200, "the worker to be ready")
        (tmp_path / "data.git").rename(tmp_path / "elsewhere.git")
        wait_for(lambda: asked(url, "/readyz")[0] == 503, "the store to be missed", 60)
        found = json.loads(asked(url, "/readyz")[1])
        assert [name for name, check in found["checks"].items() if not check["ok"]] == ["store"]
        assert asked(url, "/healthz")[0] == 200
        assert asked(url, "/metrics")[0] == 404


def test_an_address_that_is_taken_is_told(start, receiver, repository, tmp_path):
    address = receiver.url.removeprefix("http://")
    with start("--repo", str(tmp_path / "data.git"), PERAGO_HEALTH_ADDRESS=address) as worker:
        assert worker.wait() == 2
    assert f"cannot listen on PERAGO_HEALTH_ADDRESS {address}" in worker.told()


def address_of(worker) -> str:
    """Where it serves, as its log tells."""
    told = re.compile(r"serves .* on (http://\S+)")
    return next(match[1] for line in worker.lines() if (match := told.search(line["message"])))


def asked(url: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def value(url: str, name: str, **labels: str) -> float:
    """The sum of a scrape's samples of a name that have these labels."""
    families = text_string_to_metric_families(asked(url, "/metrics")[1])
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
