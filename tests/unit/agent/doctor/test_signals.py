"""What `lifeboat doctor` can say of the signals: there, missing, on which nodes, and what is wrong with the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from agent.doctor.signals import Presence, SignalRow, check_signals
from agent.doctor.telemetry import signal_findings
from models.errors import BadInput, LifeboatError, MetricsUnavailable
from models.risk.signal import Component, Signal, SignalHistory
from tools.signals import load_catalogue

SIGNALS = {signal.name: signal for signal in load_catalogue()}
NOW = datetime(2026, 11, 24, tzinfo=UTC)
NODES = ("node-a", "node-b")


class Metrics:
    """Answers with a value (NaN: reported without a number) for each named node, or raises."""

    def __init__(self, outcome: dict[str, float] | LifeboatError) -> None:
        self.outcome = outcome
        self.asked = 0

    def histories(self, signal: Signal, **_: Any) -> list[SignalHistory]:
        self.asked += 1
        if isinstance(self.outcome, LifeboatError):
            raise self.outcome
        at = np.array([NOW.timestamp()])
        return [SignalHistory(signal, node, "p", at, np.array([value])) for node, value in self.outcome.items()]


@pytest.mark.parametrize(
    ("outcome", "presence", "without", "said"),
    [
        ({"node-a": 12.0, "node-b": 12.1}, Presence.PRESENT, (), "2 series on 2 nodes"),
        ({"node-a": 12.0}, Presence.PARTIAL, ("node-b",), "not reported by node-b: is ipmi_exporter scraped there"),
        ({"node-a": 12.0, "node-b": float("nan")}, Presence.PARTIAL, ("node-b",), "not reported by node-b"),
        ({}, Presence.MISSING, NODES, "no node reports it: is ipmi_exporter scraped"),
        ({"10.0.0.5": 12.0}, Presence.MISSING, NODES, "only for 10.0.0.5: check prometheus.node_label"),
        (BadInput("two series for node 'node-a'"), Presence.BROKEN, NODES, "two series"),
        (MetricsUnavailable("unreachable"), Presence.UNREAD, NODES, "unreachable"),
    ],
)
def test_a_row_says_what_is_there_and_what_is_not(
    outcome: dict[str, float] | LifeboatError, presence: Presence, without: tuple[str, ...], said: str
) -> None:
    (row,) = check_signals(Metrics(outcome), [SIGNALS["psu_12v_volts"]], NODES, now=NOW)
    assert (row.presence, row.without) == (presence, without)
    assert said in row.why
    assert "\n" not in row.why


def test_a_prometheus_that_does_not_answer_is_asked_once() -> None:
    metrics = Metrics(MetricsUnavailable("unreachable"))
    rows = check_signals(metrics, list(SIGNALS.values()), NODES, now=NOW)
    assert metrics.asked == 1
    assert {row.presence for row in rows} == {Presence.UNREAD}


def test_signals_that_only_explain_others_are_told_apart() -> None:
    rows = check_signals(Metrics({}), list(SIGNALS.values()), NODES, now=NOW)
    counted = {row.signal for row in rows if row.counts}
    assert "psu_12v_volts" in counted
    assert "vms_defined" not in counted


def row(
    signal: str, presence: Presence, *, exporter: str = "node_exporter", nodes: tuple[str, ...] = (), **more: Any
) -> SignalRow:
    without = tuple(sorted(set(NODES) - set(nodes)))
    known = {"counts": True, "unmatched_nodes": (), **more}
    return SignalRow(
        signal=signal,
        component=Component.NETWORK,
        exporter=exporter,
        presence=presence,
        nodes=nodes,
        without=without,
        parts=1,
        why="why",
        **known,
    )


THERE = row("there", Presence.PRESENT, nodes=NODES)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([THERE], [("ok", "1 of 1 on every node")]),
        (
            [THERE, row("bond", Presence.MISSING)],
            [("ok", "1 of 2 on every node; no such part, or its collector is off: bond")],
        ),
        (
            [THERE, row("ssd", Presence.MISSING, exporter="smartctl_exporter")],
            [("ok", ""), ("warn", "no node reports ssd")],
        ),
        (
            [row("bond", Presence.MISSING, unmatched_nodes=("10.0.0.5",))],
            [("warn", "no node reports bond; reported for 10.0.0.5")],
        ),
        ([THERE, row("nic", Presence.PARTIAL, nodes=("node-a",))], [("ok", ""), ("warn", "node-b without nic")]),
        ([row("bad", Presence.BROKEN, counts=False)], [("fail", "why")]),
        ([THERE, row("slow", Presence.UNREAD)], [("unknown", "why"), ("ok", "1 of 2 on every node")]),
        ([row("slow", Presence.UNREAD)] * 65, [("unknown", "Prometheus does not tell")]),
        ([row("name", Presence.MISSING, counts=False)], []),
    ],
    ids=["present", "no such part", "no exporter", "label", "partial", "broken", "one late", "unread", "explains only"],
)
def test_the_doctor_says_it_in_few_lines(rows: list[SignalRow], told: list[tuple[str, str]]) -> None:
    findings = list(signal_findings(rows))
    assert [each.health.value for each in findings] == [health for health, _ in told]
    assert all(said in each.what for each, (_, said) in zip(findings, told, strict=True))
    assert all(each.fix for each in findings if each.health.value != "ok")
