"""Remember: hours that are complete go from the summary ring into the history, with the events and what the journal tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.observe.summaries import LAG_SECONDS
from models.errors import BadInput
from models.risk.signal import HardwareEvent, Signal, Summaries
from tools.history.store import HistoryStore
from tools.history.summary_ring import COARSE_SECONDS, COARSE_SLOTS, FINE_SECONDS, SummaryRing
from tools.ports.telemetry import SummarySource

if TYPE_CHECKING:
    pass

AT_ONCE = 24
"""Hours taken in at once: bounds memory after a pause."""
GIVEN_UP = 6 * COARSE_SECONDS
"""Seconds without an answer after which a signal is not waited for any more."""
LAST_CHANCE = COARSE_SECONDS * (COARSE_SLOTS - 26)
"""Hours older than this are taken in as they are: a day later the ring has no room for them."""


def append_history(
    store: HistoryStore,
    ring: SummaryRing,
    signals: Sequence[Signal],
    nodes: Sequence[str],
    events: Iterable[HardwareEvent],
    *,
    now: datetime,
) -> bool:
    """Bring the history up to date; whether there was anything new. Raises BadInput when it can't be written."""
    at = int(now.timestamp())
    oldest = (at // COARSE_SECONDS - (COARSE_SLOTS - 2)) * COARSE_SECONDS
    first, last = max(store.until + COARSE_SECONDS, oldest), complete(ring, signals, at)
    # What nobody has looked at yet is filled in newest first: wait for it, unless it is about to be lost.
    gaps = [ring.older[s.name][1] for s in signals if s.name in ring.older and _answers(ring, s, at)]
    if any(first <= gap for gap in gaps):
        last = min(last, at - LAST_CHANCE)
    events = list(events)
    new = False
    for begin in range(first, last + 1, AT_ONCE * COARSE_SECONDS):
        end = min(last, begin + (AT_ONCE - 1) * COARSE_SECONDS) // COARSE_SECONDS * COARSE_SECONDS
        hours = {signal.name: ring.hours(signal, first=begin, last=end) for signal in signals}
        store.append(hours, range(begin, end + 1, COARSE_SECONDS), nodes, events)
        new = True
    return new


def backfill_history(
    store: HistoryStore,
    source: SummarySource,
    signals: Sequence[Signal],
    nodes: Sequence[str],
    *,
    since: float,
    now: datetime,
    on_progress: Callable[[datetime], None],
) -> dict[str, BadInput]:
    """Take in what the metrics source itself still has, from `since` (unix seconds) or where the history ends, until now.

    `told` hears how far it is. Returns the signals that are broken, by name. Raises MetricsUnavailable when the source
    does not answer: what was taken in until then stays, and the next try goes on from there.
    """
    at = int(now.timestamp() - LAG_SECONDS)
    first = max(store.until, int(since) // COARSE_SECONDS * COARSE_SECONDS) + COARSE_SECONDS
    broken: dict[str, BadInput] = {}
    for begin in range(first, at // COARSE_SECONDS * COARSE_SECONDS + 1, AT_ONCE * COARSE_SECONDS):
        end = min(at // COARSE_SECONDS * COARSE_SECONDS, begin + (AT_ONCE - 1) * COARSE_SECONDS)
        hours: dict[str, Summaries] = {}
        for signal in signals:
            if signal.name in broken:
                continue
            try:
                hours[signal.name] = source.summaries(
                    signal, first=begin, last=end, step_seconds=COARSE_SECONDS, resolution_seconds=FINE_SECONDS
                )
            except BadInput as error:
                broken[signal.name] = error
        store.append(hours, range(begin, end + 1, COARSE_SECONDS), nodes, ())
        on_progress(datetime.fromtimestamp(end, UTC))
    return broken


def complete(ring: SummaryRing, signals: Sequence[Signal], at: int) -> int:
    """The end of the newest hour (unix seconds) that every signal which still answers was read for; 0: none."""
    read = [ring.newest[s.name] for s in signals if _answers(ring, s, at)]
    return min(read) // COARSE_SECONDS * COARSE_SECONDS if read else 0


def _answers(ring: SummaryRing, signal: Signal, at: int) -> bool:
    return at - GIVEN_UP <= ring.newest.get(signal.name, 0) <= at
