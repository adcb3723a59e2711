"""From any look that had a part in a plan, and from the plan, the operator finds all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop
from agent.state.trail import trail_of
from models.risk.risk import Risk
from tools.ports.records.evacuations import EvacuationPlanned
from tools.ports.records.nodes import TiersChanged
from tools.tracing.trace import new_trace


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


def risks(world: World, soon: float) -> list[Risk]:
    """Of a node that is likely to fail within a day, and within two hours by `soon`."""
    return [
        Risk(
            node=node, probability={"2h": soon, "24h": max(soon, 0.4)} if node == "a" else {"2h": 0.001, "24h": 0.001},
            data_age_seconds=1.0, assessed_at=world.fleet.clock.now(),
        )
        for node in ("a", "b", "c")
    ]  # fmt: skip


def test_a_risk_that_lasts_and_grows_over_several_looks_leaves_one_trail(world: World) -> None:
    now = [0.05]
    loop = ControlLoop(
        hands=world.hands, policy=POLICY, look=lambda: (world.snapshot(), risks(world, now[0])),
        planner=planner_named("solver", None), approver=DenyingApprover(),
    )  # fmt: skip
    passes: list[str] = []
    for soon in (0.05, 0.05, 0.95):
        now[0] = soon
        with new_trace() as trace:
            passes.append(trace)
            loop.run_once()
        world.fleet.clock.sleep(30)
    first, quiet, acted = passes

    (planned,) = world.journal.of(EvacuationPlanned)
    assert planned.evacuation is not None
    assert (planned.record.trace, planned.record.links) == (first, (acted,))
    trails = [trail_of(world.journal, each) for each in (first, acted, planned.evacuation, f"{planned.evacuation}-000")]
    assert all(trail == trails[0] for trail in trails)
    (trail, *_) = trails
    assert trail is not None
    assert (trail.trace, trail.links, trail.evacuations) == (first, (acted,), (planned.evacuation,))
    looks = [entry.record.trace for entry in trail.entries if isinstance(entry.record, TiersChanged)]
    assert looks == [first, acted]
    assert trail_of(world.journal, quiet) is None, "it changed nothing"
