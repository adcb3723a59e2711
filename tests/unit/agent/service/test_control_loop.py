"""One pass of the loop, and what it remembers between passes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover
from agent.execute.evacuation import Watcher
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop, PassOutcome
from agent.service.scheduler import serve
from agent.state.status import read_status
from models.errors import BadInput, MetricsUnavailable
from models.evacuation import EvacuationOutcome
from models.fleet import Fleet
from models.plan import ActionKind
from models.policy.policy import ApprovalMode, DrainPolicy, Policy
from models.risk.risk import Risk
from models.risk.tier import Tier
from tools.domain.xml import parse_domain
from tools.ports.approval import ApprovalAnswer
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.evacuations import CancelRequested, EvacuationStarted
from tools.ports.records.nodes import TiersChanged


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


def cycle(world: World, *, failing: tuple[str, ...], policy: Policy = POLICY) -> ControlLoop:
    def look() -> tuple[Fleet, list[Risk]]:
        return world.snapshot(), world.risks(failing)

    return ControlLoop(
        hands=world.hands, policy=policy, look=look, planner=planner_named("solver", None), approver=DenyingApprover()
    )


def test_a_healthy_fleet_is_left_alone(world: World) -> None:
    result = cycle(world, failing=()).run_once()
    assert result.outcome is PassOutcome.IDLE
    assert all(world.fleet.running_on(vm) == ["a"] for vm in (world.web, world.db, world.batch))


def test_a_failing_node_is_evacuated_verified_and_then_left_to_cool_down(world: World) -> None:
    loop = cycle(world, failing=("a",))
    first = loop.run_once()
    assert first.outcome is PassOutcome.EVACUATED
    assert first.evacuation is not None
    assert first.evacuation.outcome is EvacuationOutcome.DONE
    assert first.verification is not None
    assert first.verification.passed, first.verification
    assert {sample.node for sample in first.evacuation.risk_timeline} == {"a", "b", "c"}
    assert loop.run_once().outcome is PassOutcome.IDLE
    world.fleet.clock.sleep(POLICY.cooldown.total_seconds())
    assert loop.run_once().outcome is not PassOutcome.IDLE
    world.check_nothing_lost_or_doubled()


def a_day_from_now(world: World, **probability: float) -> list[Risk]:
    now = world.fleet.clock.now()
    return [
        Risk(node=n, probability={"2h": min(0.05, p), "24h": p}, data_age_seconds=1.0, assessed_at=now)
        for n, p in {"a": 0.001, "b": 0.001, "c": 0.001, **probability}.items()
    ]


def test_the_journal_has_each_change_of_tier_once(world: World) -> None:
    loop = cycle(world, failing=("a",), policy=Policy())
    loop.run_once()
    loop.run_once()
    (entry,) = world.journal.of(TiersChanged)
    (change,) = entry.record.changes
    assert (change.node, change.tier, change.was) == ("a", "evacuate", "watch")


def test_a_restart_neither_forgets_the_cooldown_nor_the_tier(world: World) -> None:
    cycle(world, failing=("a",)).run_once()
    world.reopen()
    again = cycle(world, failing=("a",)).run_once()
    assert again.outcome is PassOutcome.IDLE
    assert again.tier_changes == ()


def test_a_drain_is_only_said_where_policy_does_not_let_the_agent(world: World) -> None:
    loop = cycle(world, failing=())
    loop.look = lambda: (world.snapshot(), a_day_from_now(world, a=0.4))
    result = loop.run_once()
    assert result.outcome is PassOutcome.IDLE
    assert [(one.now.node, one.now.tier) for one in result.tier_changes] == [("a", Tier.DRAIN)]
    assert world.fleet.running_on(world.web) == ["a"]


def test_a_drain_moves_what_can_move_live_and_stops_nobody(world: World) -> None:
    loop = cycle(world, failing=(), policy=POLICY.model_copy(update={"drain": DrainPolicy(act=True)}))
    loop.look = lambda: (world.snapshot(), a_day_from_now(world, a=0.4))
    result = loop.run_once()
    assert result.outcome is PassOutcome.EVACUATED, result.why
    assert result.plan is not None
    assert {action.kind for action in result.plan.moves} == {ActionKind.LIVE_MIGRATE}
    assert world.fleet.running_on(world.web) != ["a"]
    assert world.store.entries() == []
    world.check_nothing_lost_or_doubled()


def test_a_node_that_is_held_cordoned_takes_no_vms(world: World) -> None:
    """b's risk alone would let it take vms again; it was worse a minute ago."""
    loop = cycle(world, failing=())
    loop.look = lambda: (world.snapshot(), [*world.risks(())[:1], world.risks(("b",))[1], world.risks(())[2]])
    loop.run_once()
    world.fleet.clock.sleep(60)
    loop.look = lambda: (world.snapshot(), world.risks(("a",)))
    result = loop.run_once()
    assert result.plan is not None
    assert {action.target for action in result.plan.moves if action.target} == {"c"}


