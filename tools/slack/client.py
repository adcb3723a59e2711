"""Slack over its Web API and Socket Mode: nothing listens on this host, the app dials out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse
from slack_sdk.webhook import WebhookClient

from models.text import visible
from tools.bounded_call import BoundedCall
from tools.ports.chat import Blocks, ChatError, Command, Press
from tools.slack.payloads import Workspace, command_of, press_of

Answer = TypeVar("Answer")

SLACK_API: Final = "https://slack.com/api/"
_TIMEOUT_SECONDS: Final = 10
"""for each read: slack_sdk knows no other limit"""
_ALTOGETHER_SECONDS: Final = 30.0
"""for a request and its answer, files among them"""
_MOST_HANGING: Final = 3
"""requests whose answers do not end; nothing more is asked then"""
_CLOSE_SECONDS: Final = 0.5
_MOST_SEARCHED: Final = 50
"""messages of the channel, when one of lifeboat's own is looked for"""
_HINTS: Final = {
    "not_in_channel": "invite the app to the channel: /invite @lifeboat",
    "channel_not_found": "slack.channel is a channel's id (C…), of this workspace; a private one needs an invitation first",
    "is_archived": "unarchive the channel, or name another in slack.channel",
    "invalid_auth": "slack.bot_token_file and slack.app_token_file: a bot token (xoxb-) and an app-level token (xapp-)",
    "not_authed": "slack.bot_token_file and slack.app_token_file: a bot token (xoxb-) and an app-level token (xapp-)",
    "token_revoked": "install the app again and put the new tokens into the files",
    "token_expired": "put a new token into the file",
    "account_inactive": "install the app again: the account behind its token is gone",
    "missing_scope": "it needs chat:write, channels:read, users:read, files:write, commands; the app token connections:write",
    "ratelimited": "it is tried again when Slack says",
    "edit_window_closed": "let apps edit their messages without a time limit (workspace settings)",
}
"""what to do about Slack's own words; https://docs.slack.dev lists them with each method"""


