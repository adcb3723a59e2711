"""`./dev demo --approve`: people are asked before anything moves, on a Slack of the demo's own with a page in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from agent.approve.slack.render import APPROVE
from agent.approve.slack.view import SlackView
from agent.service.session import Session
from lab.slack.server import NotAcknowledged, SlackStandIn
from lab.slack.workspace import Workspace
from models.policy.approvers import ApproverRule, TwoPeoplePolicy
from models.policy.policy import ApprovalMode, ApprovalPolicy, Policy
from tools.slack.client import SlackChat

YOU, DEMO = "UYOU", "UDEMO"


def asking(policy: Policy) -> Policy:
    """The same, with people asked about every move. One is enough: a newcomer is alone."""
    approval = ApprovalPolicy(
        live_migrate=ApprovalMode.ASK,
        cold_migrate=ApprovalMode.ASK,
        cold_archive=ApprovalMode.ASK,
        people={"you": (f"slack:{YOU}",), "demo": (f"slack:{DEMO}",)},
        approvers=(ApproverRule(may=("you", "demo")),),
        two_people=TwoPeoplePolicy(stops_guests=False),
        expires_after=policy.approval.expires_after,
    )
    return policy.model_copy(update={"approval": approval})


@dataclass
class Desk:
    """Where the question is answered: by whoever opens the page, or after a while by the demo's own approver."""

    slack: SlackStandIn
    view: SlackView
    say: Callable[[str, str], None]
    patience_seconds: float
    _asked_at: float | None = None

    def consider(self) -> None:
        """Called again and again while the question is open."""
        self.view.look()
        open_messages = [each.ts for each in list(self.slack.workspace.messages.values()) if each.buttons]
        if not open_messages:
            return
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            wait = f"; in {self.patience_seconds:.0f} s the demo presses it" if self.patience_seconds else ""
            self.say(f"lifeboat asks first. Open {self.slack.page} and press Approve{wait}", "bold yellow")
        if time.monotonic() - self._asked_at >= self.patience_seconds:
            with suppress(NotAcknowledged, KeyError):  # somebody was faster, or it is tried again
                self.slack.press(DEMO, open_messages[-1], APPROVE)
                self.say("the demo's own approver pressed it", "")


@contextmanager
def desk_of(
    session: Session, policy: Policy, say: Callable[[str, str], None], *, patience_seconds: float
) -> Generator[Desk]:
    """A Slack of its own and lifeboat's view in it, for as long as the block runs."""
    slack = SlackStandIn(Workspace(users={YOU: "you", DEMO: "demo"}))
    workspace = slack.workspace
    chat = SlackChat(
        channel=workspace.channel, bot_token=workspace.bot_token, app_token=workspace.app_token, api_url=slack.api_url
    )
    view = SlackView(chat, session.hands.journal, policy, session.hands.clock)
    try:
        with view.running():
            yield Desk(slack, view, say, patience_seconds)
    finally:
        slack.close()
