"""What a worker tells of its attempts, at a real OTLP receiver and in a scrape."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from perago.telemetry.otel import OtelSettings, OtelTelemetry
from perago.telemetry.otel import Receiver as Where

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "worker"))
from otlp_receiver import attributes_of, family
from supervised import Supervised

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def telemetry(receiver):
    """A sink that sends to the receiver, at the latest when it is closed."""
    settings = OtelSettings(
        instance_id="worker-1",
        metrics=Where(endpoint=f"{receiver.url}/v1/metrics"),
        traces=Where(endpoint=f"{receiver.url}/v1/traces"),
        prometheus=True,
    )
    sink = OtelTelemetry(settings)
    yield sink
    sink.close()


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "worker" / "modules"))


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_an_attempt_is_a_metric_and_a_trace_at_the_receiver(modules, tmp_path, receiver, telemetry, mode):
    with Supervised(tmp_path / "root", mode=mode, telemetry=telemetry) as worker:
        fields = {"traceparent": PARENT, "tracestate": "vendor=1", "params": {"text": "hello"}}
        worker.completed(worker.schedule("light.echo", input_data=fields))
        failing = worker.schedule("light.echo", input_data={"params": {"text": ["no text"]}})
        worker.reason(failing)
        tries = len(worker.tries(failing))
    assert telemetry.close()
    about = {"perago__task__name": "light.echo"}
    assert receiver.total("perago.attempt.duration", **about, perago__outcome="completed") == 1
    assert receiver.total("perago.attempt.duration", **about, perago__outcome="failed") == tries
    assert receiver.total("perago.attempt.phase.duration", **about, perago__phase="body") == 1
    assert receiver.total("perago.attempt.phase.duration", perago__phase="parse", error__type="TaskInputError") == tries
    assert receiver.total("perago.attempt.phase.duration", perago__phase="report") == 1 + tries
    assert receiver.total("perago.attempt.active") == 0
    assert receiver.unit("perago.attempt.duration") == "s"
    assert receiver.resource["service.name"] == "perago"
    assert receiver.resource["service.instance.id"] == "worker-1"

    (attempt,) = [span for span in receiver.spans if span.trace_id.hex() == PARENT[3:35] and span.name[0] == "a"]
    assert attempt.parent_span_id.hex() == PARENT[36:52]
    assert attempt.name == "attempt light.echo"
    assert attributes_of(attempt)["perago.outcome"] == "completed"
    below = [span for parent, span in family(receiver.spans) if parent and span.trace_id == attempt.trace_id]
    assert [span.name for span in below] == ["parse", "body", "report"]
    assert all(attempt.start_time_unix_nano <= span.start_time_unix_nano + 5_000_000 for span in below)
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano <= attempt.end_time_unix_nano for span in below)
    others = [span for span in receiver.spans if span.name[0] == "a" and span.trace_id != attempt.trace_id]
    assert len({span.trace_id for span in others}) == tries
    assert {span.status.code for span in others} == {2}
    assert "params.text" in others[0].status.message
