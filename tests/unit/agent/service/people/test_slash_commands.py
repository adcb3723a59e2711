"""`/lifeboat …` in a chat: only policy's people are answered, only those who may answer steer, and nothing moves a guest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scenes.approvals import PEOPLE, ask_about
from scenes.hostile import EVERY
from scenes.simulated_world import World

from agent.execute.evacuation import new_evacuation_id
from agent.guard.judge import judge
from agent.plan.solver import plan as solve
from agent.service.people.slash_commands import LastLook, SlashCommands
from agent.state.requests import read_requests
from lab.slack.limits import why_refused
from models.approval import ApprovalRecord
from models.policy.approvers import ApproverRule, TwoPeoplePolicy
from models.policy.policy import ApprovalPolicy, Policy
from models.situation import Situation
from tools.ports.chat import Command
from tools.ports.records.chat import ChatRefused
from tools.ports.records.evacuations import EvacuationStarted

POLICY = Policy(
    approval=ApprovalPolicy(
        people={**PEOPLE, "guest": ("slack:UGUEST",)},
        groups={"ops": ("ana", "tom"), "leads": ("boss",)},
        approvers=(ApproverRule(may=("ops",), then=("leads",), nodes=("a", "node-*")),),
        two_people=TwoPeoplePolicy(stops_guests=False),
    )
)


class Channel:
    """Where answers are read. What they hold has to be what Slack takes."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, list[dict[str, Any]], str]] = []

    def reply(self, command: Command, blocks: Any, text: str) -> None:
        assert why_refused({"blocks": list(blocks), "text": text}) is None
        self.answers.append((command.user, list(blocks), text))


class Desk:
    """People who type, a simulated fleet, and what the agent saw of it last."""

    def __init__(self, directory: Path) -> None:
        self.world, self.channel = World(directory), Channel()
        self.last = LastLook(look_now=lambda: (self.world.snapshot(), self.world.risks()), policy=POLICY,
                             clock=self.world.fleet.clock)  # fmt: skip
        self.commands = SlashCommands(
            chat=self.channel,  # type: ignore[arg-type]
            journal=self.world.journal, policy=POLICY, clock=self.world.fleet.clock, seen=lambda: self.last.situation,
        )  # fmt: skip

    def says(self, text: str, *, user: str = "UANA", foreign: str = "") -> str:
        self.commands.take(Command(name="/lifeboat", text=text, user=user, reply_to="x", foreign=foreign))
        who, blocks, _ = self.channel.answers[-1]
        assert who == user
        assert all(block["type"] == "rich_text" for block in blocks), "inert"
        return "\n".join(each["text"] for block in blocks for part in block["elements"] for each in part["elements"])

    def start(self) -> str:
        """An evacuation of node a that nobody was asked about is under way."""
        fleet, clock = self.world.snapshot(), self.world.fleet.clock
        plan = solve(Situation(fleet=fleet, risks=self.world.risks(), policy=POLICY, now=clock.now()), ["a"])
        verdict = judge(plan, Situation(fleet=fleet, risks=self.world.risks(), policy=POLICY, now=clock.now()))
        agreement = ApprovalRecord(plan_sha256=plan.digest(), by="policy", at=clock.now(), expires_at=clock.now())
        name = new_evacuation_id(self.world.hands)
        started = EvacuationStarted(plan=plan, fleet=fleet, verdict=verdict, policy=POLICY, agreement=agreement)
        self.world.journal.append(started, now=clock.now(), evacuation=name)
        return name

    def refused(self) -> list[str]:
        return [entry.record.why for entry in self.world.journal.of(ChatRefused)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    world = desk.world
    assert all(world.fleet.running_on(vm) == ["a"] for vm in (world.web, world.db, world.batch)), "a guest moved"
    desk.world.journal.close()


def test_who_is_none_of_policys_people_is_told_nothing_and_that_is_in_the_journal(desk: Desk) -> None:
    desk.last.look()
    ask_about(desk.world.journal, POLICY)
    for text in ("status", "risk a", "plan a", "pause", "resume", "help", ""):
        said = desk.says(text, user="UMALLORY")
        assert "none of policy's people" in said
        assert "lifeboat explain not-an-approver" in said
        assert "evac-1" not in said
    assert len(desk.refused()) == 7
    assert "another workspace" in desk.says("status", foreign="T0OTHER")


def test_status_tells_what_waits_and_what_is_under_way(desk: Desk) -> None:
    assert "0 plans waiting" in desk.says("status")
    ask_about(desk.world.journal, POLICY, at=desk.world.fleet.clock.now())
    name = desk.start()
    said = desk.says("status", user="UGUEST")
    assert "1 plan waiting for an answer, 1 evacuation under way" in said
    assert "evac-1: node-a: 93 % to fail within 2h" in said
    assert name in said


def test_risk_tells_one_node_or_the_worst(desk: Desk) -> None:
    assert "has not looked yet" in desk.says("risk")
    desk.last.look()
    desk.world.fleet.clock.sleep(40)
    said = desk.says("risk")
    assert "3 nodes, the worst first, as seen 40 s ago" in said
    assert said.splitlines()[1].startswith("a: ")
    assert "fails within 2h 95 %" in desk.says("risk a")
    assert "no node is named z" in desk.says("risk z")


def test_plan_is_a_dry_run(desk: Desk) -> None:
    desk.last.look()
    before = desk.world.journal.head()
    said = desk.says("plan a")
    assert "dry run for a" in said
    assert "nothing was changed" in said
    assert "web" in said
    assert "a human has to agree" in said
    assert desk.world.journal.head() == before
    assert "takes: status" in desk.says("plan")


def test_only_who_may_answer_pauses_and_resumes(desk: Desk) -> None:
    name = desk.start()
    assert "does not let guest" in desk.says("pause", user="UGUEST")
    assert read_requests(desk.world.journal, name).paused_by is None
    assert f"{name}: paused" in desk.says("pause")
    assert read_requests(desk.world.journal, name).paused_by == "slack:UANA"
    assert "does not let guest" in desk.says(f"resume {name}", user="UGUEST")
    assert read_requests(desk.world.journal, name).paused_by == "slack:UANA"
    assert f"{name}: resumed" in desk.says(f"resume {name}", user="UTOM")
    assert read_requests(desk.world.journal, name).paused_by is None
    assert len(desk.refused()) == 2


def test_what_is_not_under_way_is_not_paused(desk: Desk) -> None:
    assert "no evacuation is going on" in desk.says("pause")
    assert "there is no evacuation" in desk.says("pause evac-9")
    ask_about(desk.world.journal, POLICY, at=desk.world.fleet.clock.now())
    assert "has not begun" in desk.says("pause evac-1")


@pytest.mark.parametrize("word", EVERY[:12])
def test_what_people_type_is_shown_and_does_nothing(desk: Desk, word: str) -> None:
    desk.last.look()
    for text in (word, f"risk {word}", f"plan {word}", f"pause {word}"):
        desk.says(text)
        _, _, fallback = desk.channel.answers[-1]
        assert "<" not in fallback
        assert all(character.isprintable() for character in fallback)
