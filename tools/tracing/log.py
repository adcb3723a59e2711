"""How log lines are written: one JSON object a line, or for people. Configured here and nowhere else."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from models.text import without_credentials

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]
_SECRET_NAME = re.compile("authori[sz]ation|cookie|passw|secret|api_?key|_token$|^token$", re.IGNORECASE)
"""what stands under such a name is never written"""


class _CurrentStderr:
    """Whatever stderr is when a line is written: a service's may be exchanged while it runs."""

    def write(self, text: str) -> int:
        return _stderr().write(text)

    def flush(self) -> None:
        _stderr().flush()


def _stderr() -> TextIO:
    return sys.stderr


def configure_log(*, format: Format = "auto", level: Level = "info") -> None:
    """From now on lines of at least this level go to stderr. `auto`: for people on a terminal, JSON everywhere else."""
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    last: list[Processor] = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    if as_json:
        last = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str, ensure_ascii=True)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            without_secrets,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=_CurrentStderr()),  # pyright: ignore[reportArgumentType]
        cache_logger_on_first_use=False,
    )


def without_secrets(_logger: object, _name: str, event: EventDict) -> EventDict:
    """What logs in somewhere is cut out of every text of a line, however deep."""
    return {key: _named(key, value) for key, value in event.items()}


def _named(name: str, value: Any) -> Any:
    return "…" if _SECRET_NAME.search(name) else _clean(value)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {str(key): _named(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else without_credentials(str(value))
