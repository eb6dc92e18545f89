"""`perago run` with a receiver, with one that hangs, and with none; and what telemetry costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from otlp_receiver import Receiver, attributes_of
from perago.ports import Event, Phase
from perago.telemetry.facts import Execution, Outcome, PhaseFact
from perago.telemetry.otel import CLOSE_SECONDS, OtelSettings, OtelTelemetry
from perago.telemetry.otel import Receiver as Where
from perago.telemetry.sink import OFF
from servers.machine import slowness
from waiting import wait_for

MODULES = Path(__file__).parent / "modules"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

HANGS_SECONDS = 120
"""Limit for an export to a receiver that never answers."""


@pytest.fixture
def run(tmp_path, repository):
    """Runs `tell.trace` in a process of its own, on the repository; gives what it printed."""

    def call(**variables):
        command = [sys.executable, "-m", "perago", "run", "telemetry_tasks:trace", "--param", "text=one", "--json"]
        done = subprocess.run(
            [*command, "--repo", str(tmp_path / "data.git"), "--branch", "main"],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(MODULES),
                "PERAGO_WORKSPACE_ROOT": str(tmp_path / "w"),
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def test_a_run_tells_the_receiver_within_the_trace_of_who_started_it(run, receiver, repository):
    said = run(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_SERVICE_NAME="nightly", TRACEPARENT=TRACEPARENT)
    assert receiver.total("perago.attempt.duration", perago__outcome="completed") == 1
    assert receiver.total("perago.publications", perago__publication__how="published") == 1
    assert receiver.total("lines.length", kind="text") == 1
    assert receiver.resource["service.name"] == "nightly"
    attempt = receiver.span("attempt tell.trace")
    own = f"{TRACEPARENT[:36]}{attempt.span_id.hex()}-01"
    assert attempt.parent_span_id.hex() == TRACEPARENT[36:52]
    assert said["output"]["result"] == {"traceparent": own, "environment": own}
    assert next(iter(repository.log(repository.branch_head("main"), 1))).stamp.traceparent == own
    stage = receiver.span("stage")
    assert stage.parent_span_id == attempt.span_id
    assert attributes_of(receiver.span("diff"))["perago.added"] == 1


def test_without_a_receiver_a_trace_goes_through_as_it_came(run, repository):
    said = run(TRACEPARENT=TRACEPARENT)
    assert said["output"]["result"] == {"traceparent": TRACEPARENT, "environment": TRACEPARENT}
    assert run(TRACEPARENT="nonsense")["output"]["result"]["traceparent"] is None


def test_a_receiver_that_hangs_slows_no_attempt_and_holds_the_end_up_for_its_bound_only():
    before = exporters()
    with Receiver(hangs=True) as receiver:
        telemetry = OtelTelemetry(
            OtelSettings(
                instance_id="x",
                metrics=Where(
                    endpoint=f"{receiver.url}/v1/metrics", timeout_seconds=HANGS_SECONDS, interval_seconds=0.05
                ),
                traces=Where(endpoint=f"{receiver.url}/v1/traces", timeout_seconds=HANGS_SECONDS),
            )
        )
        longest = 0.0
        for number in range(1000):  # more spans than are queued
            began = time.perf_counter()
            tell_of_an_attempt(telemetry, f"execution-{number}")
            longest = max(longest, time.perf_counter() - began)
        began = time.perf_counter()
        is_told = telemetry.close(1.0)
        took = time.perf_counter() - began
        receiver.wake()
        wait_for(lambda: not exporters() - before, "the end of the exporters, whose warnings other tests would get")
    assert longest < HANGS_SECONDS / 2  # nobody waits for an export; a busy machine may still hold up each of them
    assert not is_told
    assert took < CLOSE_SECONDS * slowness()


def exporters():
    """The threads of this process that send telemetry."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(("Otel", "perago-telemetry"))}


def test_a_sink_that_fails_is_told_once_and_fails_nothing(caplog):
    telemetry = OtelTelemetry(OtelSettings(instance_id="x", prometheus=True))
    broken = PhaseFact(phase="body", kind="completed", seconds=float("nan"), attributes={"how": object()})
    tell_of_an_attempt(telemetry, "e")
    telemetry.begin(execution("f"))
    telemetry.phase("f", broken)
    telemetry.end("f", Outcome.COMPLETED)
    telemetry.phase("nobody", broken)
    telemetry.end("nobody", Outcome.FAILED)
    assert b"perago_attempt_duration_seconds_count" in telemetry.prometheus_text()
    assert telemetry.close()
    assert telemetry.close()


def test_what_is_off_loads_nothing_and_costs_next_to_nothing():
    code = (
        "import sys, perago.cli.start, perago.running.task; from perago.running.telemetry import open_telemetry;"
        "from perago.settings import load_runtime_config as load;"
        "config = load('m', process_env={}, probe_roots=False);"
        "open_telemetry(config, 'x', scraped=True).__enter__();"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"opentelemetry", "prometheus_client", "requests", "google.protobuf", "perago.telemetry.otel"}
    heavy |= {"openlineage", "perago.telemetry.openlineage", "perago.telemetry.lineage"}
    assert set(done.stdout.split()) & heavy == set()
    event = Event(phase=Phase.BODY, kind="completed", seconds=1.0)
    rounds = 2000
    began = time.perf_counter()
    for _ in range(rounds):
        OFF.phase("e", PhaseFact.of(event))
    assert (time.perf_counter() - began) / rounds < 100e-6  # 2 microseconds on an idle machine


def execution(name: str) -> Execution:
    return Execution(
        task="t", workflow_instance_id="w", reference_task_name="r", task_id="1", retry_count=0, execution_id=name
    )


def tell_of_an_attempt(telemetry, name: str) -> None:
    telemetry.begin(execution(name))
    for phase in ("parse", "body"):
        telemetry.phase(name, PhaseFact(phase=phase, kind="started"))
        telemetry.phase(name, PhaseFact(phase=phase, kind="completed", seconds=0.1))
    telemetry.end(name, Outcome.COMPLETED)


def test_the_pages_trace_is_that_of_a_run(run, receiver):
    page = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
    shown = [line.split() for line in page.partition("```none\n")[2].partition("```")[0].splitlines()]
    run(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.url}/v1/traces")
    attempt, *phases = sorted(receiver.spans, key=lambda span: (span.name in set(Phase), span.end_time_unix_nano))
    assert attempt.name == "attempt tell.trace"
    assert [span.name for span in phases] == [words[0] for words in shown[1:]]
    for span, words in zip([attempt, *phases], [shown[0][1:], *shown[1:]], strict=True):
        names = {word.partition("=")[0] for word in words[1:]}
        assert names <= set(attributes_of(span))
