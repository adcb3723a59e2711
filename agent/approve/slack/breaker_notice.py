"""The breaker in the chat: that it tripped and why, and under it who reset it."""

from __future__ import annotations

from datetime import timedelta

from agent.approve.slack import render
from models.text import moment, visible
from tools.ports.chat import Chat
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.ports.records.brake import BreakerReset, BreakerTripped
from tools.ports.records.chat import ChatNoticeShown

_KEPT = timedelta(days=1)
"""what nobody could show by then is no news"""
_LONGEST = 200


class BreakerNotice:
    """Looks what became of the breaker and is not in the chat yet. Of several lifeboats that are connected, two may say the same
    thing at the same moment: rather twice than never."""

    def __init__(self, chat: Chat, journal: Journal, clock: Clock) -> None:
        self._chat, self._journal, self._clock = chat, journal, clock

    def look(self) -> None:
        """Raises ChatError when Slack does not take it, and is to be called again then."""
        since = self._clock.now() - _KEPT
        turns = self._journal.of(BreakerTripped, BreakerReset, since=since)
        if not turns:
            return
        shown = {entry.record.about: entry.record.place for entry in self._journal.of(ChatNoticeShown, since=since)}
        thread: str | None = None
        for turn in turns:
            if turn.seq in shown:
                thread = shown[turn.seq] if isinstance(turn.record, BreakerTripped) else None
                continue
            why = visible(turn.record.why, _LONGEST)
            match turn.record:
                case BreakerTripped(rule=rule):
                    head = f"The breaker is tripped: nothing moves until a person resets it ({moment(turn.at)})"
                    lines = [
                        f"{rule}: {why}",
                        "look (lifeboat explain breaker), then: lifeboat breaker reset --why TEXT",
                    ]
                    place = thread = self._chat.post(*render.told(head, lines))
                case BreakerReset(by=by):
                    head = f"{visible(by, 60)} has reset the breaker: lifeboat goes on"
                    place = self._chat.post(*render.told(head, [why] if why else []), thread=thread)
                    thread = None
            self._journal.append(ChatNoticeShown(about=turn.seq, place=place), now=self._clock.now())