def test_when_too_much_looks_risky_at_once_it_halts_and_touches_nothing(world: World) -> None:
    result = cycle(world, failing=("a", "b")).run_once()
    assert result.outcome is PassOutcome.REFUSED
    assert "storm" in result.why
    assert world.fleet.running_on(world.web) == ["a"]


def test_what_policy_asks_a_human_for_waits_for_one(world: World) -> None:
    result = cycle(world, failing=("a",), policy=Policy()).run_once()
    assert result.outcome is PassOutcome.REFUSED
    assert "needs a human" in result.why
    assert world.fleet.running_on(world.web) == ["a"]
    (shown,) = read_status(world.journal).evacuations
    assert shown.outcome == "refused"


def test_telemetry_that_cant_be_read_is_unknown_and_moves_nothing(world: World) -> None:
    loop = cycle(world, failing=("a",))

    def blind() -> tuple[Fleet, list[Risk]]:
        raise MetricsUnavailable("Prometheus does not answer")

    loop.look = blind
    with pytest.raises(MetricsUnavailable):
        loop.run_once()
    assert world.fleet.running_on(world.web) == ["a"]
    assert world.journal.entries() == []


def test_status_shows_what_a_human_must_look_at(world: World) -> None:
    from tools.simulated.migration import Phase

    world.fleet.when(world.web, Phase.HANDED_OVER, lambda: world.fleet.kill_node("a"))
    world.evacuate()
    status = read_status(world.journal)
    (frozen,) = [attempt for attempt in status.needs_human if attempt.vm == world.web]
    assert frozen.locked
    assert "virsh domstate" in frozen.message


def test_one_pass_of_the_service_recovers_first_and_reports(world: World) -> None:
    seen: list[PassOutcome] = []
    serve(
        cycle(world, failing=("a",)),
        recover=lambda: ([], []),
        interval=timedelta(seconds=30),
        on_pass=lambda result: seen.append(result.outcome),
        once=True,
    )
    assert seen == [PassOutcome.EVACUATED]


def test_a_planner_that_nobody_knows_is_bad_input() -> None:
    with pytest.raises(BadInput, match="solver or llm"):
        planner_named("oracle", None)


def test_without_a_language_model_a_risky_node_is_evacuated_by_the_solvers_plan_marked_as_such(world: World) -> None:
    loop = cycle(world, failing=("a",))
    fell_back: list[str] = []
    loop.planner = planner_named("llm", None, on_fallback=fell_back.append)
    result = loop.run_once()
    assert result.outcome is PassOutcome.EVACUATED
    assert result.plan is not None
    assert result.plan.planned_by.planner == "solver"
    assert result.plan.planned_by.fallback_reason == fell_back[0]
    assert "no language model is configured" in fell_back[0]


def refuses_live(world: World, vm: str, *, tells: bool = False) -> None:
    domain = world.fleet.machines["a"].domains[vm]
    domain.live_refusal, domain.hides_blockers = "virgl is not yet migratable", not tells


def kinds_tried(world: World, vm: str) -> list[ActionKind]:
    ended = [entry.record.attempt for entry in world.journal.of(AttemptEnded)]
    return [attempt.action.kind for attempt in ended if attempt.action.vm == vm]


