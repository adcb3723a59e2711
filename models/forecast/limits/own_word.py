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
from models.signal import Component, Floats, SignalHistory, SignalKind

NOMINAL, NOMINAL_UNDER_LOAD = 0.18, 0.08
"""The most a limit of ours says of a part that the machine calls nominal, or of which nothing but the limit
is known; less where the reading follows the load. Judgement: below what a drain costs, and for what follows
the load below what keeps vms away."""
_BMC = ("ipmi_exporter",)
_FEWEST, _SHARE = 3, 0.5
"""Sensors that fall together for the BMC to be the cause, and of which share of its sensors."""


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


def fell_together(histories: Sequence[SignalHistory]) -> frozenset[int]:
    """The places of sensors that went to 0 or NaN in one scrape together with most of their BMC's: it restarts, or its bus hangs.

    Of two components at least: feeds that fail together are a power cut.
    """
    sensors = 0
    fallen: dict[float, list[int]] = defaultdict(list)
    for place, history in enumerate(histories):
        signal = history.signal
        if signal.exporter not in _BMC or signal.own_word or signal.kind is not SignalKind.GAUGE or signal.looks_back:
            continue
        values = history.values
        if not values.size or not _speaks(values):
            continue
        sensors += 1
        # In most histories the newest value is a number: only the others are looked at closely.
        if values[-1] == 0.0 or values[-1] != values[-1]:
            dead = (values == 0.0) | ~np.isfinite(values)
            alive = np.flatnonzero(~dead)
            if alive.size and values.size - int(alive[-1]) < values.size / 4:
                fallen[float(history.times[int(alive[-1]) + 1])].append(place)
    for together in _neighbours(fallen):
        parts = {histories[k].part for k in together}
        components = {histories[k].signal.component for k in together}
        hot = any(histories[k].signal.unit == "°C" for k in together)
        if (
            len(parts) >= _FEWEST
            and len(together) >= _SHARE * sensors
            and (len(components) > 1 or hot or _rails(histories, together))
        ):
            return frozenset(together)
    return frozenset()


def _speaks(values: Floats) -> bool:
    """Whether it ever reads anything but 0; what never did is an empty bay."""
    return bool(values[0] > 0 or values[0] < 0 or values[values.size // 2] != 0.0) and bool(np.isfinite(values).any())


def _neighbours(fallen: Mapping[float, list[int]]) -> Iterable[list[int]]:
    """Those that fell within the same minute; different sensors are read one after the other."""
    times = sorted(fallen)
    together: list[int] = []
    for k, at in enumerate(times):
        together = [*together, *fallen[at]] if k and at - times[k - 1] <= 60.0 else list(fallen[at])
        if k + 1 == len(times) or times[k + 1] - at > 60.0:
            yield together


def _rails(histories: Sequence[SignalHistory], together: Sequence[int]) -> bool:
    """Whether the rails of the board are among them: without these nothing would be told at all."""
    return all(histories[k].signal.component is Component.POWER for k in together) and any(
        histories[k].signal.domain == "rail" for k in together
    )
