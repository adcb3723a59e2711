"""Failures out of history: a reboot is found however short, and planned work is none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import BadInput
from models.risk.incidents import Incident, IncidentKind, NodePast, Spell, Window, incidents, spells
from models.risk.signal import Component, Floats, HardwareEvent, HardwareEventKind, Severity
from tools.history.incident_file import read_incidents

TIMES: Floats = np.arange(0.0, 86_400.0, 60.0)
BOOT = -1e6


def past(*, silent: tuple[float, float] | None = None, booted: float | None = None, wander: float = 0.0) -> NodePast:
    """Up all day but in `silent`; with another boot time after it."""
    up, boot = np.ones_like(TIMES), np.full_like(TIMES, BOOT) + wander * np.sin(TIMES)
    if silent is not None:
        gone = (silent[0] < TIMES) & (silent[1] > TIMES)
        up[gone], boot[gone] = 0.0, np.nan
    if booted is not None:
        boot = np.where(booted <= TIMES, booted, boot)
    return NodePast(up, boot)


WELL = past()


def told(nodes: dict[str, NodePast]) -> list[Spell]:
    return [spell for name, past in nodes.items() for spell in spells(name, TIMES, past)]


def failures(nodes: dict[str, NodePast], **more: Any) -> list[Incident]:
    return incidents(told(nodes), until=float(TIMES[-1]), **more)


def test_a_reboot_is_an_incident_at_the_last_moment_it_worked() -> None:
    found = failures({"a": past(silent=(36_000, 36_400), booted=36_300.0), "b": WELL, "c": WELL})
    assert found == [Incident("a", 36_000.0, IncidentKind.REBOOT)]


def test_a_reboot_between_two_samples_is_found() -> None:
    (found,) = failures({"a": past(booted=36_010.0), "b": WELL})
    assert found.at == 36_000.0


@pytest.mark.parametrize(
    "nodes",
    [
        {"a": WELL, "b": past(wander=5.0)},
        {"a": past(silent=(36_000, 40_000)), "b": WELL},  # the boot time is the same afterwards: the exporter was down
        {"a": past(silent=(85_900, 90_000)), "b": WELL},  # not silent for long
        {
            "a": past(silent=(80_000, 90_000)),
            "b": past(silent=(80_000, 90_000)),
            "c": WELL,
        },  # the monitoring, not the nodes
    ],
    ids=["clock", "exporter", "short", "monitoring"],
)
def test_what_is_no_failure_of_a_node(nodes: dict[str, NodePast]) -> None:
    assert failures(nodes) == []


def test_a_node_that_did_not_come_back_is_down() -> None:
    found = failures({"a": past(silent=(80_040, 90_000)), "b": WELL, "c": WELL})
    assert found == [Incident("a", 80_040.0, IncidentKind.DOWN)]


@pytest.mark.parametrize(("node", "planned"), [("a", True), ("*", True), ("b", False)])
def test_planned_work_is_no_failure(node: str, planned: bool) -> None:
    window = Window(node, 35_000, 37_000)
    found = failures({"a": past(booted=36_010.0), "b": WELL}, maintenance=[window])
    assert (found == []) == planned


def test_what_several_tell_of_is_one_incident_with_its_cause() -> None:
    logged = HardwareEvent(
        node="a", time=datetime.fromtimestamp(35_900, UTC), kind=HardwareEventKind.MEMORY_UNCORRECTED,
        component=Component.MEMORY, severity=Severity.CRITICAL,
    )  # fmt: skip
    found = failures(
        {"a": past(booted=36_010.0), "b": WELL}, reported=[("a", 36_900.0), ("b", 50_000.0)], events=[logged]
    )
    assert found == [
        Incident("a", 36_000.0, IncidentKind.REBOOT, HardwareEventKind.MEMORY_UNCORRECTED),
        Incident("b", 50_000.0, IncidentKind.REPORTED),
    ]


def test_a_history_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="node a: its history has 3 moments"):
        spells("a", TIMES, NodePast(np.ones(3), np.ones(3)))


def test_a_node_that_tells_no_boot_time_fails_by_falling_silent_only() -> None:
    mute = np.full_like(TIMES, np.nan)
    up = np.where(TIMES < 80_000, 1.0, 0.0)
    blinked = np.where((TIMES > 20_000) & (TIMES < 30_000), 0.0, 1.0)
    found = failures({"a": NodePast(up, mute), "b": NodePast(blinked, mute), "c": WELL})
    assert [(i.node, i.kind) for i in found] == [("a", IncidentKind.DOWN)]


def test_people_s_incidents_are_read(tmp_path: Path) -> None:
    file = tmp_path / "incidents.csv"
    file.write_text(
        "node,start,end,kind\na,1970-01-01T01:00:00Z,,failure\n*,1970-01-01T00:00:00+00:00,1970-01-01T02:00:00Z,maintenance\n"
    )
    assert read_incidents(file) == ([("a", 3600.0)], [Window("*", 0.0, 7200.0)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node,start\n", "column 'end' is missing"),
        ("node,start,end,kind\na,yesterday,,failure\n", "line 2: start 'yesterday'"),
        ("node,start,end,kind\na,2026-11-23T04:00:00,,failure\n", "time with a zone"),
        ("node,start,end,kind\na,2026-11-23T04:00:00Z,,crash\n", "kind 'crash'"),
        ("node,start,end,kind\n,2026-11-23T04:00:00Z,,failure\n", "node is empty"),
        ("node,start,end,kind\na,2026-11-23T04:00:00Z,2026-11-23T03:00:00Z,maintenance\n", "ends before it starts"),
    ],
)
def test_a_broken_incidents_file_is_named_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "incidents.csv"
    file.write_text(text)
    with pytest.raises(BadInput, match=said) as error:
        read_incidents(file)
    assert "\n" not in str(error.value)
