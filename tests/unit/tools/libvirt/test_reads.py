"""Reads of images that hang: one node has one that can't be ended at most, as over ssh, where there is no socket to shut."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from models.errors import NodeUnreachable
from tools.libvirt.connection import LibvirtConnection
from tools.libvirt.on_disk.reads import Reads


class Hanging:
    """A node whose libvirt answers nothing, and goes on so when its line is given up."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.closed = 0

    def hang(self, _: object) -> None:
        self.answers.wait()

    def line_of_its_own(self) -> Hanging:
        return self

    def ask(self, function: Callable[[Any], None]) -> None:
        function(None)

    def give_up(self) -> None:
        """There is no socket to shut."""

    def close(self) -> None:
        self.closed += 1

    def unreachable(self, why: str) -> NodeUnreachable:
        return NodeUnreachable(f"node a: {why}", node="a")


@pytest.fixture
def node() -> Iterator[Hanging]:
    node = Hanging()
    yield node
    node.answers.set()


def test_while_one_hangs_no_other_is_begun_and_the_node_is_named(
    node: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.libvirt.on_disk.reads.ENDS_WITHIN_SECONDS", 0.05)
    reads = Reads(cast(LibvirtConnection, node))
    first, beside = (reads.begin(node.hang, name="read-a") for _ in range(2))
    first.give_up()
    reads.leave(first)
    for _ in range(2):
        with pytest.raises(NodeUnreachable, match="an earlier read of a disk still hangs") as said:
            reads.begin(lambda _: None, name="read-a")
        assert said.value.node == "a"
    node.answers.set()
    assert first.call.wait(60)
    assert beside.call.wait(60)
    assert reads.begin(lambda _: None, name="read-a").call.wait(60)
    assert node.closed == 3


def test_one_that_nobody_waits_for_but_that_ends_holds_up_none(node: Hanging) -> None:
    reads = Reads(cast(LibvirtConnection, node))
    first = reads.begin(node.hang, name="read-a")
    reads.leave(first)
    node.answers.set()
    assert reads.begin(lambda _: None, name="read-a").call.wait(60)
