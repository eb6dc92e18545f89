"""The sink that sends OpenLineage events by the standard's client. Import it late, because it loads the client.

A thread of the sink's own sends one event after the other. Attempts put events into its queue and never wait.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from openlineage.client import OpenLineageClient, event_v2, facet_v2

from perago._version import __version__
from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue, WorkflowFact
from perago.telemetry.instruments import LINEAGE_DROPPED, Instrument
from perago.telemetry.lineage import AttemptLineage, Dataset, LineageEvent, Parent, workflow_event
from perago.telemetry.sink import Reading
from perago.values.redaction import text_of
from perago.values.stores import DatasetSource
from perago.values.trace_context import TraceContext

MAX_QUEUED = 1000
"""Events that wait for the receiver; further ones are dropped."""

PAUSES = (1.0, 3.0)
"""Seconds between the tries of an event."""

TIMEOUT_SECONDS = 5.0
"""Timeout for connecting to the receiver of `OPENLINEAGE_URL`, and for each read of its answer."""

CLOSE_SECONDS = 5.0
"""Limit for sending what waits when the process ends."""

PRODUCER = f"https://pypi.org/project/perago/{__version__}/"

_CLIENTS_LOGGER = logging.getLogger("openlineage")
_LOWEST_SERVER_ERROR = 500
_WORTH_ANOTHER_TRY = frozenset({408, 429})
_TRANSPORT = "OPENLINEAGE__TRANSPORT"


class Sends(Protocol):
    """The part of the client that the sink uses."""

    def emit(self, event: event_v2.RunEvent) -> None: ...

    def close(self, timeout: float = ...) -> bool: ...


@dataclass(frozen=True)
class Loss:
    """Events that were dropped.

    Attributes:
        why: the last error, masked; None if there was not enough time.
    """

    count: int
    why: str | None


class OpenLineageTelemetry:
    """Implements `sink.Telemetry`. Owns the client and the thread that sends, until `close`.

    Args:
        namespace: of jobs.
        source_of: where the data sets of a repository are; None without a store.
        count: counts dropped events.
    """

    wants_source = True

    def __init__(
        self,
        client: Sends,
        namespace: str,
        source_of: Callable[[str], DatasetSource] | None,
        count: Callable[[Instrument], None] = lambda _instrument: None,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._source_of = source_of
        self._count = count
        self._max_queued = max_queued
        self._attempts: dict[str, AttemptLineage] = {}
        self._waiting: deque[LineageEvent] = deque()
        self._is_sending = False
        self._is_closed = False
        self._deadline = float("inf")
        self._dropped = 0
        self._why: str | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._send_all, name="perago-lineage", daemon=True)
        self._thread.start()

    def begin(self, execution: Execution) -> TraceContext | None:
        self._guarded(lambda: self._begin(execution))
        return execution.trace

    def phase(self, execution_id: str, fact: PhaseFact) -> None:
        attempt = self._attempts.get(execution_id)
        if attempt is not None:
            self._guarded(lambda: self._put(attempt.take(fact)))

    def value(self, execution_id: str, value: TaskValue) -> None:
        """Lineage has no place for numbers."""

    def end(self, execution_id: str, outcome: Outcome, reason: str | None = None) -> None:
        attempt = self._attempts.pop(execution_id, None)
        if attempt is not None:
            self._guarded(lambda: self._put(*attempt.end(outcome, reason)))

    def workflow(self, fact: WorkflowFact) -> None:
        self._guarded(lambda: self._put(workflow_event(fact, datetime.now(UTC))))

    def count(self, instrument: Instrument) -> None:
        """See `Both`: metrics are another sink's."""

    def watch(self, instrument: Instrument, reading: Reading) -> None:
        """As `count`."""

    def prometheus_text(self) -> bytes:
        return b""

    def close(self, seconds: float = CLOSE_SECONDS) -> Loss:
        """Send what waits, once each, and end the thread. Returns what was dropped since the start. What the thread is
        waiting for then ends with its timeout, or with the process. May be called twice.

        Args:
            seconds: limit for waiting.
        """
        with self._changed:
            self._is_closed = True
            self._deadline = min(self._deadline, time.monotonic() + seconds)
            self._changed.notify_all()
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        with self._changed:
            left = len(self._waiting) + (1 if self._is_sending else 0)
            self._waiting.clear()
            self._is_sending = False
        self._drop(left)
        return Loss(self._dropped, self._why)

    def _begin(self, execution: Execution) -> None:
        self._attempts[execution.execution_id] = AttemptLineage(execution, self._source_of)

    def _put(self, *events: LineageEvent | None) -> None:
        refused = 0
        with self._changed:
            for event in events:
                if event is None:
                    continue
                if self._is_closed or len(self._waiting) >= self._max_queued:
                    refused += 1
                else:
                    self._waiting.append(event)
            self._changed.notify_all()
        self._drop(refused)

    def _drop(self, events: int) -> None:
        with self._changed:
            self._dropped += events
        for _ in range(events):
            self._count(LINEAGE_DROPPED)

    def _send_all(self) -> None:
        while (event := self._next()) is not None:
            self._send(event)
            with self._changed:
                self._is_sending = False
        self._guarded(lambda: self._client.close(max(0.0, self._deadline - time.monotonic())))

    def _next(self) -> LineageEvent | None:
        """Wait for an event; None when the sink is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if not self._waiting:
                return None
            self._is_sending = True
            return self._waiting.popleft()

    def _send(self, event: LineageEvent) -> None:
        """Send an event. Tries again if that can help, but not once the sink is closed."""
        for pause in (*PAUSES, None):
            try:
                self._client.emit(run_event(event, self._namespace))
            except Exception as exc:  # noqa: BLE001 - a transport may raise anything, and no attempt may notice
                self._why = text_of(exc)
                with self._changed:
                    if pause is not None and may_help(exc) and not self._changed.wait_for(self._closing, pause):
                        continue
                    is_left = self._is_sending  # else `close` has counted it
                    self._is_sending = False
                self._drop(1 if is_left else 0)
            return

    def _closing(self) -> bool:
        return self._is_closed

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as exc:  # noqa: BLE001 - the protocol must not raise
            self._why = text_of(exc)
            self._drop(1)


def may_help(exc: Exception) -> bool:
    """Whether another try can help: not if the receiver has refused the event itself."""
    status = getattr(getattr(exc, "response", None), "status_code", _LOWEST_SERVER_ERROR)
    return status >= _LOWEST_SERVER_ERROR or status in _WORTH_ANOTHER_TRY


# ---------------------------------------------------------------- client


class _Client(OpenLineageClient):
    """The client without the file `openlineage.yml` of the current directory, which may be another user's, and would
    say where events and variables of the environment go."""

    @staticmethod
    def _find_yaml_config_path() -> str | None:
        return os.environ.get("OPENLINEAGE_CONFIG") or None


def open_client(environment: Mapping[str, str]) -> OpenLineageClient:
    """The client that the variables of the standard ask for.

    Raises:
        ValueError, and others of the client: they are wrong.
    """
    config: dict[str, Any] = {"facets": {"source_code_location": {"disabled": True}}}  # it would tell of this directory
    if not environment.get("OPENLINEAGE_CONFIG") and not any(name.startswith(_TRANSPORT) for name in environment):
        config["transport"] = _http_of(environment)
    if _CLIENTS_LOGGER.level == logging.NOTSET:  # it tells of each transport at INFO
        _CLIENTS_LOGGER.setLevel(logging.WARNING)
    with _environment_kept():
        client = _Client(config=config)
    if not (client.config.transport or {}).get("type") and "OPENLINEAGE_URL" not in environment:
        raise ValueError("they name no transport")
    return client


def _http_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """The client's own transport for `OPENLINEAGE_URL`, without its retries: the sink has some, and can end them."""
    found: dict[str, Any] = {"type": "http", "url": environment["OPENLINEAGE_URL"], "timeout": TIMEOUT_SECONDS}
    found["retry"] = {"total": 0}
    if environment.get("OPENLINEAGE_ENDPOINT"):
        found["endpoint"] = environment["OPENLINEAGE_ENDPOINT"]
    if environment.get("OPENLINEAGE_API_KEY"):
        found["auth"] = {"type": "api_key", "apiKey": environment["OPENLINEAGE_API_KEY"]}
    return found


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Remove the variables that the client adds: bodies would inherit the API key in them."""
    before = set(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - before:
            del os.environ[name]


# ---------------------------------------------------------------- events of the standard


def run_event(event: LineageEvent, namespace: str) -> event_v2.RunEvent:
    """An event in the classes of the standard's client."""
    return event_v2.RunEvent(
        eventType=event_v2.RunState[event.state],
        eventTime=event.time.isoformat(timespec="milliseconds"),
        run=event_v2.Run(runId=event.run_id, facets=_run_facets(event, namespace)),
        job=event_v2.Job(namespace=namespace, name=event.job, facets=_job_facets(event)),
        inputs=[_input(dataset) for dataset in event.inputs],
        outputs=[_output(dataset) for dataset in event.outputs],
        producer=PRODUCER,
    )


