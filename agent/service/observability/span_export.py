"""Spans to an OpenTelemetry collector, where the settings or the environment name one."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from socket import gethostname
from typing import TYPE_CHECKING

import structlog

from models.extras import extra_missing

if TYPE_CHECKING:
    from agent.settings import Settings

log = structlog.get_logger("lifeboat")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def exporting_spans(settings: Settings) -> AbstractContextManager[None]:
    """For as long as the block runs. Without the extra `otel` it is said, and nothing is exported; so when a variable
    OTEL_… can't be understood."""
    if not _wanted(settings):
        return nullcontext()
    otel = settings.otel
    try:
        from tools.tracing.otlp import exporting

        return exporting(
            endpoint=otel.endpoint if otel is not None else None,
            headers=otel.headers if otel is not None else {},
            timeout_seconds=otel.timeout_seconds if otel is not None else None,
            agent=settings.agent or gethostname(),
        )
    except ModuleNotFoundError as error:
        missing = extra_missing(error)
        if missing is None:
            raise
        log.warning("no-spans", message=str(missing))
    except Exception as error:  # the library reads its variables by itself: a bad one must not end the agent
        log.warning("no-spans", message=f"OpenTelemetry can't be set up: {error}")
    return nullcontext()


def _wanted(settings: Settings) -> bool:
    """OTEL_SDK_DISABLED and OTEL_TRACES_EXPORTER=none turn it off, as everywhere."""
    said = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or said == "none":
        return False
    named = settings.otel is not None and settings.otel.endpoint is not None
    return named or any(os.environ.get(name) for name in _ENDPOINTS)
