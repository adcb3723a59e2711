"""Hardware events already read, and how far: in memory, and in one file that is replaced as a whole. Both or neither are there
after a crash, so that no event is lost between an offset and its events, and none is counted twice."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.risk.signal import HardwareEvent, Severity
from tools.atomic_file import write_atomically

MOST_EVENTS = 20_000
"""Of one node's log; beyond it the oldest of the least severe go first. A burst must not take the memory."""
_VERSION = 1
_CALLS_BETWEEN = 20

Places = dict[tuple[int, int], tuple[int, bytes]]
"""(device, inode) → (offset, SHA-256 of the bytes before it)."""


class EventStore:
    """The events of one log of one node, each once."""

    def __init__(self, node: str, file: Path | None = None) -> None:
        """Reads what an earlier run left. A file that can't be read is left aside: the logs are read anew, within their limit."""
        self._node = node
        self._file = file
        self._events: dict[HardwareEvent, None] = {}
        self._saved = -1
        self._changes = self._calls = 0
        self.places: Places = {}
        self.cursor = ""
        """where a source that has no files left off"""
        self.not_noted = ""
        """why what was read is not in the file, and is read again after a restart; empty: it is"""
        self.dropped = 0
        """events given up to stay within MOST_EVENTS"""
        if file is not None and file.exists():
            try:
                self._load(json.loads(file.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError):
                self._events, self.places, self.cursor = {}, {}, ""

    def _load(self, content: dict[str, Any]) -> None:
        if content["version"] != _VERSION or content["node"] != self._node:
            return
        self._events = {HardwareEvent.model_validate(event): None for event in content["events"]}
        self.places = {(d, i): (offset, bytes.fromhex(check)) for d, i, offset, check in content["places"]}
        self.cursor = str(content["cursor"])

    def add(self, event: HardwareEvent) -> bool:
        """Whether it was new."""
        if event in self._events:
            return False
        self._events[event] = None
        self._changes += 1
        if len(self._events) > MOST_EVENTS + MOST_EVENTS // 10:
            kept = sorted(
                self._events,
                key=lambda e: (e.severity is Severity.INFO, e.severity is Severity.WARNING, -e.time.timestamp()),
            )
            self.dropped += len(kept) - MOST_EVENTS
            self._events = dict.fromkeys(sorted(kept[:MOST_EVENTS], key=lambda e: e.time))
        return True

    def forget(self, before: datetime) -> None:
        """Drop what is older."""
        self._events = {event: None for event in self._events if event.time >= before}

    def since(self, since: datetime) -> list[HardwareEvent]:
        """Events at or after `since`, oldest first."""
        return sorted((event for event in self._events if event.time >= since), key=lambda event: event.time)

    def save(self, places: Places | None = None) -> None:
        """Make it lasting: at once when there are new events, otherwise now and then, since reading a stretch twice adds nothing.

        Where it can't be written, as on a full disk, `not_noted` says so: what was read still counts.
        """
        if places is not None:
            self.places = dict(places)
        self._calls += 1
        if self._file is None or (self._changes == self._saved and self._calls % _CALLS_BETWEEN):
            return
        content = {
            "version": _VERSION, "node": self._node, "cursor": self.cursor,
            "places": [[d, i, offset, check.hex()] for (d, i), (offset, check) in self.places.items()],
            "events": [event.model_dump(mode="json") for event in self._events],
        }  # fmt: skip
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._file, json.dumps(content))
        except OSError as error:
            self.not_noted = f"what was read can't be noted in {self._file}: {error.strerror or error}"
            return
        self._saved, self.not_noted = self._changes, ""
