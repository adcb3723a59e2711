"""What was said between lifeboat and a language model: kept whole, bound to the plan by its hash, told step by step.

Bodies only: headers, and with them the key, are never in a record. Files are readable by their owner alone, as they hold the real
names behind the aliases.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx2
from pydantic import Field, ValidationError

from models.base import UtcTime, Value
from models.errors import BadInput
from models.knowledge import Knowledge
from models.text import visible
from tools.atomic_file import write_atomically

MAX_BODY = 400_000
"""characters of one body that are kept"""
CHARACTERS_PER_TOKEN = 4
"""where a server counts none; a usual figure for English"""


class Exchange(Value):
    """One request and what came back."""

    request: dict[str, Any]
    status: int
    """of HTTP"""
    response: str
    seconds: float


class ConversationRecord(Value):
    """One plan asked of one model."""

    at: UtcTime
    base_url: str
    model: str
    prompt: str
    """name of the prompt file; empty when it did not come to that"""
    interface: str
    """in which form the model was asked; empty when it did not come to that"""
    names: dict[str, str]
    """alias → real name of a node or vm"""
    knowledge: Knowledge = Knowledge()
    """what was known besides fleet, risks and policy"""
    exchanges: tuple[Exchange, ...]
    failed: str = ""
    """why no plan came of it; empty when one did"""

    def digest(self) -> str:
        """SHA-256 of the record; a plan made with it holds it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Tokens(Value):
    """What one day has cost."""

    day: str = ""
    prompt: int = Field(default=0, ge=0)
    completion: int = Field(default=0, ge=0)
    prompt_ever: int = Field(default=0, ge=0)
    completion_ever: int = Field(default=0, ge=0)
    """the same of all days: it never falls"""


