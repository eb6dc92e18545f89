"""One set of names: what a scrape shows, what the dashboard asks for, what the page lists."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from perago.telemetry import instruments
from perago.telemetry.endpoint import json_page
from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue
from perago.telemetry.instruments import INSTRUMENTS
from perago.telemetry.otel import OtelSettings, OtelTelemetry
from perago.worker.supervisor.health import HealthFacts, Probed, checks_object, health_of
from perago.worker.supervisor.status import WorkerStatus

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "telemetry.md"
DASHBOARD = ROOT / "deploy" / "grafana" / "perago.json"
_SUFFIX = re.compile(r"_(?:bucket|count|sum|created)$")


@pytest.fixture(scope="module")
def scrape():
    """Samples of a worker to which everything has happened: name -> labels that it has."""
    telemetry = OtelTelemetry(OtelSettings(instance_id="worker-1", prometheus=True))
    telemetry.watch(instruments.SLOTS, lambda: {"idle": 1})
    telemetry.watch(instruments.RESULTS_WAITING, lambda: {"": 0})
    telemetry.begin(
        Execution(
            task="t", workflow_instance_id="w", reference_task_name="r", task_id="1", retry_count=0, execution_id="e"
        )
    )
    for phase in ("materialize", "stage"):
        moved = {"files": 2, "bytes": 10, "cache_hits": 1}
        telemetry.phase("e", PhaseFact(phase=phase, kind="progress", attributes=moved))
        telemetry.phase("e", PhaseFact(phase=phase, kind="completed", seconds=1.0))
    telemetry.phase("e", PhaseFact(phase="stage", kind="failed", seconds=1.0, error_type="StoreError"))
    telemetry.phase("e", PhaseFact(phase="publish", kind="lost", seconds=1.0, error_type="HeadMovedError"))
    telemetry.phase("e", PhaseFact(phase="decide", kind="completed", seconds=1.0, attributes={"how": "published"}))
    telemetry.value("e", TaskValue(instrument="gauge", name="perago.own", value=1))
    telemetry.end("e", Outcome.COMPLETED)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(telemetry.prometheus_text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    assert telemetry.close()
    return {name: labels for name, labels in found.items() if name != "target_info"}


def panels() -> list[dict[str, Any]]:
    return json.loads(DASHBOARD.read_text())["panels"]


def questions() -> list[str]:
    """What the panels ask Prometheus."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def expressions() -> list[str]:
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    return questions() + [each["query"]["query"] for each in variables if each["type"] == "query"]


def test_each_instrument_is_scraped_with_its_attributes(scrape):
    shown = {_SUFFIX.sub("", name): labels for name, labels in scrape.items()}
    assert len(shown) == len(INSTRUMENTS)
    for instrument in INSTRUMENTS:
        labels = shown[prometheus_name(instrument)]
        assert labels - {"le"} == {name.replace(".", "_") for name in instrument.attributes}


def test_each_name_and_label_of_the_dashboard_is_really_exported(scrape):
    used = set()
    for expression in expressions():
        names = set(re.findall(r"\bperago_[a-z_]+\b(?=[{\[),]|$)", re.sub(r"by \([^)]*\)", "", expression)))
        metrics = {name for name in names if name in scrape}
        assert metrics, expression
        labels = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
        labels |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        assert all(labels <= scrape[name] for name in metrics), expression
        unknown = names - metrics - {label for found in scrape.values() for label in found}
        assert not unknown, expression
        used |= {_SUFFIX.sub("", name) for name in metrics}
    assert used == {prometheus_name(instrument) for instrument in INSTRUMENTS}


@pytest.mark.parametrize("question", questions())
def test_prometheus_understands_what_the_dashboard_asks(question):
    asked = question.replace("$__rate_interval", "5m")  # as Grafana does
    assert isinstance(promql_parser.parse(asked), promql_parser.Expr)


def test_the_panels_of_the_dashboard_do_not_lie_on_each_other():
    places = [panel["gridPos"] for panel in panels()]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24  # Grafana's columns
    assert len({panel["id"] for panel in panels()}) == len(places)


def test_the_page_lists_each_metric_as_it_is():
    row = re.compile(r"^\| `(perago\.[a-z_.]+)` \| (\w+), `([^`]+)` \| (.*?) \| `(\w+)` \|", re.MULTILINE)
    rows = row.findall(PAGE.read_text())
    listed = {
        name: (kind, unit, tuple(re.findall(r"`([^`]+)`", about)), shown) for name, kind, unit, about, shown in rows
    }
    assert listed == {each.name: (each.kind, each.unit, each.attributes, prometheus_name(each)) for each in INSTRUMENTS}


def prometheus_name(instrument) -> str:
    """As OpenTelemetry's compatibility specification has it."""
    name = instrument.name.replace(".", "_") + {"s": "_seconds", "By": "_bytes"}.get(instrument.unit, "")
    return f"{name}_total" if instrument.kind == "counter" else name


def test_the_pages_scrape_is_one_that_could_be(scrape):
    (block,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for family in text_string_to_metric_families(block):
        assert all(set(sample.labels) <= scrape[sample.name] for sample in family.samples)


def test_the_pages_readiness_is_what_a_worker_answers():
    (block,) = re.findall(r'```json\n(\{\n "ready".*?)```', PAGE.read_text(), re.DOTALL)
    store = json.loads(block)["checks"]["store"]["detail"]
    probes = {"tasks": Probed(True, "3 registered", 4.0), "store": Probed(False, store, 4.0)}
    health = health_of(HealthFacts(answered_seconds=0.2, slots=["busy", "idle"], probes=probes))
    page = json_page({"ready": health.is_ready, "checks": checks_object(health.all)}, ok=health.is_ready)
    assert (page.status, page.body.decode()) == (503, block)


def test_the_page_lists_the_fields_of_a_status():
    listed = PAGE.read_text().partition("`worker` (null")[2].partition("Exit code")[0]
    assert [field.name for field in fields(WorkerStatus)] == re.findall(r"`(\w+)`", listed)
