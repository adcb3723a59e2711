"""Where people read and press buttons: one channel of a chat. It shows and hands on; it decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from models.errors import SourceError

Blocks = Sequence[dict[str, Any]]
"""Block Kit, as JSON"""


class ChatError(SourceError):
    """The chat did not do it. `reason`: its own word for why; `retry_seconds`: not before then."""

    code = "chat"

    def __init__(self, message: str, *, reason: str, hint: str = "", retry_seconds: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason, self.retry_seconds = reason, retry_seconds


@dataclass(frozen=True, kw_only=True)
class Press:
    """A person pressed a button, or sent a form."""

    what: str
    """the button's or the form's own name"""
    value: str
    """what the button carries; of a form, what it was opened with"""
    user: str
    """the chat's id of the person, which stays when names and teams change"""
    trigger: str = ""
    """opens one form, within seconds"""
    place: str = ""
    """the message it hangs on; empty for a form"""
    answers: dict[str, str] = field(default_factory=dict[str, str])
    """of a form: what was filled in, by field"""
    foreign: str = ""
    """the id of another workspace that it came from; empty: from the one that is talked to"""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A person typed a command of lifeboat's own, somewhere in the chat: that they could says nothing of what they may."""

    name: str
    """such as `/lifeboat`"""
    text: str
    """what came after it"""
    user: str
    reply_to: str
    """where `Chat.reply` answers it, for half an hour"""
    foreign: str = ""
    """as of `Press`"""


class Chat(Protocol):
    """One channel. Safe for several threads. Everything that asks raises ChatError."""

    def post(self, blocks: Blocks, text: str, *, thread: str | None = None) -> str:
        """A new message, or one in the thread of another; where it is. `text`: for notifications."""
        ...

    def edit(self, place: str, blocks: Blocks, text: str) -> None: ...

    def find(self, mark: str) -> str | None:
        """Where the newest message of lifeboat's own is that shows `mark`; None: there is none, or it can't be told."""
        ...

    def hears(self) -> bool:
        """Whether what people press can arrive just now."""
        ...

    def whisper(self, user: str, text: str) -> None:
        """Only this person sees it."""
        ...

    def reply(self, command: Command, blocks: Blocks, text: str) -> None:
        """Answer a command; only whoever typed it sees it, wherever that was."""
        ...

    def attach(self, place: str, content: bytes, *, name: str, title: str) -> None:
        """A file into the thread of a message."""
        ...

    def open_form(self, trigger: str, view: dict[str, Any]) -> None: ...

    def listen(self, on_press: Callable[[Press], None], on_command: Callable[[Command], None]) -> None:
        """From here on, in threads of its own; each is acknowledged before it is handed on. Reconnects by itself."""
        ...

    def close(self) -> None: ...
