"""The machine's own word: what the BMC, a driver or a disk says of a part, beside which limits of ours stand back. Pure.

Nominal: a limit of ours may raise a risk, and triggers nothing alone. Warning or critical: no missing limit
hides it. Several sensors of one BMC that fall to 0 or NaN in one scrape are the BMC, not the machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.forecast.limits.domains import domain_of
from models.forecast.limits.part import stale_seconds
from models.risk.signal import SignalHistory, SignalKind

NOMINAL, NOMINAL_UNDER_LOAD = 0.18, 0.08
"""The most a limit of ours says of a part that the machine calls nominal, or of which nothing but the limit
is known; less where the reading follows the load. Judgement: below what a drain costs, and for what follows
the load below what keeps vms away."""
_BMC = ("ipmi_exporter",)
_FEWEST, _SHARE = 3, 0.5
"""Sensors that read 0 together for the BMC to be the cause, and which share of its sensors."""
_LOOKED_AT = 130
"""Newest samples looked at for that: the last half hour."""


@dataclass(frozen=True)
class OwnWord:
    """What the machine says of its parts now: 0 nominal, 1 warning, 2 critical."""

    by_part: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """by signal and part"""
    by_domain: Mapping[str, float] = field(default_factory=dict[str, float])
    """the worst of each supply"""
    since: Mapping[str, float] = field(default_factory=dict[str, float])
    """by supply: the newest scrape of it, unix seconds"""

    def of(self, history: SignalHistory) -> float | None:
        """Of one part that has a limit of ours; None: the machine says nothing of it."""
        if history.signal.state:
            said = self.by_part.get((history.signal.state, history.part))
            if said is not None:
                return said
        domain = domain_of(history.signal, history.part)
        return self.by_domain.get(domain) if domain.startswith("supply:") else None


def own_word(histories: Iterable[SignalHistory], *, now: float) -> OwnWord:
    """Of one node. Two scrapes have to agree: the lesser of the newest two counts."""
    by_part: dict[tuple[str, str], float] = {}
    by_domain: dict[str, float] = {}
    since: dict[str, float] = {}
    for history in histories:
        signal = history.signal
        if not signal.own_word or signal.unit != "state" or not history.times.size:
            continue
        newest = history.values[-2:]
        if now - float(history.times[-1]) > stale_seconds(0.0) * 3 or not np.isfinite(newest).all():
            continue
        level = float(newest.min())
        by_part[signal.name, history.part] = level
        domain = domain_of(signal, history.part)
        if domain.startswith("supply:"):
            by_domain[domain] = max(level, by_domain.get(domain, 0.0))
            since[domain] = max(float(history.times[-1]), since.get(domain, 0.0))
    return OwnWord(by_part, by_domain, since)


def without_blackouts(histories: Sequence[SignalHistory]) -> tuple[list[SignalHistory], int]:
    """The histories without the scrapes in which most of a BMC's sensors read 0 or nothing at once, and how many do now.

    It restarts then, or its bus hangs: what its states say in these scrapes means nothing either. Feeds that fail
    together are a power cut, so it takes sensors of two kinds, or a rail, without which the machine would not answer.
    """
    grids: dict[tuple[int, float, float], list[int]] = defaultdict(list)
    for place, history in enumerate(histories):
        if history.signal.exporter in _BMC and not history.signal.looks_back and history.times.size > 1:
            grids[history.times.size, float(history.times[0]), float(history.times[-1])].append(place)
    cleaned, most = list(histories), 0
    for places in grids.values():
        sensors = [k for k in places if _is_sensor(histories[k])]
        if len(sensors) < _FEWEST:
            continue
        tail = slice(-_LOOKED_AT, None)
        speaks = [np.isfinite(histories[k].values) & (histories[k].values != 0.0) for k in sensors]
        # What says nothing most of the time is an empty bay, or a supply that is not in use.
        used = [row for row in range(len(sensors)) if np.count_nonzero(speaks[row]) > 0.5 * speaks[row].size]
        blank = ~np.stack([speaks[row][tail] for row in used]) if used else np.zeros((0, 0), dtype=bool)
        count = blank.sum(axis=0)
        dark = [
            column
            for column in np.flatnonzero(count >= max(_FEWEST, _SHARE * len(used))).tolist()
            if _is_bmc(histories, [sensors[row] for k, row in enumerate(used) if blank[k, column]])
        ]
        if not dark:
            continue
        most = max(most, int(count[-1]) if dark[-1] == count.size - 1 else 0)
        for place in places:
            history = histories[place]
            values = history.values.copy()
            values[tail][dark] = np.nan
            cleaned[place] = SignalHistory(history.signal, history.node, history.part, history.times, values)
    return cleaned, most


def _is_sensor(history: SignalHistory) -> bool:
    return not history.signal.own_word and history.signal.kind is SignalKind.GAUGE


def _is_bmc(histories: Sequence[SignalHistory], dark: Sequence[int]) -> bool:
    units = {histories[k].signal.unit for k in dark}
    return len(units) > 1 or any(histories[k].signal.domain == "rail" for k in dark)
