"""Carrying out a plan on a simulated fleet: what the scenarios beside this file do not tell.

After each: no vm ever ran twice, every vm or its verified archive exists, the journal's chain holds and agrees
with what the nodes show, and locks are left only where a human must look.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from scenes.simulated_world import INFERENCE, POLICY, World

from agent.actions.runner import recover_attempts
from agent.approve.approval import approve, require_valid_approval
from agent.approve.approvers import DenyingApprover, PreapprovedBy
from agent.archives.restore import restore
from agent.execute.evacuation import Watcher, execute
from agent.verify import verify
from models.approval import ApprovalRecord, ApprovedPlan
from models.errors import ApprovalMissing, LifeboatError, PrecheckFailed
from models.evacuation import AttemptOutcome, EvacuationOutcome
from models.fleet import VmState
from models.plan import ActionKind, Plan
from models.policy.policy import Policy
from tools.journal.sqlite import SqliteJournal


def kinds(plan: Plan) -> dict[str, ActionKind]:
    return {action.vm: action.kind for action in plan.actions}


def test_an_evacuation_moves_archives_and_verifies(world: World) -> None:
    before = world.snapshot()
    evacuation = world.evacuate()
    assert kinds(evacuation.plan) == {
        world.web: ActionKind.LIVE_MIGRATE,
        world.db: ActionKind.LIVE_MIGRATE,
        world.batch: ActionKind.COLD_ARCHIVE,
    }
    assert evacuation.outcome is EvacuationOutcome.DONE, [a.message for a in evacuation.attempts]
    assert world.fleet.running_on(world.web) != ["a"]
    assert world.fleet.running_on(world.batch) == []
    world.fleet.kill_node("a")
    world.check_nothing_lost_or_doubled()
    assert verify(evacuation, before, world.hands).passed


def test_nothing_is_left_stamped_after_a_move(world: World) -> None:
    world.evacuate()
    for vm in (world.web, world.db):
        (node,) = world.fleet.running_on(vm)
        seen = world.fleet.node(node).observe(vm)
        assert seen is not None
        assert seen.attempt is None


def test_lifeboat_killed_in_the_middle_of_a_move_finds_out_how_it_ended(world: World) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL: nothing of lifeboat runs after it."""

    original = world.fleet.node("a").migrate_live

    def die(*args: object, **kwargs: object) -> None:
        original(*args, **kwargs)  # type: ignore[arg-type]
        raise Killed

    world.fleet.node("a").migrate_live = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.evacuate()
    del world.fleet.node("a").migrate_live
    world.journal.close()
    world.reopen()
    assert world.journal.locks()
    recovered = recover_attempts(world.hands, POLICY)
    assert {attempt.outcome for attempt in recovered} <= {AttemptOutcome.DONE, AttemptOutcome.FAILED}
    world.check_nothing_lost_or_doubled()
    assert recover_attempts(world.hands, POLICY) == [], "what was settled stays settled"


def test_a_guest_that_does_not_stop_goes_on_running_and_is_not_archived(world: World) -> None:
    world.fleet.guests[world.batch].stop_seconds = None
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.batch) is AttemptOutcome.FAILED
    assert world.fleet.running_on(world.batch) == ["a"]
    assert world.store.entries() == []
    world.check_nothing_lost_or_doubled()


def test_a_copy_that_fails_starts_the_vm_again_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise PrecheckFailed("the store is full")

    monkeypatch.setattr(world.store, "write", full)
    evacuation = world.evacuate()
    attempt = evacuation.attempt_for(world.batch)
    assert attempt is not None
    assert attempt.outcome is AttemptOutcome.FAILED
    assert "was stopped for" in attempt.message
    assert world.fleet.running_on(world.batch) == ["a"]
    world.check_nothing_lost_or_doubled()


def test_a_vm_shut_off_by_somebody_else_meanwhile_is_left_alone(world: World) -> None:
    made, fleet, verdict = world.plan()
    world.fleet.node("a").power_off(world.web)
    agreement = _agreement(world, made)
    order = ApprovedPlan(plan=made, fleet=fleet, verdict=verdict, policy=POLICY, agreement=agreement)
    evacuation = execute(order, world.hands, evacuation="evac-1")
    assert world.outcome(evacuation, world.web) is AttemptOutcome.REFUSED
    assert world.fleet.running_on(world.web) == []
    world.check_nothing_lost_or_doubled()


def test_a_vm_that_another_attempt_holds_is_refused(world: World) -> None:
    world.journal.lock(world.web, "somebody-else", now=world.fleet.clock.now())
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.web) is AttemptOutcome.REFUSED
    assert world.fleet.running_on(world.web) == ["a"]


def test_a_vm_that_another_lifeboat_is_moving_is_refused(world: World) -> None:
    world.fleet.node("a").tag_attempt(world.web, "attempt-of-another-host")
    evacuation = world.evacuate()
    assert world.outcome(evacuation, world.web) is AttemptOutcome.REFUSED
    assert world.fleet.running_on(world.web) == ["a"]


