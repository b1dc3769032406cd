"""A receiver of OTLP over HTTP on a real port, which keeps the spans that it is sent."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATIENCE_SECONDS = 30.0


class Received:
    """One span; ids as hex, times in nanoseconds."""

    def __init__(self, service: str, scope: str, span: Any) -> None:
        self.service, self.scope, self.proto = service, scope, span
        self.name: str = span.name
        self.trace: str = span.trace_id.hex()
        self.id: str = span.span_id.hex()
        self.parent: str = span.parent_span_id.hex()
        self.kind: int = span.kind
        self.start: int = span.start_time_unix_nano
        self.end: int = span.end_time_unix_nano
        self.attributes = _plain(span.attributes)
        self.moments = [(event.name, _plain(event.attributes)) for event in span.events]
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]

    def __repr__(self) -> str:
        return f"<{self.name} {self.trace[:4]}/{self.id} in {self.parent}>"


class Receiver:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Received] = []
        self.requests = 0

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.requests += 1
        for of_resource in request.resource_spans:
            service = _plain(of_resource.resource.attributes)["service.name"]
            for of_scope in of_resource.scope_spans:
                self.spans += [Received(service, of_scope.scope.name, span) for span in of_scope.spans]

    def wait_for(self, *names: str) -> list[Received]:
        """All spans, as soon as there is one of each name."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while not set(names) <= {span.name for span in self.spans}:
            assert time.monotonic() < ends, (names, self.spans)
            time.sleep(0.02)
        return self.spans

    def one(self, name: str, **attributes: Any) -> Received:
        (found,) = [
            span
            for span in self.spans
            if span.name == name and all(span.attributes.get(key) == value for key, value in attributes.items())
        ]
        return found


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Not on the terminal of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _plain(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
