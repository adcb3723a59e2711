"""What a look saw of the nodes that may have to be left, kept small: how readings ran, and what the hardware logged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from agent.observe.observation import Observation
from models.knowledge import MOST_POINTS, Knowledge, Reading, thinned
from models.risk.risk import Risk
from models.risk.signal import SignalHistory

WORTH_TELLING = 0.05
"""P(fails within 2 h) below which nobody asks how a node's readings ran"""
NODES = 16
READINGS_PER_NODE = 24
EVENTS_PER_NODE = 200
SPAN_SECONDS = 6 * 3600.0
TWO_HOURS = 7200.0


def telemetry_of(observation: Observation, risks: Sequence[Risk]) -> Knowledge:
    """Readings and events of the likeliest nodes to fail. Copies what it keeps: a look's own arrays are not held by it."""
    likely = sorted(
        (risk for risk in risks if risk.within(TWO_HOURS) >= WORTH_TELLING), key=lambda r: -r.within(TWO_HOURS)
    )
    told = {risk.node: [driver.signal for driver in risk.drivers] for risk in likely[:NODES]}
    return Knowledge(
        readings=tuple(reading for node, drivers in told.items() for reading in _readings(observation, node, drivers)),
        events=tuple(
            event
            for node in told
            for event in [event for event in observation.events if event.node == node][-EVENTS_PER_NODE:]
        ),
    )


def _readings(observation: Observation, node: str, drivers: Sequence[str]) -> Iterable[Reading]:
    """Those that drive the risk first, then the machine's own words, then the rest of the same parts."""
    mine = [history for history in observation.histories if history.node == node]
    parts = {history.signal.component for history in mine if history.signal.name in drivers}

    def rank(history: SignalHistory) -> tuple[bool, bool, bool, str, tuple[float, ...]]:
        """By what it read, never by the part's name: that is text of others, and a model must not be told by an order."""
        signal = history.signal
        first = signal.name not in drivers, not signal.own_word, signal.component not in parts
        return (*first, signal.name, tuple(history.values[np.isfinite(history.values)].tolist()))

    watched = [history for history in mine if history.signal.is_watched or history.signal.name in drivers]
    for history in sorted(watched, key=rank)[:READINGS_PER_NODE]:
        points = _points(history, observation.at.timestamp())
        if points:
            limits = history.signal.limits
            yield Reading(
                node=node,
                signal=history.signal.name,
                part=history.part,
                points=tuple(thinned(points, MOST_POINTS)),
                low=None if limits.relative else limits.low,
                high=None if limits.relative else limits.high,
            )


def _points(history: SignalHistory, now: float) -> list[tuple[float, float]]:
    late = history.since(now - SPAN_SECONDS)
    known = np.isfinite(late.values) & (late.times <= now)
    return [
        (now - at, value) for at, value in zip(late.times[known].tolist(), late.values[known].tolist(), strict=True)
    ]
