"""Rebalancing and idle archives: few moves, each worth it, and none that breaks a limit."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.command_line import lifeboat
from scenes.independent_checker import broken_on_the_way
from scenes.topology import NOW, Topology

from agent.documents import write_value
from agent.guard.judge import judge
from agent.observe.idleness import with_idleness
from agent.plan.leisure.idle import plan_idle_archives
from agent.plan.leisure.rebalance import plan_rebalance
from models.fleet import Fleet
from models.planning.balance import held, imbalance

SPREAD = {"rebalance": {"allowed": True}}


def loads(scene: Topology, moves: dict[str, str] | None = None) -> list[float]:
    fleet = scene.fleet
    vms = tuple(vm.model_copy(update={"node": (moves or {}).get(vm.uuid, vm.node)}) for vm in fleet.vms)
    return [one.load for one in held(Fleet(observed_at=NOW, nodes=fleet.nodes, vms=vms), scene.policy).values()]


@st.composite
def fleets(draw: st.DrawFn) -> Topology:
    topology = Topology(**SPREAD)
    for name in "abcd":
        topology.node(name, risk=draw(st.sampled_from([0.0, 0.01, 0.09, 0.3])))
        for number in range(draw(st.integers(0, 6))):
            topology.vm(
                f"{name}{number}",
                on=name,
                gib=draw(st.sampled_from([1, 4, 9])),
                priority=draw(st.sampled_from(["high", "normal", "low"])),
                migratable=draw(st.sampled_from([True, True, False])),
                anti_affinity_group=draw(st.sampled_from([None, None, "g"])),
            )
    return topology


@given(scene=fleets())
@settings(max_examples=25, deadline=None)
def test_a_rebalance_passes_the_guard_breaks_nothing_on_the_way_and_leaves_nothing_worse(scene: Topology) -> None:
    made = plan_rebalance(scene.situation)
    assert not judge(made, scene.situation).failures
    assert broken_on_the_way(made, scene.fleet, scene.policy) == []
    assert len(made.moves) <= scene.policy.rebalance.max_moves
    if made.moves and all(risk.probability["24h"] == 0.0 for risk in scene.risks):
        where = {action.vm: action.target or "" for action in made.moves}
        assert imbalance(loads(scene, where), 0.1) < imbalance(loads(scene), 0.1)


def test_a_crowded_node_is_relieved_with_few_moves_and_a_second_look_finds_nothing() -> None:
    scene = Topology(**SPREAD).node("a").node("b").node("c")
    for number in range(6):
        scene.vm(f"v{number}", on="a", gib=8)
    made = plan_rebalance(scene.situation)
    assert 2 <= len(made.moves) <= 4
    assert {action.source for action in made.moves} == {"a"}
    assert "a is 84 % full" in made.moves[0].reason
    where = {action.vm: action.target or "" for action in made.moves}
    assert max(loads(scene, where)) < 0.6
    spread = Topology(**SPREAD).node("a").node("b").node("c")
    for vm in scene.fleet.vms:
        spread.vm(vm.name, on=where.get(vm.uuid, vm.node), gib=8)
    again = plan_rebalance(spread.situation)
    assert again.moves == ()
    assert "no move is worth what it costs" in again.planned_by.notes


def test_risk_is_spread_too_the_dearest_guests_first() -> None:
    scene = Topology(**SPREAD).node("a", risk=0.09).node("b").node("c")
    scene.vm("dear", on="a", priority="high").vm("cheap", on="a", priority="low")
    made = plan_rebalance(scene.situation)
    assert made.moves[0].vm_name == "dear"
    assert "a is likelier to fail" in made.moves[0].reason


def test_only_idle_vms_of_low_priority_with_their_owners_word_are_archived_largest_first() -> None:
    scene = Topology(idle={"allowed": True}).node("a")
    old = NOW - timedelta(days=40)
    told = {"priority": "low", "cold_archive_allowed": True, "idle_since": old}
    scene.vm("small", on="a", **told).vm("large", on="a", gib=8, **told)
    scene.vm("busy", on="a", **(told | {"idle_since": None})).vm("young", on="a", **(told | {"idle_since": NOW}))
    scene.vm("dear", on="a", **(told | {"priority": "normal"})).vm(
        "unsaid", on="a", **(told | {"cold_archive_allowed": None})
    )
    made = plan_idle_archives(scene.situation)
    assert [action.vm_name for action in made.moves] == ["large", "small"]
    assert {action.wave for action in made.moves} == {0, 1}, "one at a time reads a node's disks"
    assert not judge(made, scene.situation).failures
    assert broken_on_the_way(made, scene.fleet, scene.policy) == []


class Loads:
    def __init__(self, told: dict[tuple[str, str], tuple[float, float]]) -> None:
        self._told = told

    def busiest_hours(self, within: timedelta) -> dict[tuple[str, str], tuple[float, float]]:
        return self._told


@pytest.mark.parametrize(
    ("told", "idle"),
    [
        ({("a", "x"): (0.001, 1.0)}, True),
        ({("a", "x"): (0.5, 1.0)}, False),
        ({("a", "x"): (0.001, 0.5)}, False),
        ({}, False),
        ({("exporter-7", "x"): (0.001, 1.0)}, True),
        ({("p", "x"): (0.001, 1.0), ("q", "x"): (0.5, 1.0)}, False),
    ],
    ids=["idle", "busy", "watched half of the time", "not told", "another name of its node", "two of that name"],
)
def test_idle_is_what_was_watched_and_did_nothing(told: dict[tuple[str, str], tuple[float, float]], idle: bool) -> None:
    scene = Topology().node("a").vm("x", on="a")
    known = with_idleness(scene.fleet, Loads(told), idle_for=timedelta(days=30), busy_above=0.02, now=NOW)
    assert (known.vms[0].idle_since is not None) is idle
    assert known.digest() == scene.fleet.digest()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    scene = Topology().node("a").node("b").node("c")
    for number in range(5):
        scene.vm(f"v{number}", on="a", gib=9)
    told = {"priority": "low", "cold_archive_allowed": True, "idle_since": NOW - timedelta(days=40)}
    scene.vm("sleeper", on="b", **told)
    write_value(tmp_path / "fleet.json", scene.fleet)
    write_value(tmp_path / "risks.json", scene.risks)
    (tmp_path / "policy.yaml").write_text("rebalance: {allowed: true}\nidle: {allowed: true}\n")
    return tmp_path


FILES = ("--fleet", "fleet.json", "--risks", "risks.json")


@pytest.mark.parametrize(
    ("command", "rule"), [(("rebalance",), "rebalance"), (("archive", "--idle", "30d"), "archive-idle")]
)
def test_both_are_off_by_default_and_say_what_they_would_do(files: Path, command: tuple[str, ...], rule: str) -> None:
    code, said = lifeboat(*command, *FILES)
    assert code == 3
    assert f"{rule}: policy" in said
    code, said = lifeboat(*command, *FILES, "--policy", "policy.yaml", "--json", "-o", "plan.json")
    assert code == 0
    told = json.loads(said)
    assert told["at_leisure"] == rule.replace("archive-idle", "archive_idle")
    assert told["verdict"]["approval_why"].endswith("nothing forces it")
    code, said = lifeboat("guard", "plan.json", *FILES, "--policy", "policy.yaml")
    assert code == 0
    code, said = lifeboat(*command, *FILES, "--policy", "policy.yaml")
    assert "nothing forces it:" in said


def test_less_idle_than_policy_wants_is_refused_in_one_line(files: Path) -> None:
    code, said = lifeboat("archive", "--idle", "3d", *FILES)
    assert (code, "policy archives what is idle for 30d at least" in said) == (2, True)
    assert lifeboat("archive", "--idle", "soon", *FILES)[0] == 2
