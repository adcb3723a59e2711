"""A libvirtd that hangs, drips or stops in the middle of an answer: what was asked ends in time, and nothing piles up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scenes.bad_socket import BadSocket, Trouble, bad_socket
from scenes.two_libvirtds import IMAGES, TwoLibvirtds, until

from agent.observe.observe import observe
from models.errors import NodeUnreachable
from models.fleet import Fleet, NodeState
from tools.libvirt.given_up import GivenUp
from tools.libvirt.node import LibvirtNode

pytestmark = pytest.mark.libvirtd


@pytest.fixture
def relay(two: TwoLibvirtds, tmp_path: Path) -> Iterator[BadSocket]:
    with bad_socket(tmp_path / "sock", two.a.directory / "run/libvirt/libvirt-sock") as relay:
        yield relay


def behind(relay: BadSocket, *, answer_seconds: float = 1.0, tally: GivenUp | None = None) -> LibvirtNode:
    uri = f"qemu+unix:///session?socket={relay.path}"
    return LibvirtNode("a", uri, connect_seconds=1.0, answer_seconds=answer_seconds, tally=tally)


class Looks:
    """One look after the other, as the background agent has them."""

    def __init__(self, nodes: dict[str, LibvirtNode]) -> None:
        self._nodes = nodes
        self._fleet: Fleet | None = None

    def states(self) -> dict[str, NodeState]:
        self._fleet = observe(self._nodes, now=datetime.now(UTC), previous=self._fleet).fleet
        return {node.name: node.state for node in self._fleet.nodes}


def asking() -> int:
    """Threads that wait for a libvirtd."""
    return sum(
        thread.name.startswith(("libvirt-a", "libvirt-open", "libvirt-close", "read-a"))
        for thread in threading.enumerate()
    )


@pytest.mark.parametrize("trouble", [each for each in Trouble if each is not Trouble.NONE])
def test_looks_go_on_without_it_and_see_it_again_once_it_answers(
    two: TwoLibvirtds, relay: BadSocket, trouble: Trouble
) -> None:
    bad, good = behind(relay), LibvirtNode("b", two.b.uri)
    looks = Looks({"a": bad, "b": good})
    try:
        until(lambda: looks.states()["a"] is NodeState.ACTIVE, "first look that sees it")
        relay.trouble = trouble
        for _ in range(3):
            assert looks.states() == {"a": NodeState.OFFLINE, "b": NodeState.ACTIVE}
        until(lambda: asking() == 0, "end of every question that was given up")
        until(lambda: relay.open_now == 0, "end of every connection to it")
        relay.trouble = Trouble.NONE
        until(lambda: looks.states()["a"] is NodeState.ACTIVE, "look that sees it again")
    finally:
        bad.close()
        good.close()


def test_many_questions_at_once_end_when_it_falls_silent_under_them(relay: BadSocket) -> None:
    node = behind(relay, answer_seconds=60.0)  # the connection breaks before that: nothing keeps it alive
    try:
        until(lambda: node.node().name == "a", "first answer")
        relay.trouble = Trouble.SILENT
        with ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(node.observe, "a2ff8ba0-8c1d-4c9c-9b1c-1f4f5f0f6f0a") for _ in range(6)]
            assert all(isinstance(each.exception(), NodeUnreachable) for each in asked)
        relay.trouble = Trouble.NONE
        until(lambda: node.node().name == "a", "answer")
    finally:
        node.close()


def test_reads_of_a_disk_end_when_nobody_waits_for_them_any_more(two: TwoLibvirtds, relay: BadSocket, vm: str) -> None:
    two.a.make_image(f"{vm}.img", noise_mib=16)
    tally = GivenUp("a")
    node = behind(relay, answer_seconds=0.5, tally=tally)
    try:
        relay.stuck_after_bytes = 2 << 20
        for reads in (1, 2):
            chunks = node.read_disk(f"{IMAGES}/{vm}.img", chunk_bytes=1 << 20)
            assert len(next(chunks)) == 1 << 20
            with pytest.raises(NodeUnreachable, match="no byte of disk") as said:
                for _ in chunks:
                    pass
            assert said.value.node == "a"
            assert tally.counts()["a"] == reads
            until(lambda: asking() == 0, "end of the read that was given up")
        until(lambda: relay.open_now == 0, "end of every connection to it")
    finally:
        node.close()
