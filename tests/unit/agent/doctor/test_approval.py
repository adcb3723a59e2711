"""`lifeboat doctor` on who may agree, and on the Slack where they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scenes.approvals import PEOPLE, policy

from agent.doctor.approval import check_approvers, check_slack
from agent.doctor.examine import CheckContext, Finding, Health, run_checks
from agent.settings import Settings, SlackSettings
from agent.state.certificate_pins import Pins
from lab.slack.server import SlackStandIn, slack_stand_in
from models.policy.policy import Policy
from tools.journal.sqlite import SqliteJournal
from tools.simulated.fleet import SimulatedFleet


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    with slack_stand_in() as stand_in:
        yield stand_in


def examine(directory: Path, under: Policy, slack: SlackStandIn | None = None) -> dict[str, Finding]:
    settings = None
    if slack is not None:
        (directory / "bot").write_text(f"{slack.workspace.bot_token}\n")
        (directory / "app").write_text(slack.workspace.app_token)
        settings = SlackSettings(
            channel="C0LIFEBOAT",
            bot_token_file=directory / "bot",
            app_token_file=directory / "app",
            api_url=slack.api_url,
        )
    fleet = SimulatedFleet()
    with closing(SqliteJournal(directory / "journal.sqlite")) as journal:
        context = CheckContext(
            settings=Settings(state_dir=directory, slack=settings),
            policy=under,
            nodes={},
            journal=journal,
            pins=Pins(directory / "pins.json", journal, fleet.clock),
            clock=fleet.clock,
        )
        return {each.subject: each for each in run_checks(context, [check_approvers, check_slack], [])}


def test_a_policy_that_asks_and_names_nobody(tmp_path: Path) -> None:
    found = examine(tmp_path, Policy())["policy"]
    assert (found.health, found.fix) == (Health.WARN, "name them: approval.people, approval.approvers")


def test_enough_people_or_not(tmp_path: Path) -> None:
    assert examine(tmp_path, policy())["rule 1"].what == "ana, boss, eve and tom"
    alone = examine(tmp_path, policy(approvers=[{"may": ["ana"]}]))
    assert "takes two" in alone["rule 1"].what
    assert "boss, eve and tom may answer nothing" in alone["people"].what
    in_slack = {"eve": ("slack:UEVE",), "tim": ("slack:UTIM",)}
    only = policy(people=in_slack, groups={}, approvers=[{"may": ["eve", "tim"]}], two_people={"outside_slack": True})
    assert "by Slack alone" in examine(tmp_path, only)["rule 1"].what


def test_a_slack_that_is_as_it_should_be(tmp_path: Path, slack: SlackStandIn) -> None:
    found = examine(tmp_path, policy(), slack)
    assert {each.health for each in found.values()} == {Health.OK}
    assert found["bot token"].what == "lifeboat in lab"


def test_each_fault_of_slack_has_its_line_and_its_fix(tmp_path: Path, slack: SlackStandIn) -> None:
    slack.workspace.is_member = False
    slack.workspace.users.pop("UTOM")
    slack.workspace.fail("apps.connections.open", "invalid_auth")
    found = examine(tmp_path, policy(), slack)
    assert found["C0LIFEBOAT"].fix == "invite it: /invite @lifeboat"
    assert "no active user UTOM" in found["tom"].what
    assert found["app token"].health is Health.FAIL
    slack.workspace.fail("auth.test", "token_revoked")
    assert "install the app again" in examine(tmp_path, policy(), slack)["lifeboat"].fix
    slack.down = True
    assert "does not answer: HTTP 503" in examine(tmp_path, policy(), slack)["lifeboat"].what


def test_a_file_that_holds_no_token(tmp_path: Path, slack: SlackStandIn) -> None:
    slack.workspace.bot_token, slack.workspace.app_token = slack.workspace.app_token, slack.workspace.bot_token
    found = examine(tmp_path, policy(people=PEOPLE), slack)["lifeboat"]
    assert "starts with xoxb-" in found.what
