"""Plans that a rule about where guests go has to refuse."""

from __future__ import annotations

from collections.abc import Callable

from scenes.hostile_plans.worlds import (
    Case,
    dying,
    full_target,
    one_vm,
    worth_draining,
)
from scenes.topology import Topology, cold, live

from models.fleet import LearnedObstacle
from models.plan import ActionKind


def onto_itself() -> Case:
    scene = worth_draining("c").vm("x", on="c")
    return scene, scene.plan_of(live("x", "c", "c"))


def draining_target() -> Case:
    scene = Topology().node("a", risk=0.8).node("b", state="draining").vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def offline_target() -> Case:
    scene = Topology().node("a", risk=0.8).node("b", state="offline").vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def target_is_evacuated_too() -> Case:
    scene = dying().vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("b",), asked=("b",))


def raised_target() -> Case:
    scene = Topology().node("a", risk=0.8).node("b", risk=0.2).vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def unknown_target() -> Case:
    scene = Topology().node("a", risk=0.8).node("b", risk=None).vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def stale_target() -> Case:
    scene = Topology().node("a", risk=0.8).node("b", data_age=3600).vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def target_at_risk_by_a_model_that_does_not_fit() -> Case:
    scene = Topology().node("a", risk=0.8).node("b", risk=0.8, misfit="smart_187 moved", grounded=0.02).vm("x", on="a")
    return scene, scene.plan_of(live("x", "a", "b"))


def target_too_small() -> Case:
    scene = one_vm(gib=58)  # 60 GiB for vms less 5 % headroom: 57
    return scene, scene.plan_of(live("x", "a", "b"))


def stopped_vms_hold_their_room() -> Case:
    scene = one_vm(gib=30).vm("off", on="b", gib=40, state="shutoff")
    return scene, scene.plan_of(live("x", "a", "b"))


def target_full_until_later() -> Case:
    """`b` is drained too, but only after `x` came: for a while it holds both."""
    scene = worth_draining("b").vm("x", on="a", gib=40).vm("y", on="b", gib=40)
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "b", "c", 1))


def vcpus_full_until_later() -> Case:
    scene = worth_draining("b").vm("x", on="a", vcpus=40).vm("y", on="b", vcpus=40)
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "b", "c", 1))


def group_together_until_later() -> Case:
    scene = worth_draining("b").vm("x", on="a", anti_affinity_group="g").vm("y", on="b", anti_affinity_group="g")
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "b", "c", 1))


def too_many_vcpus() -> Case:
    scene = one_vm(vcpus=65)  # 16 × 4
    return scene, scene.plan_of(live("x", "a", "b"))


def other_cpu(kind: Callable[..., object]) -> Callable[[], Case]:
    def build() -> Case:
        scene = Topology().node("a", risk=0.8, cpu_model="Icelake-Server").node("b", cpu_model="Skylake-Server")
        scene.vm("x", on="a")
        return scene, scene.plan_of(kind("x", "a", "b"))  # type: ignore[arg-type]

    return build


def group_meets_on_target() -> Case:
    scene = one_vm(anti_affinity_group="g").vm("y", on="b", anti_affinity_group="g")
    return scene, scene.plan_of(live("x", "a", "b"))


def group_arrives_together() -> Case:
    scene = one_vm(anti_affinity_group="g").vm("y", on="a", anti_affinity_group="g")
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "a", "b", 1))


def namesake_on_target() -> Case:
    scene = one_vm().vm("x", on="b", uuid="uuid-other")
    return scene, scene.plan_of(live("x", "a", "b"))


def namesakes_arrive_together() -> Case:
    scene = one_vm().vm("x", on="a", uuid="uuid-x2")
    return scene, scene.plan_of(live("x", "a", "b"), live("x2", "a", "b", vm_name="x"))


def target_that_refused_it() -> Case:
    refused = LearnedObstacle(kind=ActionKind.LIVE_MIGRATE, target="b", why="its CPU lacks avx512f")
    scene = one_vm(learned_obstacles=(refused,))
    return scene, scene.plan_of(live("x", "a", "b"))


def room_made_too_late() -> Case:
    scene = full_target()
    return scene, scene.plan_of(live("x", "a", "b"), live("r", "b", "c", 1), evacuating=("a",))


HOSTILE: list[tuple[str, Callable[[], Case]]] = [
    ("target-differs", onto_itself),
    ("target-active", draining_target),
    ("target-active", offline_target),
    ("target-active", target_is_evacuated_too),
    ("target-risk", raised_target),
    ("target-risk", target_at_risk_by_a_model_that_does_not_fit),
    ("target-risk", unknown_target),
    ("target-risk", stale_target),
    ("target-memory", target_too_small),
    ("target-memory", stopped_vms_hold_their_room),
    ("target-memory-peak", target_full_until_later),
    ("target-memory-peak", room_made_too_late),
    ("target-vcpus", too_many_vcpus),
    ("target-vcpus", vcpus_full_until_later),
    ("cpu-compatible", other_cpu(live)),
    ("cpu-compatible", other_cpu(cold)),
    ("anti-affinity", group_meets_on_target),
    ("anti-affinity", group_together_until_later),
    ("anti-affinity", group_arrives_together),
    ("target-open", namesake_on_target),
    ("target-open", namesakes_arrive_together),
    ("target-open", target_that_refused_it),
]