def test_what_is_refused_for_good_leaves_in_another_way_in_the_same_pass(world: World) -> None:
    refuses_live(world, world.web)
    result = cycle(world, failing=("a",)).run_once()
    assert result.outcome is PassOutcome.EVACUATED
    assert result.evacuation is not None
    assert result.evacuation.outcome is EvacuationOutcome.DONE, result.why
    assert kinds_tried(world, world.web) == [ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE]
    assert world.fleet.running_on(world.web) != ["a"]
    assert result.verification is not None
    assert result.verification.passed
    world.check_nothing_lost_or_doubled()


def test_a_refused_move_is_not_planned_again_and_what_policy_does_not_let_be_tried_is_asked_for(world: World) -> None:
    """Live alone is policy's to approve here: the cold move would stop the guest."""
    refuses_live(world, world.web)
    approval = POLICY.approval.model_copy(update={"cold_migrate": ApprovalMode.ASK})
    policy = POLICY.model_copy(update={"approval": approval})
    loop = cycle(world, failing=("a",), policy=policy)
    first = loop.run_once()
    assert first.evacuation is not None
    assert first.evacuation.outcome is EvacuationOutcome.PARTIAL
    assert "1 not moved (web of high priority)" in first.why
    assert "not approved" in first.evacuation.notes[-1]
    again = loop.run_once()
    assert again.outcome is PassOutcome.REFUSED
    assert again.plan is not None
    assert [action.kind for action in again.plan.moves] == [ActionKind.COLD_MIGRATE]
    assert "virgl is not yet migratable" in again.plan.moves[0].reason
    assert kinds_tried(world, world.web) == [ActionKind.LIVE_MIGRATE]
    assert world.fleet.running_on(world.web) == ["a"]
    assert loop.run_once().outcome is PassOutcome.IDLE, "nobody agreed: they are not asked at every pass"


QCOW2_WITH_DATA_FILE = (
    b"QFI\xfb" + struct.pack(">I", 3) + bytes(64) + struct.pack(">QQQII", 4, 0, 0, 4, 104) + bytes(64)
)
"""a header whose data lies in another file, as QEMU's docs/interop/qcow2.txt lays it out"""


class AgreesOnce:
    """Somebody who agrees to the first plan they are shown, and to no other."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, question: str) -> ApprovalAnswer:
        self.asked.append(question)
        return ApprovalAnswer(approved=len(self.asked) == 1, by="ada")


def test_who_agreed_to_stop_a_guest_has_agreed_to_moving_it_live(world: World) -> None:
    """The archive is refused for its disk's data in another file, which only the image itself tells."""
    domain = world.fleet.machines["a"].domains[world.batch]
    domain.xml = domain.xml.replace("type='raw'", "type='qcow2'").replace('type="raw"', 'type="qcow2"')
    domain.described = parse_domain(domain.xml)
    image = world.fleet.machines["a"].images[domain.described.disks[0].path]
    image.format, image.content = "qcow2", QCOW2_WITH_DATA_FILE
    loop = cycle(world, failing=("a",), policy=Policy())
    loop.approver = somebody = AgreesOnce()
    result = loop.run_once()
    assert result.evacuation is not None
    assert kinds_tried(world, world.batch) == [ActionKind.COLD_ARCHIVE, ActionKind.LIVE_MIGRATE]
    assert result.evacuation.outcome is EvacuationOutcome.DONE, result.why
    assert len(somebody.asked) == 1
    assert world.fleet.running_on(world.batch) != ["a"]


def test_who_agreed_to_a_live_move_is_asked_anew_before_the_guest_is_stopped(world: World) -> None:
    refuses_live(world, world.web)
    loop = cycle(world, failing=("a",), policy=Policy())
    loop.approver = somebody = AgreesOnce()
    result = loop.run_once()
    assert len(somebody.asked) == 2
    assert kinds_tried(world, world.web) == [ActionKind.LIVE_MIGRATE]
    assert result.evacuation is not None
    assert result.evacuation.outcome is EvacuationOutcome.PARTIAL
    assert world.fleet.running_on(world.web) == ["a"]


