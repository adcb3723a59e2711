"""The stand-in is a Slack as far as Slack's own client can tell; and it refuses what Slack refuses."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.webhook import WebhookClient

from lab.slack.server import NotAcknowledged, SlackStandIn, slack_stand_in

pytestmark = pytest.mark.slow  # seconds in which Slack's client waits for its threads

BUTTON: dict[str, Any] = {
    "type": "button", "action_id": "go", "value": "v", "text": {"type": "plain_text", "text": "Go"},
}  # fmt: skip
MESSAGE: list[dict[str, Any]] = [
    {"type": "section", "text": {"type": "plain_text", "text": "hello"}}, {"type": "actions", "elements": [BUTTON]}
]  # fmt: skip


class App:
    """Slack's own client, which acknowledges everything."""

    def __init__(self, slack: SlackStandIn) -> None:
        self.web = WebClient(token=slack.workspace.bot_token, base_url=slack.api_url)
        self.seen: list[SocketModeRequest] = []
        self.arrived = threading.Semaphore(0)
        self.silent = False
        self.socket = SocketModeClient(app_token=slack.workspace.app_token, web_client=self.web)
        self.socket.socket_mode_request_listeners.append(self._take)  # type: ignore[arg-type]
        self.socket.connect()

    def _take(self, client: SocketModeClient, request: SocketModeRequest) -> None:
        if not self.silent:
            client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        self.seen.append(request)
        self.arrived.release()

    def wait(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=10)


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackStandIn]:
    with slack_stand_in() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def one_app(slack: SlackStandIn) -> Iterator[App]:
    app = App(slack)
    connected(slack)
    yield app
    app.socket.close()


@pytest.fixture
def app(one_app: App, slack: SlackStandIn) -> Iterator[App]:
    """Its connection is kept over the tests: to close one takes seconds."""
    one_app.seen.clear()
    connected(slack)
    yield one_app
    one_app.silent = False


def connected(slack: SlackStandIn, count: int = 1) -> None:
    waiting = threading.Event()
    for _ in range(500):
        if len([each for each in slack.sockets if each.open]) >= count:
            return
        waiting.wait(0.01)
    raise AssertionError("nobody connected")


def test_a_message_is_posted_edited_and_its_button_pressed(slack: SlackStandIn, app: App) -> None:
    ts = app.web.chat_postMessage(channel=slack.workspace.channel, blocks=MESSAGE, text="hello")["ts"]
    slack.press("UANA", ts, "go")
    app.wait()
    (request,) = app.seen
    assert request.type == "interactive"
    assert request.payload["user"]["id"] == "UANA"
    assert request.payload["actions"][0]["value"] == "v"
    app.web.chat_update(channel=slack.workspace.channel, ts=ts, blocks=MESSAGE[:1], text="over")
    with pytest.raises(KeyError):
        slack.press("UANA", ts, "go")


def test_after_a_refresh_the_client_is_on_a_new_socket_and_presses_arrive(slack: SlackStandIn, app: App) -> None:
    first = slack.sockets[0]
    slack.refresh()
    threading.Event().wait(0.01)
    for _ in range(500):
        if first not in slack.sockets and slack.sockets:
            break
        threading.Event().wait(0.01)
    ts = app.web.chat_postMessage(channel=slack.workspace.channel, blocks=MESSAGE, text="hello")["ts"]
    slack.press("UANA", ts, "go")
    app.wait()


def test_the_same_envelope_may_come_twice(slack: SlackStandIn, app: App) -> None:
    slack.send({"type": "block_actions", "user": {"id": "UANA"}, "actions": []}, twice=True)
    app.wait(2)
    assert app.seen[0].envelope_id == app.seen[1].envelope_id


def test_what_nobody_acknowledges_fails_before_the_user(
    slack: SlackStandIn, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.slack.server.ACK_SECONDS", 0.2)
    app.silent = True
    with pytest.raises(NotAcknowledged, match="no answer within"):
        slack.send({"type": "block_actions", "user": {"id": "UANA"}, "actions": []})
    app.wait()
    with slack_stand_in() as nobody, pytest.raises(NotAcknowledged, match="no app is connected"):
        nobody.send({"type": "block_actions"})


def refused(call: Any, **arguments: Any) -> SlackApiError:
    with pytest.raises(SlackApiError) as raised:
        call(**arguments)
    return raised.value


def section(length: int) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "plain_text", "text": "x" * length}}


@pytest.mark.parametrize(
    ("blocks", "error", "detail"),
    [
        ([section(1)] * 51, "invalid_blocks", "no more than 50 items"),
        ([section(3001)], "invalid_blocks", "less than 3001"),
        ([section(2700)] * 5, "msg_blocks_too_long", ""),
        ([{"type": "actions", "elements": [{**BUTTON, "value": "v" * 2001}]}], "invalid_blocks", "less than 2001"),
        ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], "invalid_blocks", "less than 151"),
        ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "invalid_blocks", "plain_text"),
        ([{"type": "surprise"}], "invalid_blocks", "unsupported type"),
    ],
)
def test_what_is_too_long_is_refused_in_slacks_words(
    slack: SlackStandIn, blocks: list[dict[str, Any]], error: str, detail: str
) -> None:
    web = WebClient(token=slack.workspace.bot_token, base_url=slack.api_url)
    answer = refused(web.chat_postMessage, channel=slack.workspace.channel, blocks=blocks, text="x").response
    assert answer["error"] == error
    assert detail in str(answer["response_metadata"]["messages"])


