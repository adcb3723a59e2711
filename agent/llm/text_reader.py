"""One text at a time, from somebody outside, brought to one word of a list by a model without tools.

What it says is kept by the hash of text, prompt and model, so that a text is read once. Nobody waits for it: a text that was not
read yet has no word. One text can't speak for another, as each is asked about alone.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import openai
from pydantic import TypeAdapter, ValidationError

import prompts
from agent.llm.budget import why_over_budget
from agent.llm.connection import api_key, endpoint_of, explained, http_client
from agent.llm.record import ConversationRecord, LlmDirectory, Recorder
from agent.settings import LlmSettings
from models.base import UtcTime, Value
from models.errors import PlannerFailed
from models.text import without_credentials
from tools.atomic_file import write_atomically
from tools.bounded_call import BoundedCall
from tools.llm.capabilities import Interface
from tools.llm.endpoint import Endpoint, first_json_object, response_format

MOST_KEPT = 5_000
"""readings in the file; the oldest go first"""
MOST_AT_ONCE = 50
"""texts read in one go; the others wait for the next look"""
SECONDS_EACH = 20.0
AGAIN_AFTER_SECONDS = 600.0
"""how long a server is left alone that gave no answer"""
_TOKENS = 256
_FORMS = (Interface.JSON_SCHEMA, Interface.JSON_OBJECT, Interface.PLAIN_JSON)


class Reading(Value):
    """What one text came to."""

    text_sha256: str
    """over prompt, model and text"""
    word: str
    at: UtcTime
    conversation_sha256: str | None
    """of the record of what was said (`LlmDirectory`)"""


_READINGS = TypeAdapter(tuple[Reading, ...])


@dataclass
class Readings:
    """Those that are kept, in one small file."""

    path: Path
    _known: dict[str, Reading] | None = None

    def word(self, key: str) -> str | None:
        return found.word if (found := self._read().get(key)) else None

    def keep(self, reading: Reading) -> None:
        """Put it down. A file that can't be written is none: the text is read again after a restart."""
        known = self._read()
        known[reading.text_sha256] = reading
        for oldest in sorted(known.values(), key=lambda one: one.at)[: max(0, len(known) - MOST_KEPT)]:
            del known[oldest.text_sha256]
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self.path, _READINGS.dump_json(tuple(known.values())))
        except OSError:
            return

    def _read(self) -> dict[str, Reading]:
        if self._known is None:
            try:
                self._known = {one.text_sha256: one for one in _READINGS.validate_json(self.path.read_bytes())}
            except (OSError, ValidationError):
                self._known = {}
        return self._known


@dataclass(frozen=True, kw_only=True)
class Sorting:
    """What is asked of a text."""

    prompt: str
    """name of the prompt file"""
    field: str
    """what the text is called in the message"""
    words: tuple[str, ...]
    """all that it may come to"""
    unclear: str
    """of them, what any other answer counts as"""


@dataclass(kw_only=True)
class TextReader:
    """Reads texts in the background."""

    llm: LlmSettings
    directory: LlmDirectory
    sorting: Sorting
    transport: httpx2.BaseTransport | None = None
    """stands in for the network"""
    problem: str = field(default="", init=False)
    """why the newest text was not read; empty when it was"""
    _readings: Readings = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _running: threading.Thread | None = field(default=None, init=False)
    _not_before: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._readings = Readings(self.directory.path / f"readings-{self.sorting.field}.json")

    def words(self, texts: Collection[str], *, patience_seconds: float = 0.0) -> Mapping[str, str]:
        """What these texts come to, of those that were read; the others are read meanwhile. Waits for that at most so long."""
        unread = self._unread(texts)
        if unread:
            self._read_in_background(sorted(unread)[:MOST_AT_ONCE], patience_seconds)
        with self._lock:
            known = {text: self._readings.word(self._key(text)) for text in texts}
        return {text: word for text, word in known.items() if word is not None}

    def _unread(self, texts: Iterable[str]) -> set[str]:
        with self._lock:
            return {text for text in texts if self._readings.word(self._key(text)) is None}

    def _read_in_background(self, texts: Collection[str], patience_seconds: float) -> None:
        if self._running is None or not self._running.is_alive():
            if time.monotonic() < self._not_before:
                return
            self._running = threading.Thread(target=self._read_all, args=(texts,), name="text-reader", daemon=True)
            self._running.start()
        if patience_seconds > 0:
            self._running.join(patience_seconds)

    def _read_all(self, texts: Iterable[str]) -> None:
        for text in texts:
            try:
                reading = self._read(text)
            except PlannerFailed as error:
                self.problem, self._not_before = str(error), time.monotonic() + AGAIN_AFTER_SECONDS
                return
            self.problem = ""
            with self._lock:
                self._readings.keep(reading)

    def _read(self, text: str) -> Reading:
        """One text. Raises PlannerFailed when there is no answer; one that is no word of the list is the unclear one."""
        over = why_over_budget(self.llm, self.directory)
        if over is not None:
            raise PlannerFailed(over)
        recorder = Recorder(self.directory)
        seconds = min(self.llm.timeout_seconds, SECONDS_EACH)
        quick = self.llm.model_copy(update={"timeout_seconds": seconds})
        deadline = time.monotonic() + seconds
        try:
            with http_client(deadline, timeout_seconds=seconds, recorder=recorder, transport=self.transport) as client:
                asked = BoundedCall(
                    lambda: _word(endpoint_of(quick, api_key(self.llm), client), self.sorting, text),
                    name="text-reader-question",
                )
                if not asked.wait(deadline - time.monotonic()):
                    raise PlannerFailed(f"the language model gave no answer within {seconds:g} s")
                word = asked.result()
        except Exception as error:
            raise explained(error, quick) from error
        record = ConversationRecord(
            at=datetime.now(UTC),
            base_url=without_credentials(self.llm.base_url),
            model=self.llm.model,
            prompt=self.sorting.prompt,
            interface="",
            names={},
            exchanges=tuple(recorder.exchanges),
        )
        return Reading(
            text_sha256=self._key(text),
            word=word,
            at=datetime.now(UTC),
            conversation_sha256=self.directory.keep(record),
        )

    def _key(self, text: str) -> str:
        told = json.dumps([prompts.load(self.sorting.prompt).sha256, self.llm.base_url, self.llm.model, text])
        return hashlib.sha256(told.encode()).hexdigest()


def _word(endpoint: Endpoint, sorting: Sorting, text: str) -> str:
    """What the model says of one text, asked in the best form that the server takes. Raises openai's errors."""
    messages = [
        {"role": "system", "content": prompts.load(sorting.prompt).text},
        {"role": "user", "content": json.dumps({sorting.field: text})},
    ]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"word": {"type": "string", "enum": list(sorting.words)}},
        "required": ["word"],
        "additionalProperties": False,
    }
    for form in _FORMS:
        try:
            answer = endpoint.complete(messages, max_tokens=_TOKENS, **response_format(form, "word", schema))
        except (openai.BadRequestError, openai.UnprocessableEntityError, openai.InternalServerError):
            if form is _FORMS[-1]:
                raise
            continue
        try:
            said = first_json_object(str(answer.content or ""))
        except ValueError:
            return sorting.unclear
        word = said.get("word")
        return word if isinstance(word, str) and word in sorting.words and len(said) == 1 else sorting.unclear
    return sorting.unclear
