"""The gate: the plan's order, every limit, and nobody keeps a place who has left."""

from __future__ import annotations

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.execute.admission import AdmissionQueue
from models.plan import Action, ActionKind
from models.planning.schedule import may_join
from models.policy.policy import LimitPolicy


def move(number: int, source: str = "a", target: str = "b") -> Action:
    return Action(kind=ActionKind.LIVE_MIGRATE, vm=f"vm-{number}", source=source, target=target)


def gate(actions: list[Action], **limits: int) -> AdmissionQueue:
    return AdmissionQueue(actions, LimitPolicy(**limits), stopped=lambda _: None, paused=lambda: False)


def test_what_was_over_before_a_restart_takes_no_place() -> None:
    made = gate([move(0), move(1), move(2)], per_fleet=1)
    made.release(0)
    made.announce([0, 1, 2])
    assert made.acquire(1) is None
    made.release(1)
    assert made.acquire(2) is None


def test_the_next_one_in_the_plans_order_is_let_in_when_one_leaves() -> None:
    made = gate([move(number) for number in range(3)], per_fleet=1)
    made.announce([0, 1, 2])
    assert made.acquire(0) is None
    order: list[int] = []

    def go(number: int) -> None:
        made.acquire(number)
        order.append(number)
        made.release(number)

    threads = [threading.Thread(target=go, args=(number,)) for number in (2, 1)]
    for thread in threads:
        thread.start()
    made.release(0)
    for thread in threads:
        thread.join(10)
    assert order == [1, 2]


def test_one_that_is_not_wanted_any_more_is_told_why() -> None:
    made = AdmissionQueue([move(0)], LimitPolicy(), stopped=lambda _: "the node recovered", paused=lambda: True)
    assert made.acquire(0) == "the node recovered"


NODES = st.sampled_from("abcd")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(NODES, NODES), max_size=12), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_no_limit_is_ever_passed_and_everybody_gets_in(
    ways: list[tuple[str, str]], outbound: int, inbound: int, per_fleet: int
) -> None:
    actions = [move(number, source, target) for number, (source, target) in enumerate(ways)]
    limits = LimitPolicy(outbound_per_node=outbound, inbound_per_node=inbound, per_fleet=per_fleet)
    made = AdmissionQueue(actions, limits, stopped=lambda _: None, paused=lambda: False)
    made.announce(range(len(actions)))
    inside: dict[int, Action] = {}
    mutex = threading.Lock()
    broken: list[int] = []

    def go(number: int) -> None:
        made.acquire(number)
        with mutex:
            if not may_join(actions[number], list(inside.values()), limits):
                broken.append(number)
            inside[number] = actions[number]
        with mutex:
            del inside[number]
        made.release(number)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert broken == []
