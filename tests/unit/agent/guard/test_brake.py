"""What the brake on churn has to let pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scenes.hostile_plans.churn import (
    one_node_of_two_was_emptied_today,
)
from scenes.hostile_plans.worlds import (
    Case,
    one_vm,
    repaired,
    worth_draining,
)
from scenes.topology import Topology, live

from agent.guard.judge import judge
from models.past_moves import Mover


def in_time_again() -> Case:
    scene = one_vm().moved("x", "c", "a", minutes_ago=11)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def likelier_to_be_lost_than_to_wait() -> Case:
    """Held for 40 minutes more, and the node is to fail within 30."""
    scene = Topology().node("a", risk=1.0).node("b").node("c").vm("x", on="a")
    for number in range(3):
        scene.moved("x", *(("c", "a") if number % 2 else ("a", "c")), minutes_ago=600 - number)
    scene.moved("x", "c", "a", minutes_ago=1)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def held_and_named_by_a_person() -> Case:
    scene = one_vm().moved("x", "c", "a", minutes_ago=1)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",), asked=("a",))


def given_back_though_it_moved_a_moment_ago() -> Case:
    scene = repaired().moved("x", "a", "b", minutes_ago=1)
    return scene, scene.plan_of(live("x", "b", "a"), returning=("a",))


def emptied_yesterday() -> Case:
    scene = Topology().node("a", risk=0.8).node("b").vm("x", on="a").moved("y", "b", "a", minutes_ago=1441)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def the_same_node_again() -> Case:
    scene = Topology().node("a", risk=0.8).node("b").vm("x", on="a").moved("y", "a", "b", minutes_ago=60)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def the_node_emptied_before_is_dead() -> Case:
    scene = Topology().node("a", risk=0.8).node("b", state="offline").node("c").vm("x", on="a")
    scene.moved("y", "b", "c", minutes_ago=1200).moved("z", "c", "a", minutes_ago=600)
    return scene, scene.plan_of(live("x", "a", "c"), evacuating=("a",))


def a_person_reset_the_breaker_since() -> Case:
    scene, made = one_node_of_two_was_emptied_today()
    return scene.breaker(tripped=False, minutes_ago=600), made


def evacuation_beside_a_balancer() -> Case:
    scene = one_vm()
    for name in "pqr":
        scene.moved(name, "b", "c", minutes_ago=20, by=Mover.OTHERS)
    return scene, scene.plan_of(live("x", "a", "b"), evacuating=("a",))


def drain_after_one_vm_was_moved_by_hand() -> Case:
    scene = worth_draining("c").vm("x", on="c")
    for minutes in (5, 10, 20):
        scene.moved("p", "a", "b", minutes_ago=minutes, by=Mover.OTHERS)
    return scene, scene.plan_of(live("x", "c", "b"), evacuating=("c",))


@pytest.mark.parametrize(
    "case",
    [
        in_time_again,
        likelier_to_be_lost_than_to_wait,
        held_and_named_by_a_person,
        given_back_though_it_moved_a_moment_ago,
        emptied_yesterday,
        the_same_node_again,
        the_node_emptied_before_is_dead,
        a_person_reset_the_breaker_since,
        evacuation_beside_a_balancer,
        drain_after_one_vm_was_moved_by_hand,
    ],
)
def test_the_brake_lets_pass_what_must_not_wait(case: Callable[[], Case]) -> None:
    scene, made = case()
    assert not judge(made, scene.situation).failures
