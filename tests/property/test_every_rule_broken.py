"""Every rule of the guard: a lawful plan for some fleet, broken on purpose in the one way that the rule is there for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scenes.topology import NOW, Topology, live

from agent.guard.judge import judge
from agent.guard.rules import RULES
from agent.plan.solver import plan
from models.fleet import Fleet, NodeState
from models.past_moves import Mover, PastMove, PastMoves, Tripped
from models.plan import Action, ActionKind, AtLeisure, Plan
from models.policy.policy import Policy
from models.situation import Situation


@dataclass(frozen=True)
class Case:
    """A lawful plan, and one of its moves that goes to a node."""

    situation: Situation
    plan: Plan
    move: Action


@st.composite
def lawful(draw: st.DrawFn) -> Case:
    """`a` is about to fail and holds at least two vms; four sound nodes hold some of their own."""
    topology = Topology(target={"count_stopped_vms": draw(st.booleans())}, storm={"max_risky_fraction": 0.9})
    topology.node("a", risk=draw(st.sampled_from([0.5, 0.8, 1.0])), cpu_model="Skylake", failure_domain="r1")
    for name in "bcde":
        topology.node(name, risk=draw(st.sampled_from([0.0, 0.01, 0.1])), cpu_model="Skylake")
        for number in range(draw(st.integers(1, 3))):
            topology.vm(f"{name}{number}", on=name, gib=draw(st.sampled_from([1, 4, 8])))
    for number in range(draw(st.integers(2, 6))):
        priority = draw(st.sampled_from(["high", "normal", "low"]))
        topology.vm(f"a{number}", on="a", gib=draw(st.sampled_from([1, 4, 8])), priority=priority)
    situation = topology.situation
    made = plan(situation)
    assert judge(made, situation).passed
    moves = [action for action in made.moves if action.target]
    return Case(situation, made, draw(st.sampled_from(moves)))


def with_action(case: Case, **change: Any) -> Plan:
    changed = [a.model_copy(update=change) if a.vm == case.move.vm else a for a in case.plan.actions]
    return case.plan.model_copy(update={"actions": tuple(changed)})


def with_fleet(
    case: Case, *, node: dict[str, dict[str, Any]] | None = None, vm: dict[str, dict[str, Any]] | None = None
) -> Case:
    """Another fleet, and the same plan said to be made for it."""
    fleet = case.situation.fleet
    nodes = tuple(each.model_copy(update=(node or {}).get(each.name, {})) for each in fleet.nodes)
    vms = tuple(each.model_copy(update=(vm or {}).get(each.uuid, {})) for each in fleet.vms)
    changed = Fleet(observed_at=fleet.observed_at, nodes=nodes, vms=vms)
    told = case.plan.model_copy(update={"fleet_sha256": changed.digest()})
    return Case(replace(case.situation, fleet=changed), told, case.move)


def with_policy(case: Case, **change: Any) -> Case:
    told = case.situation.policy.model_dump(mode="json")
    for section, fields in change.items():
        told[section] = told[section] | fields if isinstance(fields, dict) else fields
    return replace(case, situation=replace(case.situation, policy=Policy.model_validate(told)))


def with_risk(case: Case, node: str, p: float | None) -> Case:
    told = list(case.situation.risks or ())
    risks = [r for r in told if r.node != node]
    if p is not None:
        risks.append(told[0].model_copy(update={"node": node, "probability": {"2h": p}}))
    return replace(case, situation=replace(case.situation, risks=risks))


def held_on(case: Case, node: str) -> int:
    return sum(vm.memory_bytes for vm in case.situation.fleet.vms_on(node))


def all_at_once(case: Case) -> Plan:
    return case.plan.model_copy(update={"actions": tuple(a.model_copy(update={"wave": 0}) for a in case.plan.actions)})


def target(case: Case) -> str:
    assert case.move.target is not None
    return case.move.target


def needless_room(case: Case) -> Case:
    """A resident of the target leaves it first, though all that arrives has room."""
    resident = case.situation.fleet.vms_on(target(case))[0]
    other = next(name for name in "bcde" if name != target(case))
    later = tuple(a.model_copy(update={"wave": a.wave + 1}) for a in case.plan.actions)
    first = live(resident.name, target(case), other).model_copy(update={"vm": resident.uuid})
    return replace(case, plan=case.plan.model_copy(update={"actions": (first, *later)}))


def same_group(case: Case) -> Case:
    resident = case.situation.fleet.vms_on(target(case))[0]
    return with_fleet(
        case, vm={case.move.vm: {"anti_affinity_group": "g"}, resident.uuid: {"anti_affinity_group": "g"}}
    )


def namesake(case: Case) -> Case:
    resident = case.situation.fleet.vms_on(target(case))[0]
    return with_fleet(case, vm={resident.uuid: {"name": case.move.vm_name}})


def crowded(case: Case, *, together: bool) -> Case:
    """The target holds what it holds and not one byte more."""
    room = held_on(case, target(case)) + (0 if together else 1)
    fixed = {"memory_bytes": room, "memory_reserved_bytes": 0}
    return with_policy(with_fleet(case, node={target(case): fixed}), target={"memory_headroom": 0.0})


def few_vcpus(case: Case) -> Case:
    held = sum(vm.vcpus for vm in case.situation.fleet.vms_on(target(case)))
    return with_fleet(case, node={target(case): {"cpus": held, "cpu_overcommit": 1.0}})


def over_limit(case: Case, **limit: int) -> Case:
    return with_policy(replace(case, plan=all_at_once(case)), limits=limit)


def onto_one(case: Case) -> Case:
    """Every move in one wave, onto the same target."""
    actions = tuple(
        a.model_copy(update={"wave": 0, "target": target(case)}) if a.target else a for a in case.plan.actions
    )
    return replace(case, plan=case.plan.model_copy(update={"actions": actions}))


def archived_together(case: Case) -> Case:
    actions = tuple(
        a.model_copy(update={"wave": 0, "kind": ActionKind.COLD_ARCHIVE, "target": None}) for a in case.plan.actions
    )
    return replace(case, plan=case.plan.model_copy(update={"actions": actions}))


def shaky(case: Case) -> Case:
    for name in "abcd":
        case = with_risk(case, name, 0.9)
    return with_policy(case, storm={"max_risky_fraction": 0.34})


def remembering(case: Case, past: PastMoves) -> Case:
    fleet = case.situation.fleet.model_copy(update={"past_moves": past})
    return replace(case, situation=replace(case.situation, fleet=fleet))


def moved_before(case: Case, *, vm: str, source: str, by: Mover = Mover.LIFEBOAT, minutes: float = 1.0) -> PastMove:
    return PastMove(at=NOW - timedelta(minutes=minutes), vm=vm, source=source, target="a", by=by)


def emptied_all_day(case: Case) -> Case:
    moves = [moved_before(case, vm=f"other-{name}", source=name, minutes=600) for name in "bcde"]
    return with_policy(remembering(case, PastMoves(moves=tuple(moves))), storm={"max_risky_fraction": 0.34})


def balanced(case: Case) -> Case:
    """`a` is only worth a drain, and somebody else moves vms."""
    case = with_policy(with_risk(case, "a", 0.2), drain={"act": True, "price": 0.01, "effort": 0.0})
    others = [moved_before(case, vm=f"o{n}", source="b", by=Mover.OTHERS) for n in range(3)]
    return remembering(case, PastMoves(moves=tuple(others)))


Break = Callable[[Case], Case]
BREAKS: dict[str, Break] = {
    "plan-matches-fleet": lambda c: replace(c, plan=c.plan.model_copy(update={"fleet_sha256": "0" * 64})),
    "fleet-fresh": lambda c: replace(c, situation=replace(c.situation, now=NOW + timedelta(minutes=6))),
    "known": lambda c: replace(c, plan=with_action(c, target="nowhere")),
    "vm-named": lambda c: replace(c, plan=with_action(c, vm_name="somebody-else")),
    "asked-evacuating": lambda c: replace(c, plan=c.plan.model_copy(update={"asked": ("b",)})),
    "vm-once": lambda c: replace(c, plan=c.plan.model_copy(update={"actions": (*c.plan.actions, c.move)})),
    "source-matches": lambda c: replace(c, plan=with_action(c, source="e")),
    "complete": lambda c: replace(
        c, plan=c.plan.model_copy(update={"actions": tuple(a for a in c.plan.actions if a.vm != c.move.vm)})
    ),
    "source-reachable": lambda c: with_fleet(c, node={"a": {"state": NodeState.OFFLINE}}),
    "source-risky": lambda c: with_risk(c, "a", 0.2),
    "make-room": needless_room,
    "return": lambda c: replace(c, plan=c.plan.model_copy(update={"returning": (target(c),)})),
    "protected": lambda c: with_policy(c, protected=[c.move.vm_name]),
    "target-differs": lambda c: replace(c, plan=with_action(c, target="a")),
    "target-active": lambda c: with_fleet(c, node={target(c): {"state": NodeState.DRAINING}}),
    "target-risk": lambda c: with_risk(c, target(c), 0.3),
    "target-memory": lambda c: crowded(c, together=False),
    "target-memory-peak": lambda c: crowded(c, together=True),
    "target-vcpus": few_vcpus,
    "cpu-compatible": lambda c: with_fleet(c, node={target(c): {"cpu_model": "Nehalem"}}),
    "target-open": namesake,
    "anti-affinity": same_group,
    "live-migratable": lambda c: with_fleet(c, vm={c.move.vm: {"migratable": False}}),
    "live-converges": lambda c: with_fleet(c, vm={c.move.vm: {"dirty_bytes_per_second": 1e12}}),
    "live-downtime": lambda c: with_policy(
        with_fleet(c, vm={c.move.vm: {"dirty_bytes_per_second": 0.0}}), migration={"max_downtime": "50ms"}
    ),
    "live-in-time": lambda c: with_policy(c, migration={"timeout": "2s"}),
    "cold-migrate-allowed": lambda c: with_policy(
        replace(c, plan=with_action(c, kind=ActionKind.COLD_MIGRATE)), cold_migrate={"priorities": []}
    ),
    "archive-allowed": lambda c: replace(c, plan=with_action(c, kind=ActionKind.COLD_ARCHIVE, target=None)),
    "limit-outbound": lambda c: over_limit(c, outbound_per_node=1),
    "limit-inbound": lambda c: over_limit(onto_one(c), inbound_per_node=1),
    "limit-link": lambda c: over_limit(onto_one(c), per_link=1),
    "limit-fleet": lambda c: over_limit(c, per_fleet=1),
    "limit-archives": archived_together,
    "storm": shaky,
    "breaker": lambda c: remembering(c, PastMoves(tripped=Tripped(at=NOW, rule="storm", why="4 of 5 nodes"))),
    "guest-cooldown": lambda c: remembering(c, PastMoves(moves=(moved_before(c, vm=c.move.vm, source="b"),))),
    "day-cap": emptied_all_day,
    "other-movers": balanced,
    "at-leisure": lambda c: replace(c, plan=c.plan.model_copy(update={"at_leisure": AtLeisure.REBALANCE})),
    "rebalance": lambda c: replace(
        c, plan=c.plan.model_copy(update={"at_leisure": AtLeisure.REBALANCE, "evacuating": ()})
    ),
    "archive-idle": lambda c: replace(
        c, plan=c.plan.model_copy(update={"at_leisure": AtLeisure.ARCHIVE_IDLE, "evacuating": ()})
    ),
    "put-off": lambda c: replace(c, plan=with_action(c, not_before=NOW + timedelta(hours=1))),
}


def test_every_rule_has_its_way_to_be_broken() -> None:
    assert set(BREAKS) == {rule.id for rule in RULES}


@pytest.mark.parametrize("rule", BREAKS)
@given(case=lawful())
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_plan_broken_on_purpose_is_refused_by_that_rule(rule: str, case: Case) -> None:
    assume(rule != "source-matches" or case.move.target != "e")
    broken = BREAKS[rule](case)
    verdict = judge(broken.plan, broken.situation)
    assert not verdict.passed
    assert rule in {result.rule for result in verdict.failures}


@given(case=lawful())
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
def test_a_target_that_nobody_assessed_is_refused(case: Case) -> None:
    broken = with_risk(case, target(case), None)
    assert "target-risk" in {result.rule for result in judge(broken.plan, broken.situation).failures}
