"""A workspace in memory: people, one channel, its messages, forms that are open, and what the Web API answers."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.slack.limits import why_refused


class SlackError(Exception):
    """An answer with `ok: false`."""

    def __init__(self, error: str, details: list[str] | None = None, *, retry_after: int | None = None) -> None:
        super().__init__(error)
        self.error, self.details, self.retry_after = error, details or [], retry_after


@dataclass
class Message:
    ts: str
    blocks: list[dict[str, Any]]
    text: str
    thread_ts: str | None = None
    edits: int = 0

    @property
    def buttons(self) -> dict[str, dict[str, Any]]:
        """Action id → the element that can be pressed now."""
        return {
            element["action_id"]: element
            for block in self.blocks
            if block.get("type") == "actions"
            for element in block["elements"]
        }

    @property
    def shown(self) -> str:
        """Everything that a reader sees."""
        return "\n".join(_texts(self.blocks)) or self.text


@dataclass
class Answers:
    """One `response_url`: good for five answers within half an hour."""

    user: str
    until: float
    texts: list[str] = field(default_factory=list[str])


@dataclass
class Upload:
    """A file on its way: announced, sent, and in a thread."""

    name: str
    length: int
    content: bytes | None = None
    thread_ts: str | None = None
    """once it was completed"""


@dataclass
class Workspace:
    """Safe for several threads. `bot_token` and `app_token` are what a client has to show."""

    channel: str = "C0LIFEBOAT"
    bot_token: str = "xoxb-1-lab"  # noqa: S105  nothing of anybody's
    app_token: str = "xapp-1-lab"  # noqa: S105
    users: dict[str, str] = field(default_factory=lambda: {"UANA": "ana", "UTOM": "tom", "UEVE": "eve"})
    is_member: bool = True
    """the bot is in the channel"""
    messages: dict[str, Message] = field(default_factory=dict[str, Message])
    whispers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """user, and what only that user was shown"""
    forms: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict[str, tuple[str, dict[str, Any]]])
    """view id → user, view"""
    answers: dict[str, Answers] = field(default_factory=dict[str, Answers])
    """id of a `response_url` → what was answered there"""
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])
    """file id → what is there so far"""
    posts_a_second: float | None = None
    """messages a second that one channel takes, as Slack documents about one; None: as many as come"""
    calls: list[str] = field(default_factory=list[str])
    """methods called, in order"""
    failing: dict[str, list[SlackError]] = field(default_factory=dict[str, list[SlackError]])
    """method → what its next calls are answered"""
    lock: threading.RLock = field(default_factory=threading.RLock)
    triggers: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])
    connect: Callable[[], str] = lambda: ""
    """makes the URL of a new socket"""
    upload_url: Callable[[str], str] = lambda _: ""
    """where a file of this id is sent"""
    _last_post: float = 0.0

    def fail(self, method: str, error: str, *, times: int = 1, retry_after: int | None = None) -> None:
        """Answer the next calls of a method like this."""
        self.failing[method] = [SlackError(error, retry_after=retry_after)] * times

    def call(self, method: str, token: str, arguments: dict[str, Any], *, as_json: bool = False) -> dict[str, Any]:
        """What the Web API answers. Raises SlackError."""
        with self.lock:
            self.calls.append(method)
            if self.failing.get(method):
                raise self.failing[method].pop(0)
            expected = self.app_token if method == "apps.connections.open" else self.bot_token
            if token != expected:
                raise SlackError("invalid_auth" if token else "not_authed")
            handler = _METHODS.get(method)
            if method in READ_METHODS and as_json:
                arguments = {}
            if handler is None:
                raise SlackError("unknown_method")
            return handler(self, arguments)

    def new_answers(self, user: str) -> str:
        """The id of a new `response_url`."""
        key = secrets.token_hex(8)
        self.answers[key] = Answers(user, time.monotonic() + 1800)
        return key

    def answer(self, key: str, content: dict[str, Any]) -> str:
        """What is sent to a `response_url`; `ok`, or Slack's word for why not."""
        with self.lock:
            here = self.answers.get(key)
            if here is None:
                return "invalid_url"
            if len(here.texts) >= 5 or time.monotonic() > here.until:
                return "used_url" if len(here.texts) >= 5 else "expired_url"
            refused = why_refused(content)
            if refused is not None:
                return refused[0]
            here.texts.append("\n".join(_texts(content.get("blocks") or [])) or str(content.get("text")))
            self.whispers.append((here.user, here.texts[-1]))
            return "ok"

    def new_trigger(self, user: str) -> str:
        """A trigger is good for one form, within three seconds."""
        trigger = secrets.token_hex(8)
        self.triggers[trigger] = (user, time.monotonic() + 3.0)
        return trigger

    def _in_channel(self, arguments: dict[str, Any]) -> None:
        if arguments.get("channel") != self.channel:
            raise SlackError("channel_not_found")
        if not self.is_member:
            raise SlackError("not_in_channel")

    def _post(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._in_channel(arguments)
        _require_taken(arguments)
        if self.posts_a_second is not None:
            wait = self._last_post + 1 / self.posts_a_second - time.monotonic()
            if wait > 0:
                raise SlackError("ratelimited", retry_after=max(1, round(wait)))
            self._last_post = time.monotonic()
        ts = f"{time.time():.6f}"
        while ts in self.messages:
            ts = f"{float(ts) + 1e-6:.6f}"
        blocks = _with_ids(arguments.get("blocks") or [])
        self.messages[ts] = Message(ts, blocks, arguments.get("text") or "", arguments.get("thread_ts"))
        return {"channel": self.channel, "ts": ts, "message": {"text": arguments.get("text")}}

    def _update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._in_channel(arguments)
        message = self.messages.get(str(arguments.get("ts")))
        if message is None:
            raise SlackError("message_not_found")
        _require_taken(arguments)
        message.blocks = _with_ids(arguments.get("blocks") or [])
        message.text, message.edits = arguments.get("text") or "", message.edits + 1
        return {"channel": self.channel, "ts": message.ts, "text": message.text}

    def _whisper(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._in_channel(arguments)
        if arguments.get("user") not in self.users:
            raise SlackError("user_not_in_channel")
        self.whispers.append((str(arguments["user"]), str(arguments.get("text"))))
        return {"message_ts": f"{time.time():.6f}"}

    def _open_form(self, arguments: dict[str, Any]) -> dict[str, Any]:
        user, until = self.triggers.pop(str(arguments.get("trigger_id")), ("", 0.0))
        if not user:
            raise SlackError("invalid_trigger_id")
        if time.monotonic() > until:
            raise SlackError("expired_trigger_id")
        view = dict(arguments["view"])
        refused = why_refused(view, surface="view")
        if refused is not None:
            raise SlackError(*refused)
        view |= {
            "id": f"V{secrets.token_hex(5).upper()}",
            "team_id": "T0LAB",
            "app_id": "A0LAB",
            "hash": secrets.token_hex(4),
        }
        self.forms[view["id"]] = (user, view)
        return {"view": view}

    def _new_upload(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name, length = str(arguments.get("filename") or ""), str(arguments.get("length") or "")
        if not name or not length.isdigit() or length == "0":
            raise SlackError("invalid_arguments")
        file = f"F{secrets.token_hex(5).upper()}"
        self.uploads[file] = Upload(name, int(length))
        return {"file_id": file, "upload_url": self.upload_url(file)}

    def _complete_upload(self, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            files = json.loads(str(arguments.get("files") or ""))
        except ValueError as error:
            raise SlackError("invalid_arguments") from error
        if arguments.get("channel_id") != self.channel:
            raise SlackError("channel_not_found")
        if not self.is_member:
            raise SlackError("not_in_channel")
        for each in files:
            upload = self.uploads.get(str(each.get("id")))
            if upload is None or upload.content is None or upload.thread_ts is not None:
                raise SlackError("file_not_found")
            upload.thread_ts = str(arguments.get("thread_ts") or "")
            ts = f"{time.time():.6f}"
            self.messages[ts] = Message(ts, [], f"{each.get('title') or upload.name} ({upload.name})", upload.thread_ts)
        return {"files": [{"id": each["id"], "title": each.get("title")} for each in files]}

    def _auth(self, arguments: dict[str, Any]) -> dict[str, Any]:
        del arguments
        return {
            "url": "https://lab.invalid/", "team": "lab", "team_id": "T0LAB", "user": "lifeboat", "user_id": "U0BOT",
            "bot_id": "B0BOT", "is_enterprise_install": False, "enterprise_id": "E0LAB",
        }  # fmt: skip

    def _connections(self, arguments: dict[str, Any]) -> dict[str, Any]:
        del arguments
        return {"url": self.connect()}

    def _channel_info(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("channel") != self.channel:
            raise SlackError("channel_not_found")
        return {"channel": {"id": self.channel, "name": "ops", "is_member": self.is_member, "is_archived": False}}

    def _history(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._in_channel(arguments)
        newest = [each for each in reversed(self.messages.values()) if each.thread_ts is None]
        return {
            "messages": [
                {"type": "message", "ts": each.ts, "text": each.text, "blocks": each.blocks, "bot_id": "B0BOT"}
                for each in newest[: int(arguments.get("limit") or 100)]
            ]
        }

    def _user_info(self, arguments: dict[str, Any]) -> dict[str, Any]:
        user = str(arguments.get("user"))
        if user not in self.users:
            raise SlackError("user_not_found")
        return {"user": {"id": user, "name": self.users[user], "deleted": False, "is_bot": False}}


READ_METHODS = frozenset({"conversations.history", "conversations.info", "users.info"})
"""take forms and query strings only; Slack does not read a JSON body there"""
_METHODS: dict[str, Callable[[Workspace, dict[str, Any]], dict[str, Any]]] = {
    "apps.connections.open": Workspace._connections,  # pyright: ignore[reportPrivateUsage]
    "auth.test": Workspace._auth,  # pyright: ignore[reportPrivateUsage]
    "chat.postEphemeral": Workspace._whisper,  # pyright: ignore[reportPrivateUsage]
    "chat.postMessage": Workspace._post,  # pyright: ignore[reportPrivateUsage]
    "chat.update": Workspace._update,  # pyright: ignore[reportPrivateUsage]
    "files.completeUploadExternal": Workspace._complete_upload,  # pyright: ignore[reportPrivateUsage]
    "files.getUploadURLExternal": Workspace._new_upload,  # pyright: ignore[reportPrivateUsage]
    "conversations.history": Workspace._history,  # pyright: ignore[reportPrivateUsage]
    "conversations.info": Workspace._channel_info,  # pyright: ignore[reportPrivateUsage]
    "users.info": Workspace._user_info,  # pyright: ignore[reportPrivateUsage]
    "views.open": Workspace._open_form,  # pyright: ignore[reportPrivateUsage]
}


def arguments_of(content_type: str, body: bytes) -> dict[str, Any]:
    """Form or JSON, as clients send either. Raises SlackError."""
    from urllib.parse import parse_qsl

    try:
        if content_type.startswith("application/json"):
            return json.loads(body or b"{}")
        form: dict[str, Any] = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return form | {key: json.loads(form[key]) for key in ("blocks", "view") if key in form}
    except ValueError as error:
        raise SlackError("invalid_form_data") from error


def _require_taken(arguments: dict[str, Any]) -> None:
    refused = why_refused(arguments)
    if refused is not None:
        raise SlackError(*refused)


def _with_ids(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"block_id": secrets.token_hex(3), **block} for block in blocks]


def _texts(thing: Any) -> list[str]:
    if isinstance(thing, list):
        return [text for each in thing for text in _texts(each)]
    if not isinstance(thing, dict):
        return []
    own = [thing["text"]] if isinstance(thing.get("text"), str) else []
    return own + [text for value in thing.values() for text in _texts(value)]