def _run_facets(event: LineageEvent, namespace: str) -> dict[str, facet_v2.RunFacet]:
    found: dict[str, Any] = {
        "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet(
            version=__version__, name="Perago", producer=PRODUCER
        ),
    }
    if event.task is not None:
        about = {"task": event.task, **event.about}
        found["perago_attempt"] = facet_v2.RunFacet(producer=PRODUCER).with_additional_properties(**about)
    if event.parent is not None:
        found["parent"] = _parent_facet(event.parent, namespace)
    if event.guards:
        found["test"] = facet_v2.test_run.TestRunFacet(
            tests=[
                facet_v2.test_run.TestExecution(name=guard.name, status=guard.status, severity="error", type=guard.kind)
                for guard in event.guards
            ],
            producer=PRODUCER,
        )
    if event.reason is not None:
        found["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(
            message=event.reason, programmingLanguage="PYTHON", producer=PRODUCER
        )
    return found


def _parent_facet(parent: Parent, namespace: str) -> facet_v2.RunFacet:
    found, run, root = facet_v2.parent_run, parent.run, parent.root
    return found.ParentRunFacet(
        run=found.Run(runId=run.run_id),
        job=found.Job(namespace=namespace, name=run.job),
        root=None
        if root is None
        else found.Root(run=found.RootRun(runId=root.run_id), job=found.RootJob(namespace=namespace, name=root.job)),
        producer=PRODUCER,
    )


