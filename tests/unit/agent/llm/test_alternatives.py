"""The plans a model may choose from, and what it may change in them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from scenes import evacuations as scene

from agent.guard.judge import judge
from agent.llm.alternatives import AlternativeName, alternatives
from agent.llm.draft import DraftDecision, PlanDraft
from agent.llm.task import PlanTask
from agent.plan import solver
from agent.report import build_report
from agent.report.markdown import render_markdown
from models.fleet import Fleet
from models.knowledge import Knowledge, PlannedWork
from models.plan import ActionKind, PlannedBy
from models.risk.risk import Risk

WORK_ON_B = Knowledge(planned_work=(PlannedWork(node="node-b", start=scene.at(1800), end=scene.at(9000)),))


def one_rack_for_b() -> Fleet:
    fleet = scene.fleet()
    nodes = tuple(
        node.model_copy(update={"failure_domain": "rack-0"}) if node.name == "node-b" else node for node in fleet.nodes
    )
    return fleet.model_copy(update={"nodes": nodes})


def offered(fleet: Fleet, knowledge: Knowledge) -> dict[AlternativeName, solver.Plan]:
    situation = scene.situation(fleet)
    found = alternatives(situation, solver.plan(situation, ("node-a",)), knowledge)
    assert all(each.passes == judge(each.plan, situation).passed for each in found)
    return {each.name: each.plan for each in found}


def test_each_alternative_keeps_its_wish() -> None:
    plans = offered(one_rack_for_b(), WORK_ON_B)
    assert next(iter(plans)) is AlternativeName.SOLVER
    assert {a.kind for a in plans[AlternativeName.STOP_NOTHING].actions} <= {ActionKind.LIVE_MIGRATE, ActionKind.STAY}
    for name, plan in plans.items():
        if name in (AlternativeName.APART, AlternativeName.AWAY_FROM_WORK, AlternativeName.CAREFUL):
            assert "node-b" not in {action.target for action in plan.actions}, name
    assert all(plan.expected_loss >= plans[AlternativeName.SOLVER].bound for plan in plans.values())


def test_work_far_off_and_plans_that_are_the_same_offer_nothing() -> None:
    far = PlannedWork(node="node-b", start=scene.at(0) + timedelta(days=3), end=scene.at(0) + timedelta(days=4))
    assert set(offered(scene.fleet(), Knowledge(planned_work=(far,)))) == {
        AlternativeName.SOLVER,
        AlternativeName.STOP_NOTHING,
    }


def task(knowledge: Knowledge = WORK_ON_B) -> PlanTask:
    situation = scene.situation(scene.fleet())
    return PlanTask(situation, solver.plan(situation, ("node-a",)), (), knowledge)


def test_a_draft_may_start_from_one_and_change_a_vm() -> None:
    asked = task()
    draft = PlanDraft(
        start_from=AlternativeName.STOP_NOTHING,
        decisions=[DraftDecision(vm="vm-5", action="stay", target=None, reason="it is done at noon")],
    )
    plan = asked.assemble(draft, PlannedBy(planner="llm"))
    kinds = {action.vm_name: action.kind for action in plan.actions}
    assert kinds["batch-1"] is ActionKind.LIVE_MIGRATE
    assert kinds["batch-2"] is ActionKind.STAY
    with pytest.raises(ValueError, match="no plan apart was offered"):
        asked.assemble(PlanDraft(start_from=AlternativeName.APART), PlannedBy(planner="llm"))


def test_what_no_plan_can_better_is_the_same_beside_the_model_s_plan() -> None:
    situation = scene.situation(scene.fleet())
    by_solver = solver.plan(situation, ("node-a",))
    stays = [DraftDecision(vm=f"vm-{n}", action="stay") for n in range(1, 6)]
    plan = PlanTask(situation, by_solver, ()).assemble(PlanDraft(decisions=stays), PlannedBy(planner="llm"))
    assert plan.bound is not None
    assert plan.bound == by_solver.bound
    assert plan.gap == pytest.approx(1 - plan.bound / plan.expected_loss, abs=1e-3)


def test_urgency_is_the_order_in_which_moves_start() -> None:
    asked = task()
    decisions = [
        DraftDecision(vm=f"vm-{n}", action="live_migrate", target=f"node-{2 + n % 2}", urgency=6 - n)
        for n in range(1, 6)
    ]
    plan = asked.assemble(PlanDraft(decisions=decisions), PlannedBy(planner="llm"))
    wave = {action.vm_name: action.wave for action in plan.actions}
    assert wave["batch-2"] < wave["inference-1"]
    assert wave["batch-2"] <= wave["batch-1"] <= wave["web-1"] <= wave["inference-2"] <= wave["inference-1"]
    assert judge(plan, scene.situation(scene.fleet())).passed


def test_it_may_have_a_move_wait_where_policy_lets_moves_wait() -> None:
    later = [DraftDecision(vm="vm-1", action="live_migrate", target="node-2", begin_in_seconds=3600)]
    refused = task().judge_plan(later, AlternativeName.SOLVER)
    assert not refused.passes, "its node is at the trigger"
    sound = [risk for risk in scene.risks() if risk.node != "node-a"]
    quiet = Risk(node="node-a", probability={"2h": 0.0, "7d": 0.001}, data_age_seconds=1.0, assessed_at=scene.at(0))
    situation = scene.situation(scene.fleet(), [*sound, quiet])
    asked = PlanTask(situation, solver.plan(situation, asked=("node-a",)), ("node-a",))
    draft = PlanDraft(start_from=AlternativeName.SOLVER, decisions=later)
    plan = asked.assemble(draft, PlannedBy(planner="llm"))
    waits = {action.vm_name: action.not_before for action in plan.moves}
    assert waits["inference-1"] == scene.at(3600)
    assert waits["inference-2"] is None
    assert judge(plan, situation).passed


def test_it_may_ask_what_would_come_of_a_draft() -> None:
    asked = task()
    stays = [DraftDecision(vm=f"vm-{n}", action="stay") for n in range(1, 6)]
    verdict = asked.judge_plan(stays)
    assert verdict.expected_loss > verdict.most_expected_loss > verdict.solver_expected_loss
    nothing, moved = asked.simulate_plan(stays), asked.simulate_plan([], AlternativeName.SOLVER)
    assert nothing.lost_on_average == nothing.lost_if_nothing_is_done
    assert moved.lost_on_average < nothing.lost_on_average / 4
    assert moved.over_after_seconds is not None
    assert nothing.over_after_seconds is None


def test_the_first_message_holds_every_plan_with_its_loss() -> None:
    said = json.loads(task().question())
    names = {each["name"]: each for each in said["alternatives"]}
    assert {"stop-nothing", "away-from-work"} <= set(names)
    assert all(each["expected_loss"] > 0 and each["differs"] for each in names.values())


def test_where_it_differs_from_the_solver_and_why_is_in_the_report() -> None:
    asked = task()
    draft = PlanDraft(
        start_from=AlternativeName.SOLVER,
        decisions=[
            DraftDecision(vm="vm-4", action="live_migrate", target="node-2", reason="its owner wants it to run")
        ],
    )
    plan = asked.assemble(draft, PlannedBy(planner="llm"))
    situation = scene.situation(scene.fleet())
    page = render_markdown(build_report(situation, plan, judge(plan, situation), now=situation.now))
    assert "Language model beside the solver" in page
    assert "instead of" in page
    assert "its owner wants it to run" in page
    own = solver.plan(situation, ("node-a",))
    assert "beside the solver" not in render_markdown(build_report(situation, own, None, now=situation.now))
