"""Plans that nothing forces, and that a rule has to refuse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from scenes.hostile_plans.worlds import (
    SPREAD,
    Case,
    crowded,
    idle,
    put_away,
    spread,
)
from scenes.topology import NOW, Topology, archive, cold, live, stay

from models.policy.policy import Policy


def rebalance_that_policy_does_not_want() -> Case:
    return spread(crowded(rebalance={"allowed": False}), live("x", "a", "b"))


def rebalance_of_many() -> Case:
    return spread(crowded(rebalance={"allowed": True, "max_moves": 1}), live("x", "a", "b"), live("y", "a", "c"))


def rebalance_by_stopping() -> Case:
    return spread(crowded(), cold("x", "a", "b"))


def rebalance_an_hour_after_an_evacuation() -> Case:
    return spread(crowded().moved("q", "b", "c", minutes_ago=60), live("x", "a", "b"))


def rebalance_that_gains_nothing() -> Case:
    scene = Topology(**SPREAD).node("a").node("b").node("c").vm("x", on="a")
    return spread(scene, live("x", "a", "b"))


def rebalance_while_a_node_is_dying() -> Case:
    return spread(crowded().node("d", risk=0.8), live("x", "a", "b"))


def rebalance_that_empties_a_node() -> Case:
    scene = crowded()
    moves = (live("x", "a", "b"), live("y", "a", "c"), stay("z", "a"))
    return scene, scene.plan_of(*moves, evacuating=("a",), at_leisure="rebalance")


def idle_archive_that_policy_does_not_want() -> Case:
    scene = idle()
    scene.policy = Policy()
    return put_away(scene)


def idle_archive_of_a_busy_vm() -> Case:
    return put_away(idle(idle_since=NOW - timedelta(days=29)))


def idle_archive_of_a_vm_nobody_watched() -> Case:
    return put_away(idle(idle_since=None))


def idle_archive_without_the_owners_word() -> Case:
    return put_away(idle(cold_archive_allowed=None))


def idle_archive_of_normal_priority() -> Case:
    return put_away(idle(priority="normal"))


def idle_archive_that_moves_a_vm_besides() -> Case:
    scene = idle().vm("y", on="a")
    return scene, scene.plan_of(archive("x", "a"), live("y", "a", "b", 1), at_leisure="archive_idle")


HOSTILE: list[tuple[str, Callable[[], Case]]] = [
    ("rebalance", rebalance_that_policy_does_not_want),
    ("rebalance", rebalance_of_many),
    ("rebalance", rebalance_by_stopping),
    ("rebalance", rebalance_an_hour_after_an_evacuation),
    ("rebalance", rebalance_that_gains_nothing),
    ("at-leisure", rebalance_while_a_node_is_dying),
    ("at-leisure", rebalance_that_empties_a_node),
    ("archive-idle", idle_archive_that_policy_does_not_want),
    ("archive-idle", idle_archive_of_a_busy_vm),
    ("archive-idle", idle_archive_of_a_vm_nobody_watched),
    ("archive-idle", idle_archive_without_the_owners_word),
    ("archive-idle", idle_archive_of_normal_priority),
    ("archive-idle", idle_archive_that_moves_a_vm_besides),
]
