"""Slack by HTTP: what is signed, fresh and new counts; nothing else does."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError
from scenes.approvals import ALONE, StoppedClock
from scenes.slack_office import Office
from slack_sdk.signature import SignatureVerifier

from agent.approve.slack import render
from agent.approve.slack.http import SlackRequests, sign
from agent.approve.slack.view import SlackView
from agent.approve.webhook import Webhook
from agent.service.people.webhook_server import serving
from agent.settings import Settings, SlackSettings
from models.errors import BadInput
from models.proposals.states import ApprovalState
from tools.ports.records.webhook import WebhookRefused
from tools.secret_files import read_signing_secret
from tools.slack.client import SlackChat


@pytest.fixture
def desk(office: Office) -> Iterator[Office]:
    """Slack sends to a port of lifeboat's, in place of a socket."""
    slack, workspace = office.slack, office.workspace
    office.clock.time = datetime.now(UTC)  # Slack signs with its own
    chat = SlackChat(channel=workspace.channel, bot_token=workspace.bot_token, app_token=None, api_url=slack.api_url)
    view = SlackView(chat, office.journal, ALONE, office.clock)
    office.views.append(view)
    view.look()
    requests = SlackRequests(journal=office.journal, clock=office.clock, secret=slack.signing_secret, take=chat.take)
    webhook = Webhook(journal=office.journal, policy=ALONE, clock=office.clock, secrets={})
    with serving(webhook, 0, slack=requests) as port:
        slack.request_url = f"http://127.0.0.1:{port}/slack"
        yield office
        while requests._free._value < 20:  # what was acknowledged is settled
            time.sleep(0.01)


def test_a_press_by_http_counts_and_is_acknowledged_at_once(desk: Office) -> None:
    desk.ask()
    desk.press("UANA", render.APPROVE)
    desk.until(lambda: desk.state() is ApprovalState.APPROVED, "not approved")
    desk.until(lambda: not desk.newest.buttons, "the buttons stay")
    assert max(desk.slack.acknowledged) < 3.0


def post(desk: Office, body: bytes, timestamp: str, signature: str) -> int:
    headers = {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}
    assert desk.slack.request_url is not None
    request = urllib.request.Request(desk.slack.request_url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def approval(desk: Office, user: str = "UANA", **more: Any) -> bytes:
    action = {"type": "button", "action_id": render.APPROVE, "value": desk.newest.buttons[render.APPROVE]["value"]}
    payload = {"type": "block_actions", "user": {"id": user}, "team": {"id": "T0LAB"}, "actions": [action], **more}
    return urlencode({"payload": json.dumps(payload)}).encode()


def test_what_is_forged_old_edited_or_repeated_is_refused_and_in_the_journal(desk: Office) -> None:
    desk.ask()
    body, stamp = approval(desk, user="UEVIL"), str(int(time.time()))
    signature = sign(desk.slack.signing_secret, stamp, body)
    old = str(int(time.time()) - 301)
    early = str(int(time.time()) + 301)
    assert post(desk, body, stamp, sign(b"another secret of somebody", stamp, body)) == 401
    assert post(desk, approval(desk), stamp, signature) == 401, "another body"
    assert post(desk, body, old, sign(desk.slack.signing_secret, old, body)) == 401
    assert post(desk, body, early, sign(desk.slack.signing_secret, early, body)) == 401
    assert post(desk, body, "soon", sign(desk.slack.signing_secret, "soon", body)) == 401
    assert post(desk, body, stamp, "") == 401
    assert post(desk, b"payload=%7B", stamp, sign(desk.slack.signing_secret, stamp, b"payload=%7B")) == 401
    assert post(desk, body, stamp, signature) == 200
    assert post(desk, body, stamp, signature) == 401, "the same once more"
    why = [entry.record.why for entry in desk.journal.of(WebhookRefused)]
    assert len(why) == 8
    assert why[-1] == "this very answer came before"
    assert desk.state() is ApprovalState.PENDING


def test_another_workspace_is_refused_and_one_of_the_same_organisation_is_not(desk: Office) -> None:
    desk.ask()

    def press(**more: Any) -> None:
        body, stamp = approval(desk, **more), str(int(time.time()))
        assert post(desk, body, stamp, sign(desk.slack.signing_secret, stamp, body)) == 200

    press(team={"id": "T0OTHER"}, enterprise={"id": "E0OTHER"})
    desk.until(lambda: bool(desk.workspace.whispers), "not told")
    assert "another workspace" in desk.workspace.whispers[-1][1]
    assert desk.state() is ApprovalState.PENDING
    press(team=None, enterprise={"id": "E0LAB"})
    desk.until(lambda: desk.state() is ApprovalState.APPROVED, "a Grid's team ids differ between message and press")


def test_it_is_signed_as_slacks_own_library_has_it() -> None:
    body, stamp = b"command=%2Flifeboat&text=status", str(int(time.time()))
    assert SignatureVerifier("8f742231b10e8888abcd99yyyzzz85a5").is_valid(
        body, stamp, sign(b"8f742231b10e8888abcd99yyyzzz85a5", stamp, body)
    )


def test_when_too_many_are_being_settled_the_next_is_not_acknowledged(desk: Office) -> None:
    requests = SlackRequests(
        journal=desk.journal, clock=StoppedClock(desk.clock.now()), secret=b"s", take=lambda _: None
    )
    while requests._free.acquire(blocking=False):
        pass
    stamp, body = str(int(desk.clock.now().timestamp())), b"command=%2Flifeboat"
    assert requests.handle(body, timestamp=stamp, signature=sign(b"s", stamp, body)) == 503


def test_the_settings_say_what_is_missing(tmp_path: Path) -> None:
    slack = {"channel": "C024BE91L", "bot_token_file": "bot"}
    with pytest.raises(ValidationError, match="one of app_token_file"):
        SlackSettings.model_validate(slack)
    with pytest.raises(ValidationError, match="webhook"):
        Settings.model_validate({"slack": {**slack, "signing_secret_file": "secret"}})
    assert Settings.model_validate({"slack": {**slack, "signing_secret_file": "s"}, "webhook": {"port": 8765}}).slack
    (tmp_path / "secret").write_text("short")
    with pytest.raises(BadInput, match="signing_secret_file"):
        read_signing_secret(tmp_path / "secret")
