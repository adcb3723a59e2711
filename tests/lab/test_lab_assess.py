"""Observe and assess on the lab's real libvirt, Prometheus, BMCs and logs, which show SYNTHETIC hardware."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from agent.assess.monitor import FleetMonitor
from agent.settings import Settings
from lab.hardware import faults
from lab.nodes.node import Lab
from models.fleet import NodeState
from models.risk.risk import Risk
from tools.libvirt.fleet import connect_nodes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def eyes(lab: Lab) -> Iterator[FleetMonitor]:
    settings = Settings.load(lab.root / "lifeboat.yaml")
    nodes = dict(connect_nodes(settings))
    opened = FleetMonitor(settings, dict(nodes))
    yield opened
    opened.close()
    for node in nodes.values():
        node.close()


def by_name(risks: list[Risk]) -> dict[str, Risk]:
    return {risk.node: risk for risk in risks}


def test_a_healthy_lab_is_calm_and_fully_known(eyes: FleetMonitor) -> None:
    fleet, risks = eyes.poll()
    assert {node.state for node in fleet.nodes} == {NodeState.ACTIVE}
    assert len(fleet.vms) >= 6
    for risk in risks:
        assert risk.probability["2h"] < 0.01, risk.drivers
        assert risk.data_age_seconds is not None
        assert risk.data_age_seconds < 30
        assert risk.unknown == ()


def test_a_fluttering_supply_is_noticed_before_any_alarm(lab: Lab, eyes: FleetMonitor) -> None:
    """A flutter of 90 s: the trigger must come during it, with an empty event log, and leave the other nodes alone."""
    eyes.poll()
    faults.start(lab, "node-c", "psu", seconds_to_errors=90.0, seconds_to_death=None)
    began = time.monotonic()
    try:
        while True:
            observation = eyes.observe()
            risks = by_name(eyes.assess(observation))
            if risks["node-c"].probability["2h"] >= 0.9:
                break
            assert time.monotonic() - began < 90.0, risks["node-c"]
            time.sleep(1.0)  # the pace of looking, not a wait for something to be over
        assert not [event for event in observation.events if event.node == "node-c" and event.part.startswith("PSU")]
        rail, _, reading = risks["node-c"].drivers[0].why.partition(": ")
        assert rail == "PSU1 12V Out"
        assert float(reading.split()[0]) < 12.1, "below what is usual there, by its level or already by its fall"
        assert max(risks[node].probability["2h"] for node in ("node-a", "node-b")) < 0.01
    finally:
        faults.clear(lab, "node-c")