class SlackChat:
    """A `Chat` in one channel of one workspace."""

    def __init__(
        self,
        *,
        channel: str,
        bot_token: str,
        app_token: str | None,
        api_url: str = SLACK_API,
        altogether_seconds: float = _ALTOGETHER_SECONDS,
    ) -> None:
        """Opens nothing yet. Without an `app_token` what people press comes from elsewhere, by HTTP: to `take`.
        `altogether_seconds`: for one request and the whole of its answer."""
        self._altogether_seconds = altogether_seconds
        self._hanging: list[BoundedCall[Any]] = []
        self.channel, self._app_token = channel, app_token
        log = logging.getLogger("lifeboat.slack")
        log.setLevel(logging.CRITICAL)  # its own lines quote what was sent; ours say what matters
        log.propagate = False
        self._log = log
        self._web = WebClient(token=bot_token, base_url=api_url, timeout=_TIMEOUT_SECONDS, logger=log)
        self._socket: SocketModeHandler | None = None
        self._workspace: Workspace | None = None
        self._on_press: Callable[[Press], None] | None = None
        self._on_command: Callable[[Command], None] | None = None
        self._closing = False

    def post(self, blocks: Blocks, text: str, *, thread: str | None = None) -> str:
        answer = self._ask(
            lambda: self._web.chat_postMessage(
                channel=self.channel, blocks=list(blocks), text=text, thread_ts=thread, unfurl_links=False,
                unfurl_media=False, link_names=False, parse="none",
            )
        )  # fmt: skip
        return str(answer["ts"])

    def edit(self, place: str, blocks: Blocks, text: str) -> None:
        self._ask(
            lambda: self._web.chat_update(
                channel=self.channel, ts=place, blocks=list(blocks), text=text, parse="none", link_names=False
            )
        )

    def whisper(self, user: str, text: str) -> None:
        self._ask(lambda: self._web.chat_postEphemeral(channel=self.channel, user=user, text=text, parse="none"))

    def open_form(self, trigger: str, view: dict[str, Any]) -> None:
        self._ask(lambda: self._web.views_open(trigger_id=trigger, view=view))

    def who_am_i(self) -> str:
        """`lifeboat in lab`: the token holds. Raises ChatError."""
        answer = self._ask(self._web.auth_test)
        return f"{visible(str(answer.get('user')), 40)} in {visible(str(answer.get('team')), 40)}"

    def is_in_channel(self) -> bool:
        """Raises ChatError, also for a channel that is not there."""
        answer = self._ask(lambda: self._web.conversations_info(channel=self.channel))
        return bool(answer.get("channel", {}).get("is_member"))

    def knows(self, user: str) -> bool:
        """Whether that person is there and not deactivated. Raises ChatError."""
        try:
            answer = self._ask(lambda: self._web.users_info(user=user))
        except ChatError as error:
            if error.reason in ("user_not_found", "user_not_visible"):
                return False
            raise
        return not answer.get("user", {}).get("deleted", False)

    def try_socket(self) -> None:
        """Ask for a socket, as `listen` will. Raises ChatError."""
        token = self._app_token or ""
        self._ask(lambda: self._web.apps_connections_open(app_token=token))

    def attach(self, place: str, content: bytes, *, name: str, title: str) -> None:
        self._ask(
            lambda: self._web.files_upload_v2(
                content=content, filename=name, title=title, channel=self.channel, thread_ts=place
            )
        )

    def reply(self, command: Command, blocks: Blocks, text: str) -> None:
        """To the `response_url` of the command: good for five answers in half an hour, in any channel."""
        url = self._reply_url(command)
        sender = WebhookClient(url, timeout=_TIMEOUT_SECONDS, logger=self._log)
        try:
            answer = self._in_time(lambda: sender.send(text=text, blocks=list(blocks), response_type="ephemeral"))
        except OSError as error:
            raise _unreachable(error) from error
        if answer.status_code != 200:
            raise ChatError(f"Slack: {visible(answer.body, 60)}", reason=visible(answer.body, 60) or "refused")

    def listen(self, on_press: Callable[[Press], None], on_command: Callable[[Command], None]) -> None:
        answer = self._ask(self._web.auth_test)
        self._workspace = Workspace(
            str(answer.get("team_id") or ""), str(answer.get("enterprise_id") or ""), str(answer.get("bot_id") or "")
        )
        self._on_press, self._on_command = on_press, on_command
        if self._app_token is not None:
            self._connect(self._app_token)

    def take(self, body: dict[str, Any]) -> None:
        """Hand on what came from Slack: a press, a form or a command."""
        if self._closing or self._workspace is None or self._on_press is None or self._on_command is None:
            raise ChatError("Slack is not listened to yet", reason="not_listening")
        if "command" in body:
            self._on_command(command_of(body, self._workspace))
        elif (press := press_of(body, self._workspace)) is not None and press.what.startswith("lifeboat-"):
            self._on_press(press)

    def _connect(self, app_token: str) -> None:
        app = App(
            client=self._web, logger=self._log, token_verification_enabled=False, request_verification_enabled=False,
            ssl_check_enabled=False, url_verification_enabled=False, raise_error_for_unhandled_request=False,
        )  # fmt: skip

        def acknowledge(ack: Callable[[], Any], body: dict[str, Any]) -> None:
            if self._closing:  # left unacknowledged: Slack tells the person that it did not work
                return
            ack()
            self.take(body)

        app.action(re.compile("^lifeboat-"))(acknowledge)
        app.view(re.compile("^lifeboat-"))(acknowledge)
        app.command(re.compile("^/"))(acknowledge)
        socket = SocketModeHandler(app, app_token, logger=self._log, concurrency=20)
        self._socket = socket
        try:
            socket.connect()
        except SlackClientError as error:
            raise _as_chat_error(error) from error
        except OSError as error:
            raise _unreachable(error) from error

    def _reply_url(self, command: Command) -> str:
        """Where Slack itself wants the answer: on its own host, by TLS as its API is. Raises ChatError for any other."""
        url, api = urlsplit(command.reply_to), urlsplit(self._web.base_url)
        host, own = url.hostname or "", api.hostname or ""
        if url.scheme != api.scheme or not (host == own or host.endswith(f".{own}")):
            raise ChatError("an answer was wanted elsewhere than at Slack", reason="foreign_reply")
        return command.reply_to

    def find(self, mark: str) -> str | None:
        """Among the newest messages; for that the app needs `channels:history` (`groups:history`), and does without."""
        try:
            answer = self._ask(lambda: self._web.conversations_history(channel=self.channel, limit=_MOST_SEARCHED))
        except ChatError as error:
            if error.reason in ("missing_scope", "not_allowed_token_type"):
                return None
            raise
        own = self._workspace.bot if self._workspace is not None else ""
        messages: list[dict[str, Any]] = answer.get("messages") or []
        return next(
            (str(each["ts"]) for each in messages if each.get("bot_id") == own and mark in str(each.get("blocks"))),
            None,
        )

    def hears(self) -> bool:
        return self._app_token is None or (self._socket is not None and self._socket.client.is_connected())

    def close(self) -> None:
        self._closing = True
        if self._socket is None:
            return
        # slack_sdk reads for up to three seconds more
        BoundedCall(self._socket.close, name="slack-close").wait(_CLOSE_SECONDS)
        self._socket = None

    def _ask(self, call: Callable[[], SlackResponse]) -> dict[str, Any]:
        try:
            answer = self._in_time(call)
        except SlackClientError as error:
            raise _as_chat_error(error) from error
        except OSError as error:  # URLError, timeouts, a connection that is reset
            raise _unreachable(error) from error
        return answer.data if isinstance(answer.data, dict) else {}

    def _in_time(self, call: Callable[[], Answer]) -> Answer:
        """What it returns or raises; TimeoutError where its answer does not end. It may still take effect."""
        self._hanging = [each for each in self._hanging if not each.over]
        if len(self._hanging) >= _MOST_HANGING:
            raise TimeoutError("earlier answers have not ended")
        asked = BoundedCall(call, name="slack-request")
        if not asked.wait(self._altogether_seconds):
            self._hanging.append(asked)
            raise TimeoutError(f"the whole answer was not there within {self._altogether_seconds:g} s")
        return asked.result()


def _as_chat_error(error: SlackClientError) -> ChatError:
    if not isinstance(error, SlackApiError):
        return _unreachable(error)
    response: Any = error.response
    found: Any = getattr(response, "data", response)
    data: dict[str, Any] = found if isinstance(found, dict) else {}
    status = getattr(response, "status_code", None) or data.get("status") or 200
    if status not in (200, 429) or "error" not in data:  # a proxy's words, or Slack itself is away
        return _unreachable(Exception(f"HTTP {status}"))
    reason = str(data["error"])
    details = (data.get("response_metadata") or {}).get("messages") or []
    retry = (getattr(response, "headers", None) or {}).get("Retry-After")
    said = f": {visible(str(details[0]), 120)}" if details else ""
    return ChatError(
        f"Slack: {visible(reason, 60)}{said}",
        reason=reason,
        hint=_HINTS.get(reason, ""),
        retry_seconds=float(retry) if retry is not None else None,
    )


def _unreachable(error: Exception) -> ChatError:
    return ChatError(
        f"Slack does not answer: {visible(str(error), 120)}",
        reason="unreachable",
        hint="answers from a terminal count all the same: `lifeboat approvals`",
    )
