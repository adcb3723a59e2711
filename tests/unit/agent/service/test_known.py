"""What a planning model is told of a live fleet: from the look, the file of planned work, and hindsight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scenes import evacuations as scene
from scenes import stub_servers
from scenes.command_line import lifeboat
from scenes.stub_openai import serving
from scenes.telemetry import T0, changed, seen, steady

from agent.assess.telemetry import telemetry_of
from agent.documents import read_knowledge, write_value
from agent.observe.observation import Observation
from agent.service.known import knowledge_of
from agent.settings import Settings
from models.errors import BadInput
from models.hindsight.look_back import Decision, Guest, Hindsight
from models.knowledge import MOST_POINTS, Aftermath, Knowledge, NoteWord, VmNote
from models.risk.risk import Driver, Risk
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, Severity, SignalHistory
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.hindsight import DecisionCorrected, DecisionScored

AT = datetime.fromtimestamp(T0 + 3600, UTC)


def observed() -> Observation:
    sinking = changed(steady(12.1, spread=0.01), lambda t: -0.0001 * t)
    events = tuple(
        HardwareEvent(
            node=node,
            time=AT - timedelta(minutes=9),
            kind=HardwareEventKind.VOLTAGE,
            component=Component.POWER,
            severity=Severity.WARNING,
            part="P12V",
        )
        for node in ("node-a", "node-b")
    )
    return Observation(
        at=AT,
        fleet=scene.fleet(),
        histories=(
            seen("fan_speed_rpm", steady(6000.0), 3600, part="FAN1"),
            seen("psu_12v_volts", sinking, 3600, part="P12V"),
            seen("psu_12v_volts", steady(12.0), 3600, part="P12V", node="node-b"),
        ),
        events=events,
    )


def risk(node: str, p: float, *drivers: str) -> Risk:
    told = tuple(Driver(signal=name, why="falls") for name in drivers)
    return Risk(node=node, probability={"2h": p}, drivers=told, data_age_seconds=1.0)


def test_a_look_keeps_what_drives_the_risk_of_the_likeliest_nodes() -> None:
    told = telemetry_of(observed(), [risk("node-a", 0.8, "psu_12v_volts"), risk("node-b", 0.001)])
    assert {reading.node for reading in told.readings} == {"node-a"}
    first = told.readings[0]
    assert (first.signal, first.part, first.low) == ("psu_12v_volts", "P12V", 11.4)
    assert 10 < len(first.points) <= MOST_POINTS
    assert first.points[-1][1] < first.points[0][1] - 0.2
    assert [event.node for event in told.events] == ["node-a"]


def test_the_order_of_readings_says_nothing_of_what_parts_are_called() -> None:
    one = seen("psu_12v_volts", steady(12.1), 3600, part="a")
    other = seen("psu_12v_volts", steady(11.5), 3600, part="z")

    def told(first: str, second: str) -> list[float]:
        named = [
            SignalHistory(each.signal, each.node, part, each.times, each.values)
            for each, part in ((one, first), (other, second))
        ]
        looked = replace(observed(), histories=tuple(named))
        return [r.points[-1][1] for r in telemetry_of(looked, [risk("node-a", 0.8, "psu_12v_volts")]).readings]

    assert told("a", "z") == told("z", "a")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def test_planned_work_and_what_came_of_earlier_evacuations(tmp_path: Path, journal: SqliteJournal) -> None:
    (tmp_path / "work.csv").write_text(
        "node,start,end,kind\n"
        "node-b,2026-11-23T06:00:00Z,2026-11-23T07:00:00Z,maintenance\n"
        "node-b,2026-11-20T06:00:00Z,2026-11-20T07:00:00Z,maintenance\n"
        "node-a,2026-11-01T06:00:00Z,,failure\n"
    )
    now = scene.at(0)
    for number, came in enumerate((Hindsight.UNNEEDED, Hindsight.AVERTED)):
        guests = (Guest(vm="x", weight=1, safe_at=now), Guest(vm="y", weight=1))
        decision = Decision(
            id=f"ev-{number}", node="node-a", at=now - timedelta(days=3 + number), taken=True, guests=guests
        )
        journal.append(DecisionScored(decision=decision, hindsight=came, why="seen"), now=now)
    journal.append(
        DecisionCorrected(decision="ev-1", node="node-a", hindsight=Hindsight.UNNEEDED, by="ana", why="it was the PDU"),
        now=now,
    )
    settings = Settings.model_validate({"forecast": {"incidents": tmp_path / "work.csv"}, "state_dir": tmp_path})
    note = VmNote(vm=scene.fleet().vms[0].uuid, word=NoteWord.LONG_JOB)
    told = knowledge_of(
        scene.situation(scene.fleet()), telemetry=Knowledge(), notes=[note], journal=journal, settings=settings
    )
    assert [(work.node, work.start.hour) for work in told.planned_work] == [("node-b", 6)]
    assert [(past.aftermath, past.moved, past.failed) for past in told.past] == [(Aftermath.LIVED, 1, 1)] * 2
    assert told.notes == (note,)


def test_a_plan_from_files_takes_what_is_known_from_a_file(tmp_path: Path) -> None:
    fleet = scene.fleet()
    write_value(tmp_path / "fleet.json", fleet)
    write_value(tmp_path / "risks.json", scene.risks())
    write_value(tmp_path / "known.json", Knowledge(notes=(VmNote(vm=fleet.vms[3].uuid, word=NoteWord.MONTH_END),)))
    with serving(stub_servers.by_schema("no plan")) as endpoint:
        (tmp_path / "lifeboat.yaml").write_text(
            f"state_dir: {tmp_path}\nllm: {{base_url: '{endpoint.url}', model: m, interface: json_schema}}\n"
        )
        files = [f"{tmp_path}/{name}.json" for name in ("fleet", "risks", "known")]
        given = ("--fleet", files[0], "--risks", files[1], "--knowledge", files[2], "-c", f"{tmp_path}/lifeboat.yaml")
        lifeboat("plan", *given, "--planner", "llm")
        sent = json.dumps(endpoint.requests[0])
    assert "month-end" in sent
    assert fleet.vms[3].name not in sent


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"notes": [{"vm": "x", "word": "please"}]}', "word"),
        ('{"planned_work": [{"node": "a", "start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}]}', "before"),
        ('{"readings": [{"node": "a", "signal": "s", "points": [[1, 2], [5, 2]]}]}', "oldest first"),
        ("[]", "expected a mapping"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "known.json").write_text(content)
    with pytest.raises(BadInput, match=said) as raised:
        read_knowledge(tmp_path / "known.json")
    assert "\n" not in str(raised.value)
