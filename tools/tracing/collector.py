"""Which OpenTelemetry collector is sent spans, and whether it would take them. Needs none of OpenTelemetry's packages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import requests

from models.text import without_credentials
from tools.http_deadline import DeadlineSession

_PATH = "/v1/traces"


def traces_url(endpoint: str | None) -> str | None:
    """Where spans go: `endpoint`, or what OTEL_EXPORTER_OTLP_(TRACES_)ENDPOINT says; None: nowhere. OTEL_SDK_DISABLED=true and
    OTEL_TRACES_EXPORTER=none turn it off whatever else is said."""
    if _variable("OTEL_SDK_DISABLED") == "true" or _variable("OTEL_TRACES_EXPORTER") == "none":
        return None
    if endpoint is not None:
        return endpoint if urlsplit(endpoint).path not in ("", "/") else endpoint.rstrip("/") + _PATH
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    return os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (base + _PATH if base else None)


def why_no_spans(url: str, headers: Mapping[str, str], *, seconds: float) -> str | None:
    """Hand the collector a batch without a span; why it does not take it within so long, None when it does."""
    said = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    pairs = (pair.partition("=") for pair in said.split(","))
    sent = {name.strip(): unquote(value.strip()) for name, is_pair, value in pairs if is_pair}
    sent |= {**headers, "Content-Type": "application/x-protobuf"}
    try:
        with DeadlineSession() as session:
            answer = session.request("POST", url, data=b"", headers=sent, timeout=seconds, allow_redirects=False)
    except (requests.RequestException, OSError) as error:
        return without_credentials(str(error))
    return None if 200 <= answer.status_code < 300 else f"it answers {answer.status_code} {answer.reason}"


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip().lower()
