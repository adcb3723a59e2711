"""Each rule of the guard against a plan that only it should catch, and plans that must pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scenes.hostile_plans import ACCOMPLICES, HOSTILE
from scenes.hostile_plans.worlds import (
    Case,
    crowded,
    dying,
    full_target,
    idle,
    one_vm,
    put_away,
    spread,
)
from scenes.topology import NOW, Topology, cold, live, stay

from agent.guard.judge import judge
from agent.guard.rules import RULES
from agent.plan.solver import plan
from models.plan import Approval, Plan, PlannedBy
from models.policy.policy import Policy
from models.risk.witness import Witness
from models.situation import Situation


@pytest.mark.parametrize(("rule", "case"), HOSTILE, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_hostile_plan_is_refused_by_its_rule_and_no_other(rule: str, case: Callable[[], Case]) -> None:
    scene, hostile = case()
    verdict = judge(hostile, scene.situation)
    failed = {result.rule for result in verdict.failures}
    assert not verdict.passed
    assert rule in failed
    assert failed - {rule} <= ACCOMPLICES.get(case.__name__, set())


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_every_rule_is_the_only_thing_between_some_hostile_plan_and_a_pass(rule: str) -> None:
    """With the rule taken out, one of its plans would pass: the rule carries weight."""
    others = [other for other in RULES if other.id != rule]
    passing: list[str] = []
    for its_rule, case in HOSTILE:
        if its_rule == rule:
            scene, hostile = case()
            if judge(hostile, scene.situation, rules=others).passed:
                passing.append(case.__name__)
    # After all moves the peak is never lower than the end: that pair of rules stands together.
    assert passing or rule == "target-memory"


def test_a_sound_plan_passes_every_rule_and_each_says_why() -> None:
    scene = one_vm(priority="high").vm("low", on="a", priority="low", cold_archive_allowed=True)
    made = plan(scene.situation)
    verdict = judge(made, scene.situation)
    assert verdict.passed
    assert {result.rule for result in verdict.results} == {rule.id for rule in RULES}
    assert all(result.why for result in verdict.results)
    assert verdict.plan_sha256 == made.digest()


def test_room_made_for_others_passes() -> None:
    scene = full_target()
    made = scene.plan_of(live("r", "b", "c"), live("x", "a", "b", 1), evacuating=("a",))
    verdict = judge(made, scene.situation)
    assert not verdict.failures
    (told,) = [result.why for result in verdict.results if result.rule == "make-room"]
    assert told == "1 vms make room for others, policy allows 8"


def test_moving_nothing_is_judged_as_well() -> None:
    scene = one_vm()
    empty = scene.plan_of()
    assert judge(empty, scene.situation).passed
    assert not judge(scene.plan_of(evacuating=("a",)), scene.situation).passed
    stays = scene.plan_of(stay("x", "a"), evacuating=("a",))
    verdict = judge(stays, scene.situation)
    assert verdict.passed
    assert verdict.approval is Approval.NONE


@pytest.mark.parametrize("case", [spread(crowded(), live("x", "a", "b")), put_away(idle())], ids=["rebalance", "idle"])
def test_what_nothing_forces_passes_where_policy_lets_it_and_a_person_has_to_agree(case: Case) -> None:
    scene, made = case
    policy = scene.policy.model_dump(mode="json")
    policy["approval"] |= {"live_migrate": "auto", "cold_archive": "auto"}
    scene.policy = Policy.model_validate(policy)
    verdict = judge(made, scene.situation)
    assert not verdict.failures
    assert verdict.approval is Approval.HUMAN
    assert verdict.approval_why == "nothing forces it"


AUTO = {"approval": {"live_migrate": "auto", "cold_migrate": "auto", "cold_archive": "auto"}}


def test_policy_alone_approves_only_what_it_says() -> None:
    scene = dying(**AUTO).vm("x", on="a")
    assert _approval(scene, scene.plan_of(live("x", "a", "b"))) is Approval.NONE
    asks = dying(approval={"live_migrate": "ask", "cold_migrate": "auto", "cold_archive": "auto"}).vm("x", on="a")
    assert _approval(asks, asks.plan_of(live("x", "a", "b"))) is Approval.HUMAN


SURE = {"2h": 0.8}

SLIGHT = {"2h": 0.05}


@pytest.mark.parametrize(
    ("witnesses", "needed"),
    [
        ({Witness.BMC_METRICS: SURE}, Approval.HUMAN),
        ({Witness.BMC_METRICS: SURE, Witness.HOST_LOG: SLIGHT}, Approval.HUMAN),
        ({Witness.BMC_METRICS: SURE, Witness.BMC_LOG: {"2h": 0.18}}, Approval.NONE),
        ({}, Approval.HUMAN),
        (None, Approval.NONE),
    ],
)
def test_a_guest_is_stopped_on_the_word_of_two_or_by_a_person(
    witnesses: dict[Witness, dict[str, float]] | None, needed: Approval
) -> None:
    scene = (
        Topology(**AUTO)
        .node("a", risk=0.8, witnesses=witnesses)
        .node("b")
        .vm("x", on="a")
        .vm("off", on="a", state="shutoff")
    )
    assert _approval(scene, scene.plan_of(cold("x", "a", "b"))) is needed
    assert _approval(scene, scene.plan_of(live("x", "a", "b"))) is Approval.NONE, "live costs little"
    assert _approval(scene, scene.plan_of(cold("off", "a", "b"))) is Approval.NONE, "it is off already"


def test_it_says_who_speaks_against_a_node_and_policy_may_believe_one() -> None:
    lone: dict[str, Any] = {"risk": 0.8, "witnesses": {Witness.BMC_METRICS: SURE}}
    scene = Topology(**AUTO).node("a", **lone).node("b").vm("x", on="a")
    assert (
        "only bmc-metrics speaks against a" in judge(scene.plan_of(cold("x", "a", "b")), scene.situation).approval_why
    )
    trusting = Topology(**AUTO, stopping={"witnesses": 1}).node("a", **lone).node("b").vm("x", on="a")
    assert _approval(trusting, trusting.plan_of(cold("x", "a", "b"))) is Approval.NONE


def test_too_many_vms_always_need_a_human() -> None:
    scene = dying(approval={**AUTO["approval"], "max_auto_vms": 1}).vm("x", on="a").vm("y", on="a")
    assert _approval(scene, scene.plan_of(live("x", "a", "b"))) is Approval.NONE
    assert _approval(scene, scene.plan_of(live("x", "a", "b"), live("y", "a", "c"))) is Approval.HUMAN


def test_a_node_a_person_named_may_be_evacuated_and_needs_a_human() -> None:
    scene = dying(**AUTO).vm("x", on="c")
    asked = scene.plan_of(live("x", "c", "b"), evacuating=("c",), asked=("c",))
    verdict = judge(asked, scene.situation)
    assert verdict.passed
    assert verdict.approval is Approval.HUMAN


def test_without_risks_a_human_has_to_agree() -> None:
    scene = dying(**AUTO).vm("x", on="a")
    verdict = judge(
        scene.plan_of(live("x", "a", "b")), Situation(fleet=scene.fleet, risks=None, policy=scene.policy, now=NOW)
    )
    assert verdict.passed
    assert verdict.approval is Approval.HUMAN
    assert {result.rule for result in verdict.results if not result.judged} == {"source-risky", "target-risk", "storm"}


def test_a_plan_without_its_fleets_hash_needs_a_human() -> None:
    scene = dying(**AUTO).vm("x", on="a")
    assert _approval(scene, scene.plan_of(live("x", "a", "b"), fleet_sha256="")) is Approval.HUMAN


def test_the_guard_believes_no_estimate_of_the_plan() -> None:
    scene = one_vm(dirty_bytes_per_second=1e9)
    flattering = live("x", "a", "b", estimated_seconds=1.0, estimated_downtime_seconds=0.01, risk_before_safe=0.0)
    verdict = judge(scene.plan_of(flattering), scene.situation)
    assert [result.rule for result in verdict.failures] == ["live-converges"]


def test_the_language_model_is_judged_like_everyone() -> None:
    scene = dying().vm("x", on="c")
    hostile = scene.plan_of(live("x", "c", "b"), planned_by=PlannedBy(planner="llm", notes="the operator agreed"))
    assert not judge(hostile, scene.situation).passed


def test_names_from_outside_can_not_drive_the_terminal() -> None:
    scene = dying(protected=["*"]).vm("x\x1b[2J", on="a")
    hostile = scene.plan_of(live("x\x1b[2J", "a", "b"))
    verdict = judge(hostile, scene.situation)
    assert verdict.failures
    assert all("\x1b" not in result.why for result in verdict.results)


def _approval(scene: Topology, made: Plan) -> Approval:
    verdict = judge(made, scene.situation)
    assert verdict.passed, verdict.failures
    return verdict.approval


def test_an_empty_policy_asks_before_anything_moves() -> None:
    scene = one_vm()
    assert scene.policy == Policy()
    assert _approval(scene, scene.plan_of(live("x", "a", "b"))) is Approval.HUMAN


@pytest.mark.parametrize(
    ("pattern", "protects"),
    [("db[1]", {"db[1]"}), ("db*", {"db[1]", "db1"}), ("UUID-DB1", {"db1"}), ("uuid-*", {"db[1]", "db1", "web"}), ("d?1", set())],
)  # fmt: skip
def test_protected_means_what_it_says(pattern: str, protects: set[str]) -> None:
    """`*` is any run of characters and nothing else is special; a UUID is one however it is written."""
    scene = dying(protected=[pattern]).vm("db[1]", on="a").vm("db1", on="a").vm("web", on="a")
    refused = {
        name
        for name in ("db[1]", "db1", "web")
        if not judge(scene.plan_of(live(name, "a", "b")), scene.situation).passed
    }
    assert refused == protects