def test_channel_token_message_and_trigger_have_to_be_right(slack: SlackStandIn) -> None:
    web = WebClient(token=slack.workspace.bot_token, base_url=slack.api_url)
    channel = slack.workspace.channel
    assert refused(web.chat_postMessage, channel="C9", text="x").response["error"] == "channel_not_found"
    assert refused(web.chat_update, channel=channel, ts="1.0", text="x").response["error"] == "message_not_found"
    assert refused(web.views_open, trigger_id="t", view={"type": "modal"}).response["error"] == "invalid_trigger_id"
    slack.workspace.is_member = False
    assert refused(web.chat_postMessage, channel=channel, text="x").response["error"] == "not_in_channel"
    slack.workspace.is_member = True
    slack.workspace.fail("auth.test", "token_revoked")
    assert refused(web.auth_test).response["error"] == "token_revoked"
    stranger = WebClient(token="xoxb-other", base_url=slack.api_url)
    assert refused(stranger.auth_test).response["error"] == "invalid_auth"


def test_too_many_calls_are_told_when_to_come_back(slack: SlackStandIn) -> None:
    web = WebClient(token=slack.workspace.bot_token, base_url=slack.api_url)
    slack.workspace.fail("chat.postMessage", "ratelimited", retry_after=7)
    answer = refused(web.chat_postMessage, channel=slack.workspace.channel, text="x").response
    assert (answer.status_code, answer["error"], answer.headers["Retry-After"]) == (429, "ratelimited", "7")
    assert web.chat_postMessage(channel=slack.workspace.channel, text="x")["ok"]


def test_a_channel_takes_about_a_message_a_second(slack: SlackStandIn) -> None:
    web = WebClient(token=slack.workspace.bot_token, base_url=slack.api_url)
    slack.workspace.posts_a_second = 1
    try:
        assert web.chat_postMessage(channel=slack.workspace.channel, text="one")["ok"]
        answer = refused(web.chat_postMessage, channel=slack.workspace.channel, text="two").response
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    finally:
        slack.workspace.posts_a_second = None


def test_a_command_is_typed_anywhere_and_answered_five_times_at_most(slack: SlackStandIn, app: App) -> None:
    answers = slack.command("UEVE", "status", channel="C0ELSEWHERE")
    app.wait()
    (request,) = app.seen
    assert request.type == "slash_commands"
    form = request.payload
    assert (form["command"], form["text"], form["user_id"], form["team_id"]) == ("/lifeboat", "status", "UEVE", "T0LAB")
    reply = WebhookClient(form["response_url"])
    said = [reply.send(text=f"answer {number}", response_type="ephemeral") for number in range(6)]
    assert [each.status_code for each in said] == [200] * 5 + [404]
    assert said[-1].body == "used_url"
    assert answers.texts == [f"answer {number}" for number in range(5)]
    assert WebhookClient(f"{slack.page}response/guessed").send(text="x").status_code == 404


def test_a_file_goes_into_a_thread_in_three_steps(slack: SlackStandIn) -> None:
    web = WebClient(token=slack.workspace.bot_token, base_url=slack.api_url)
    channel = slack.workspace.channel
    ts = web.chat_postMessage(channel=channel, text="the question")["ts"]
    web.files_upload_v2(
        content=b"<!doctype html>", filename="report.html", title="Report", channel=channel, thread_ts=ts
    )
    (upload,) = slack.workspace.uploads.values()
    assert (upload.content, upload.thread_ts, upload.name) == (b"<!doctype html>", ts, "report.html")
    announced = web.files_getUploadURLExternal(filename="x", length=5)
    error = refused(web.files_completeUploadExternal, files=[{"id": announced["file_id"]}], channel_id=channel)
    assert error.response["error"] == "file_not_found", "it was never sent"


def test_what_was_posted_can_be_found(slack: SlackStandIn) -> None:
    web = WebClient(token=slack.workspace.bot_token, base_url=slack.api_url)
    ts = web.chat_postMessage(channel=slack.workspace.channel, blocks=MESSAGE, text="hello")["ts"]
    newest = web.conversations_history(channel=slack.workspace.channel, limit=1)["messages"]
    assert [(each["ts"], each["bot_id"]) for each in newest] == [(ts, "B0BOT")]
    assert newest[0]["blocks"][0]["text"]["text"] == "hello"


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("chat.postMessage", "token_revoked"), ("chat.postMessage", "is_archived"), ("chat.postMessage", "not_in_channel"),
        ("chat.postMessage", "msg_blocks_too_long"), ("chat.update", "edit_window_closed"),
        ("chat.update", "cant_update_message"),
        ("views.open", "expired_trigger_id"), ("apps.connections.open", "invalid_auth"),
        ("files.getUploadURLExternal", "missing_scope"),
    ],
)  # fmt: skip
def test_it_can_be_told_to_refuse_in_slacks_words(slack: SlackStandIn, method: str, error: str) -> None:
    web = WebClient(token=slack.workspace.bot_token, base_url=slack.api_url)
    slack.workspace.fail(method, error)
    with pytest.raises(SlackApiError) as raised:
        web.api_call(method)
    assert raised.value.response["error"] == error


def test_the_page_shows_texts_as_texts(slack: SlackStandIn) -> None:
    with urllib.request.urlopen(slack.page) as page:
        html = page.read().decode()
    assert "innerHTML" not in html
    assert "textContent" in html
