"""Plans that a rule against too many moves has to refuse."""

from __future__ import annotations

from collections.abc import Callable

from scenes.hostile_plans.worlds import (
    Case,
    dying,
    one_vm,
    worth_draining,
)
from scenes.topology import Topology, live

from models.past_moves import Mover


def breaker_is_tripped() -> Case:
    scene = one_vm().breaker(tripped=True, minutes_ago=600)
    return scene, scene.plan_of(live("x", "a", "b"))


def moved_a_moment_ago() -> Case:
    scene = one_vm().moved("x", "c", "a", minutes_ago=5)
    return scene, scene.plan_of(live("x", "a", "b"))


def moved_by_somebody_else_a_moment_ago() -> Case:
    scene = one_vm().moved("x", "c", "a", minutes_ago=5, by=Mover.OTHERS)
    return scene, scene.plan_of(live("x", "a", "b"))


def moved_twice_and_held_twice_as_long() -> Case:
    scene = one_vm().moved("x", "a", "c", minutes_ago=600).moved("x", "c", "a", minutes_ago=15)
    return scene, scene.plan_of(live("x", "a", "b"))


def moved_to_and_fro_all_day() -> Case:
    scene = Topology().node("a", risk=1.0).node("b").node("c").vm("x", on="a")
    for number in range(6):
        there, back = ("c", "a") if number % 2 else ("a", "c")
        scene.moved("x", there, back, minutes_ago=1400 - number)
    return scene, scene.plan_of(live("x", "a", "b"))


def one_node_of_two_was_emptied_today() -> Case:
    scene = Topology().node("a", risk=0.8).node("b").vm("x", on="a").moved("y", "b", "a", minutes_ago=1200)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def three_nodes_of_five_were_emptied_today() -> Case:
    scene = dying().node("d").node("e").vm("x", on="a")
    scene.moved("y", "b", "c", minutes_ago=1200).moved("z", "c", "d", minutes_ago=900)
    scene.moved("u", "d", "e", minutes_ago=700)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def too_many_guests_in_a_day() -> Case:
    scene = dying(churn={"guests_a_day": 2}).vm("x", on="a")
    scene.moved("y", "a", "c", minutes_ago=1200).moved("z", "a", "c", minutes_ago=1100)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def drain_beside_a_balancer() -> Case:
    scene = worth_draining("c").vm("x", on="c")
    for name in "pqr":
        scene.moved(name, "a", "b", minutes_ago=20, by=Mover.OTHERS)
    return scene, scene.plan_of(live("x", "c", "b"), evacuating=("c",))


HOSTILE: list[tuple[str, Callable[[], Case]]] = [
    ("breaker", breaker_is_tripped),
    ("guest-cooldown", moved_a_moment_ago),
    ("guest-cooldown", moved_by_somebody_else_a_moment_ago),
    ("guest-cooldown", moved_twice_and_held_twice_as_long),
    ("guest-cooldown", moved_to_and_fro_all_day),
    ("day-cap", one_node_of_two_was_emptied_today),
    ("day-cap", three_nodes_of_five_were_emptied_today),
    ("day-cap", too_many_guests_in_a_day),
    ("other-movers", drain_beside_a_balancer),
]
