"""The stand-in's page in a real Chromium: what a newcomer sees and presses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.approvals import ALONE, ask_about
from scenes.browser import Browser, chromium, wait_for
from scenes.hostile import EVERY

from agent.approve.proposals import read
from agent.approve.slack.view import SlackView
from lab.slack.server import SlackStandIn, slack_stand_in
from models.proposals.states import ApprovalState
from tools.clock import SystemClock
from tools.journal.sqlite import SqliteJournal
from tools.slack.client import SlackChat

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    with slack_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with chromium(tmp_path) as browser:
        yield browser


def test_a_person_reads_the_question_presses_approve_and_the_buttons_go(
    slack: SlackStandIn, browser: Browser, tmp_path: Path
) -> None:
    workspace = slack.workspace
    chat = SlackChat(
        channel=workspace.channel, bot_token=workspace.bot_token, app_token=workspace.app_token, api_url=slack.api_url
    )
    journal, clock = SqliteJournal(tmp_path / "journal.sqlite"), SystemClock()
    with SlackView(chat, journal, ALONE, clock).running():
        ask_about(journal, ALONE, at=clock.now(), vms=("web", *EVERY[:18]))
        browser.call("Page.navigate", url=slack.page)
        button = "document.querySelector('button[data-action=lifeboat-approve]')"
        wait_for(lambda: browser.run(f"!!{button}"))
        assert "node-a: 93 % to fail within 2h" in browser.run("document.body.innerText")
        assert browser.run("document.querySelectorAll('main script, main img, main a, main svg').length") == 0
        browser.run(f"{button}.click()")
        wait_for(lambda: read(journal, "evac-1", clock).state is ApprovalState.APPROVED)
        wait_for(lambda: browser.run(f"!{button}"))
        assert "approved by slack:UANA" in browser.run("document.body.innerText")
        assert browser.dialogs
        assert "It begins at once." in browser.dialogs[0]
    journal.close()


def test_a_reason_is_asked_for_and_kept(slack: SlackStandIn, browser: Browser, tmp_path: Path) -> None:
    workspace = slack.workspace
    chat = SlackChat(
        channel=workspace.channel, bot_token=workspace.bot_token, app_token=workspace.app_token, api_url=slack.api_url
    )
    journal, clock = SqliteJournal(tmp_path / "journal.sqlite"), SystemClock()
    with SlackView(chat, journal, ALONE, clock).running():
        ask_about(journal, ALONE, at=clock.now())
        browser.call("Page.navigate", url=slack.page)
        wait_for(lambda: browser.run("!!document.querySelector('button[data-action=lifeboat-reject]')"))
        browser.run("document.querySelector('button[data-action=lifeboat-reject]').click()")
        wait_for(lambda: browser.run("!!document.querySelector('textarea')"))
        browser.run("document.querySelector('textarea').value = 'being swapped'")
        browser.run("[...document.querySelectorAll('button')].find(b => b.textContent == 'Reject').click()")
        wait_for(lambda: read(journal, "evac-1", clock).state is ApprovalState.REJECTED)
        wait_for(lambda: "being swapped" in browser.run("document.body.innerText"))
    journal.close()
