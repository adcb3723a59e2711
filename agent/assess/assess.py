"""Assess: from an observation to one risk per node. Pure: the same observation gives the same risks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.observe.observation import Observation
from models.forecast.limits.combine import ModelForecast
from models.forecast.limits.node import assess_node
from models.risk.risk import Risk
from models.risk.signal import Component, HardwareEvent, Signal, SignalHistory

WATCHED = (Component.POWER, Component.THERMAL, Component.MEMORY, Component.STORAGE, Component.NETWORK)
"""Components whose complete silence is worth saying: a node without one word about its power supply is not known well."""


@dataclass(frozen=True)
class ModelForecasts:
    """What learned models say, by node; and what they can't, of one node or of all of them."""

    opinions: Mapping[str, Sequence[ModelForecast]] = field(default_factory=dict[str, Sequence[ModelForecast]])
    unknown: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """by node: which forecast, and why it says nothing or not all"""
    broken: Mapping[str, str] = field(default_factory=dict[str, str])
    """which forecast says nothing of any node, and why"""


NOTHING_LEARNED = ModelForecasts()


def assess(
    observation: Observation,
    signals: Sequence[Signal],
    now: datetime,
    *,
    learned: ModelForecasts = NOTHING_LEARNED,
    simulated: bool = False,
) -> list[Risk]:
    """One risk per node of the fleet, in its order, at `now`. Never raises for missing data: it is named in `unknown`."""
    histories: dict[str, list[SignalHistory]] = defaultdict(list)
    for history in observation.histories:
        histories[history.node].append(history)
    events: dict[str, list[HardwareEvent]] = defaultdict(list)
    for event in observation.events:
        events[event.node].append(event)
    risks: list[Risk] = []
    said: dict[str, str] = {}  # each sentence once: while Prometheus is away, 1,000 nodes lack the same 119 signals
    for node in observation.fleet.nodes:
        unread: dict[str, str] = {**learned.broken, **learned.unknown.get(node.name, {})}
        for failed in observation.unread:
            if failed.node in (None, node.name):
                unread[failed.what] = failed.error.message
        for doubt in observation.doubts:
            if doubt.node == node.name:
                before = unread.get(doubt.log)
                unread[doubt.log] = doubt.what if before is None else f"{before}; {doubt.what}"
        spoken = {history.signal.component for history in histories[node.name]}
        if signals and "metrics" not in unread:
            for component in WATCHED:
                wanted = any(s.component is component and s.failure_weight > 0 for s in signals)
                if wanted and component not in spoken:
                    unread[component.value] = "no signal of it was reported within the last day" + _stranger_hint(
                        observation, silent=not spoken
                    )
        risk = assess_node(
            node.name,
            histories[node.name],
            events[node.name],
            now=now.timestamp(),
            unread=unread,
            opinions=learned.opinions.get(node.name, ()),
        )
        unknown = tuple(said.setdefault(what, what) for what in risk.unknown)
        risks.append(risk.model_copy(update={"assessed_at": now, "simulated": simulated, "unknown": unknown}))
    return risks


def _stranger_hint(observation: Observation, *, silent: bool) -> str:
    """Where the metrics name nodes that libvirt does not: the label is wrong, or this node has another name there."""
    if not silent or not observation.unmatched_nodes:
        return ""
    names = ", ".join(observation.unmatched_nodes[:3])
    if not observation.histories:
        return f"; the metrics name {names} instead: check prometheus.node_label"
    return f"; the metrics also name {names}, which libvirt does not: is it this node under another name?"
