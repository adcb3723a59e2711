"""What the histories of one look take in memory at fleet size. SYNTHETIC: nothing is drawn from a real fleet.

    .venv/bin/python -m bench.looks [--nodes 2000] [--signals 66] [--steady 0.7]

A source in this process answers every signal of every node, as Prometheus would: a share of them never moves (states, counts
of damage), the rest wanders. Two looks half a minute apart, as the agent makes them, without the ring. Of the lab's machines 46
of 66 histories never move in a day.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from agent.observe.signals import TelemetryCache, read_signals
from models.risk.signal import Component, Limits, Signal, SignalHistory

_NOISE = np.random.default_rng(0).normal(12.0, 0.01, 8_191)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Answers:
    """A `MetricsSource` that makes its answers up."""

    def __init__(self, nodes: int, steady: set[str]) -> None:
        self._nodes = [f"node-{n:05d}" for n in range(nodes)]
        self._steady = steady

    def histories(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        count = int((end - start).total_seconds() / step_seconds) + 1
        grid = start.timestamp() + step_seconds * np.arange(count, dtype=np.float64)
        places = (grid // 15.0).astype(np.int64)
        found: list[SignalHistory] = []
        for n, node in enumerate(self._nodes):
            # A moment has one value however it is asked for, as in Prometheus.
            values = np.full(count, 0.0) if signal.name in self._steady else _NOISE[(places + 97 * n) % _NOISE.size]
            found.append(SignalHistory(signal, node, "part", grid, values))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--signals", type=int, default=66)
    parser.add_argument("--steady", type=float, default=46 / 66)
    chosen = parser.parse_args()
    signals = [
        Signal(
            name=f"signal_{n}", component=Component.POWER, unit="V", promql=f"signal_{n}", part_label="name",
            limits=Limits(low=1), meaning="it",
        )
        for n in range(chosen.signals)
    ]  # fmt: skip
    still = {signal.name for signal in signals[: round(chosen.steady * chosen.signals)]}
    source, memory = Answers(chosen.nodes, still), TelemetryCache()
    before, worked = _resident(), time.process_time()
    looks: list[dict[str, float]] = []
    histories: list[SignalHistory] = []
    for k in range(2):
        histories = []  # as in the agent: a look's histories are gone before the next
        histories, unread = read_signals(source, signals, NOW + timedelta(seconds=30 * k), 15.0, memory)
        assert not unread, unread
        looks.append({
            "megabytes": round(_resident() - before), "cpu_seconds": round(time.process_time() - worked, 2)
        })  # fmt: skip
        worked = time.process_time()
    print(json.dumps({
        "nodes": chosen.nodes, "signals": chosen.signals, "histories": len(histories),
        "samples": histories[0].values.size, "load": round(os.getloadavg()[0], 1), "looks": looks,
        "megabytes_for_10000_nodes": round(10_000 / chosen.nodes * looks[-1]["megabytes"]),
    }))  # fmt: skip


def _resident() -> float:
    """Megabytes this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
