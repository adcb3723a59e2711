"""What a question looked like in a chat, and which buttons it had there: records under the question's own id."""

from __future__ import annotations

from typing import Any

from models.proposals.states import ApprovalState
from tools.ports.journal import Record, Timed


class ChatIntended(Timed):
    """About to be shown, with buttons that carry these tokens; of the tokens only the SHA-256 is kept."""

    KIND = "chat-intended"
    token_sha256: dict[str, str]
    """button → SHA-256 of the token it carries; good until somebody answers"""
    state: ApprovalState


class ChatShown(Record):
    """Shown like this, word for word."""

    KIND = "chat-shown"
    place: str
    """which message"""
    state: ApprovalState
    key: str
    """of what was shown: it is shown anew when that changes"""
    message: list[dict[str, Any]]
    """its blocks, without the tokens"""


class ChatSettled(Record):
    """What became of it is shown for good, without buttons; `place` empty: it never was in the chat."""

    KIND = "chat-settled"
    place: str
    state: ApprovalState
    message: list[dict[str, Any]]


class ReportWritten(Record):
    """The report of an evacuation that people were asked about is on lifeboat's host."""

    KIND = "report-written"
    path: str
    sha256: str
    size: int
    """bytes"""


class ChatFileIntended(Timed):
    """About to be put into the thread of its question."""

    KIND = "chat-file-intended"


class ChatFileShown(Record):
    """The report is in the thread of its question; `place` empty: it is not, and `why` says why not."""

    KIND = "chat-file-shown"
    place: str
    sha256: str
    why: str = ""


class ChatNoticeShown(Record):
    """Something that nobody is asked about is in the chat."""

    KIND = "chat-notice-shown"
    about: int
    """number of the record that it tells of"""
    place: str
    """which message"""


class ChatRefused(Record):
    """Somebody pressed a button or typed a command, and was refused; nothing was decided."""

    KIND = "chat-refused"
    user: str
    what: str
    why: str
