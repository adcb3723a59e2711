"""What the background agent asks people, and that it acts on their answer once, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scenes.approvals import PEOPLE
from scenes.simulated_world import INFERENCE, World

from agent.approve.approvers import DenyingApprover
from agent.approve.proposals import answer, open_questions, read, recent_questions
from agent.guard.judge import judge
from agent.llm.choose import planner_named
from agent.plan.solver import plan as solve
from agent.service.control_loop import ControlLoop, PassOutcome, PassResult
from agent.service.people.questions import Questions
from agent.state.status import read_status
from models.errors import AlreadyDecided, NotAnApprover
from models.fleet import Fleet
from models.policy.approvers import ApproverRule, Occasion, TwoPeoplePolicy, UnansweredRule
from models.policy.policy import ApprovalMode, ApprovalPolicy, LimitPolicy, Policy
from models.policy.wait import WaitPolicy
from models.proposals.states import ApprovalState, EventKind, Proposal
from models.risk.risk import Risk
from models.situation import Situation
from tools.ports.records.evacuations import EvacuationPlanned, EvacuationStarted
from tools.simulated.migration import Phase

MINUTE = timedelta(minutes=1)
POLICY = Policy(
    approval=ApprovalPolicy(
        people=PEOPLE,
        groups={"ops": ("ana", "tom"), "leads": ("boss",)},
        approvers=(ApproverRule(may=("ops",), then=("leads",)),),
        two_people=TwoPeoplePolicy(stops_guests=False),
    )
)


@dataclass
class Agent:
    """A background agent on a simulated fleet, whose `failing` nodes are about to fail."""

    world: World
    policy: Policy = POLICY
    failing: tuple[str, ...] = ("a",)
    loop: ControlLoop = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.world.reopen()
        self.loop = ControlLoop(
            hands=self.world.hands,
            policy=self.policy,
            look=self.look,
            planner=planner_named("solver", None),
            approver=DenyingApprover(),
            questions=Questions(hands=self.world.hands, policy=self.policy),
        )

    def look(self) -> tuple[Fleet, list[Risk]]:
        return self.world.snapshot(), self.world.risks(self.failing)

    def wait(self, length: timedelta) -> None:
        self.world.fleet.clock.sleep(length.total_seconds())

    def run(self) -> PassResult:
        return self.loop.run_once()

    def answer(
        self, kind: EventKind, by: str = "terminal:ana", *, of: str = "", off: timedelta | None = None
    ) -> Proposal:
        clock = self.world.fleet.clock
        return answer(self.world.journal, of or self.question.id, kind, by=by, policy=self.policy, clock=clock, off=off)

    @property
    def question(self) -> Proposal:
        (waiting,) = open_questions(self.world.journal, self.world.fleet.clock)
        return waiting

    @property
    def newest(self) -> Proposal:
        return recent_questions(self.world.journal, self.world.fleet.clock, 1)[0]

    def state_of(self, evacuation: str) -> ApprovalState:
        return read(self.world.journal, evacuation, self.world.fleet.clock).state

    def moved(self) -> bool:
        return self.world.fleet.running_on(self.world.web) != ["a"]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(World(tmp_path))
    yield agent
    agent.world.check_nothing_lost_or_doubled()
    agent.world.journal.close()


def test_it_asks_waits_for_nobody_and_acts_once_when_approved(agent: Agent) -> None:
    asked = agent.run()
    assert asked.outcome is PassOutcome.ASKED
    assert agent.question.id in asked.why
    assert read_status(agent.world.journal).evacuations[0].outcome == "waits for approval"
    waiting = agent.run()
    assert waiting.outcome is PassOutcome.WAITING
    assert not agent.moved()
    agent.answer(EventKind.AGREE)
    done = agent.run()
    assert done.outcome is PassOutcome.EVACUATED
    assert done.evacuation is not None
    assert done.evacuation.approved_by == "terminal:ana"
    assert agent.moved()
    assert agent.newest.state is ApprovalState.DONE
    assert agent.run().outcome is PassOutcome.IDLE
    assert len(agent.world.journal.of(EvacuationStarted)) == 1


def test_an_answer_is_acted_on_after_a_restart(agent: Agent) -> None:
    agent.run()
    agent.restart()
    assert agent.run().outcome is PassOutcome.WAITING
    agent.answer(EventKind.AGREE)
    agent.restart()
    assert agent.run().outcome is PassOutcome.EVACUATED
    assert agent.newest.state is ApprovalState.DONE


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_wall_clock_neither_keeps_a_question_open_nor_ends_it(agent: Agent, hours: int) -> None:
    agent.run()
    agent.world.fleet.clock.set_wall_clock(timedelta(hours=hours))
    agent.restart()
    agent.wait(7 * MINUTE)
    assert agent.run().outcome is PassOutcome.WAITING
    assert agent.question.state is ApprovalState.PENDING
    with pytest.raises(NotAnApprover, match="half of its time"):
        agent.answer(EventKind.AGREE, "terminal:boss")
    agent.wait(MINUTE)
    asked = agent.question
    assert asked.state is ApprovalState.ESCALATED
    agent.wait(7 * MINUTE)
    agent.run()
    assert agent.state_of(asked.id) is ApprovalState.EXPIRED
    assert not agent.moved()


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_was_agreed_to_is_carried_out_whatever_the_wall_clock_is_set_to(agent: Agent, hours: int) -> None:
    agent.run()
    agent.answer(EventKind.SNOOZE, off=20 * MINUTE)
    agent.world.fleet.clock.set_wall_clock(timedelta(hours=hours))
    agent.wait(19 * MINUTE)
    assert agent.question.state is ApprovalState.SNOOZED
    agent.wait(MINUTE)
    assert agent.question.state is ApprovalState.PENDING
    agent.answer(EventKind.AGREE)
    agent.world.fleet.clock.set_wall_clock(timedelta(hours=-hours))
    agent.wait(14 * MINUTE)
    assert agent.run().outcome is PassOutcome.EVACUATED
    assert agent.moved()


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_agreement_that_is_too_old_is_too_old_by_any_clock(agent: Agent, hours: int) -> None:
    agent.run()
    asked = agent.answer(EventKind.AGREE)
    agent.world.fleet.clock.set_wall_clock(timedelta(hours=hours))
    agent.wait(15 * MINUTE)
    agent.run()
    assert agent.state_of(asked.id) is ApprovalState.EXPIRED
    assert not agent.moved()


def test_silence_is_no(agent: Agent) -> None:
    agent.run()
    agent.wait(15 * MINUTE)
    agent.run()
    assert agent.newest.state is ApprovalState.EXPIRED
    assert not agent.moved()
    agent.wait(16 * MINUTE)
    assert agent.run().outcome is PassOutcome.ASKED, "after the cooldown it asks again"


def test_silence_is_yes_for_what_policy_names_and_never_for_what_stops_a_guest(agent: Agent) -> None:
    """The first node holds a batch vm that would be archived; the second one vm that moves live."""
    world = agent.world
    world.fleet.add_vm("b", "solo", labels=INFERENCE, shared=True, memory_bytes=1 << 30)
    unanswered = {"unanswered": (UnansweredRule(),), "cold_archive": ApprovalMode.ASK}
    agent.policy = POLICY.model_copy(update={"approval": POLICY.approval.model_copy(update=unanswered)})
    agent.restart()
    agent.run()
    assert not agent.question.goes_ahead_unanswered
    agent.wait(15 * MINUTE)
    agent.run()
    assert agent.newest.state is ApprovalState.EXPIRED
    assert not agent.moved()
    agent.failing = ("b",)
    asked = agent.run()
    assert asked.outcome is PassOutcome.ASKED
    assert "then it goes ahead" in asked.why
    agent.wait(14 * MINUTE)
    assert agent.run().outcome is PassOutcome.WAITING
    agent.wait(MINUTE)
    done = agent.run()
    assert done.outcome is PassOutcome.EVACUATED
    assert done.evacuation is not None
    assert done.evacuation.approved_by == "silence"
    assert agent.newest.state is ApprovalState.DONE


def test_a_rejected_plan_is_not_carried_out_and_its_reason_is_kept(agent: Agent) -> None:
    agent.run()
    agent.answer(EventKind.REJECT)
    assert agent.run().outcome is PassOutcome.IDLE
    assert read_status(agent.world.journal).evacuations[0].outcome == "rejected"
    with pytest.raises(AlreadyDecided, match="rejected by terminal:ana"):
        agent.answer(EventKind.AGREE, "terminal:tom", of=agent.newest.id)
    assert not agent.moved()


def test_an_approval_that_is_acted_on_too_late_does_nothing(agent: Agent) -> None:
    agent.run()
    agent.answer(EventKind.AGREE)
    agent.wait(15 * MINUTE)
    agent.run()
    assert agent.newest.state is ApprovalState.EXPIRED
    assert not agent.moved()


def test_drift_voids_it_and_the_new_question_says_what_changed(agent: Agent) -> None:
    agent.run()
    first = agent.question
    agent.world.fleet.node("a").power_off(agent.world.db)
    asked = agent.run()
    assert asked.outcome is PassOutcome.ASKED
    second = agent.question
    assert second.question.supersedes == first.id
    assert "vm db: state running → shutoff" in second.question.changes[0]
    with pytest.raises(AlreadyDecided, match="superseded"):
        agent.answer(EventKind.AGREE, of=first.id)
    assert not agent.moved()


def test_drift_between_the_answer_and_the_act_voids_it_too(agent: Agent) -> None:
    agent.run()
    agent.answer(EventKind.AGREE)
    agent.world.fleet.node("a").power_off(agent.world.db)
    assert agent.run().outcome is PassOutcome.ASKED
    assert not agent.moved()


def test_what_changes_elsewhere_does_not_void_it(agent: Agent) -> None:
    agent.world.fleet.add_node("d")  # nobody knows its risk, so the plan puts nothing there
    agent.restart()
    agent.run()
    agent.world.fleet.add_vm("d", "newcomer")
    assert agent.run().outcome is PassOutcome.WAITING
    agent.answer(EventKind.AGREE)
    assert agent.run().outcome is PassOutcome.EVACUATED


def test_a_node_that_recovers_withdraws_the_question(agent: Agent) -> None:
    agent.run()
    agent.failing = ()
    agent.run()
    agent.wait(11 * MINUTE)  # past tiers.dwell
    assert agent.run().outcome is PassOutcome.IDLE
    assert agent.newest.state is ApprovalState.WITHDRAWN
    agent.failing = ("a",)
    assert agent.run().outcome is PassOutcome.ASKED, "a question that was withdrawn is no reason to leave it alone"


def test_a_snoozed_question_is_asked_again_then(agent: Agent) -> None:
    agent.run()
    agent.answer(EventKind.SNOOZE, off=20 * MINUTE)
    agent.wait(19 * MINUTE)
    assert "snoozed" in agent.run().why
    agent.wait(MINUTE)
    agent.run()
    assert agent.question.state is ApprovalState.PENDING


def test_a_target_that_becomes_risky_between_answer_and_act_voids_the_plan(agent: Agent) -> None:
    agent.run()
    agent.answer(EventKind.AGREE)
    first = agent.question
    target = next(action.target for action in first.question.plan.moves if action.target)

    def look() -> tuple[Fleet, list[Risk]]:
        risks = [
            risk.model_copy(update={"probability": {"2h": 0.3}}) if risk.node == target else risk
            for risk in agent.world.risks()
        ]
        return agent.world.snapshot(), risks

    agent.loop.look = look
    agent.run()
    assert agent.newest.id != first.id
    assert target not in {action.target for action in agent.newest.question.plan.moves}
    assert not agent.moved()


def test_another_policy_of_who_may_voids_an_answer(agent: Agent) -> None:
    agent.run()
    agent.answer(EventKind.AGREE)
    only_tom = ApprovalPolicy(people=PEOPLE, approvers=(ApproverRule(may=("tom",)),))
    agent.policy = POLICY.model_copy(update={"approval": only_tom})
    agent.restart()
    agent.run()
    assert not agent.moved()


def test_while_one_node_waits_for_an_answer_another_is_asked_about(agent: Agent) -> None:
    agent.policy = agent.policy.model_copy(
        update={"storm": agent.policy.storm.model_copy(update={"max_risky_fraction": 1.0})}
    )
    agent.world.fleet.add_vm("b", "other", memory_bytes=1 << 30)
    agent.restart()
    agent.run()
    first = agent.question
    agent.failing = ("a", "b")
    agent.run()
    agent.run()
    about = [each.question.plan.evacuating for each in open_questions(agent.world.journal, agent.world.fleet.clock)]
    assert sorted(about) == [("a",), ("b",)], (about, first.question.plan.evacuating)


def test_a_plan_that_a_person_proposed_is_carried_out_whatever_its_nodes_risk(agent: Agent) -> None:
    agent.failing = ()
    plan, fleet, _ = agent.world.plan(agent.policy)
    plan = plan.model_copy(update={"asked": ("a",)})
    now = agent.world.fleet.clock.now()
    situation = Situation(fleet=fleet, risks=agent.world.risks(()), policy=agent.policy, now=now)
    questions = agent.loop.questions
    assert questions is not None
    agent.world.journal.append(
        EvacuationPlanned(plan=plan, verdict=judge(plan, situation)), now=now, evacuation="evac-1"
    )
    questions.ask(plan, judge(plan, situation), situation, "evac-1", {"a": Occasion.ASKED}, requested_by="terminal:tom")
    assert agent.run().outcome is PassOutcome.WAITING
    with pytest.raises(NotAnApprover, match="who asks never agrees"):
        agent.answer(EventKind.AGREE, "slack:UTOM")
    agent.answer(EventKind.AGREE)
    assert agent.run().outcome is PassOutcome.EVACUATED


def test_what_is_left_and_would_stop_a_guest_is_asked_about_anew_with_the_difference(agent: Agent) -> None:
    agent.policy = agent.policy.model_copy(update={"limits": LimitPolicy(per_fleet=1)})
    agent.restart()
    agent.run()
    first = agent.question
    order = [action.vm for action in first.question.plan.moves]
    web, db = sorted((agent.world.web, agent.world.db), key=order.index)

    def grow_a_snapshot() -> None:
        agent.world.fleet.machines["a"].domains[db].snapshots = 1

    agent.world.fleet.when(web, Phase.COPYING, grow_a_snapshot)
    agent.answer(EventKind.AGREE)
    result = agent.run()
    assert result.outcome is PassOutcome.EVACUATED
    assert agent.world.fleet.running_on(db) == ["a"], "nobody agreed to stop it"
    second = agent.question
    assert second.question.supersedes == first.id
    assert [action.vm for action in second.question.plan.moves] == [db]
    assert any("live" in line and "cold" in line for line in second.question.changes), second.question.changes
    assert result.evacuation is not None
    assert any(second.id in note for note in result.evacuation.notes)
    agent.answer(EventKind.AGREE)
    assert agent.run().outcome is PassOutcome.EVACUATED
    assert agent.world.fleet.running_on(db) != ["a"]


def _ask_for_later(agent: Agent) -> datetime:
    """A person proposes to empty `a` at ten; returns when that begins."""
    agent.failing = ()
    agent.policy = agent.policy.model_copy(update={"wait": WaitPolicy(windows=("10:00-14:00",))})
    agent.restart()
    clock = agent.world.fleet.clock
    situation = Situation(
        fleet=agent.world.snapshot(), risks=agent.world.risks(()), policy=agent.policy, now=clock.now()
    )
    whole = solve(situation, asked=("a",))
    questions = agent.loop.questions
    assert questions is not None
    (part,) = whole.parts(clock.now())
    assert part.starts_at is not None
    verdict = judge(part, situation)
    assert verdict.passed, verdict.failures
    agent.world.journal.append(EvacuationPlanned(plan=part, verdict=verdict), now=clock.now(), evacuation="evac-1")
    questions.ask(part, verdict, situation, "evac-1", {"a": Occasion.ASKED}, requested_by="terminal:tom")
    return part.starts_at


def test_what_people_agreed_to_for_later_begins_then_whatever_restarts_meanwhile(agent: Agent) -> None:
    begins = _ask_for_later(agent)
    agent.wait(timedelta(hours=2))
    assert agent.run().outcome is PassOutcome.WAITING, "it may be answered until it begins"
    agent.answer(EventKind.AGREE)
    waiting = agent.run()
    assert waiting.outcome is PassOutcome.WAITING
    assert "it begins at" in waiting.why
    agent.restart()
    agent.wait(begins - agent.world.fleet.clock.now() - MINUTE)
    assert agent.run().outcome is PassOutcome.WAITING
    assert not agent.moved()
    agent.restart()
    agent.wait(2 * MINUTE)
    assert agent.run().outcome is PassOutcome.EVACUATED
    assert agent.moved()


def test_a_guest_that_changed_before_its_time_voids_the_answer_and_a_new_neighbour_does_not(agent: Agent) -> None:
    begins = _ask_for_later(agent)
    agent.answer(EventKind.AGREE)
    agent.world.fleet.add_vm("b", "late-comer")
    assert agent.run().outcome is PassOutcome.WAITING
    agent.world.fleet.node("a").power_off(agent.world.db)
    agent.wait(begins - agent.world.fleet.clock.now() + MINUTE)
    agent.run()
    assert agent.state_of("evac-1") is ApprovalState.SUPERSEDED


def test_an_approval_makes_the_next_pass_come_at_once_and_only_once(agent: Agent) -> None:
    agent.run()
    questions = agent.loop.questions
    assert questions is not None
    assert not questions.has_new_answer()
    agent.answer(EventKind.AGREE)
    assert questions.has_new_answer()
    assert not questions.has_new_answer()


class Killed(BaseException):
    pass


class DyingJournal:
    """The process is gone right before, or right after, its n-th write."""

    def __init__(self, journal: Any, writes: int, *, after: bool) -> None:
        self._journal, self._left, self._after = journal, writes, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def append(self, *args: Any, **kwargs: Any) -> Any:
        return self._die_or(lambda: self._journal.append(*args, **kwargs))

    def append_if_newest(self, *args: Any, **kwargs: Any) -> Any:
        return self._die_or(lambda: self._journal.append_if_newest(*args, **kwargs))

    def _die_or(self, write: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise Killed
        written = write()
        if self._left < 0:
            raise Killed
        return written


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("writes", range(5))
def test_killed_anywhere_between_answer_and_act_it_is_carried_out_once_or_not_at_all(
    tmp_path: Path, writes: int, after: bool
) -> None:
    agent = Agent(World(tmp_path))
    agent.run()
    agent.answer(EventKind.AGREE)
    name = agent.question.id
    dying = DyingJournal(agent.world.journal, writes, after=after)
    hands = replace(agent.world.hands, journal=dying)
    questions = Questions(hands=hands, policy=agent.policy)
    agent.loop = replace(agent.loop, hands=hands, questions=questions)
    with pytest.raises(Killed):
        agent.run()
    begun = len(agent.world.journal.of(EvacuationStarted))
    assert begun <= 1
    agent.restart()
    if not begun:  # what had begun is recovered before the next pass, which is not this test's business
        for _ in range(4):
            agent.run()
            agent.wait(2 * MINUTE)
        started = [entry.evacuation for entry in agent.world.journal.of(EvacuationStarted)]
        assert started in ([], [name])
        if not started:
            assert agent.newest.id != name, "asked anew"
            assert agent.newest.state is not ApprovalState.EXPIRED
        agent.world.check_nothing_lost_or_doubled()
    agent.world.journal.close()
