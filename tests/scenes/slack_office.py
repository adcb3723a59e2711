"""A Slack of the tests' own, lifeboats that are connected to it over real sockets, and a journal they share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scenes.approvals import ALONE, NOON, StoppedClock, ask_about

from agent.approve.proposals import read
from agent.approve.slack.view import SlackView
from lab.slack.server import SlackStandIn
from lab.slack.workspace import Message
from models.policy.policy import Policy
from models.proposals.states import ApprovalState
from tools.journal.sqlite import SqliteJournal
from tools.ports.chat import Command, Press
from tools.slack.client import SlackChat


class Connection:
    """One lifeboat's connection, kept over the tests: to close one takes seconds."""

    def __init__(self, slack: SlackStandIn) -> None:
        workspace = slack.workspace
        self.real = SlackChat(
            channel=workspace.channel,
            bot_token=workspace.bot_token,
            app_token=workspace.app_token,
            api_url=slack.api_url,
        )
        self.on_press: Callable[[Press], None] = lambda _: None
        self.on_command: Callable[[Command], None] = lambda _: None
        self.under_way = 0
        self._lock = threading.Lock()
        self.real.listen(self._hand_on, self._hand_on_command)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def listen(self, on_press: Callable[[Press], None], on_command: Callable[[Command], None]) -> None:
        self.on_press, self.on_command = on_press, on_command

    def _hand_on_command(self, command: Command) -> None:
        self.on_command(command)

    def _hand_on(self, press: Press) -> None:
        with self._lock:
            self.under_way += 1
        try:
            self.on_press(press)
        finally:
            with self._lock:
                self.under_way -= 1


class Office:
    """A Slack, a journal, and as many lifeboats as are asked for."""

    def __init__(self, directory: Path, slack: SlackStandIn, connections: list[Connection]) -> None:
        self.slack, self.directory, self.clock = slack, directory, StoppedClock(NOON)
        self.connections = connections
        self.workspace = slack.workspace
        self.journal = SqliteJournal(directory / "journal.sqlite")
        self.views: list[SlackView] = []
        self._close: list[Callable[[], None]] = [self.journal.close]

    def lifeboat(self, under: Policy = ALONE, on_command: Callable[[Command], None] | None = None) -> SlackView:
        """One more of them. With fewer than there are connections, what comes over the others is theirs all the same."""
        journal = SqliteJournal(self.directory / "journal.sqlite")
        view = SlackView(self.connections[len(self.views) % 2], journal, under, self.clock, on_command=on_command)
        self._close.insert(0, journal.close)
        self.views.append(view)
        view.look()
        for idle in self.connections[len(self.views) :]:
            idle.on_press = view.press
            idle.on_command = on_command or idle.on_command
        return view

    def ask(self, name: str = "evac-1", under: Policy = ALONE, **more: bool) -> None:
        ask_about(self.journal, under, name=name, at=self.clock.time, **more)
        for view in self.views:
            view.look()

    def press(self, user: str, action: str, **more: str) -> None:
        self.slack.press(user, self.newest.ts, action, **more)

    @property
    def newest(self) -> Message:
        return list(self.workspace.messages.values())[-1]

    def state(self, name: str = "evac-1") -> ApprovalState:
        return read(self.journal, name, self.clock).state

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Presses are settled after they were acknowledged."""
        pause = threading.Event()
        for _ in range(1000):
            if condition():
                return
            pause.wait(0.01)
        raise AssertionError(what)

    def close(self) -> None:
        for each in self._close:
            each()
