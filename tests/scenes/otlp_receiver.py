"""An OpenTelemetry collector on a loopback socket, as small as it can be: it takes spans by OTLP over HTTP and keeps them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """What arrived."""

    url: str = ""
    paths: list[str] = field(default_factory=list[str])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    spans: list[Any] = field(default_factory=list[Any])
    """protobuf messages `opentelemetry.proto.trace.v1.Span`"""
    resources: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    text: bytes = b""
    """every body, as it came over the wire"""

    def named(self, name: str) -> Any:
        (found,) = (span for span in self.spans if span.name == name)
        return found


@contextmanager
def receiving(*, silent: threading.Event | None = None) -> Iterator[Received]:
    """A collector for as long as the block runs. `silent`: it takes connections, and answers none before this is set."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if silent is not None:
                silent.wait(60)
            request = ExportTraceServiceRequest.FromString(body)
            received.paths.append(self.path)
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            received.text += body
            for of_resource in request.resource_spans:
                told = of_resource.resource.attributes
                received.resources.append({each.key: each.value.string_value for each in told})
                for scope in of_resource.scope_spans:
                    received.spans += scope.spans
            try:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:  # whoever sent it waits no longer
                return

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield received
    finally:
        if silent is not None:
            silent.set()
        server.shutdown()
        server.server_close()
        thread.join()
