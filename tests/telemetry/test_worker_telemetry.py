"""What a worker tells of its attempts, at a real OTLP receiver and in a scrape."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otlp_receiver import attributes_of, family
from perago.errors import EngineError
from perago.stores.git.provider import git_settings
from perago.telemetry.otel import OtelSettings, OtelTelemetry
from perago.telemetry.otel import Receiver as Where
from supervised import Supervised
from waiting import wait_for
from worker_engine import MemoryWorkerEngine

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
    assert receiver.total("perago.attempt.duration", **about, perago__outcome="failed_with_terminal_error") == tries
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


class Fate(MemoryWorkerEngine):
    """An engine in which tries time out while their reports are on the way, and which tells of no cancellation."""

    late_reports = 0

    def report_result(self, attempt, result, /):
        if self.late_reports:
            self.late_reports -= 1
            self.tasks.timeout(attempt.task_id)
        super().report_result(attempt, result)

    def current_of(self, attempts):
        raise EngineError("nobody looks: the attempt's own fence is to find it")


@pytest.fixture
def scraped(telemetry):
    """The sum of a scrape's samples of a name that have these labels."""

    def value(name, **labels):
        return sum(
            sample.value
            for family in text_string_to_metric_families(telemetry.prometheus_text().decode())
            for sample in family.samples
            if sample.name == f"perago_{name}" and labels.items() <= sample.labels.items()
        )

    return value


@pytest.fixture
def about(repository, tmp_path):
    """Makes a task's input on the repository as it stands; `text` may be a function of the record."""

    def make(text, seconds=0.0):
        workspace = {
            "repository": "data",
            "branch": "main",
            "refType": "commit",
            "ref": repository.branch_head("main"),
        }

        def made(record):
            params = {"text": text(record) if callable(text) else text, "seconds": seconds}
            return {"workspace": workspace, "params": params}

        return made

    return make


def test_what_befalls_publications_is_counted(modules, tmp_path, repository, about, telemetry, scraped):
    """By real attempts: their phases, errors and notes are those that the measures look for."""
    engine = Fate()
    store = git_settings(tmp_path / "data.git")
    with Supervised(tmp_path / "root", engine=engine, store=store, telemetry=telemetry) as worker:
        engine.late_reports = 1
        worker.completed(worker.schedule("space.append", input_data=about("one")))
        wait_for(lambda: scraped("publications_total", perago_publication_how="adopted") == 1, "the adoption")

        engine.late_reports = 1
        worker.completed(worker.schedule("space.append", input_data=about(lambda record: f"try {len(record.tries)}")))
        wait_for(lambda: scraped("publications_total", perago_publication_how="replaced") == 1, "the replacement")

        late = about("late")
        (tmp_path / "files" / "theirs.txt").write_text("somebody else's")
        repository.import_directory(tmp_path / "files", "main", "foreign")
        worker.ended(worker.schedule("space.append", input_data=late, retries=0))
        assert scraped("fence_refusals_total", perago_fence="publish") == 1

        stale = worker.schedule("space.append", input_data=about("stale", seconds=0.5), retries=0)
        engine.tasks.timeout(worker.in_body(stale))
        wait_for(lambda: scraped("fence_refusals_total", perago_fence="attempt") == 1, "the attempt's fence")


def test_what_befalls_workers_is_counted(modules, tmp_path, telemetry, scraped):
    with Supervised(tmp_path / "root", telemetry=telemetry) as worker:
        ended = worker.schedule("light.heed", {"seconds": 60})
        worker.in_body(ended)
        assert scraped("worker_slots", perago_slot_state="busy") == 1
        assert scraped("attempt_active", perago_task_name="light.heed") == 1
        worker.engine.tasks.terminate(worker.where)
        wait_for(lambda: scraped("lease_losses_total") == 1, "the lease's loss")
        assert scraped("attempt_duration_seconds_count", perago_outcome="cancelled") == 1

        worker.reason(worker.schedule("light.die", {"text": "exit"}, retries=0))
        wait_for(lambda: scraped("executor_deaths_total") == 1, "the executor's replacement")

        kept = worker.schedule("light.heed", {"seconds": 0.5})
        worker.in_body(kept)
        worker.engine.is_away = True
        wait_for(lambda: scraped("results_waiting") == 1, "the result to be kept")
        worker.engine.is_away = False
        worker.completed(kept)
        assert scraped("report_retries_total") >= 1
        wait_for(lambda: scraped("results_waiting") == 0, "the result's delivery")
