"""Which signals of the catalogue this Prometheus has, which are missing, and on which nodes. For `lifeboat doctor`.

One short query a signal; nothing is changed, nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from models.errors import LifeboatError, MetricsUnavailable
from models.risk.signal import Component, Signal, SignalHistory
from tools.ports.telemetry import MetricsSource

_WINDOW = timedelta(minutes=5)
"""Prometheus itself goes this far back for a sample."""
_QUERIES_AT_ONCE = 4


class Presence(StrEnum):
    PRESENT = "present"
    """every node reports it"""
    PARTIAL = "partial"
    """some nodes report it"""
    MISSING = "missing"
    """no node reports it; a machine without such a part is no fault"""
    BROKEN = "broken"
    """the query is refused, or its answer is ambiguous: the catalogue must be fixed"""
    UNREAD = "unread"
    """Prometheus did not answer, or only in part"""


@dataclass(frozen=True, kw_only=True)
class SignalRow:
    """One signal of the catalogue in this Prometheus."""

    signal: str
    component: Component
    exporter: str
    presence: Presence
    nodes: tuple[str, ...]
    """nodes of the fleet that report a number, sorted"""
    without: tuple[str, ...]
    """nodes of the fleet that do not, sorted"""
    unmatched_nodes: tuple[str, ...]
    """names that the metrics give and the fleet does not have: a wrong `prometheus.node_label`, or a renamed node"""
    parts: int
    """series in all"""
    counts: bool
    """the risk stands on it; False for signals that only date or explain others"""
    why: str
    """one line: what was found, and what to do where that is not enough"""


def check_signals(
    metrics: MetricsSource, signals: Sequence[Signal], nodes: Sequence[str], *, now: datetime
) -> list[SignalRow]:
    """One row a signal, in the catalogue's order. Raises nothing for what does not answer: that is in the rows."""

    def ask(signal: Signal) -> list[SignalHistory] | LifeboatError:
        try:
            return metrics.histories(
                signal, start=now - _WINDOW, end=now, step_seconds=_WINDOW.total_seconds() / 5.0
            )  # a range, so that one late scrape hides nothing
        except LifeboatError as error:
            return error

    if not signals:
        return []
    first = ask(signals[0])
    if isinstance(first, MetricsUnavailable):
        # Prometheus is not there: asking for the rest would only wait for their time-outs, too.
        return [_row(signal, first, nodes) for signal in signals]
    with ThreadPoolExecutor(max_workers=_QUERIES_AT_ONCE) as pool:
        rest = list(pool.map(ask, signals[1:]))
    return [_row(signal, answer, nodes) for signal, answer in zip(signals, [first, *rest], strict=True)]


def _row(signal: Signal, answer: list[SignalHistory] | LifeboatError, nodes: Sequence[str]) -> SignalRow:
    counts = signal.failure_weight > 0 and not (signal.limits.low is None and signal.limits.high is None)

    def row(presence: Presence, why: str, having: set[str], parts: int = 0) -> SignalRow:
        known = set(nodes)
        return SignalRow(
            signal=signal.name,
            component=signal.component,
            exporter=signal.exporter,
            presence=presence,
            nodes=tuple(sorted(having & known)),
            without=tuple(sorted(known - having)),
            unmatched_nodes=tuple(sorted(having - known)),
            parts=parts,
            counts=counts,
            why=why,
        )

    if isinstance(answer, MetricsUnavailable):
        return row(Presence.UNREAD, str(answer), set())
    if isinstance(answer, LifeboatError):
        return row(Presence.BROKEN, str(answer), set())
    alive = [history for history in answer if np.isfinite(history.values).any()]
    having = {history.node for history in alive}
    here = having & set(nodes)
    who = signal.exporter or "its exporter"
    if not here:
        if having:
            names = ", ".join(sorted(having)[:3])
            return row(Presence.MISSING, f"reported only for {names}: check prometheus.node_label", having, len(alive))
        return row(Presence.MISSING, f"no node reports it: is {who} scraped, and has the hardware such a part?", having)
    if len(here) < len(set(nodes)):
        lacking = sorted(set(nodes) - here)
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        why = f"not reported by {', '.join(lacking[:3])}{more}: is {who} scraped there, and is there such a part?"
        return row(Presence.PARTIAL, why, having, len(alive))
    return row(Presence.PRESENT, f"{len(alive)} series on {len(here)} nodes", having, len(alive))
