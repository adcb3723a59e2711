"""Where no archive store is configured nothing is planned into one."""

from __future__ import annotations

from dataclasses import replace

from scenes.topology import Topology

from agent.assess.monitor import without_archive_store
from agent.plan.solver import plan
from models.plan import ActionKind


def test_a_vm_that_would_be_archived_moves_instead_and_one_that_can_only_be_archived_says_why_it_stays() -> None:
    scene = Topology(cold_migrate={"priorities": []}).node("a", risk=0.8).node("b")
    scene.vm("batch", on="a", priority="low", cold_archive_allowed=True)
    scene.vm("stuck", on="a", priority="low", cold_archive_allowed=True, migratable=False)
    assert {action.kind for action in plan(scene.situation).actions} == {ActionKind.COLD_ARCHIVE}
    bare = replace(scene.situation, fleet=without_archive_store(scene.fleet))
    batch, stuck = sorted(plan(bare).actions, key=lambda action: action.vm_name)
    assert (batch.kind, batch.target) == (ActionKind.LIVE_MIGRATE, "b")
    assert stuck.kind is ActionKind.STAY
    assert "no archive store is configured" in stuck.reason
