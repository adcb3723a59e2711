"""Guests whose QEMU hangs: the others are asked, and the node answers in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tools.libvirt.qemu_questions import QemuQuestions


class Node:
    """Connections are numbers; a question that hangs goes on until the test releases it."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.in_use: set[int] = set()
        self.asked: list[str] = []
        self._numbers = count(1)

    def open(self) -> int:
        self.opened.append(next(self._numbers))
        return self.opened[-1]

    def questions(self, altogether: float = 5.0, one: float = 0.1) -> QemuQuestions[int]:
        return QemuQuestions(self.open, self.closed.append, altogether=altogether, one=one)

    def hangs(self, vm: str) -> Callable[[int], str]:
        def question(connection: int) -> str:
            self.asked.append(vm)
            self.in_use.add(connection)
            self.released.wait(20)
            return vm

        return question

    def answers(self, vm: str) -> Callable[[int], str]:
        def question(connection: int) -> str:
            assert connection not in self.in_use, "it would wait for somebody else's QEMU"
            self.asked.append(vm)
            return vm

        return question


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.released.set()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_who_hangs_is_left_out_and_the_others_are_asked_on_connections_of_their_own(node: Node) -> None:
    guests = {f"hung-{n}": node.hangs(f"hung-{n}") for n in range(3)} | {
        f"well-{n}": node.answers(f"well-{n}") for n in range(20)
    }
    assert set(node.questions().ask(guests)) == {f"well-{n}" for n in range(20)}
    assert len(node.opened) < 10, "those that answer share theirs"


def test_several_that_hang_are_waited_for_at_the_same_time(node: Node) -> None:
    began = time.monotonic()
    assert node.questions(one=0.2).ask({f"hung-{n}": node.hangs(f"hung-{n}") for n in range(16)}) == {}
    assert time.monotonic() - began < 16 * 0.2


def test_the_node_is_never_waited_for_longer_than_altogether(node: Node) -> None:
    began = time.monotonic()
    assert node.questions(altogether=0.3, one=0.2).ask({f"hung-{n}": node.hangs(f"hung-{n}") for n in range(50)}) == {}
    assert time.monotonic() - began < 50 * 0.2


def test_who_still_owes_an_answer_is_not_asked_nor_waited_for_at_the_next_look(node: Node) -> None:
    questions = node.questions(one=0.3)
    guests = {"hung": node.hangs("hung"), "well": node.answers("well")}
    questions.ask(guests)
    for _ in range(5):
        assert questions.ask(guests) == {"well": "well"}
    assert node.asked.count("hung") == 1


def test_who_answered_late_is_asked_again(node: Node) -> None:
    questions = node.questions()
    assert questions.ask({"late": node.hangs("late")}) == {}
    node.released.set()
    until(lambda: questions.ask({"late": lambda _: "late"}) == {"late": "late"})


def test_an_error_is_no_answer_and_its_connection_is_used_no_more(node: Node) -> None:
    def refuses(_: int) -> int:
        raise OSError("no such device")

    questions = node.questions()
    assert questions.ask({"vm": refuses}) == {}
    assert questions.ask({"vm": lambda connection: connection}) == {"vm": 2}
    assert node.closed == [1]


def test_closing_leaves_no_connection_open_once_all_is_over(node: Node) -> None:
    questions = node.questions()
    questions.ask({"hung": node.hangs("hung"), "well": node.answers("well")})
    questions.close()
    node.released.set()
    until(lambda: sorted(node.closed) == sorted(node.opened))


def test_connections_that_nobody_asks_by_are_closed_and_opened_again_for_the_next_question(node: Node) -> None:
    questions = QemuQuestions(node.open, node.closed.append, one=10.0, idle_seconds=0.02)
    assert questions.ask({"vm-1": node.answers("vm-1")}) == {"vm-1": "vm-1"}
    until(lambda: node.closed == node.opened)
    assert questions.ask({"vm-1": node.answers("vm-1")}) == {"vm-1": "vm-1"}
    until(lambda: node.closed == node.opened)
    assert len(node.opened) == 2