def test_a_node_that_recovers_withdraws_what_has_not_begun(world: World) -> None:
    evacuation = world.evacuate(watcher=Watcher(should_withdraw=lambda action: "the node recovered"))
    assert evacuation.outcome is EvacuationOutcome.CANCELLED
    assert all(world.fleet.running_on(vm) == ["a"] for vm in (world.web, world.db, world.batch))
    world.check_nothing_lost_or_doubled()


def test_a_paused_vm_arrives_paused(world: World) -> None:
    paused = world.fleet.add_vm("a", "held", labels=INFERENCE, shared=True, state=VmState.PAUSED)
    evacuation = world.evacuate()
    attempt = evacuation.attempt_for(paused)
    assert attempt is not None
    assert attempt.outcome is AttemptOutcome.DONE
    assert world.fleet.running_on(paused) == []
    seen = world.fleet.node(str(attempt.action.target)).observe(paused)
    assert seen is not None
    assert seen.state is VmState.PAUSED


def test_restore_brings_an_archived_vm_back_once_and_only_once(world: World) -> None:
    evacuation = world.evacuate()
    attempt = evacuation.attempt_for(world.batch)
    assert attempt is not None
    assert attempt.archive is not None
    with pytest.raises(PrecheckFailed, match="has it already"):
        restore(world.hands, attempt.archive.id, "b", start=True)
    world.fleet.kill_node("a")
    with pytest.raises(PrecheckFailed, match="does not answer"):
        restore(world.hands, attempt.archive.id, "b", start=True)
    restore(world.hands, attempt.archive.id, "b", start=True, gone=frozenset({"a"}))
    assert world.fleet.running_on(world.batch) == ["b"]
    with pytest.raises(PrecheckFailed, match="has it already"):
        restore(world.hands, attempt.archive.id, "c", start=True, gone=frozenset({"a"}))


def _agreement(world: World, plan: Plan) -> ApprovalRecord:
    now = world.fleet.clock.now()
    return ApprovalRecord(plan_sha256=plan.digest(), by="policy", at=now, expires_at=now + timedelta(minutes=15))


def test_an_approval_is_void_once_the_fleet_has_changed_or_time_has_passed(world: World) -> None:
    made, fleet, _ = world.plan()
    agreement, now = _agreement(world, made), world.fleet.clock.now()
    require_valid_approval(agreement, made, fleet, now=now)
    with pytest.raises(ApprovalMissing, match="expired"):
        require_valid_approval(agreement, made, fleet, now=now + timedelta(hours=1))
    world.fleet.node("a").power_off(world.web)
    with pytest.raises(ApprovalMissing, match="fleet has changed"):
        require_valid_approval(agreement, made, world.snapshot(), now=now)
    other = made.model_copy(update={"expected_loss": made.expected_loss + 1})
    with pytest.raises(ApprovalMissing, match="another plan"):
        require_valid_approval(agreement, other, fleet, now=now)


def test_what_policy_asks_a_human_for_is_not_done_without_one(world: World) -> None:
    made, _, verdict = world.plan(Policy())
    now = world.fleet.clock.now()
    with pytest.raises(ApprovalMissing, match="needs a human"):
        approve(made, verdict, DenyingApprover(), now=now, expires_after=timedelta(minutes=1))
    agreed = approve(made, verdict, PreapprovedBy("ana"), now=now, expires_after=timedelta(minutes=1))
    assert agreed.by == "ana"


def test_every_intent_is_on_disk_before_the_first_side_effect(world: World) -> None:
    seen: list[list[str]] = []
    original = world.fleet.node("a").shut_down

    def watched(uuid: str) -> None:
        other = SqliteJournal(world.journal.path)
        seen.append(
            [
                entry.kind
                for entry in other.entries()
                if (action := getattr(entry.record, "action", None)) is not None and action.vm == uuid
            ]
        )
        other.close()
        original(uuid)

    world.fleet.node("a").shut_down = watched  # type: ignore[method-assign]
    world.evacuate()
    assert seen == [["intent"]]


def test_errors_carry_what_to_do(world: World) -> None:
    with pytest.raises(LifeboatError) as caught:
        world.hands.node("nowhere")
    assert "add it under `nodes`" in str(caught.value)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_guest_that_an_io_error_paused_goes_over_paused_where_policy_lets_it(world: World, allowed: bool) -> None:
    """Its disks may work at the target; whoever resumes it there is for its owner to say."""
    domain = world.fleet.machines["a"].domains[world.db]
    domain.state, domain.reason = VmState.PAUSED, "I/O error"
    migration = POLICY.migration.model_copy(update={"with_io_error": allowed})
    evacuation = world.evacuate(POLICY.model_copy(update={"migration": migration}))
    assert world.fleet.running_on(world.db) == []
    (where,) = world.fleet.known_on(world.db)
    assert (where != "a") == allowed
    assert (evacuation.attempt_for(world.db) is not None) == allowed
    assert world.fleet.machines[where].domains[world.db].state is VmState.PAUSED
    assert (evacuation.outcome is EvacuationOutcome.DONE) == allowed, "a vm of high priority stays else"
    world.check_nothing_lost_or_doubled()
