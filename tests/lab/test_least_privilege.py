"""deploy/polkit/60-lifeboat.rules in a real polkitd, asked by real libvirtds for each call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scenes.polkit_nodes import ACTS, READS, PolkitNodes, missing

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def nodes() -> Iterator[PolkitNodes]:
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    both = PolkitNodes()
    both.put_disk("spare.raw", node="b")
    yield both
    both.close()


def test_who_looks_sees_the_whole_fleet_and_can_do_nothing(nodes: PolkitNodes) -> None:
    nodes.run_guest("seen", node="a")
    nodes.run_guest("tried", node="b")
    found = nodes.as_user(READS, "looks", "doctor", "refused", tried="tried")
    assert found["looks"] == {"a": {"node": "a", "vms": ["seen"]}, "b": {"node": "b", "vms": ["tried"]}}
    assert found["doctor"] == {"a": None, "b": False}, "a lets it in to look only, b lets it in and refuses each change"
    let_through = [name for calls in found["refused"].values() for name, refused in calls.items() if not refused]
    assert let_through == []
    assert nodes.state("tried") == {"b": True}
    assert nodes.state("new") == {}


def test_who_acts_moves_archives_and_restores_and_can_do_nothing_else(nodes: PolkitNodes) -> None:
    for name in ("live", "cold", "archived", "tried-too"):
        nodes.run_guest(name, node="b" if name == "tried-too" else "a")
    found = nodes.as_user(ACTS, "doctor", "came_to", "refused", tried="tried-too")
    assert found["doctor"] == {"a": True, "b": True}
    assert all(said.startswith("done") for said in found["came_to"].values()), found["came_to"]
    for name in ("live", "cold", "archived"):
        assert nodes.state(name) == {"b": True}
    assert [name for name, refused in found["refused"]["acting"].items() if refused] == []
    assert [name for name, refused in found["refused"]["nobody's"].items() if not refused] == []
