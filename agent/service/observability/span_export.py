"""Spans to an OpenTelemetry collector, where the settings or the environment name one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from socket import gethostname
from typing import TYPE_CHECKING

import structlog

from models.extras import extra_missing
from tools.tracing.collector import traces_url

if TYPE_CHECKING:
    from agent.settings import Settings

log = structlog.get_logger("lifeboat")


def exporting_spans(settings: Settings) -> AbstractContextManager[None]:
    """For as long as the block runs. Without the extra `otel` it is said, and nothing is exported; so when a variable
    OTEL_… can't be understood."""
    otel = settings.otel
    url = traces_url(otel.endpoint if otel is not None else None)
    if url is None:
        return nullcontext()
    try:
        from tools.tracing.otlp import exporting

        return exporting(
            url=url,
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