@dataclass(frozen=True)
class LlmDirectory:
    """`state_dir/llm`: what endpoints can, what was said, and what it cost."""

    path: Path

    @property
    def endpoints(self) -> Path:
        return self.path / "endpoints.json"

    def keep(self, record: ConversationRecord) -> str | None:
        """Put a record down; its hash, or None when it can't be written (a plan may be made without)."""
        digest = record.digest()
        try:
            self._make()
            write_atomically(self._file(digest), record.model_dump_json())
        except OSError:
            return None
        return digest

    def read(self, digest: str) -> ConversationRecord:
        """A record by its hash. Raises BadInput when it is not there, can't be read, or is not what was kept."""
        path = self._file(digest)
        try:
            record = ConversationRecord.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BadInput(
                f"the conversation behind the plan is not at {path}: {error.strerror or error}",
                hint="it lies in the state_dir of the lifeboat that made the plan",
            ) from error
        except ValidationError as error:
            raise BadInput(f"conversation {path} can't be read: {error.error_count()} faults") from error
        if record.digest() != digest:
            raise BadInput(f"conversation {path} was changed after the plan was made", hint="don't trust it")
        return record

    def tokens(self, now: datetime) -> Tokens:
        """Used so far on this day (UTC), and ever."""
        today = now.astimezone(UTC).date().isoformat()
        try:
            found = Tokens.model_validate_json((self.path / "tokens.json").read_bytes())
        except (OSError, ValidationError):
            return Tokens(day=today)
        return found if found.day == today else found.model_copy(update={"day": today, "prompt": 0, "completion": 0})

    def spend(self, prompt: int, completion: int, now: datetime) -> None:
        """Count tokens, on disk when this returns; by one process at a time. What can't be written is not counted."""
        try:
            self._make()
            with (self.path / "tokens.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = self.tokens(now)
                after = Tokens(
                    day=before.day,
                    prompt=before.prompt + prompt,
                    completion=before.completion + completion,
                    prompt_ever=before.prompt_ever + prompt,
                    completion_ever=before.completion_ever + completion,
                )
                write_atomically(self.path / "tokens.json", after.model_dump_json())
        except OSError:
            return

    def _make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _file(self, digest: str) -> Path:
        return self.path / f"{digest}.json"


@dataclass
class Recorder:
    """Hears every exchange of an HTTP client through its event hooks, and counts the tokens at once."""

    directory: LlmDirectory | None
    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    _began: float = field(default_factory=time.monotonic)

    def hooks(self) -> dict[str, Any]:
        return {"request": [self._sent], "response": [self._received]}

    def _sent(self, _: httpx2.Request) -> None:
        self._began = time.monotonic()

    def _received(self, response: httpx2.Response) -> None:
        response.read()
        body, sent = response.text[:MAX_BODY], response.request.content.decode("utf-8", "replace")
        try:
            request = json.loads(sent) if sent else {}
        except ValueError:
            request = {}
        seconds = round(time.monotonic() - self._began, 3)
        exchange = Exchange(request=request, status=response.status_code, response=body, seconds=seconds)
        self.exchanges.append(exchange)
        if self.directory is not None:
            self.directory.spend(*tokens_of(exchange), datetime.now(UTC))


def tokens_of(exchange: Exchange) -> tuple[int, int]:
    """(prompt, completion), as the server counts them, else guessed from the length; none for a refusal."""
    if exchange.status != 200:
        return 0, 0
    try:
        usage = json.loads(exchange.response)["usage"]
        return max(0, int(usage["prompt_tokens"])), max(0, int(usage["completion_tokens"]))
    except (ValueError, KeyError, TypeError):
        sent = len(json.dumps(exchange.request))
        return sent // CHARACTERS_PER_TOKEN, len(exchange.response) // CHARACTERS_PER_TOKEN


def tool_calls_of(exchange: Exchange) -> int:
    """How many tools the answer calls, the plan itself not counted."""
    try:
        message = json.loads(exchange.response)["choices"][0]["message"]
        return sum(call["function"]["name"] != "PlanDraft" for call in message.get("tool_calls") or ())
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return 0


class Step(Value):
    """One line of the story of a plan."""

    who: str
    """`lifeboat` or `model`"""
    what: str


def steps(record: ConversationRecord, limit: int = 300) -> list[Step]:
    """The conversation as a story: what the model was told, what it asked, what it was answered. Texts cut to `limit`."""
    told: list[Step] = []
    seen = 0
    for exchange in record.exchanges:
        messages = exchange.request.get("messages", [])
        if len(messages) < seen:  # another conversation: the question of how much 6 times 7 is
            seen = 0
        told += [Step(who="lifeboat", what=what) for what in _sent_anew(messages[seen:], record.names, limit)]
        seen = len(messages)
        said = list(_said(exchange, record.names, limit))
        told += [Step(who="model", what=what) for what in said]
        seen += 1 if said else 0  # its own message comes back with the next request
    if record.failed:
        told.append(Step(who="lifeboat", what=f"no plan came of it: {visible(record.failed, limit)}"))
    return told


def _sent_anew(messages: list[Any], names: dict[str, str], limit: int) -> Iterator[str]:
    for message in messages:
        content = str(message.get("content") or "")
        match message.get("role"):
            case "system":
                yield f"the prompt, {len(content)} characters"
            case "tool":
                yield f"answer: {_named(content, names, limit)}"
            case "user":
                yield f"asks: {_named(content, names, limit)}"
            case _:
                continue


def _said(exchange: Exchange, names: dict[str, str], limit: int) -> Iterator[str]:
    if exchange.status != 200:
        yield f"HTTP {exchange.status}: {visible(exchange.response, limit)}"
        return
    try:
        message = cast("dict[str, Any]", json.loads(exchange.response)["choices"][0]["message"])
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        yield f"something that is no answer: {visible(exchange.response, limit)}"
        return
    for name, arguments in calls:
        yield f"{visible(str(name), 40)}({_named(str(arguments), names, limit)})"
    if message.get("content"):
        yield f"says: {_named(str(message['content']), names, limit)}"


def _named(text: str, names: dict[str, str], limit: int) -> str:
    """In one line, each alias followed by whom it stands for at its first place."""
    try:
        spaced = json.dumps(json.loads(text), ensure_ascii=False)  # compact JSON does not wrap
    except (ValueError, RecursionError):
        spaced = " ".join(text.split())
    line = visible(spaced, limit)
    for alias, name in names.items():
        quoted = f'"{alias}"'
        if quoted in line:
            line = line.replace(quoted, f'"{alias}" ({visible(name, 60)})', 1)
    return line


class Differs(Exception):
    """A conversation run again did not send what was recorded."""


class Playback(httpx2.BaseTransport):
    """Answers each request with what was answered when it was recorded. Raises Differs for a request that never was.

    Questions to find out what the endpoint can are passed over, and so are the parameters that some endpoints refuse.
    """

    def __init__(self, record: ConversationRecord) -> None:
        self._left = list(record.exchanges)
        self.differs: str | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        sent = _essence(json.loads(request.content))
        for number, exchange in enumerate(self._left):
            if _essence(exchange.request) == sent:
                del self._left[: number + 1]
                return httpx2.Response(
                    exchange.status, content=exchange.response.encode(), headers={"Content-Type": "application/json"}
                )
        self.differs = "it sends what was not sent then: the files, the policy, the prompt or lifeboat are others"
        raise Differs(self.differs)


def _essence(request: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name not in ("temperature", "max_tokens")}
