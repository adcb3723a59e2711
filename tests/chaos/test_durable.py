"""Evacuations that outlast the process: steered from elsewhere, cut off and finished, and never two at once."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.actions.progress import Progress
from agent.approve.approval import approve
from agent.approve.approvers import DenyingApprover
from agent.assess.tiers import Tiers
from agent.execute.evacuation import Run, Watcher
from agent.execute.workflows import Durable
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop
from agent.state.requests import Request, ask, read_requests, unfinished
from agent.state.status import read_status
from models.approval import ApprovedPlan
from models.errors import BadInput, Busy
from models.evacuation import AttemptOutcome, Evacuation, EvacuationOutcome
from models.fleet import Fleet
from models.plan import ActionKind
from models.policy.policy import Policy
from models.risk.risk import Risk
from tools.journal.file_lease import FileLease
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.evacuations import EvacuationPlanned

NAME = "evac-1"


def order(world: World, policy: Policy = POLICY) -> ApprovedPlan:
    plan, fleet, verdict = world.plan(policy)
    now = world.fleet.clock.now()
    agreement = approve(plan, verdict, DenyingApprover(), now=now, expires_after=timedelta(minutes=15))
    return ApprovedPlan(plan=plan, fleet=fleet, verdict=verdict, policy=policy, agreement=agreement)


def evacuate(world: World, watcher: Watcher | None = None, *, name: str = NAME, policy: Policy = POLICY) -> Evacuation:
    return Durable(world.directory).execute(order(world, policy), world.hands, evacuation=name, watcher=watcher)


def cut_off(world: World) -> None:
    """An evacuation that was begun by a lifeboat that is gone."""
    Run(order(world), world.hands, NAME).begin()


def recover(world: World, failing: tuple[str, ...] = ("a",)) -> list[Evacuation]:
    def look() -> tuple[Fleet, list[Risk]]:
        return world.snapshot(), world.risks(failing)

    return Durable(world.directory).recover(world.hands, POLICY, look)[1]


def ask_elsewhere(world: World, request: Request) -> None:
    """As another terminal does."""
    journal = SqliteJournal(world.journal.path)
    ask(journal, request, "", by="ana", now=world.fleet.clock.now())
    journal.close()


def once_copying(vm: str, do: Request, world: World) -> Watcher:
    done = threading.Event()

    def tell(progress: Progress) -> None:
        if progress.action.vm == vm and progress.phase == "copying" and not done.is_set():
            done.set()
            ask_elsewhere(world, do)

    return Watcher(on_progress=tell)


def test_an_evacuation_is_over_once_and_its_attempts_are_named_after_it(world: World) -> None:
    evacuation = evacuate(world)
    assert evacuation.outcome is EvacuationOutcome.DONE
    assert {attempt.id for attempt in evacuation.attempts} == {f"{NAME}-{number:03d}" for number in range(3)}
    assert recover(world) == []
    assert FileLease(world.directory).holder() is None
    world.check_nothing_lost_or_doubled()


def test_a_pause_lets_finish_what_runs_and_nothing_new_begins_until_it_is_resumed(world: World) -> None:
    one_by_one = POLICY.model_copy(update={"limits": POLICY.limits.model_copy(update={"per_fleet": 1})})
    found: list[Evacuation] = []
    watcher = once_copying(world.web, Request.PAUSE, world)
    rests = threading.Event()
    watcher.on_attempt_finished = lambda attempt: rests.set()
    thread = threading.Thread(target=lambda: found.append(evacuate(world, watcher, policy=one_by_one)))
    thread.start()
    assert rests.wait(30)
    (shown,) = read_status(world.journal, holder=FileLease(world.directory).holder()).evacuations
    assert (shown.outcome, shown.over, shown.actions) == ("paused", 1, 3)
    assert shown.worked_on_by is not None
    assert world.fleet.running_on(world.web) != ["a"], "what ran was finished"
    assert world.fleet.running_on(world.db) == ["a"], "nothing new began"
    ask_elsewhere(world, Request.RESUME)
    thread.join(30)
    assert found[0].outcome is EvacuationOutcome.DONE


def test_a_cancellation_from_elsewhere_ends_it_for_good(world: World) -> None:
    one_by_one = POLICY.model_copy(update={"limits": POLICY.limits.model_copy(update={"per_fleet": 1})})
    evacuation = evacuate(world, once_copying(world.web, Request.CANCEL, world), policy=one_by_one)
    assert evacuation.outcome is EvacuationOutcome.CANCELLED
    for vm in (world.db, world.batch):
        assert world.outcome(evacuation, vm) is AttemptOutcome.CANCELLED
        assert world.fleet.running_on(vm) == ["a"]
    assert read_requests(world.journal, NAME).cancelled_by == "ana"
    with pytest.raises(BadInput, match="no evacuation is going on"):
        ask_elsewhere(world, Request.RESUME)
    world.check_nothing_lost_or_doubled()


def test_what_had_not_begun_before_a_crash_goes_on_while_approval_and_guard_still_hold(world: World) -> None:
    cut_off(world)
    (evacuation,) = recover(world)
    assert evacuation.outcome is EvacuationOutcome.DONE
    world.check_nothing_lost_or_doubled()


def test_after_a_crash_an_expired_approval_starts_nothing(world: World) -> None:
    cut_off(world)
    world.fleet.clock.sleep(3600)
    (evacuation,) = recover(world)
    assert evacuation.outcome is EvacuationOutcome.CANCELLED
    assert all("had expired" in attempt.message for attempt in evacuation.attempts)
    assert world.fleet.running_on(world.web) == ["a"]
    assert unfinished(world.journal) == []


def test_a_node_that_people_were_asked_about_is_planned_for_at_once_after_its_evacuation_was_cut_off(
    world: World,
) -> None:
    plan, _, verdict = world.plan()
    asked = EvacuationPlanned.of(plan, verdict, world.risks())
    world.journal.append(asked, now=world.fleet.clock.now(), evacuation=NAME)
    assert Tiers.restored(POLICY, world.journal, world.fleet.clock.now()).acted_at.keys() == {"a"}, "they are asked"
    cut_off(world)
    world.fleet.clock.sleep(1000)
    (evacuation,) = recover(world)
    assert evacuation.outcome is EvacuationOutcome.CANCELLED
    assert not Tiers.restored(POLICY, world.journal, world.fleet.clock.now()).acted_at


def test_a_person_who_resumes_agrees_again(world: World) -> None:
    cut_off(world)
    world.fleet.clock.sleep(3600)
    ask_elsewhere(world, Request.RESUME)
    (evacuation,) = recover(world)
    assert evacuation.outcome is EvacuationOutcome.DONE


def test_after_a_crash_a_node_that_recovered_meanwhile_is_left_alone(world: World) -> None:
    cut_off(world)
    (evacuation,) = recover(world, failing=())
    assert evacuation.outcome is EvacuationOutcome.CANCELLED
    assert all("no longer passes: source-risky" in attempt.message for attempt in evacuation.attempts)


def test_a_pause_outlasts_a_crash_and_nothing_is_evacuated_around_it(world: World) -> None:
    cut_off(world)
    ask_elsewhere(world, Request.PAUSE)
    assert recover(world) == []
    assert read_status(world.journal).evacuations[0].outcome == "paused"
    with pytest.raises(Busy, match=f"{NAME} was not finished"):
        evacuate(world, name="evac-2")
    ask_elsewhere(world, Request.RESUME)
    assert [evacuation.outcome for evacuation in recover(world)] == [EvacuationOutcome.DONE]


def test_only_one_lifeboat_is_at_work_and_what_it_works_on_is_not_taken_for_cut_off(world: World) -> None:
    cut_off(world)
    with FileLease(world.directory).hold(NAME):
        assert (
            read_status(world.journal, holder=FileLease(world.directory).holder()).evacuations[0].outcome == "running"
        )
        assert recover(world) == []
        with pytest.raises(Busy, match="another lifeboat"):
            evacuate(world, name="evac-2")
    assert read_status(world.journal, holder=FileLease(world.directory).holder()).evacuations[0].outcome == "cut off"
    assert world.fleet.running_on(world.web) == ["a"]


def test_past_its_time_limit_an_evacuation_begins_nothing(world: World) -> None:
    limits = POLICY.limits.model_copy(update={"evacuation_timeout": timedelta(seconds=5), "per_fleet": 1})
    evacuation = evacuate(world, policy=POLICY.model_copy(update={"limits": limits}))
    assert world.outcome(evacuation, world.web) is AttemptOutcome.DONE
    assert world.outcome(evacuation, world.batch) is AttemptOutcome.CANCELLED
    last = evacuation.attempt_for(world.batch)
    assert last is not None
    assert "5s that policy gives it" in last.message


def test_a_database_that_is_not_supported_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="mysql is not supported"):
        Durable(tmp_path, "mysql://db/lifeboat")


def test_what_was_refused_is_done_in_another_way_by_the_same_process(world: World) -> None:
    """One evacuation after the other, each in workflows that survive it."""
    domain = world.fleet.machines["a"].domains[world.web]
    domain.live_refusal, domain.hides_blockers = "virgl is not yet migratable", True
    loop = ControlLoop(
        hands=world.hands,
        policy=POLICY,
        look=lambda: (world.snapshot(), world.risks()),
        planner=planner_named("solver", None),
        approver=DenyingApprover(),
        carry_out=Durable(world.directory).execute,
    )
    result = loop.run_once()
    assert result.evacuation is not None
    assert result.evacuation.outcome is EvacuationOutcome.DONE, result.why
    kinds = [each.action.kind for each in result.evacuation.attempts if each.action.vm == world.web]
    assert kinds == [ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE]
    assert unfinished(world.journal) == []
    world.check_nothing_lost_or_doubled()


def workflows(world: World) -> set[str]:
    """What DBOS has rows of."""
    with sqlite3.connect(world.directory / "durable.sqlite") as database:
        return {name for (name,) in database.execute("SELECT workflow_uuid FROM workflow_status")}


def test_what_dbos_keeps_of_evacuations_that_are_long_over_is_let_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    evacuate(world)
    assert NAME in workflows(world)
    monkeypatch.setattr("agent.execute.workflows.WORKFLOWS_KEPT", timedelta(0))

    evacuate(world, name="evac-2")

    assert not any(name.startswith(NAME) for name in workflows(world))
    assert NAME in world.journal.evacuations(10)  # which goes on saying what became of it
