"""Plans that a rule about how guests go has to refuse."""

from __future__ import annotations

from collections.abc import Callable

from scenes.hostile_plans.worlds import (
    Case,
    dying,
    one_vm,
)
from scenes.topology import Topology, archive, cold, live


def passthrough_moves_live() -> Case:
    scene = one_vm(migratable=False)
    return scene, scene.plan_of(live("x", "a", "b"))


def overlay_moves_live() -> Case:
    scene = one_vm(live_obstacle="disk vda is an overlay")
    return scene, scene.plan_of(live("x", "a", "b"))


def directory_moves_cold() -> Case:
    scene = one_vm(cold_obstacle="a directory of the host would be left behind")
    return scene, scene.plan_of(cold("x", "a", "b"))


def network_disk_is_archived() -> Case:
    scene = one_vm(priority="low", cold_archive_allowed=True, archive_obstacle="its data is on a server")
    return scene, scene.plan_of(archive("x", "a"))


def stopped_moves_live() -> Case:
    scene = one_vm(state="shutoff")
    return scene, scene.plan_of(live("x", "a", "b"))


def never_converges() -> Case:
    scene = one_vm(dirty_bytes_per_second=1e9)
    return scene, scene.plan_of(live("x", "a", "b"))


def converges_only_alone() -> Case:
    """Three times 150 MB/s dirtied over 125 MB/s can be throttled; over half of that it can't."""
    scene = dying().vm("x", on="a", gib=1, dirty_bytes_per_second=150e6).vm("y", on="a", gib=1)
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "a", "c"))


def pauses_too_long() -> Case:
    """A quiet guest, and a policy that allows less than switching over takes."""
    scene = dying(migration={"max_downtime": "50ms"})
    scene.vm("x", on="a", dirty_bytes_per_second=0.0)
    return scene, scene.plan_of(live("x", "a", "b"))


def too_long_for_the_time_limit() -> Case:
    scene = one_vm(shared_storage=False, disk_bytes=200 * 10**9)
    return scene, scene.plan_of(live("x", "a", "b"))


def cold_move_of_what_policy_keeps_running() -> Case:
    scene = dying(cold_migrate={"priorities": ["low"]}).vm("x", on="a", priority="high", migratable=False)
    return scene, scene.plan_of(cold("x", "a", "b"))


def cold_move_of_a_stopped_vm() -> Case:
    scene = dying(cold_migrate={"stopped_vms": False}).vm("x", on="a", state="shutoff")
    return scene, scene.plan_of(cold("x", "a", "b"))


def archive_without_consent() -> Case:
    scene = one_vm(priority="low")
    return scene, scene.plan_of(archive("x", "a"))


def archive_against_refusal() -> Case:
    scene = dying(archive={"allow_without_label": True}).vm("x", on="a", priority="low", cold_archive_allowed=False)
    return scene, scene.plan_of(archive("x", "a"))


def archive_of_a_vm_with_a_broken_label() -> Case:
    scene = dying(archive={"allow_without_label": True}).vm("x", on="a", priority="low", label_warning="priority: gold")
    return scene, scene.plan_of(archive("x", "a"))


def archive_of_high_priority() -> Case:
    scene = one_vm(priority="high", cold_archive_allowed=True)
    return scene, scene.plan_of(archive("x", "a"))


def archive_of_a_paused_vm() -> Case:
    scene = one_vm(priority="low", cold_archive_allowed=True, state="paused")
    return scene, scene.plan_of(archive("x", "a"))


def too_many_off_one_node() -> Case:
    scene = dying().node("d").vm("x", on="a").vm("y", on="a").vm("z", on="a")
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "a", "c"), live("z", "a", "d"))


def an_archive_beside_as_many_moves_as_may_leave() -> Case:
    scene = dying().vm("x", on="a").vm("y", on="a").vm("z", on="a", priority="low", cold_archive_allowed=True)
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "a", "c"), archive("z", "a"))


def too_many_onto_one_node() -> Case:
    scene = Topology()
    for name in "pqr":
        scene.node(name, risk=0.8).vm(name, on=name)
    for name in "tuvwxyz":  # enough of them that three risky ones are no storm
        scene.node(name)
    return scene, scene.plan_of(*(live(name, name, "t") for name in "pqr"))


def too_many_on_one_link() -> Case:
    scene = dying(limits={"per_link": 1}).vm("x", on="a").vm("y", on="a")
    return scene, scene.plan_of(live("x", "a", "b"), live("y", "a", "b"))


def too_many_in_the_fleet() -> Case:
    scene = dying(limits={"per_fleet": 1}).vm("x", on="a").vm("y", on="a", priority="low", cold_archive_allowed=True)
    return scene, scene.plan_of(live("x", "a", "b"), archive("y", "a"))


def too_many_archives() -> Case:
    scene = dying()
    for name in "xy":
        scene.vm(name, on="a", priority="low", cold_archive_allowed=True)
    return scene, scene.plan_of(archive("x", "a"), archive("y", "a"))


HOSTILE: list[tuple[str, Callable[[], Case]]] = [
    ("live-migratable", passthrough_moves_live),
    ("live-migratable", overlay_moves_live),
    ("live-migratable", stopped_moves_live),
    ("live-converges", never_converges),
    ("live-converges", converges_only_alone),
    ("live-downtime", pauses_too_long),
    ("live-in-time", too_long_for_the_time_limit),
    ("cold-migrate-allowed", cold_move_of_what_policy_keeps_running),
    ("cold-migrate-allowed", directory_moves_cold),
    ("cold-migrate-allowed", cold_move_of_a_stopped_vm),
    ("archive-allowed", archive_without_consent),
    ("archive-allowed", network_disk_is_archived),
    ("archive-allowed", archive_against_refusal),
    ("archive-allowed", archive_of_a_vm_with_a_broken_label),
    ("archive-allowed", archive_of_high_priority),
    ("archive-allowed", archive_of_a_paused_vm),
    ("limit-outbound", too_many_off_one_node),
    ("limit-outbound", an_archive_beside_as_many_moves_as_may_leave),
    ("limit-inbound", too_many_onto_one_node),
    ("limit-link", too_many_on_one_link),
    ("limit-fleet", too_many_in_the_fleet),
    ("limit-archives", too_many_archives),
]