def test_qemu_is_asked_what_keeps_a_guest_before_its_node_is_left(world: World) -> None:
    refuses_live(world, world.web, tells=True)
    result = cycle(world, failing=("a",)).run_once()
    assert result.plan is not None
    (move,) = [action for action in result.plan.moves if action.vm == world.web]
    assert move.kind is ActionKind.COLD_MIGRATE
    assert "QEMU on a says: virgl is not yet migratable" in move.reason
    assert kinds_tried(world, world.web) == [ActionKind.COLD_MIGRATE]
    assert result.outcome is PassOutcome.EVACUATED


def test_a_node_that_can_be_left_after_all_is_left_at_the_next_pass(world: World) -> None:
    """No cooldown after a pass in which nothing could move: room may be there a moment later."""
    for name in ("b", "c"):
        world.fleet.add_vm(name, f"full-{name}", memory_bytes=world.fleet.node(name).free_memory_bytes(), disk_bytes=())
    loop = cycle(world, failing=("a",))
    world.fleet.machines["a"].domains.pop(world.batch)
    first = loop.run_once()
    assert first.outcome is PassOutcome.NOTHING_TO_MOVE
    before = len(world.journal.entries())
    assert loop.run_once().outcome is PassOutcome.NOTHING_TO_MOVE
    assert len(world.journal.entries()) == before, "what comes to the same is written down once"
    (full,) = [uuid for uuid, d in world.fleet.machines["b"].domains.items() if d.described.name == "full-b"]
    world.fleet.machines["b"].domains.pop(full)
    assert loop.run_once().outcome is PassOutcome.EVACUATED
    assert world.fleet.running_on(world.web) == ["b"]


def test_targets_that_could_not_be_judged_for_one_look_cost_no_time(world: World) -> None:
    loop = cycle(world, failing=("a",))
    sees, read = loop.look, world.risks

    def without_the_others() -> tuple[Fleet, list[Risk]]:
        unread = [
            risk if risk.node == "a" else risk.model_copy(update={"data_age_seconds": None}) for risk in read(("a",))
        ]
        return world.snapshot(), unread

    loop.look = without_the_others
    loop.run_once()
    assert world.fleet.running_on(world.web) == world.fleet.running_on(world.db) == ["a"]
    loop.look = sees
    loop.run_once()
    assert world.fleet.running_on(world.web) != ["a"]
    assert world.fleet.running_on(world.db) != ["a"]
    world.check_nothing_lost_or_doubled()


def test_a_storm_that_is_over_costs_no_time(world: World) -> None:
    loop = cycle(world, failing=("a", "b"))
    assert loop.run_once().outcome is PassOutcome.REFUSED
    loop.look = cycle(world, failing=("a",)).look
    assert loop.run_once().outcome is PassOutcome.EVACUATED


def test_done_is_not_said_while_a_vm_of_high_priority_stays(world: World) -> None:
    loop = cycle(world, failing=("a",), policy=POLICY.model_copy(update={"protected": ("db",)}))
    result = loop.run_once()
    assert result.evacuation is not None
    assert result.evacuation.outcome is EvacuationOutcome.PARTIAL
    assert "1 moved, 1 archived, 1 not moved (db of high priority)" in result.why


def test_what_a_person_cancelled_is_not_begun_again_at_the_next_pass(world: World) -> None:
    loop = cycle(world, failing=("a",))

    def cancel(_: object) -> None:
        (started,) = world.journal.of(EvacuationStarted)
        if not world.journal.of(CancelRequested):
            world.journal.append(CancelRequested(by="ada"), now=world.fleet.clock.now(), evacuation=started.evacuation)

    loop.watcher = Watcher(on_progress=cancel)
    first = loop.run_once()
    assert first.evacuation is not None
    assert first.evacuation.outcome is EvacuationOutcome.CANCELLED
    assert loop.run_once().outcome is PassOutcome.IDLE
    world.check_nothing_lost_or_doubled()
