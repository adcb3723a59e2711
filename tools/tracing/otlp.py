"""Spans to an OpenTelemetry collector, by OTLP over HTTP. The only module that imports opentelemetry.

They wait in a queue of bounded length (OTEL_BSP_MAX_QUEUE_SIZE, 2,048 by default) and are sent by a thread of its own: when the
collector is slow or away the oldest are lost, and nobody waits.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from tools.bounded_call import BoundedCall
from tools.http_deadline import DeadlineSession
from tools.tracing.spans import FinishedSpan, collecting

log = structlog.get_logger("lifeboat")

_LAST_SECONDS = 3.0
"""for what still waits when the agent ends"""


def exporting(
    *, url: str, headers: Mapping[str, str], timeout_seconds: float | None, agent: str
) -> AbstractContextManager[None]:
    """For as long as the block runs, spans of this process are sent; what still waits at its end, for _LAST_SECONDS.

    url: as `traces_url` has it. headers: besides OTEL_EXPORTER_OTLP_(TRACES_)HEADERS. timeout_seconds: for one batch and all its
    retries; None: OTEL_EXPORTER_OTLP_(TRACES_)TIMEOUT, 10 without it. agent: `service.instance.id`.
    """
    library = logging.getLogger("opentelemetry")
    library.propagate, library.handlers = False, [logging.NullHandler()]  # `_Telling` says what matters, in our log
    session = DeadlineSession()
    exporter = OTLPSpanExporter(endpoint=url, headers=dict(headers), timeout=timeout_seconds, session=session)
    ids = _GivenIds()
    provider = TracerProvider(resource=_resource(agent), id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Telling(exporter)))
    return _collecting(provider, ids)


@contextmanager
def _collecting(provider: TracerProvider, ids: _GivenIds) -> Generator[None]:
    try:
        with collecting(_Collector(provider, ids)):
            yield
    finally:
        BoundedCall(provider.shutdown, name="spans-last").wait(_LAST_SECONDS)


def _resource(agent: str) -> Resource:
    """Whose spans they are; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME have the last word."""
    told = Resource.create()
    if str(told.attributes.get("service.name", "")).startswith("unknown_service"):
        told = told.merge(Resource({"service.name": "lifeboat"}))
    if "service.instance.id" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        told = told.merge(Resource({"service.instance.id": agent}))
    return Resource({"service.version": version("lifeboat")}).merge(told)


class _GivenIds(IdGenerator):
    """The ids of the span that this thread is about to make."""

    def __init__(self) -> None:
        self._next = threading.local()

    def use(self, span: FinishedSpan) -> None:
        self._next.trace, self._next.span = int(span.trace, 16), int(span.id, 16)

    def generate_trace_id(self) -> int:
        return self._next.trace

    def generate_span_id(self) -> int:
        return self._next.span

    def is_trace_id_random(self) -> bool:
        return True


class _Collector:
    def __init__(self, provider: TracerProvider, ids: _GivenIds) -> None:
        self._provider, self._ids = provider, ids
        self._tracer = provider.get_tracer("lifeboat", version("lifeboat"))

    def take(self, span: FinishedSpan) -> None:
        self._ids.use(span)
        context = set_span_in_context(NonRecordingSpan(self._of(span.trace, span.parent))) if span.parent else None
        made = self._tracer.start_span(
            span.name,
            context=context,
            kind=SpanKind.INTERNAL,
            attributes={f"lifeboat.{name}": value for name, value in span.attributes.items()},
            links=[Link(self._of(trace, other)) for trace, other in span.links],
            start_time=_nanoseconds(span.began),
        )
        for event in span.events:
            told = {f"lifeboat.{name}": value for name, value in event.attributes.items()}
            made.add_event(event.name, told, _nanoseconds(event.at))
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(_nanoseconds(span.ended))

    def _of(self, trace: str, span: str) -> SpanContext:
        """A span that may have been made elsewhere. What is sampled (OTEL_TRACES_SAMPLER) goes by the trace id, as a whole."""
        number = int(trace, 16)
        sampled = self._provider.sampler.should_sample(None, number, "").decision.is_sampled()
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        return SpanContext(number, int(span, 16), is_remote=True, trace_flags=flags)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


class _Telling(SpanExporter):
    """Sends, and says when that fails: at the first, 2nd, 4th, 8th … time in a row, and when it works again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failures = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._failures:
                log.info("spans-sent-again", failed_in_a_row=self._failures)
            self._failures = 0
            return result
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:
            message = "the OpenTelemetry collector took no spans; they are lost, and lifeboat goes on"
            log.warning("spans-not-sent", message=message, lost=len(spans), in_a_row=self._failures)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
