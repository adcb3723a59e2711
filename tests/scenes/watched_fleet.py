"""A fleet as the summary ring saw it, hour by hour: a few nodes with supplies, disks, an uptime, and what happened to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.risk.signal import STATISTICS, Signal, Summaries
from tools.signals import load_catalogue

CATALOGUE = load_catalogue()
SIGNAL = {signal.name: signal for signal in CATALOGUE}
HOUR, DAY = 3600, 86_400
START = 1_764_547_200  # 2025-12-01T00:00:00Z


@dataclass(frozen=True)
class Outage:
    """The node fell silent at `start` and came back, booted anew, at `until` (unix seconds)."""

    node: str
    start: float
    until: float


def hours(
    nodes: Sequence[str],
    times: Sequence[int],
    *,
    outages: Sequence[Outage] = (),
    errors: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, Summaries]:
    """What the ring would hold of these hours: two supplies and two disks a node, each named by its node's own fashion.

    errors: by node, reallocated sectors an hour that its first disk gains.
    """
    random = np.random.default_rng([seed, int(times[0])])
    ends = np.array(times, np.float64)
    n = len(nodes)
    alive = np.ones((n, ends.size), bool)
    uptime = np.zeros((len(STATISTICS), n, ends.size))
    for k, node in enumerate(nodes):
        for j, end in enumerate(ends):
            moments = np.arange(end - HOUR + 15, end + 1, 15)
            up = np.ones(moments.size, bool)
            booted = np.full(moments.size, float(START - 30 * DAY))
            for one in outages:
                if one.node == node:
                    up &= ~((moments > one.start) & (moments < one.until))
                    booted = np.where(moments >= one.until, one.until, booted)
            alive[k, j] = up.any()
            told = np.where(up, moments - booted, np.nan)
            uptime[:, k, j] = _statistics(told) if up.any() else np.nan

    def noisy(level: np.ndarray, noise: float) -> np.ndarray:
        mean = level + random.normal(0, noise / 10, level.shape)
        found = np.stack([mean, mean - noise, mean + noise, mean, np.full(level.shape, 240.0)])
        return np.where(alive, found, np.nan)

    def named(kind: str, number: int, node: str) -> str:
        return f"{kind}{number}" if hash_of(node) % 2 else f"{kind.upper()} {number} of {node}"

    volts = [noisy(np.full(alive.shape, 12.05 + 0.03 * k), 0.02) for k in range(2)]
    found = {
        "psu_12v_volts": _parts("psu_12v_volts", ends, nodes, [[named("psu", k, x) for x in nodes] for k in (1, 2)], volts),
        "node_uptime_seconds": Summaries(SIGNAL["node_uptime_seconds"], ends, [(x, "") for x in nodes], uptime),
        "cpu_temperature_celsius": _parts(
            "cpu_temperature_celsius", ends, nodes, [["CPU 1"] * n],
            [noisy(45 + 12 * np.sin(2 * np.pi * ends / DAY) + np.zeros(alive.shape), 1.0)],
        ),
    }  # fmt: skip
    grown = np.array([(errors or {}).get(node, 0.0) for node in nodes])[:, None] * np.maximum(ends - START, 0) / HOUR
    sectors = [np.floor(grown) + 0.0, np.zeros(alive.shape)]
    disks = [["sda" if hash_of(x) % 2 else "nvme0" for x in nodes], ["sdb"] * n]
    for name, levels in (
        ("disk_reallocated_sectors", sectors),
        ("disk_power_on_hours", [np.zeros(alive.shape) + ends / HOUR] * 2),
    ):
        cells = [np.where(alive, np.stack([x, x, x, x, np.full(x.shape, 240.0)]), np.nan) for x in levels]
        found[name] = _parts(name, ends, nodes, disks, cells)
    return found


def hash_of(name: str) -> int:
    return sum(map(ord, name))


def _statistics(values: np.ndarray) -> np.ndarray:
    known = values[np.isfinite(values)]
    return np.array([known[-1], known.min(), known.max(), known.mean(), known.size])


def _parts(
    name: str, ends: np.ndarray, nodes: Sequence[str], names: Sequence[Sequence[str]], cells: Sequence[np.ndarray]
) -> Summaries:
    signal: Signal = SIGNAL[name]
    parts = [(node, part) for of in names for node, part in zip(nodes, of, strict=True)]
    return Summaries(signal, ends, parts, np.concatenate(cells, axis=1))
