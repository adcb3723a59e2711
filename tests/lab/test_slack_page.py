"""The stand-in's page in a real Chromium: what a newcomer sees and presses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scenes.approvals import ALONE, ask_about
from scenes.hostile import EVERY

from agent.approve.proposals import read
from agent.approve.slack.view import SlackView
from lab.slack.server import SlackStandIn, slack_stand_in
from models.proposals.states import ApprovalState
from tools.clock import SystemClock
from tools.journal.sqlite import SqliteJournal
from tools.slack.client import SlackChat

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Browser:
    """One tab of a headless Chromium, by its DevTools protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.dialogs: list[str] = []
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get("method") == "Page.javascriptDialogOpening":
                self.dialogs.append(answer["params"]["message"])
                accept = {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
                self._socket.send(json.dumps(accept))
            if answer.get("id") == number:
                return answer.get("result", {})

    def run(self, script: str) -> Any:
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")


def wait_for(condition: Any, seconds: float = 30) -> None:
    pause = threading.Event()
    for _ in range(int(seconds * 20)):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("it did not come")


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    with slack_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    from websockets.sync.client import connect

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here")
    profile = tmp_path / "chromium"
    options = ["--headless=new", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    command = [program, *options, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port_file = profile / "DevToolsActivePort"
            wait_for(lambda: port_file.exists() and port_file.read_text().count("\n") >= 1, 60)
            port = port_file.read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                tab = next(each for each in json.load(answer) if each["type"] == "page")
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Browser(socket)
        finally:
            process.terminate()


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
