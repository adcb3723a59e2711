"""Whatever the fleet looks like: the solver's plan is lawful, the same each time, and never worse than doing nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes.independent_checker import broken_on_the_way
from scenes.topology import GIB, NOW, Topology

from agent.guard.judge import judge
from agent.plan.solver import plan
from models.fleet import Fleet
from models.plan import Action, ActionKind, Plan
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.situation import Situation

NODES = "abcdef"
quick = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])

policies = st.fixed_dictionaries(
    {},
    optional={
        "trigger": st.fixed_dictionaries({"probability": st.sampled_from([0.2, 0.5, 0.9])}),
        "target": st.fixed_dictionaries(
            {
                "memory_headroom": st.sampled_from([0, 0.05, 0.3]),
                "count_stopped_vms": st.booleans(),
                "max_probability": st.sampled_from([0.0, 0.1, 0.6]),
            }
        ),
        "limits": st.fixed_dictionaries(
            {
                name: st.integers(1, 4)
                for name in ("outbound_per_node", "inbound_per_node", "per_link", "per_fleet", "archives_per_node")
            }
        ),
        "archive": st.fixed_dictionaries({"allow_without_label": st.booleans(), "force_off": st.booleans()}),
        "migration": st.fixed_dictionaries(
            {
                "auto_converge": st.booleans(),
                "post_copy": st.booleans(),
                "max_downtime": st.sampled_from(["50ms", "300ms", "2s"]),
            }
        ),
        "cold_migrate": st.fixed_dictionaries(
            {"priorities": st.sampled_from([[], ["low"], ["high", "normal", "low"]]), "other_cpu_model": st.booleans()}
        ),
        "protected": st.sampled_from([[], ["v1*"], ["uuid-v2"]]),
    },
)
node_facts = st.fixed_dictionaries(
    {
        "risk": st.sampled_from([None, 0.0, 0.001, 0.05, 0.3, 0.7, 0.99]),
        "data_age": st.sampled_from([1.0, 1.0, 1.0, None, 4000.0]),
        "memory_bytes": st.sampled_from([8, 24, 64]).map(lambda gib: gib * GIB),
        "cpus": st.sampled_from([2, 16]),
        "cpu_model": st.sampled_from(["", "Skylake-Server", "Icelake-Server"]),
        "failure_domain": st.sampled_from(["", "r1", "r2"]),
        "state": st.sampled_from(["active", "active", "active", "active", "draining", "offline"]),
        "migration_bytes_per_second": st.sampled_from([1e7, 1.25e8, 1.25e9]),
    }
)
vm_facts = st.fixed_dictionaries(
    {
        "on": st.sampled_from(NODES),
        "gib": st.sampled_from([0.25, 1, 4, 10, 30]),
        "vcpus": st.sampled_from([1, 2, 8]),
        "state": st.sampled_from(["running", "running", "running", "paused", "shutoff"]),
        "priority": st.sampled_from(["high", "normal", "low"]),
        "dirty_bytes_per_second": st.sampled_from([None, 0.0, 1e6, 5e7, 1e9]),
        "disk_bytes": st.sampled_from([0, 10**10, 10**12]),
        "shared_storage": st.booleans(),
        "anti_affinity_group": st.sampled_from([None, None, "g", "h"]),
        "migratable": st.sampled_from([True, True, True, False]),
        "hugepage_bytes": st.sampled_from([0, 0, 2 << 20, GIB]),
        "cold_archive_allowed": st.sampled_from([None, True, False]),
    }
)
Scene = tuple[Fleet, list[Risk], Policy, tuple[str, ...]]


@st.composite
def scenes(draw: st.DrawFn, *, dying: bool = False) -> Scene:
    """Any fleet; with `dying` one whose node `a` holds a vm and is about to fail, while `b` is sound."""
    topology = Topology(**draw(policies))
    names = NODES[: draw(st.integers(2, len(NODES)))]
    for name in names:
        facts = draw(node_facts)
        if dying and name in "ab":
            facts |= {"state": "active", "risk": 0.95 if name == "a" else 0.0, "data_age": 1.0}
        topology.node(name, **facts)
    if dying:
        topology.vm("first", on="a", gib=0.25)
    for number, facts in enumerate(draw(st.lists(vm_facts, max_size=14))):
        told: dict[str, Any] = {**facts, "on": facts["on"] if facts["on"] in names else "a"}
        topology.vm(f"v{number}", **told)
    asked = () if dying else tuple(draw(st.lists(st.sampled_from(names), max_size=1)))
    return topology.fleet, topology.risks, topology.policy, asked


@given(scenes())
@quick
def test_the_solvers_plan_passes_the_guard(scene: Scene) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    failures = judge(made, situation).failures
    assert {failure.rule for failure in failures} <= {"storm"}, failures
    assert broken_on_the_way(made, fleet, policy) == []


@given(scenes())
@quick
def test_the_same_facts_give_the_same_plan_in_whatever_order_they_come(scene: Scene) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    assert plan(situation, asked=asked).digest() == made.digest()
    assert plan(replace(situation, risks=tuple(reversed(risks))), asked=asked).digest() == made.digest()


@given(scenes())
@quick
def test_a_plan_loses_no_more_than_doing_nothing(scene: Scene) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    assert made.expected_loss <= made.expected_loss_if_nothing_is_done + 1e-6


@given(scenes())
@quick
def test_every_vm_of_an_evacuated_node_has_one_action_with_a_reason(scene: Scene) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    assert sorted(a.vm for a in made.actions) == sorted(
        vm.uuid for node in made.evacuating for vm in fleet.vms_on(node)
    )
    assert all(action.reason for action in made.actions)
    assert [a.wave for a in made.moves] == sorted(a.wave for a in made.moves)


@given(scenes())
@quick
def test_no_target_is_over_its_memory_by_anybodys_count(scene: Scene) -> None:
    """Counted here again from the fleet alone, without the guard's or the solver's help."""
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    for node in fleet.nodes:
        arriving = [fleet.vm_by_uuid[a.vm] for a in made.moves if a.target == node.name]
        if not arriving:
            continue
        running = [vm for vm in (*fleet.vms_on(node.name), *arriving) if vm.state != "shutoff"]
        used = sum(vm.memory_bytes for vm in running)
        free = node.memory_bytes - node.memory_reserved_bytes
        assert used <= free * (1 - policy.target.memory_headroom) + 1
        assert sum(vm.vcpus for vm in running) <= node.cpus * node.cpu_overcommit


@given(scenes())
@quick
def test_unknown_and_risky_nodes_neither_take_vms_nor_lose_them_unasked(scene: Scene) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    known = {r.node: r.within(7200) for r in risks if r.data_age_seconds is not None and r.data_age_seconds <= 300}
    for move in made.moves:
        assert move.source in asked or known.get(move.source, 0) >= policy.trigger.probability
        if move.target is not None:
            assert known.get(move.target, 1) <= policy.target.max_probability
            assert known[move.target] < policy.trigger.probability


@given(scenes())
@quick
def test_greedys_plan_is_lawful_as_well(scene: Scene) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    greedy = plan(situation, asked=asked, optimise=False)
    assert {f.rule for f in judge(greedy, situation).failures} <= {"storm"}


def _onto_source(action: Action, fleet: Fleet, _: Policy) -> Action | None:
    return action.model_copy(update={"target": action.source}) if action.target else None


def _to_nowhere(action: Action, fleet: Fleet, _: Policy) -> Action | None:
    return action.model_copy(update={"target": "nowhere"}) if action.target else None


def _of_nobody(action: Action, fleet: Fleet, _: Policy) -> Action | None:
    return action.model_copy(update={"vm": "ghost"})


def _from_elsewhere(action: Action, fleet: Fleet, _: Policy) -> Action | None:
    return action.model_copy(update={"source": next(n.name for n in fleet.nodes if n.name != action.source)})


def _archived_unasked(action: Action, fleet: Fleet, _: Policy) -> Action | None:
    if fleet.vm_by_uuid[action.vm].priority == "low":
        return None
    return action.model_copy(update={"kind": ActionKind.COLD_ARCHIVE, "target": None})


def _live_though_stopped(action: Action, fleet: Fleet, _: Policy) -> Action | None:
    vm = fleet.vm_by_uuid[action.vm]
    stuck = action.target and (vm.state == "shutoff" or not vm.migratable)
    return action.model_copy(update={"kind": ActionKind.LIVE_MIGRATE}) if stuck else None


def _onto_a_bad_node(action: Action, fleet: Fleet, _: Policy) -> Action | None:
    bad = next((n.name for n in fleet.nodes if n.state != "active" and n.name != action.source), None)
    return action.model_copy(update={"target": bad}) if action.target and bad else None


BENDS: list[Callable[[Action, Fleet, Policy], Action | None]] = [
    _onto_source, _to_nowhere, _of_nobody, _from_elsewhere, _archived_unasked, _live_though_stopped, _onto_a_bad_node,
]  # fmt: skip


@given(scenes(dying=True), st.sampled_from(BENDS), st.data())
@quick
def test_a_bent_plan_is_caught(scene: Scene, bend: Callable[..., Action | None], data: st.DataObject) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    can_be = [(index, bent) for index, move in enumerate(made.moves) if (bent := bend(move, fleet, policy)) is not None]
    if can_be:
        index, bent = data.draw(st.sampled_from(can_be))
        assert not judge(_with(made, index, bent), situation).passed


@given(scenes(dying=True), st.data())
@quick
def test_a_plan_with_an_action_dropped_or_doubled_is_caught(scene: Scene, data: st.DataObject) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    index = data.draw(st.integers(0, len(made.actions) - 1))
    dropped = made.model_copy(update={"actions": made.actions[:index] + made.actions[index + 1 :]})
    doubled = made.model_copy(update={"actions": (*made.actions, made.actions[index])})
    assert not judge(dropped, situation).passed
    assert not judge(doubled, situation).passed


@given(scenes(dying=True))
@quick
def test_everything_at_once_breaks_a_limit(scene: Scene) -> None:
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    rushed = made.model_copy(update={"actions": tuple(a.model_copy(update={"wave": 0}) for a in made.actions)})
    broken = {f.rule for f in judge(rushed, situation).failures}
    assert ("limit-fleet" in broken) == (len(made.moves) > policy.limits.per_fleet)


@given(scenes())
@quick
def test_the_guard_answers_any_plan_without_falling_over(scene: Scene) -> None:
    """A plan made for one fleet, judged on another that lacks its nodes and vms."""
    fleet, risks, policy, asked = scene
    situation = Situation(fleet=fleet, risks=risks, policy=policy, now=NOW)
    made = plan(situation, asked=asked)
    other = fleet.model_copy(update={"nodes": fleet.nodes[:1], "vms": fleet.vms_on(fleet.nodes[0].name)[:1]})
    verdict = judge(made, replace(situation, fleet=other))
    if made.actions and fleet != other:
        assert not verdict.passed


def _with(made: Plan, index: int, bent: Action) -> Plan:
    original = made.moves[index]
    return made.model_copy(update={"actions": tuple(bent if a is original else a for a in made.actions)})
