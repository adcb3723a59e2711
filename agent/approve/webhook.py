"""Questions and answers for other systems: signed JSON over HTTP. Who signs with a key is `webhook:KEY` among policy's people.

Each request carries `X-Lifeboat-Key` (the key's name), `X-Lifeboat-Timestamp` (unix seconds) and `X-Lifeboat-Signature`:
`v0=` and the HMAC-SHA256, hex, of `v0:TIMESTAMP:METHOD:PATH:BODY`. It is good for five minutes, an answer once.

    GET  /approvals                        what waits, as `lifeboat approvals --json`
    GET  /approvals/EVACUATION             one, as `lifeboat show --json`
    POST /approvals/EVACUATION/approve     {"question_sha256": …}: what was shown has to be what is asked
    POST /approvals/EVACUATION/reject      {"question_sha256": …, "reason": …}
    POST /approvals/EVACUATION/snooze      {"question_sha256": …, "for": "10m"}
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from agent.approve.facts import facts, full_facts
from agent.approve.proposals import answer, open_questions, read
from agent.approve.refusal_log import RefusalLog
from models.base import parse_duration
from models.errors import AlreadyDecided, BadInput, LifeboatError, NotAnApprover, Refused
from models.policy.policy import Policy
from models.proposals.states import EventKind
from models.text import visible
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.ports.records.webhook import WebhookRefused, WebhookUsed

GOOD_FOR: Final = timedelta(minutes=5)
MOST_BODY: Final = 10_000
"""bytes; an answer takes a few hundred"""
_ANSWERS: Final = {"approve": EventKind.AGREE, "reject": EventKind.REJECT, "snooze": EventKind.SNOOZE}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    body: bytes = b""
    key: str = ""
    timestamp: str = ""
    signature: str = ""


def sign(secret: bytes, timestamp: str, method: str, path: str, body: bytes) -> str:
    """What `X-Lifeboat-Signature` has to be."""
    signed = f"v0:{timestamp}:{method}:{path}:".encode() + body
    return f"v0={hmac.new(secret, signed, hashlib.sha256).hexdigest()}"


@dataclass(kw_only=True)
class Webhook:
    """Answers requests. Safe for several threads."""

    journal: Journal
    policy: Policy
    clock: Clock
    secrets: Mapping[str, bytes]
    """by name of the key"""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _refusals: RefusalLog = field(init=False)

    def __post_init__(self) -> None:
        self._refusals = RefusalLog(self.journal)

    def handle(self, request: Request) -> tuple[int, dict[str, Any]]:
        """HTTP status and JSON. Never raises for what was asked."""
        now = self.clock.now()
        fault = self._why_not_signed(request, now)
        if fault is not None:
            self._record_refusal(request, fault, now)
            return 401, {"error": "unsigned", "why": fault}
        try:
            return 200, self._answer(request, now)
        except NotAnApprover as error:
            return 403, _said(error)
        except AlreadyDecided as error:
            return 409, _said(error)
        except BadInput as error:
            return 400, _said(error)
        except Refused as error:
            return 409, _said(error)
        except LifeboatError as error:
            return 500, _said(error)
        except OSError as error:
            return 503, {"error": "journal", "why": f"nothing was decided: {error}"}

    def _answer(self, request: Request, now: datetime) -> dict[str, Any]:
        parts = request.path.strip("/").split("/")
        match request.method, parts:
            case "GET", ["approvals"]:
                waiting = open_questions(self.journal, self.clock)
                return {"approvals": [facts(each, self.policy) for each in waiting]}
            case "GET", ["approvals", evacuation]:
                return full_facts(read(self.journal, evacuation, self.clock), self.policy)
            case "POST", ["approvals", evacuation, verb] if verb in _ANSWERS:
                return self._decide(request, evacuation, verb, now)
            case _:
                raise BadInput(f"there is no {request.method} {visible(request.path, 80)}", hint="see docs/approval.md")

    def _decide(self, request: Request, evacuation: str, verb: str, now: datetime) -> dict[str, Any]:
        given = _object(request.body)
        proposal = read(self.journal, evacuation, self.clock)
        if given.get("question_sha256") != proposal.question.digest():
            raise Refused(
                f"what was shown is not what {proposal.id} asks",
                hint="nothing was decided; question_sha256 has to be its own",
            )
        off: timedelta | None = None
        if verb == "snooze":
            try:
                off = parse_duration(str(given.get("for")))
            except ValueError as error:
                raise BadInput(f"for: {error}", hint='such as "10m"') from error
        reason = str(given.get("reason") or "")
        if verb == "reject" and not reason:
            raise BadInput("a rejection needs a reason", hint='"reason": "…"')
        what = f"{verb} {evacuation}"
        take_once(self.journal, self._lock, key=request.key, signature=request.signature, what=what, now=now)
        done = answer(
            self.journal, evacuation, _ANSWERS[verb], by=f"webhook:{request.key}", policy=self.policy, clock=self.clock,
            why=reason, off=off,
        )  # fmt: skip
        return facts(done, self.policy)

    def _why_not_signed(self, request: Request, now: datetime) -> str | None:
        secret = self.secrets.get(request.key)
        if secret is None:
            return "no such key"
        try:
            age = now.timestamp() - int(request.timestamp)
        except ValueError:
            return "the timestamp is not unix seconds"
        expected = sign(secret, request.timestamp, request.method, request.path, request.body)
        if not hmac.compare_digest(expected.encode(), request.signature.encode()):
            return "the signature does not hold"
        if abs(age) > GOOD_FOR.total_seconds():
            return f"it was signed {age:.0f} s ago, and is good for {GOOD_FOR.total_seconds():.0f} s"
        return None

    def _record_refusal(self, request: Request, why: str, now: datetime) -> None:
        what = visible(f"{request.method} {request.path}", 120)
        self._refusals.keep(WebhookRefused(key=visible(request.key, 40), what=what, why=why), now)


def take_once(journal: Journal, lock: threading.Lock, *, key: str, signature: str, what: str, now: datetime) -> None:
    """Raises AlreadyDecided when the same signed request came before."""
    used = hashlib.sha256(signature.encode()).hexdigest()
    with lock:
        before = journal.of(WebhookUsed, since=now - 2 * GOOD_FOR)
        if any(entry.record.signature_sha256 == used for entry in before):
            raise AlreadyDecided("this very answer came before", hint="nothing was changed; sign a new one")
        journal.append(WebhookUsed(key=key, signature_sha256=used, what=visible(what, 120)), now=now)


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadInput("the body is not JSON", hint="see docs/approval.md") from error
    if not isinstance(given, dict):
        raise BadInput("the body is no JSON object", hint="see docs/approval.md")
    return given


def _said(error: LifeboatError) -> dict[str, Any]:
    return {"error": error.code, "why": error.message, "hint": error.hint}
