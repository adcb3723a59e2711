"""Slack without Socket Mode: its signed HTTP requests, checked, acknowledged, and handed on.

Signed is `v0:TIMESTAMP:BODY`, HMAC-SHA256 with the app's signing secret; a request is good for five minutes, and once.
https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import structlog

from agent.approve.refusal_log import RefusalLog
from agent.approve.webhook import GOOD_FOR, take_once
from models.errors import AlreadyDecided, LifeboatError
from models.text import visible
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.ports.records.webhook import WebhookRefused
from tools.tracing.trace import within_trace

log = structlog.get_logger("lifeboat")

PATH: Final = "/slack"
MOST_BODY: Final = 1 << 20
"""bytes; Slack sends the whole message back with a press"""
_MOST_AT_ONCE: Final = 20


@dataclass(kw_only=True)
class SlackRequests:
    """What arrives at `/slack`. Safe for several threads."""

    journal: Journal
    clock: Clock
    secret: bytes
    take: Callable[[dict[str, Any]], None]
    """settles one, for as long as that takes"""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _free: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_MOST_AT_ONCE))
    _refusals: RefusalLog = field(init=False)

    def __post_init__(self) -> None:
        self._refusals = RefusalLog(self.journal)

    def handle(self, body: bytes, *, timestamp: str, signature: str) -> int:
        """HTTP status; 200 once it is acknowledged, which is before it is settled."""
        now = self.clock.now()
        fault = self._why_not_signed(body, timestamp, signature, now)
        content = _content(body) if fault is None else None
        if fault is None and content is None:
            fault = "it is neither a form of Slack's nor a command"
        if fault is not None or content is None:
            self._record_refusal(fault or "", now)
            return 401
        if not self._free.acquire(blocking=False):
            return 503  # not acknowledged: Slack tells the person that it did not work
        try:
            take_once(self.journal, self._lock, key="slack", signature=signature, what=_what(content), now=now)
        except AlreadyDecided as error:
            self._free.release()
            self._record_refusal(error.message, now)
            return 401
        except (LifeboatError, OSError) as error:  # the journal is away: Slack tells the person that it did not work
            self._free.release()
            with within_trace():
                log.warning("slack", message=str(error))
            return 503
        threading.Thread(target=self._settle, args=(content,), name="slack-request", daemon=True).start()
        return 200

    @within_trace()
    def _settle(self, content: dict[str, Any]) -> None:
        try:
            self.take(content)
        except LifeboatError as error:
            log.warning("slack", message=str(error))
        finally:
            self._free.release()

    def _why_not_signed(self, body: bytes, timestamp: str, signature: str, now: datetime) -> str | None:
        expected = sign(self.secret, timestamp, body)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return "the signature does not hold"
        try:
            age = now.timestamp() - int(timestamp)
        except ValueError:
            return "the timestamp is not unix seconds"
        if abs(age) > GOOD_FOR.total_seconds():
            return f"it was signed {age:.0f} s ago, and is good for {GOOD_FOR.total_seconds():.0f} s"
        return None

    def _record_refusal(self, why: str, now: datetime) -> None:
        self._refusals.keep(WebhookRefused(key="slack", what=f"POST {PATH}", why=why), now)


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """What `X-Slack-Signature` has to be."""
    return f"v0={hmac.new(secret, f'v0:{timestamp}:'.encode() + body, hashlib.sha256).hexdigest()}"


def _content(body: bytes) -> dict[str, Any] | None:
    """An interaction's `payload`, or the fields of a command; None for anything else."""
    try:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
        content = json.loads(form["payload"]) if "payload" in form else form
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and ("type" in content or "command" in content) else None


def _what(content: dict[str, Any]) -> str:
    return visible(str(content.get("command") or content.get("type")), 60)
