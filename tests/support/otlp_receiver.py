"""An OTLP receiver on loopback: takes metrics and traces over HTTP, decodes them, and keeps them for a test."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """A context manager.

    Args:
        hangs: takes connections and requests, and answers none until `wake`.

    Attributes:
        raw: bodies as they came, unzipped.
        spans: all of them; resource: attributes of the last request's resource.
    """

    def __init__(self, *, hangs: bool = False) -> None:
        self.raw: list[bytes] = []
        self.spans: list[Any] = []
        self.resource: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}
        self.awake = threading.Event()
        self.hangs = hangs
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def wake(self) -> None:
        """Answer from now on, what waits for it too."""
        self.awake.set()

    def __exit__(self, *_: object) -> None:
        self.wake()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Attributes and data point, of the newest export of a metric that is summed up."""
        metric = self._metrics.get(name)
        if metric is None:
            return []
        data = getattr(metric, metric.WhichOneof("data"))
        return [(_attributes(point.attributes), point) for point in data.data_points]

    def total(self, name: str, **attributes: str) -> float:
        """The sum of a metric's points that have these attributes ("." written as "__"); of a histogram its count."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return sum(
            _value(point) for found, point in self.points(name) if all(found.get(k) == v for k, v in wanted.items())
        )

    def unit(self, name: str) -> str:
        return self._metrics[name].unit

    def names(self) -> set[str]:
        return set(self._metrics)

    def span(self, name: str) -> Any:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def take(self, path: str, body: bytes) -> None:
        self.raw.append(body)
        if path == "/v1/metrics":
            for part in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.resource = _attributes(part.resource.attributes)
                self._metrics |= {metric.name: metric for scope in part.scope_metrics for metric in scope.metrics}
        elif path == "/v1/traces":
            for traces in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans += [span for scope in traces.scope_spans for span in scope.spans]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.hangs:
                    receiver.awake.wait()
                is_zipped = self.headers.get("Content-Encoding") == "gzip"
                receiver.take(self.path, gzip.decompress(body) if is_zipped else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        return Handler


def attributes_of(span: Any) -> dict[str, Any]:
    return _attributes(span.attributes)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _value(point: Any) -> float:
    if hasattr(point, "bucket_counts"):
        return point.count
    return point.as_int if point.WhichOneof("value") == "as_int" else point.as_double


def family(spans: list[Any]) -> Iterator[tuple[str, Any]]:
    """Spans with the name of their parent among them; "" where it is none of them."""
    names = {span.span_id: span.name for span in spans}
    for span in spans:
        yield names.get(span.parent_span_id, ""), span
