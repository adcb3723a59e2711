"""The report of what was approved, in the thread of its question: once, by whichever lifeboat has the file."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from agent.approve.slack import render
from agent.state.trail import trace_of
from tools.ports.chat import Chat, ChatError
from tools.ports.clock import Clock
from tools.ports.journal import Entry, Journal, Record, Scope, Timed
from tools.ports.records.chat import ChatFileIntended, ChatFileShown, ChatSettled, ChatShown, ReportWritten

log = structlog.get_logger("lifeboat")

MOST_BYTES = 20 << 20
_UPLOADING_SECONDS = 60.0
"""somebody who meant to upload and has not by then is gone"""
_KEPT = timedelta(days=1)
"""a report that nobody could put there by then is left where it is"""
AWAY = frozenset({"unreachable", "ratelimited"})
"""Slack's words that say nothing of what it was asked to do: it is asked again"""
_KINDS: tuple[type[Record], ...] = (ReportWritten, ChatFileIntended, ChatFileShown)


class ThreadFiles:
    """Looks which reports are written and not in their thread yet."""

    def __init__(self, chat: Chat, journal: Journal, clock: Clock) -> None:
        self._chat, self._journal, self._clock = chat, journal, clock
        self._failed: set[str] = set()
        """what this one meant to upload and could not"""

    def look(self) -> None:
        """Raises ChatError when Slack is away, and is to be called again then."""
        for entry in self._journal.unended(ReportWritten, ChatFileShown, by=Scope.EVACUATION):
            if entry.evacuation is not None:
                self._attach(entry.evacuation, entry)

    def _attach(self, name: str, written: Entry[ReportWritten]) -> None:
        place, late = self._place(name), self._clock.now() - written.at > _KEPT
        content = self._content(written.record) if place and not late else None
        if place == "" or late:
            self._end(name, written.record, "", "too late" if late else "it was never in the chat")
        if not place or content is None:
            return  # its message is not settled yet, or another host has the file
        newest = self._newest(name)
        if (
            isinstance(newest.record, ChatFileIntended)
            and name not in self._failed
            and is_younger(self._clock, newest.record, newest.at, _UPLOADING_SECONDS)
        ):
            return  # another lifeboat is at it
        intended = ChatFileIntended(uptime=self._clock.uptime())
        if not self._journal.append_if_newest(
            intended, now=self._clock.now(), evacuation=name, seen=newest.seq, kinds=_KINDS
        ):
            return
        self._failed.add(name)
        try:
            self._chat.attach(place, content, name=f"{name}.html", title=f"Report of {name}")
        except ChatError as error:
            if error.reason in AWAY:
                raise
            message = f"the report could not be put into its thread: {error}"
            log.warning("slack", trace=trace_of(self._journal, name), evacuation=name, message=message)
            line = f"the report could not be put here: it is on lifeboat's host, {written.record.path}"
            self._chat.post(*render.told(line, []), thread=place)
            self._end(name, written.record, "", str(error))
        else:
            self._end(name, written.record, place, "")
        self._failed.discard(name)

    def _content(self, record: ReportWritten) -> bytes | None:
        """None where it is not, or is not what was written."""
        try:
            content = Path(record.path).read_bytes() if record.size <= MOST_BYTES else b""
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == record.sha256 else None

    def _place(self, name: str) -> str | None:
        """Of its message, once that shows how it ended; empty: it has none; None: not yet."""
        shown = self._journal.of(ChatShown, ChatSettled, evacuation=name)
        return shown[-1].record.place if shown and isinstance(shown[-1].record, ChatSettled) else None

    def _newest(self, name: str) -> Entry[ReportWritten | ChatFileIntended | ChatFileShown]:
        return self._journal.of(ReportWritten, ChatFileIntended, ChatFileShown, evacuation=name)[-1]

    def _end(self, name: str, record: ReportWritten, place: str, why: str) -> None:
        shown = ChatFileShown(place=place, sha256=record.sha256, why=why)
        self._journal.append(shown, now=self._clock.now(), evacuation=name)


def is_younger(clock: Clock, record: Timed, at: datetime, seconds: float) -> bool:
    """Whether what was announced `at` may still be under way. Of another host, or of before this one started, the wall clock
    says it, forward or back: one that was set back is no reason to wait."""
    passed = clock.seconds_since(record.uptime)
    return (abs((clock.now() - at).total_seconds()) if passed is None else passed) < seconds
