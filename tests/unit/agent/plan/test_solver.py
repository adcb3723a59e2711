"""What the solver decides: a table of situations an operator knows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from scenes.topology import GIB, NOW, Topology

from agent.guard.judge import judge
from agent.plan.solver import PlanDecision, assemble, plan
from models.plan import Action, ActionKind, Plan, PlannedBy
from models.risk.risk import Risk
from models.situation import Situation


def dying(**policy: Any) -> Topology:
    return Topology(**policy).node("a", risk=0.8).node("b").node("c")


def solve(scene: Topology, *, asked: tuple[str, ...] = ()) -> Plan:
    """The plan, which the guard must pass."""
    made = plan(scene.situation, asked=asked)
    verdict = judge(made, scene.situation)
    assert verdict.passed, verdict.failures
    return made


def action(made: Plan, name: str) -> Action:
    return next(a for a in made.actions if a.vm_name == name)


def kind(scene: Topology, name: str = "x") -> ActionKind:
    return action(solve(scene), name).kind


def test_a_healthy_fleet_has_nothing_to_do() -> None:
    made = solve(Topology().node("a").node("b").vm("x", on="a"))
    assert made.actions == ()
    assert made.evacuating == ()
    assert made.expected_loss == made.expected_loss_if_nothing_is_done == 0


def test_every_vm_of_a_dying_node_gets_an_action_and_no_other() -> None:
    made = solve(dying().vm("x", on="a").vm("y", on="a", priority="low").vm("other", on="b"))
    assert {a.vm_name for a in made.actions} == {"x", "y"}
    assert made.evacuating == ("a",)
    assert made.expected_loss < made.expected_loss_if_nothing_is_done


def test_expected_loss_is_weight_times_chance() -> None:
    scene = dying().vm("x", on="a", priority="high").vm("y", on="a", priority="low")
    assert solve(scene).expected_loss_if_nothing_is_done == pytest.approx(0.8 * 101)


CASES: list[tuple[str, dict[str, Any], dict[str, Any], ActionKind]] = [
    ("running moves live", {}, {}, ActionKind.LIVE_MIGRATE),
    ("paused moves live and stays paused", {}, {"state": "paused"}, ActionKind.LIVE_MIGRATE),
    ("shut off moves cold", {}, {"state": "shutoff"}, ActionKind.COLD_MIGRATE),
    ("passthrough is stopped and moved", {}, {"migratable": False}, ActionKind.COLD_MIGRATE),
    ("no convergence: stopped and moved", {}, {"dirty_bytes_per_second": 1e9}, ActionKind.COLD_MIGRATE),
    (
        "passthrough stays where policy stops nothing",
        {"cold_migrate": {"priorities": []}},
        {"migratable": False},
        ActionKind.STAY,
    ),
    (
        "low priority with consent is archived",
        {},
        {"priority": "low", "cold_archive_allowed": True},
        ActionKind.COLD_ARCHIVE,
    ),
    ("low priority without a word moves live", {}, {"priority": "low"}, ActionKind.LIVE_MIGRATE),
    (
        "low priority that says no moves live",
        {"archive": {"allow_without_label": True}},
        {"priority": "low", "cold_archive_allowed": False},
        ActionKind.LIVE_MIGRATE,
    ),
    (
        "policy may take silence for consent",
        {"archive": {"allow_without_label": True}},
        {"priority": "low"},
        ActionKind.COLD_ARCHIVE,
    ),
    (
        "consent does not archive high priority",
        {},
        {"priority": "high", "cold_archive_allowed": True},
        ActionKind.LIVE_MIGRATE,
    ),
    ("protected stays", {"protected": ["x*"]}, {}, ActionKind.STAY),
    (
        "an archive that takes hours gives way to a move of seconds",
        {},
        {"priority": "low", "cold_archive_allowed": True, "disk_bytes": 10**12},
        ActionKind.LIVE_MIGRATE,
    ),
    (
        "a running guest is not stopped for a copy that ends too late",
        {},
        {"migratable": False, "shared_storage": False, "disk_bytes": 10**12},
        ActionKind.STAY,
    ),
    (
        "a stopped one has nothing to lose by trying",
        {},
        {"state": "shutoff", "shared_storage": False, "disk_bytes": 10**12},
        ActionKind.COLD_MIGRATE,
    ),
]


@pytest.mark.parametrize(("policy", "fields", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_how_a_vm_leaves(policy: dict[str, Any], fields: dict[str, Any], expected: ActionKind) -> None:
    scene = dying(**policy).vm("x", on="a", **fields)
    found = action(solve(scene), "x")
    assert found.kind is expected
    assert found.reason


def test_high_priority_wins_the_room() -> None:
    scene = Topology().node("a", risk=0.8).node("b")
    for name, priority in (("n1", "normal"), ("l", "low"), ("h", "high"), ("n2", "normal")):
        scene.vm(name, on="a", gib=40, priority=priority)
    made = solve(scene)
    assert action(made, "h").kind is ActionKind.LIVE_MIGRATE
    assert {a.vm_name for a in made.actions if a.kind is ActionKind.STAY} == {"n1", "n2", "l"}
    assert "no room" in action(made, "l").reason


def test_two_small_ones_that_weigh_more_than_a_large_one_win() -> None:
    scene = Topology().node("a", risk=0.8).node("b")
    scene.vm("large", on="a", gib=50, priority="normal").vm("s1", on="a", gib=25).vm("s2", on="a", gib=25)
    made = solve(scene)
    assert action(made, "large").kind is ActionKind.STAY


def test_room_that_greedy_wastes_is_found() -> None:
    """Largest first to the emptiest fills `b` with 30 and `c` with 27, and 27 + 30 would have fitted otherwise."""
    scene = Topology().node("a", risk=0.8)
    scene.node("b", memory_bytes=64 * GIB).node("c", memory_bytes=40 * GIB)  # room: 57 and 34.2
    for name, gib in (("v30", 30), ("v27", 27), ("v20", 20), ("v14", 14)):
        scene.vm(name, on="a", gib=gib)
    made = solve(scene)
    assert not [a for a in made.actions if a.kind is ActionKind.STAY]


def test_high_priority_goes_first() -> None:
    scene = dying()
    for number in range(9):
        scene.vm(f"v{number}", on="a", gib=2, priority=("low", "normal", "high")[number % 3])
    made = solve(scene)
    ranks = [("high", "normal", "low").index(scene.fleet.vm_by_uuid[a.vm].priority) for a in made.actions]
    assert ranks == sorted(ranks)


def test_hours_of_copying_hold_up_no_seconds_of_memory() -> None:
    scene = dying()
    scene.vm("copied", on="a", priority="high", state="shutoff", shared_storage=False, disk_bytes=3 * 10**11)
    scene.vm("quick", on="a", priority="normal")
    made = solve(scene)
    assert action(made, "quick").estimated_start_seconds == 0


def test_waves_follow_each_other_without_a_gap_and_without_overlap() -> None:
    scene = dying()
    for number in range(8):
        scene.vm(f"v{number}", on="a", gib=1 + number)
    made = solve(scene)
    ends: dict[int, float] = {}
    starts: dict[int, float] = {}
    for move in made.moves:
        starts.setdefault(move.wave, move.estimated_start_seconds)
        assert starts[move.wave] == move.estimated_start_seconds
        ends[move.wave] = max(ends.get(move.wave, 0), move.estimated_start_seconds + move.estimated_seconds)
    for earlier, later in pairwise(sorted(starts)):
        assert starts[later] == pytest.approx(ends[earlier], abs=0.2)


def test_an_archive_counts_among_the_moves_off_its_node() -> None:
    scene = dying(limits={"outbound_per_node": 1}).vm("x", on="a")
    made = solve(scene.vm("low", on="a", priority="low", cold_archive_allowed=True))
    assert kind(scene, "low") is ActionKind.COLD_ARCHIVE
    assert action(made, "x").wave != action(made, "low").wave


def test_a_guest_that_converges_only_alone_moves_alone() -> None:
    scene = dying().vm("hot", on="a", gib=1, dirty_bytes_per_second=150e6).vm("calm", on="a", gib=1)
    made = solve(scene)
    assert action(made, "hot").kind is ActionKind.LIVE_MIGRATE
    assert action(made, "hot").wave != action(made, "calm").wave


@pytest.mark.parametrize(
    "target",
    [
        {"state": "draining"},
        {"state": "offline"},
        {"risk": 0.3},
        {"risk": None},
        {"data_age": None},
        {"data_age": 900},
        {"cpu_model": "Skylake-Server"},
        {"memory_bytes": 7 * GIB},
        {"cpus": 1, "cpu_overcommit": 1.0},
    ],
    ids=str,
)
def test_a_node_that_must_not_take_vms_takes_none(target: dict[str, Any]) -> None:
    scene = Topology().node("a", risk=0.8, cpu_model="Icelake-Server").node("b", **target)
    scene.vm("x", on="a").vm("off", on="a", state="shutoff")
    made = solve(scene)
    assert made.moves == ()
    assert all(a.reason for a in made.actions)


def test_a_node_that_is_over_its_memory_takes_not_even_what_is_shut_off() -> None:
    scene = Topology().node("a", risk=0.8).node("full", memory_bytes=8 * GIB).vm("large", on="full", gib=6)
    made = solve(scene.vm("off", on="a", state="shutoff"))
    assert made.moves == ()
    assert "no room" in action(made, "off").reason


def test_a_cpu_model_that_policy_declares_compatible_is() -> None:
    scene = Topology(target={"cpu_models": {"Skylake-Server": ["Icelake-Server"]}})
    scene.node("a", risk=0.8, cpu_model="Skylake-Server").node("b", cpu_model="Icelake-Server").vm("x", on="a")
    assert action(solve(scene), "x").target == "b"


def test_a_group_is_spread_and_stays_when_it_can_not_be() -> None:
    scene = dying()
    for name in "xyz":
        scene.vm(name, on="a", anti_affinity_group="g")
    made = solve(scene)
    assert sorted(a.target or "" for a in made.moves) == ["b", "c"]
    assert "anti-affinity" in next(a for a in made.actions if a.kind is ActionKind.STAY).reason


def test_another_failure_domain_is_preferred_and_never_demanded() -> None:
    scene = (
        Topology()
        .node("a", risk=0.8, failure_domain="r1")
        .node("b", failure_domain="r1")
        .node("c", failure_domain="r2")
    )
    assert action(solve(scene.vm("x", on="a")), "x").target == "c"
    alone = Topology().node("a", risk=0.8, failure_domain="r1").node("b", failure_domain="r1").vm("x", on="a")
    assert action(solve(alone), "x").target == "b"


def test_vms_are_spread_over_the_targets() -> None:
    scene = Topology().node("a", risk=0.8)
    for name in "bcdefgh":
        scene.node(name)
    for number in range(14):
        scene.vm(f"v{number}", on="a", gib=2)
    made = solve(scene)
    counts = {t: sum(a.target == t for a in made.moves) for t in "bcdefgh"}
    assert set(counts.values()) == {2}


@pytest.mark.parametrize("data_age", [None, 301.0, 1e9])
def test_unknown_risk_triggers_nothing(data_age: float | None) -> None:
    scene = Topology().node("a", risk=0.99, data_age=data_age).node("b").vm("x", on="a")
    assert solve(scene).actions == ()


def test_data_that_grew_old_since_it_was_assessed_is_unknown() -> None:
    scene = Topology().node("a").node("b").vm("x", on="a")
    assessed = NOW.replace(hour=3)
    old = [Risk(node="a", probability={"2h": 0.9}, data_age_seconds=5, assessed_at=assessed)]
    assert plan(Situation(fleet=scene.fleet, risks=old, policy=scene.policy, now=NOW)).evacuating == ()


def test_a_named_node_is_evacuated_whatever_its_risk() -> None:
    scene = Topology().node("a").node("b").node("c", risk=0.8).vm("x", on="a").vm("y", on="c")
    made = solve(scene, asked=("a",))
    assert made.evacuating == ("a",)
    assert made.asked == ("a",)
    assert action(made, "x").target == "b"
    assert "c" in made.planned_by.notes


def test_a_named_node_that_nobody_assessed_is_evacuated_and_reckoned_with_care() -> None:
    scene = Topology().node("a", risk=None).node("b").vm("x", on="a", priority="high")
    made = solve(scene, asked=("a",))
    assert action(made, "x").target == "b"
    assert made.expected_loss_if_nothing_is_done == pytest.approx(50)


def test_a_node_that_does_not_answer_keeps_its_vms() -> None:
    made = solve(Topology().node("a", risk=0.9, state="offline").node("b").vm("x", on="a"))
    assert action(made, "x").kind is ActionKind.STAY
    assert "does not answer" in action(made, "x").reason


def test_a_storm_is_planned_and_refused() -> None:
    scene = Topology().node("a", risk=0.8).node("b", risk=0.8).node("c").vm("x", on="a")
    made = plan(scene.situation)
    verdict = judge(made, scene.situation)
    assert made.moves
    assert [result.rule for result in verdict.failures] == ["storm"]


def test_what_may_come_too_late_says_so() -> None:
    scene = Topology().node("a").node("b").vm("x", on="a", gib=32)
    risks = [
        Risk(node="a", probability={"5m": 0.9, "2h": 0.95}, data_age_seconds=1),
        Risk(node="b", probability={"2h": 0.001}, data_age_seconds=1),
    ]
    made = plan(Situation(fleet=scene.fleet, risks=risks, policy=scene.policy, now=NOW))
    found = action(made, "x")
    assert found.kind is ActionKind.LIVE_MIGRATE
    assert found.risk_before_safe > 0.8
    assert "too late" in found.reason


def test_somebody_elses_decisions_become_a_whole_plan() -> None:
    scene = dying().vm("x", on="a").vm("y", on="a")
    decisions = [PlanDecision("uuid-x", ActionKind.LIVE_MIGRATE, "c", "because")]
    made = assemble(scene.situation, decisions, ("a",), PlannedBy(planner="llm"))
    assert action(made, "x").reason == "because"
    assert action(made, "x").estimated_seconds > 30
    assert action(made, "y").kind is ActionKind.STAY
    assert judge(made, scene.situation).passed


@pytest.mark.parametrize(
    "decision",
    [
        PlanDecision("ghost", ActionKind.STAY),
        PlanDecision("uuid-x", ActionKind.LIVE_MIGRATE, "nowhere"),
        PlanDecision("uuid-x", ActionKind.LIVE_MIGRATE),
        PlanDecision("uuid-x", ActionKind.COLD_ARCHIVE, "b"),
    ],
    ids=str,
)
def test_decisions_that_mean_nothing_are_refused(decision: PlanDecision) -> None:
    scene = dying().vm("x", on="a")
    with pytest.raises(ValueError, match=r"ghost|nowhere|target"):
        assemble(scene.situation, [decision], ("a",), PlannedBy(planner="llm"))


def test_a_decision_that_never_converges_becomes_a_plan_that_the_guard_refuses() -> None:
    scene = dying().vm("x", on="a", dirty_bytes_per_second=1e9)
    decision = PlanDecision("uuid-x", ActionKind.LIVE_MIGRATE, "b")
    made = assemble(scene.situation, [decision], ("a",), PlannedBy(planner="llm"))
    assert made.expected_loss == made.expected_loss_if_nothing_is_done
    assert not judge(made, scene.situation).passed


def test_an_unknown_node_can_not_be_named() -> None:
    scene = dying()
    with pytest.raises(ValueError, match="nowhere"):
        plan(scene.situation, asked=("nowhere",))


OBSTACLES: list[tuple[str, dict[str, Any], ActionKind]] = [
    (
        "a server has its disks, so it leaves live",
        {"archive_obstacle": "its data is on a server"},
        ActionKind.LIVE_MIGRATE,
    ),
    (
        "3D and snapshots keep it from moving live",
        {"live_obstacle": "3D", "archive_obstacle": "a"},
        ActionKind.COLD_MIGRATE,
    ),
    ("only the archive is left", {"live_obstacle": "l", "cold_obstacle": "c"}, ActionKind.COLD_ARCHIVE),
    ("nothing is left", {"live_obstacle": "l", "cold_obstacle": "c", "archive_obstacle": "a"}, ActionKind.STAY),
]


@pytest.mark.parametrize(("_", "obstacles", "expected"), OBSTACLES, ids=[each[0] for each in OBSTACLES])
def test_what_is_known_to_be_refused_is_not_planned_and_another_kind_is(
    _: str, obstacles: dict[str, Any], expected: ActionKind
) -> None:
    assert kind(dying().vm("x", on="a", priority="low", cold_archive_allowed=True, **obstacles)) is expected


def test_a_vm_that_stays_says_what_keeps_it() -> None:
    scene = dying().vm(
        "x", on="a", live_obstacle="passthrough pci device", cold_obstacle="another would be taken blindly"
    )
    reason = action(solve(scene), "x").reason
    assert "passthrough pci device" in reason
    assert "another would be taken blindly" in reason


def test_a_stopped_vm_that_can_not_be_taken_along_whole_stays() -> None:
    assert kind(dying().vm("x", on="a", state="shutoff", cold_obstacle="a disk of an NVMe drive")) is ActionKind.STAY


def test_a_node_that_has_a_vm_of_its_name_is_no_target() -> None:
    scene = dying().vm("x", on="a").vm("x", on="b", uuid="uuid-other")
    assert action(solve(scene), "x").target == "c"
    scene.vm("x", on="c", uuid="uuid-another", state="shutoff")
    made = action(solve(scene), "x")
    assert made.kind is ActionKind.STAY
    assert "another vm named x" in made.reason


def test_two_vms_of_one_name_are_sent_to_different_nodes() -> None:
    scene = Topology(storm={"max_risky_fraction": 0.6})
    for node, risk in {"a": 0.8, "d": 0.8, "b": 0.001, "c": 0.001}.items():
        scene.node(node, risk=risk)
    scene.vm("x", on="a").vm("x", on="d", uuid="uuid-x2")
    assert {each.target for each in solve(scene).moves} == {"b", "c"}


def test_a_target_that_refused_it_is_left_out_and_another_kind_is_tried_when_all_did() -> None:
    def refused(kind: ActionKind, *targets: str) -> list[dict[str, Any]]:
        return [{"kind": kind, "target": target, "why": f"refused at {target}"} for target in targets]

    live, cold = ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE
    made = action(solve(dying().vm("x", on="a", learned_obstacles=refused(live, "b"))), "x")
    assert (made.kind, made.target) == (live, "c")
    made = action(solve(dying().vm("x", on="a", learned_obstacles=refused(live, "b", "c"))), "x")
    assert made.kind is cold
    assert "refused at b" in made.reason
    all_refused = [*refused(live, "b", "c"), *refused(cold, "b", "c")]
    assert kind(dying().vm("x", on="a", learned_obstacles=all_refused)) is ActionKind.STAY


@pytest.mark.parametrize(("allowed", "expected"), [(False, ActionKind.STAY), (True, ActionKind.LIVE_MIGRATE)])
def test_a_guest_paused_by_an_io_error_moves_live_where_policy_lets_it(allowed: bool, expected: ActionKind) -> None:
    scene = dying(migration={"with_io_error": allowed}).vm("x", on="a", state="paused", io_error=True)
    assert kind(scene) is expected
