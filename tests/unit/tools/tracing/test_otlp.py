"""Spans as a collector gets them, and what becomes of the agent when there is none."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime

import pytest
from scenes.odd_servers import Reply, answering
from scenes.otlp_receiver import receiving
from structlog.testing import capture_logs

from tools.tracing.collector import traces_url, why_no_spans
from tools.tracing.otlp import exporting
from tools.tracing.spans import finished_span, span, span_id
from tools.tracing.trace import new_trace


def where(endpoint: str | None = None) -> str:
    url = traces_url(endpoint)
    assert url is not None
    return url


SECRET = "hunter2-hunter2"


def test_a_collector_gets_spans_under_lifeboats_own_trace_id_and_no_secret() -> None:
    with (
        receiving() as received,
        exporting(url=where(received.url), headers={"Authorization": "Bearer t"}, timeout_seconds=10, agent="one"),
        new_trace() as trace,
    ):
        with span("pass", first=True):
            with span("look", url=f"http://root:{SECRET}@node-a/", password=SECRET, nodes=["a", "b"]):
                pass
            with pytest.raises(ValueError, match="no"), span("plan"):
                raise ValueError(f"no: https://me:{SECRET}@host/")
        began, ended = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
        finished_span("evacuation", trace=trace, key="evac-1", began=began, ended=ended, links=("b" * 32,))
    assert {made.trace_id.hex() for made in received.spans} == {trace}
    first, look, plan, evacuation = map(received.named, ("pass", "look", "plan", "evacuation"))
    assert first.parent_span_id == b""
    assert look.parent_span_id == plan.parent_span_id == evacuation.parent_span_id == first.span_id
    assert evacuation.span_id.hex() == span_id(trace, "evac-1")
    assert evacuation.end_time_unix_nano - evacuation.start_time_unix_nano == 600_000_000_000
    assert evacuation.links[0].trace_id.hex() == "b" * 32
    assert plan.status.code == 2
    assert {each.key: each.value.string_value for each in look.attributes}["lifeboat.nodes"] == "a, b"
    assert SECRET.encode() not in received.text
    assert received.headers[0]["authorization"] == "Bearer t"
    assert set(received.paths) == {"/v1/traces"}
    assert received.resources[0]["service.name"] == "lifeboat"
    assert received.resources[0]["service.instance.id"] == "one"


def test_the_usual_variables_say_where_as_whom_and_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=lab")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "lifeboat-lab")
        with exporting(url=where(), headers={}, timeout_seconds=None, agent="one"), new_trace(), span("pass"):
            pass
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
        with exporting(url=where(), headers={}, timeout_seconds=None, agent="one"), new_trace(), span("look"):
            pass
    assert [made.name for made in received.spans] == ["pass"]
    assert received.headers[0]["x-tenant"] == "lab"
    assert received.resources[0]["service.name"] == "lifeboat-lab"


def test_a_collector_that_is_away_is_said_once_and_holds_nobody_up() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/traces"
        with (
            capture_logs() as lines,
            exporting(url=endpoint, headers={}, timeout_seconds=0.2, agent="one"),
            new_trace(),
        ):
            for _ in range(10):
                with span("look"):
                    pass
    assert [line["event"] for line in lines] == ["spans-not-sent"]


def test_a_collector_that_never_answers_holds_nobody_up() -> None:
    answers = threading.Event()
    with receiving(silent=answers) as received:
        with exporting(url=where(received.url), headers={}, timeout_seconds=0.2, agent="one"), new_trace():
            for _ in range(600):  # more than one batch: the thread that sends has begun to wait
                with span("look"):
                    pass
        assert not answers.is_set(), "all were handed over, and the block ended, before it said a word"


def test_who_asks_beforehand_hears_whether_the_collector_would_take_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t")
        assert why_no_spans(where(received.url), {}, seconds=10) is None
        assert received.headers[0]["authorization"] == "Bearer t"
        gone = received.url
    assert "refused" in (why_no_spans(where(gone), {}, seconds=10) or "")
    with answering(Reply(status=401, body="")) as strict:
        assert why_no_spans(strict.url, {}, seconds=10) == "it answers 401 Unauthorized"


def test_it_is_off_where_nothing_names_a_collector_or_the_usual_variables_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert traces_url(None) is None
    assert traces_url("http://c:4318") == traces_url("http://c:4318/v1/traces") == "http://c:4318/v1/traces"
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert traces_url("http://c:4318") is None
