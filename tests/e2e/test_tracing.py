"""One trace for a request: Envoy's span for the call is the parent of ours, and ours names the record."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from authz.up import gateway
from authz.up.deployment import GATEWAY
from authz.up.places import LOOPBACK
from authz.up.traffic import RECORDS
from authz.up.upstream import read_body
from tests.e2e.stack import running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Takes spans by OTLP/HTTP; `spans` by the name of the service that sent them."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Any]] = {}
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of(self, service: str, trace: str) -> list[Any]:
        return [span for span in self.spans.get(service, ()) if span.trace_id.hex() == trace]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = read_body(self)
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                    named = {each.key: each.value.string_value for each in sent.resource.attributes}
                    for scope in sent.scope_spans:
                        spans.setdefault(named["service.name"], []).extend(scope.spans)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
                pass

        return Handler


@pytest.fixture
def collector() -> Iterator[Collector]:
    started = Collector()
    yield started
    started.close()


def test_our_span_is_a_child_of_envoys_and_names_the_record(tmp_path: Path, collector: Collector) -> None:
    telemetry = {"otlp_endpoint": f"http://{LOOPBACK}:{collector.port}/v1/traces", "sampling": 0.0}
    with running(tmp_path, envoy=False, telemetry=telemetry) as stack:
        deployment = stack.deployment
        addresses = deployment.addresses(deployment.ports.envoy, upstream=stack.upstream.port)
        traced = gateway.Addresses(**vars(addresses) | {"collector": collector.port})
        deployment.start_envoy(gateway.configure(GATEWAY, traced))
        with stack.client() as client:
            answer = client.get(RECORDS, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        assert answer.status_code == 200
        record = stack.record(answer)
        assert record["trace_id"] == TRACE
        deployment.processes.wait("worker", lambda: bool(collector.of("aegis-worker", TRACE)), "its span", 20)
        deployment.processes.wait("envoy", lambda: len(collector.of("egress", TRACE)) >= 2, "its spans", 20)
        (ours,) = collector.of("aegis-worker", TRACE)
        envoys = {span.span_id: span for span in collector.of("egress", TRACE)}
        assert ours.span_id.hex() == record["span_id"]
        assert ours.parent_span_id in envoys
        said = {each.key: each.value for each in ours.attributes}
        assert record["decision_id"] in {value.string_value for value in said.values()}
        assert not [value for value in said.values() if client.headers["x-aegis-agent-token"] in str(value)]