def _job_facets(event: LineageEvent) -> dict[str, facet_v2.JobFacet]:
    found: dict[str, facet_v2.JobFacet] = {
        "jobType": facet_v2.job_type_job.JobTypeJobFacet(
            processingType="BATCH",
            integration="PERAGO",
            jobType="WORKFLOW" if event.task is None else "TASK",
            producer=PRODUCER,
        )
    }
    source = event.source
    if source is None:
        return found
    if source.text is not None:
        found["sourceCode"] = facet_v2.source_code_job.SourceCodeJobFacet(
            language="PYTHON", sourceCode=source.text, producer=PRODUCER
        )
    if source.repository is not None:
        version = source.version
        found["sourceCodeLocation"] = facet_v2.source_code_location_job.SourceCodeLocationJobFacet(
            type="git",
            url=source.repository,
            repoUrl=source.repository,
            path=source.path,
            version=None if version is None or version.is_dirty else version.commit,
            producer=PRODUCER,
        )
    return found


def _dataset_facets(dataset: Dataset) -> dict[str, facet_v2.DatasetFacet]:
    return {
        "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=dataset.version, producer=PRODUCER
        ),
        "dataSource": facet_v2.datasource_dataset.DatasourceDatasetFacet(
            name=dataset.source.namespace, uri=dataset.source.uri, producer=PRODUCER
        ),
    }


def _input(dataset: Dataset) -> event_v2.InputDataset:
    facets: dict[str, facet_v2.InputDatasetFacet] = {}
    if dataset.patterns:
        facets["subset"] = facet_v2.base_subset_dataset.InputSubsetInputDatasetFacet(
            inputCondition=_locations(dataset), producer=PRODUCER
        )
    if dataset.files is not None:
        facets["inputStatistics"] = facet_v2.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            fileCount=dataset.files, size=dataset.bytes, producer=PRODUCER
        )
    return event_v2.InputDataset(
        namespace=dataset.source.namespace, name=dataset.name, facets=_dataset_facets(dataset), inputFacets=facets
    )


def _output(dataset: Dataset) -> event_v2.OutputDataset:
    facets: dict[str, facet_v2.OutputDatasetFacet] = {}
    if dataset.patterns:
        facets["subset"] = facet_v2.base_subset_dataset.OutputSubsetOutputDatasetFacet(
            outputCondition=_locations(dataset), producer=PRODUCER
        )
    if dataset.files is not None:
        facets["outputStatistics"] = facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            fileCount=dataset.files, producer=PRODUCER
        )
    return event_v2.OutputDataset(
        namespace=dataset.source.namespace, name=dataset.name, facets=_dataset_facets(dataset), outputFacets=facets
    )


def _locations(dataset: Dataset) -> facet_v2.base_subset_dataset.LocationSubsetCondition:
    return facet_v2.base_subset_dataset.LocationSubsetCondition(locations=list(dataset.patterns))
