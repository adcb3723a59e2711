"""From the ring into the history: only hours that are complete, each once, and nothing lost to a signal that is broken."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from scenes.watched_fleet import CATALOGUE, DAY, HOUR, SIGNAL, START, hours

from agent.journal import Journal
from agent.remember import evacuations, remember
from tools.history_store import HistoryStore
from tools.ring import SummaryRing

NODES = ["node-a", "node-b"]
SIGNALS = [SIGNAL[name] for name in ("psu_12v_volts", "node_uptime_seconds", "cpu_temperature_celsius", "target_up")]


def filled(ring: SummaryRing, first: int, last: int, *, broken: str = "target_up") -> None:
    """As `agent.refresh` leaves it after reading up to `last`, with one signal that never answered."""
    for found in hours(NODES, range(first, last + 1, HOUR)).values():
        ring.put(found, hourly=True)
    ring.newest |= {signal.name: last for signal in SIGNALS if signal.name != broken}


def take(store: HistoryStore, ring: SummaryRing, at: float) -> bool:
    return remember(store, ring, SIGNALS, NODES, [], now=datetime.fromtimestamp(at, UTC))


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


def test_an_evacuation_counts_once_somebody_agreed_to_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    now = datetime.fromtimestamp(START, UTC)
    for name in ("ev-1", "ev-2"):
        journal.append("planned", {"plan": {"evacuating": ["node-a"]}}, now=now, evacuation=name)
    journal.append("refused", {}, now=now, evacuation="ev-1")
    journal.append("approved", {}, now=now, evacuation="ev-2")
    assert evacuations(journal) == [("node-a", float(START))]
    journal.close()
