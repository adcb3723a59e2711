"""A reader of owners' notes: free text in, one closed word out. It has no tools, plans nothing, and sees one note at a time.

What it says is kept by the hash of text, prompt and model, so that a note is read once. Nobody waits for it: a note that was
not read yet counts as unclear, which is the careful word. One note can't speak for another, as each is asked about alone.
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
from models.fleet import Fleet
from models.knowledge import NoteWord, VmNote
from models.notes import CAREFUL, NOTHING, with_notes_heeded
from models.text import without_credentials
from tools.atomic_file import write_atomically
from tools.llm.capabilities import Interface
from tools.llm.endpoint import Endpoint, first_json_object, response_format

PROMPT = "read_note.v1"
MOST_KEPT = 5_000
"""readings in the file; the oldest go first"""
MOST_AT_ONCE = 50
"""notes read in one go; the others wait for the next look"""
SECONDS_EACH = 20.0
AGAIN_AFTER_SECONDS = 600.0
"""how long a server is left alone that gave no answer"""
_TOKENS = 256
_FORMS = (Interface.JSON_SCHEMA, Interface.JSON_OBJECT, Interface.PLAIN_JSON)


class Reading(Value):
    """What one note came to."""

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
        """Put it down. A file that can't be written is none: the note is read again after a restart."""
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


@dataclass(kw_only=True)
class NoteReader:
    """Reads notes in the background."""

    llm: LlmSettings
    directory: LlmDirectory
    transport: httpx2.BaseTransport | None = None
    """stands in for the network"""
    problem: str = field(default="", init=False)
    """why the newest note was not read; empty when it was"""
    _readings: Readings = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _running: threading.Thread | None = field(default=None, init=False)
    _not_before: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._readings = Readings(self.directory.path / "readings.json")

    def notes(self, fleet: Fleet, *, patience_seconds: float = 0.0) -> tuple[VmNote, ...]:
        """What the notes of these guests come to, as far as they were read: a note that was not is unclear, and is read
        meanwhile. Waits for that at most so long."""
        texts = {vm.uuid: vm.note for vm in fleet.vms if vm.note}
        with self._lock:
            unread = {text for text in texts.values() if self._readings.word(self._key(text)) is None}
        if unread:
            self._read_in_background(sorted(unread)[:MOST_AT_ONCE], patience_seconds)
        with self._lock:
            words = {vm: self._readings.word(self._key(text)) or NoteWord.UNCLEAR.value for vm, text in texts.items()}
        return tuple(VmNote(vm=vm, word=NoteWord(word)) for vm, word in words.items() if word != NOTHING)

    def heeded(self, fleet: Fleet, *, patience_seconds: float = 0.0) -> Fleet:
        """The fleet as these notes leave it (`models.notes`)."""
        return with_notes_heeded(fleet, self.notes(fleet, patience_seconds=patience_seconds))

    def _read_in_background(self, texts: Collection[str], patience_seconds: float) -> None:
        if self._running is None or not self._running.is_alive():
            if time.monotonic() < self._not_before:
                return
            self._running = threading.Thread(target=self._read_all, args=(texts,), name="note-reader", daemon=True)
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
        """One note. Raises PlannerFailed when there is no answer; one that is no word of the list is `unclear`."""
        over = why_over_budget(self.llm, self.directory)
        if over is not None:
            raise PlannerFailed(over)
        recorder = Recorder(self.directory)
        seconds = min(self.llm.timeout_seconds, SECONDS_EACH)
        quick = self.llm.model_copy(update={"timeout_seconds": seconds})
        deadline = time.monotonic() + seconds
        try:
            with http_client(deadline, timeout_seconds=seconds, recorder=recorder, transport=self.transport) as client:
                word = _word(endpoint_of(quick, api_key(self.llm), client), text)
        except Exception as error:
            raise explained(error, quick) from error
        record = ConversationRecord(
            at=datetime.now(UTC),
            base_url=without_credentials(self.llm.base_url),
            model=self.llm.model,
            prompt=PROMPT,
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
        told = json.dumps([prompts.load(PROMPT).sha256, self.llm.base_url, self.llm.model, text])
        return hashlib.sha256(told.encode()).hexdigest()


WORDS = (*(word.value for word in CAREFUL), NOTHING)
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": list(WORDS)}},
    "required": ["word"],
    "additionalProperties": False,
}


def _word(endpoint: Endpoint, text: str) -> str:
    """What the model says of one note: one of WORDS. Asked in the best form that the server takes. Raises openai's errors."""
    messages = [
        {"role": "system", "content": prompts.load(PROMPT).text},
        {"role": "user", "content": json.dumps({"note": text})},
    ]
    for form in _FORMS:
        try:
            answer = endpoint.complete(messages, max_tokens=_TOKENS, **response_format(form, "word", dict(_SCHEMA)))
        except (openai.BadRequestError, openai.UnprocessableEntityError, openai.InternalServerError):
            if form is _FORMS[-1]:
                raise
            continue
        try:
            said = first_json_object(str(answer.content or ""))
        except ValueError:
            return NoteWord.UNCLEAR.value
        word = said.get("word")
        return word if isinstance(word, str) and word in WORDS and len(said) == 1 else NoteWord.UNCLEAR.value
    return NoteWord.UNCLEAR.value
