"""The spans of an evacuation make one trace, whoever of several processes did which part of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from scenes.approvals import PEOPLE
from scenes.simulated_world import World

from agent.actions.progress import Progress
from agent.actions.runner import recover_attempts
from agent.approve.approvers import DenyingApprover
from agent.approve.proposals import answer, open_questions
from agent.execute.evacuation import Run, Watcher, execute
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop
from agent.service.people.questions import Questions
from agent.service.scheduler import serve
from models.policy.approvers import ApproverRule, TwoPeoplePolicy
from models.policy.policy import ApprovalPolicy, Policy
from models.proposals.states import EventKind
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.evacuations import EvacuationPlanned
from tools.tracing.spans import FinishedSpan, collecting

POLICY = Policy(
    approval=ApprovalPolicy(
        people=PEOPLE, groups={"ops": ("ana",)}, approvers=(ApproverRule(may=("ops",)),),
        two_people=TwoPeoplePolicy(stops_guests=False),
    )
)  # fmt: skip


class Kept:
    """Collects."""

    def __init__(self) -> None:
        self.spans: list[FinishedSpan] = []

    def take(self, span: FinishedSpan) -> None:
        self.spans.append(span)

    def of(self, trace: str) -> dict[str, FinishedSpan]:
        """By name; attempts and the like once."""
        return {span.name: span for span in self.spans if span.trace == trace}


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    with collecting(kept):
        yield kept


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


def one_pass(world: World) -> None:
    """By a lifeboat that has just been started."""
    world.reopen()
    loop = ControlLoop(
        hands=world.hands, policy=POLICY, look=lambda: (world.snapshot(), world.risks()),
        planner=planner_named("solver", None), approver=DenyingApprover(),
        questions=Questions(hands=world.hands, policy=POLICY),
    )  # fmt: skip
    serve(loop, recover=lambda: ([], []), interval=timedelta(seconds=30), on_pass=lambda _: None, once=True)


def test_from_the_look_to_the_last_attempt_it_is_one_tree(world: World, kept: Kept) -> None:
    one_pass(world)
    (question,) = open_questions(world.journal, world.fleet.clock)
    world.fleet.clock.sleep(300)
    answer(world.journal, question.id, EventKind.AGREE, by="terminal:ana", policy=POLICY, clock=world.fleet.clock)
    one_pass(world)

    (planned,) = world.journal.of(EvacuationPlanned)
    trace = planned.record.trace
    told = kept.of(trace)
    assert {"pass", "look", "plan", "guard", "approval", "evacuation", "attempt", "verify"} <= told.keys()
    ids = {span.id for span in told.values()}
    assert {name for name, span in told.items() if span.parent not in ids} == {"pass"}, "one tree, with one root"
    assert told["attempt"].parent == told["evacuation"].id
    assert told["approval"].ended - told["approval"].began == 300
    assert told["approval"].attributes["by"] == "terminal:ana"
    assert told["attempt"].attributes["outcome"] == "done"
    assert told["attempt"].events, "its phases"
    (later,) = (span for span in kept.spans if span.name == "pass" and span.trace != trace)
    assert (trace, told["pass"].id) in later.links, "the pass that acted is found from the trace it acted for"
    assert len({span.id for span in kept.spans}) == len(kept.spans)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.slow
def test_the_process_that_goes_on_adds_to_the_trace_of_the_one_that_is_gone(world: World, kept: Kept) -> None:
    approved, trace = world.approved(), "ab" * 16
    planned = EvacuationPlanned.of(approved.plan, approved.verdict, None, trace=trace)
    world.journal.append(planned, now=world.fleet.clock.now(), evacuation="evac-1")

    def dies(progress: Progress) -> None:
        if progress.action.vm_name == "web" and progress.phase == "copying":
            raise Killed

    with pytest.raises(Killed):
        execute(approved, world.hands, evacuation="evac-1", watcher=Watcher(on_progress=dies))
    cut_off = {span.id for span in kept.spans if span.attributes.get("vm") == "web"}
    before = len(kept.spans)
    world.journal.close()
    world.reopen()
    recover_attempts(world.hands, approved.policy)
    Run.from_journal(world.hands, "evac-1").run_lanes()

    told = [span for span in kept.spans[before:] if span.trace == trace]
    (evacuation,) = (span for span in told if span.name == "evacuation")
    recovered = next(span for span in told if span.attributes.get("vm") == "web")
    assert {recovered.id} == cut_off, "the attempt has one id, in whichever process it ends"
    assert {span.parent for span in told if span.name == "attempt"} == {evacuation.id}
    ended = world.journal.of(AttemptEnded, evacuation="evac-1")
    assert len(ended) == len({span.id for span in kept.spans if span.name == "attempt"})


def test_a_question_that_comes_to_nothing_has_a_span_too(world: World, kept: Kept) -> None:
    one_pass(world)
    questions = Questions(hands=world.hands, policy=POLICY)
    for _ in range(2):
        questions.review(world.snapshot(), {})  # its node is in no look any more
    told = [span for span in kept.spans if span.name == "approval"]
    assert [span.attributes["outcome"] for span in told] == ["withdrawn"]
