"""From the ring into the history: only hours that are complete, each once, and nothing lost to a signal that is broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scenes.stub_prometheus import Reply, grid, matrix, series, stub_prometheus
from scenes.watched_fleet import CATALOGUE, DAY, HOUR, SIGNAL, START, hours
from typer.testing import CliRunner

from agent.cli.history import app
from agent.observe.history import append_history, backfill_history
from agent.observe.incidents import evacuations
from models.errors import BadInput, MetricsUnavailable
from models.plan import Approval, Plan, Verdict
from models.risk.signal import STATISTICS, Signal, Summaries
from tools.forecast.datasets import read_dataset
from tools.history.store import HistoryStore
from tools.history.summary_ring import SummaryRing
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.evacuations import EvacuationApproved, EvacuationPlanned, EvacuationRefused

NODES = ["node-a", "node-b"]
SIGNALS = [SIGNAL[name] for name in ("psu_12v_volts", "node_uptime_seconds", "cpu_temperature_celsius", "target_up")]


def filled(ring: SummaryRing, first: int, last: int, *, broken: str = "target_up") -> None:
    """As `agent.observe.summaries` leaves it after reading up to `last`, with one signal that never answered."""
    for found in hours(NODES, range(first, last + 1, HOUR)).values():
        ring.put(found, hourly=True)
    ring.newest |= {signal.name: last for signal in SIGNALS if signal.name != broken}


def take(store: HistoryStore, ring: SummaryRing, at: float) -> bool:
    return append_history(store, ring, SIGNALS, NODES, [], now=datetime.fromtimestamp(at, UTC))


@pytest.fixture
def ring(tmp_path: Path) -> SummaryRing:
    return SummaryRing(tmp_path / "ring")


def test_complete_hours_are_taken_in_once(tmp_path: Path, ring: SummaryRing) -> None:
    store, now = HistoryStore(tmp_path / "history", CATALOGUE), START + 10 * DAY
    filled(ring, now - 3 * DAY, now)
    assert take(store, ring, now + 30), "a signal that never answered holds nobody up"
    assert store.until == now
    assert store.since == now - 3 * DAY - HOUR
    assert not take(store, ring, now + 1800)
    ring.newest["psu_12v_volts"] += 2 * HOUR
    assert not take(store, ring, now + 2 * HOUR + 30), "the others were not read that far"
    before = store.read().rows.height
    filled(ring, now + HOUR, now + 2 * HOUR)
    assert take(store, ring, now + 2 * HOUR + 30)
    again = store.read()
    assert again.until == now + 2 * HOUR
    assert again.rows.height - before <= 2 * len(NODES)
    assert again.rows.n_unique(["unit", "time"]) == again.rows.height
    ring.close()


def test_hours_nobody_looked_at_yet_are_waited_for_until_they_would_be_lost(tmp_path: Path, ring: SummaryRing) -> None:
    store, now = HistoryStore(tmp_path / "history", CATALOGUE), START + 30 * DAY
    filled(ring, now - DAY, now)
    ring.older["psu_12v_volts"] = (now - 14 * DAY, now - 2 * DAY)
    take(store, ring, now + 30)
    assert store.read().rows.is_empty(), "the older hours would come too late"
    del ring.older["psu_12v_volts"]
    take(store, ring, now + 60)
    assert store.until == now
    ring.close()


class Prometheus:
    """Computes hours as the real one would; falls silent after some answers, and refuses one signal."""

    def __init__(self, answers: int = 10_000) -> None:
        self.answers = answers

    def summaries(self, signal: Signal, *, first: int, last: int, step_seconds: int, **_: Any) -> Summaries:
        if signal.name == "target_up":
            raise BadInput("target_up: PromQL that Prometheus refuses")
        self.answers -= 1
        if self.answers < 0:
            raise MetricsUnavailable("gone")
        assert (first % HOUR, step_seconds) == (0, HOUR)
        return hours(NODES, range(first, last + 1, HOUR))[signal.name]


def test_what_prometheus_still_has_is_taken_in_and_a_second_try_goes_on(tmp_path: Path) -> None:
    def recalled(store: HistoryStore, source: Prometheus) -> dict[str, BadInput]:
        at = datetime.fromtimestamp(START + 5 * DAY + 30, UTC)
        return backfill_history(store, source, SIGNALS, NODES, since=float(START), now=at, on_progress=lambda _: None)

    whole, halved = HistoryStore(tmp_path / "a", CATALOGUE), HistoryStore(tmp_path / "b", CATALOGUE)
    assert list(recalled(whole, Prometheus())) == ["target_up"]
    with pytest.raises(MetricsUnavailable):
        recalled(halved, Prometheus(answers=8))
    assert halved.until == START + 2 * DAY
    recalled(halved, Prometheus())
    assert whole.until == halved.until == START + 5 * DAY
    assert whole.read().rows.equals(halved.read().rows)
    assert {spell.node for spell in whole.read().spells} == set(NODES)


def test_the_command_fills_an_empty_history_from_prometheus(tmp_path: Path) -> None:
    def answer(parameters: Mapping[str, str]) -> Reply:
        if "12[ _.]?v" not in parameters["query"]:
            return matrix()
        return matrix(*(
            series({"node": node, "name": "PSU1", "stat": stat}, [(t, "12.1") for t in grid(parameters)])
            for node in (*NODES, "stranger") for stat in STATISTICS
        ))  # fmt: skip

    with stub_prometheus(answer) as stub:
        nodes = "".join(f"  - {{name: {node}, libvirt_uri: 'qemu+tls://{node}/system'}}\n" for node in NODES)
        config = tmp_path / "lifeboat.yaml"
        config.write_text(
            f"state_dir: {tmp_path}/state\nprometheus: {{url: '{stub.url}', node_label: node}}\nnodes:\n{nodes}"
        )
        words = ["-c", str(config), "-o", str(tmp_path / "own"), "--backfill"]
        first = CliRunner().invoke(app, words)
        assert "--backfill needs --since" in str(first.exception)
        since = (datetime.now(UTC) - timedelta(hours=30)).isoformat()
        done = CliRunner().invoke(app, [*words, "--since", since, "--json"])
        assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["nodes"], said["failures"], said["evacuations"]) == (2, 0, 0)
    data = read_dataset(tmp_path / "own")
    assert data.units == tuple(NODES), "a node that the settings do not name is nobody's"


def test_an_evacuation_counts_once_somebody_agreed_to_it(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    now = datetime.fromtimestamp(START, UTC)
    for name in ("ev-1", "ev-2"):
        plan = Plan(created_at=now, evacuating=("node-a",), actions=())
        verdict = Verdict(plan_sha256=plan.digest(), passed=True, approval=Approval.HUMAN, results=())
        journal.append(EvacuationPlanned(plan=plan, verdict=verdict), now=now, evacuation=name)
    journal.append(EvacuationRefused(code="approval-missing", why="nobody agreed"), now=now, evacuation="ev-1")
    approved = EvacuationApproved(plan_sha256="0" * 64, by="ana", at=now, expires_at=now + timedelta(minutes=15))
    journal.append(approved, now=now, evacuation="ev-2")
    assert evacuations(journal) == [("node-a", float(START))]
    journal.close()
