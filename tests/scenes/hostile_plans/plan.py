"""Plans that a rule about the plan as a whole has to refuse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from scenes.hostile_plans.worlds import (
    Case,
    dying,
    full_target,
    one_vm,
    repaired,
)
from scenes.topology import NOW, Topology, cold, live, stay

from models.policy.policy import Policy


def wrong_fleet() -> Case:
    scene = one_vm()
    return scene, scene.plan_of(live("x", "a", "b"), fleet_sha256="0" * 64)


def old_fleet() -> Case:
    scene = one_vm()
    scene.observed_at = NOW - timedelta(minutes=6)
    return scene, scene.plan_of(live("x", "a", "b"))


def fleet_from_the_future() -> Case:
    scene = one_vm()
    scene.observed_at = NOW + timedelta(minutes=2)
    return scene, scene.plan_of(live("x", "a", "b"))


def invented_vm() -> Case:
    scene = one_vm()
    return scene, scene.plan_of(live("x", "a", "b"), live("ghost", "a", "b"))


def invented_target() -> Case:
    scene = one_vm()
    return scene, scene.plan_of(live("x", "a", "nowhere"))


def invented_source() -> Case:
    scene = one_vm()
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a", "nowhere"))


def vm_moved_twice() -> Case:
    scene = one_vm()
    return scene, scene.plan_of(live("x", "a", "b"), live("x", "a", "c", 1))


def vm_moved_and_kept() -> Case:
    scene = one_vm()
    return scene, scene.plan_of(live("x", "a", "b"), stay("x", "a"))


def wrong_source() -> Case:
    scene = dying().vm("x", on="a")
    return scene, scene.plan_of(live("x", "c", "b"))


def vm_forgotten() -> Case:
    scene = one_vm().vm("forgotten", on="a", priority="high")
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def silent_source() -> Case:
    scene = Topology().node("a", risk=0.8, state="offline").node("b").vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def healthy_source() -> Case:
    scene = dying().vm("x", on="c")
    return scene, scene.plan_of(live("x", "c", "b"))


def source_at_risk_by_a_model_that_does_not_fit() -> Case:
    scene = Topology().node("a", risk=0.8, misfit="smart_187 moved", grounded=0.02).node("b").vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def unknown_source() -> Case:
    scene = Topology().node("a", risk=0.9, data_age=None).node("b").vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def stale_source() -> Case:
    scene = Topology().node("a", risk=0.9, data_age=301).node("b").vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def empty_evacuation_of_a_healthy_node() -> Case:
    scene = dying()
    return scene, scene.plan_of(evacuating=("c",))


def protected_vm() -> Case:
    scene = dying(protected=["db-*"]).vm("db-1", on="a")
    return scene, scene.plan_of(live("db-1", "a", "b"))


def named_otherwise() -> Case:
    scene = one_vm()
    return scene, scene.plan_of(live("x", "a", "b", vm_name="y"))


def asked_but_not_evacuated() -> Case:
    scene = dying().vm("x", on="a").vm("y", on="c")
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "c", "b", 1), evacuating=("a",), asked=("c",))


def half_the_fleet_looks_risky() -> Case:
    scene = Topology().node("a", risk=0.8).node("b", risk=0.8).node("c").node("d").vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "c"))


def room_that_nobody_needs() -> Case:
    scene = dying().vm("x", on="a").vm("r", on="b")
    return scene, scene.plan_of(live("r", "b", "c"), live("x", "a", "b", 1), evacuating=("a",))


def room_made_by_stopping() -> Case:
    scene = full_target()
    return scene, scene.plan_of(cold("r", "b", "c"), live("x", "a", "b", 1), evacuating=("a",))


def more_room_than_policy_allows() -> Case:
    scene = full_target()
    scene.policy = Policy.model_validate({"target": {"memory_headroom": 0}, "make_room": {"max_moves": 0}})
    return scene, scene.plan_of(live("r", "b", "c"), live("x", "a", "b", 1), evacuating=("a",))


def room_made_where_nothing_arrives() -> Case:
    scene = full_target()
    return scene, scene.plan_of(live("r", "b", "c"), stay("x", "a"), evacuating=("a",))


def return_that_moves_elsewhere_too() -> Case:
    scene = repaired()
    return scene, scene.plan_of(live("x", "b", "a"), live("y", "c", "b"), returning=("a",))


def return_that_stops_a_vm() -> Case:
    scene = repaired()
    return scene, scene.plan_of(cold("x", "b", "a"), returning=("a",))


def return_while_another_node_is_emptied() -> Case:
    scene = dying().vm("x", on="a").vm("y", on="b")
    moves = (live("x", "a", "c"), live("y", "b", "c", 1))
    return scene, scene.plan_of(*moves, evacuating=("a",), returning=("c",))


def return_to_a_node_that_is_not_there() -> Case:
    scene = repaired()
    return scene, scene.plan_of(stay("x", "b"), returning=("gone",))


def put_off_on_a_dying_node() -> Case:
    scene = one_vm()
    late = live("x", "a", "b", not_before=NOW + timedelta(minutes=5))
    return scene, scene.plan_of(late, evacuating=("a",))


def put_off_for_days() -> Case:
    scene = Topology().node("a").node("b").vm("x", on="a")
    late = live("x", "a", "b", not_before=NOW + timedelta(days=3))
    return scene, scene.plan_of(late, evacuating=("a",), asked=("a",))


HOSTILE: list[tuple[str, Callable[[], Case]]] = [
    ("put-off", put_off_on_a_dying_node),
    ("put-off", put_off_for_days),
    ("plan-matches-fleet", wrong_fleet),
    ("fleet-fresh", old_fleet),
    ("fleet-fresh", fleet_from_the_future),
    ("known", invented_vm),
    ("known", invented_target),
    ("known", invented_source),
    ("vm-once", vm_moved_twice),
    ("vm-once", vm_moved_and_kept),
    ("source-matches", wrong_source),
    ("complete", vm_forgotten),
    ("source-reachable", silent_source),
    ("source-risky", healthy_source),
    ("source-risky", source_at_risk_by_a_model_that_does_not_fit),
    ("source-risky", unknown_source),
    ("source-risky", stale_source),
    ("source-risky", empty_evacuation_of_a_healthy_node),
    ("protected", protected_vm),
    ("vm-named", named_otherwise),
    ("asked-evacuating", asked_but_not_evacuated),
    ("make-room", room_that_nobody_needs),
    ("return", return_that_moves_elsewhere_too),
    ("return", return_that_stops_a_vm),
    ("return", return_while_another_node_is_emptied),
    ("known", return_to_a_node_that_is_not_there),
    ("make-room", room_made_by_stopping),
    ("make-room", more_room_than_policy_allows),
    ("source-risky", room_made_where_nothing_arrives),
    ("storm", half_the_fleet_looks_risky),
]
