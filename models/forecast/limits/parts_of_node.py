"""What the parts of one node say together: beside each other, beside the machine's own word, and as facts of
fault domains. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.forecast.limits.domains import Fact, domain_of, reserve_of
from models.forecast.limits.events import EventHazard
from models.forecast.limits.evidence import known_samples
from models.forecast.limits.own_word import NOMINAL, NOMINAL_UNDER_LOAD, OwnWord, own_word, without_blackouts
from models.forecast.limits.part import HORIZON_SECONDS, PartRisk, Unknown, assess_part
from models.forecast.limits.screen import calm
from models.risk.parts import fault_domain, part_class, supply_name
from models.risk.risk import Driver
from models.risk.signal import Component, HardwareEventKind, PartClass, SignalHistory, SignalKind
from models.text import visible

TWO_HOURS, WEEK = 1, 3
"""Places in a curve."""
Line = tuple[float, float, Driver]
"""P(2 h), P(7 d) and the words for it."""
_BOND, _LINK = "bond_lost_links", "nic_up"
"""The signals whose parts are a node's bonds, and its ports."""


@dataclass
class Told:
    """What is known of one node's parts."""

    facts: list[Fact] = field(default_factory=list[Fact])
    drivers: list[Line] = field(default_factory=list[Line])
    unknown: list[Unknown] = field(default_factory=list[Unknown])
    bonds: frozenset[str] = frozenset()
    alone: frozenset[str] = frozenset()
    """kinds of reserve of which there is one only"""
    word: OwnWord = field(default_factory=OwnWord)


def parts_of(histories: Sequence[SignalHistory], *, now: float) -> Told:
    """What one node's histories say at `now`, none of them later than that."""
    quiet = calm(histories, now=now)
    loud = [place for place in np.flatnonzero(~quiet).tolist() if histories[place].signal.is_watched]
    told = Told(bonds=frozenset(history.part for history in histories if history.signal.name == _BOND))
    if not loud:
        return told
    fans = {history.part for history in histories if history.signal.domain == "fan"}
    told.alone = frozenset({"fans"} if len(fans) == 1 else ())
    histories, dark = without_blackouts(histories)
    if dark:
        why = f"{dark} sensors read 0 or nothing in the same scrape: the BMC restarts or hangs, not the machine"
        told.unknown.append(Unknown("BMC", why))
    told.word = own_word(histories, now=now)
    supplies = len({name for h in histories if h.signal.component is Component.POWER and (name := supply_name(h.part))})
    parts: list[tuple[SignalHistory, PartRisk]] = []
    unused = _unused_ports(histories)
    for place in loud:
        history = histories[place]
        if history.part in unused and history.signal.component is Component.NETWORK:
            continue
        said = assess_part(history, now=now)
        if isinstance(said, PartRisk):
            parts.append((history, said))
        elif said is not None:
            told.unknown.append(said)
    parts = _without_several_at_once(parts, told.unknown)
    in_unison = _slowed_in_unison([said for _, said in parts])
    for history, said in parts:
        if said.unknown is not None:
            told.unknown.append(said.unknown)
        said = _beside_own_word(history, said, told.word, in_unison=in_unison)
        signal = said.signal
        reserve = reserve_of(signal, said.part, level=said.level, bonds=told.bonds, supplies=supplies)
        told.facts.append(
            Fact(
                domain=_domain(history, told.bonds),
                curve=said.curve,
                source=signal.name,
                part=said.part,
                reserve=reserve,
                is_set=part_class(Component.POWER, said.part) is PartClass.REDUNDANCY,
                witnesses=frozenset((signal.witness,)),
            )
        )
        if said.curve[TWO_HOURS] >= 0.005 or said.curve[WEEK] >= 0.02 or said.newsworthy:
            told.drivers.append((said.curve[TWO_HOURS], said.curve[WEEK], Driver(signal=signal.name, why=said.why)))
    told.unknown[:] = _without_renamed(told.unknown, histories, now)
    return told


def _unused_ports(histories: Sequence[SignalHistory]) -> frozenset[str]:
    """Ports that had no link for most of what is known of them: nothing hangs on them."""
    ports: set[str] = set()
    for history in histories:
        if history.signal.name == _LINK and history.values.size:
            known = history.values[np.isfinite(history.values)]
            if known.size and float(np.mean(known)) < 0.1 and known[0] < 0.5:
                ports.add(history.part)
    return frozenset(ports)


def _domain(history: SignalHistory, bonds: frozenset[str]) -> str:
    """A bond and its legs are one link; which ports are its legs no exporter says, so that all of them count as such."""
    if bonds and history.signal.component is Component.NETWORK:
        return "link:bond"
    return domain_of(history.signal, history.part)


def _beside_own_word(history: SignalHistory, said: PartRisk, word: OwnWord, *, in_unison: bool) -> PartRisk:
    """A limit of ours stands back where the machine calls the part nominal, or where nothing but the limit is known."""
    signal = said.signal
    fixed = not (signal.own_word or signal.limits.relative or signal.kind is SignalKind.COUNTER or "/" in signal.unit)
    if not fixed or not any(said.curve):
        return said
    own = word.of(history)
    stands_back = own == 0.0 and not said.is_moving
    stands_back |= own is None and not said.is_known
    stands_back |= in_unison and signal.domain == "fan"
    if not stands_back:
        return said
    most = NOMINAL_UNDER_LOAD if signal.follows_load else NOMINAL
    if own == 0.0:
        reason = "; the machine itself calls it nominal"
    elif in_unison:
        reason = "; all fans slowed down together: a setting, no failure"
    else:
        reason = "; it has no past to compare with"
    return replace(said, curve=tuple(min(most, p) for p in said.curve), why=said.why + reason)


def _slowed_in_unison(parts: Iterable[PartRisk]) -> bool:
    """Whether three fans or more are slow and none of them stands still: their controller did that."""
    slow = [said for said in parts if said.signal.domain == "fan" and not said.signal.own_word and any(said.curve)]
    return len(slow) > 2 and all(said.level > 0.0 for said in slow)


def _without_several_at_once(
    parts: Sequence[tuple[SignalHistory, PartRisk]], unknown: list[Unknown]
) -> list[tuple[SignalHistory, PartRisk]]:
    """Disks that all fail their own test in the same scrape did not: their exporter has begun to write 0 for `absent`."""
    fell: dict[tuple[str, float], list[int]] = defaultdict(list)
    for place, (history, said) in enumerate(parts):
        if history.signal.own_word and history.signal.unit == "ok" and any(said.curve):
            times, values = known_samples(history)
            well = np.flatnonzero(values != values[-1])
            if well.size:
                fell[history.signal.name, float(times[well[-1] + 1])].append(place)
    several = {place: len(places) for places in fell.values() if len(places) > 1 for place in places}
    for place, count in several.items():
        history, _ = parts[place]
        why = (
            f"says failing since the same scrape as {count - 1} other{'s' if count > 2 else ''}, and is not counted: "
            "look at its exporter first, then at the cable or controller they share"
        )
        unknown.append(Unknown(f"{history.signal.name} {visible(history.part, 40)}", why))
    return [one for place, one in enumerate(parts) if place not in several]


def _without_renamed(unknown: Sequence[Unknown], histories: Sequence[SignalHistory], now: float) -> list[Unknown]:
    """Parts that vanished while as many new ones of the same signal came are the same parts under other names."""
    gone = defaultdict[str, list[Unknown]](list)
    for one in unknown:
        if one.vanished:
            gone[one.signal.split(" ")[0]].append(one)
    if not gone:
        return list(unknown)
    new: dict[str, int] = defaultdict(int)
    for history in histories:
        if history.signal.name in gone and history.times.size and np.isfinite(history.values[-1]):
            known = np.flatnonzero(np.isfinite(history.values))
            new[history.signal.name] += int(known[0] > 0 and history.times[known[0]] > now - 86_400.0 + 1800.0)
    renamed = {one.signal for name, ones in gone.items() if new[name] >= len(ones) for one in ones}
    return [
        replace(one, vanished=False, why=f"{one.why}; it seems to have another name now")
        if one.signal in renamed
        else one
        for one in unknown
    ]


# ---- hardware events ----

_OF_KIND = {
    HardwareEventKind.TEMPERATURE: "cooling",
    HardwareEventKind.FAN: "cooling",
    HardwareEventKind.THROTTLE: "cooling",
    HardwareEventKind.MACHINE_CHECK: "processor",
    HardwareEventKind.LOCKUP: "kernel",
}
"""Kinds of records whose domain does not depend on the part."""
_COMPONENT = {
    HardwareEventKind.DISK_IO: Component.STORAGE,
    HardwareEventKind.DISK_SMART: Component.STORAGE,
    HardwareEventKind.MEMORY_UNCORRECTED: Component.MEMORY,
    HardwareEventKind.MEMORY_CORRECTED: Component.MEMORY,
    HardwareEventKind.LINK_DOWN: Component.NETWORK,
    HardwareEventKind.PCIE: Component.NODE,
}
_APART = (PartClass.BATTERY, PartClass.ADD_ON, PartClass.CONTROLLER)
"""Classes whose parts share no fault domain with what the node runs on."""


_SUPPLY_KINDS = frozenset(
    {HardwareEventKind.POWER_SUPPLY, HardwareEventKind.POWER_LOST, HardwareEventKind.VOLTAGE, HardwareEventKind.CURRENT}
)
_DISK_KINDS = frozenset({HardwareEventKind.DISK_IO, HardwareEventKind.DISK_SMART})


def event_fact(hazard: EventHazard, told: Told) -> Fact:
    """A kind of records on one part as a fact of its fault domain. Of what it is one of several says its part class."""
    domain = _OF_KIND.get(hazard.kind) or fault_domain(_COMPONENT.get(hazard.kind, Component.POWER), hazard.part)
    reserve = ""
    supply = supply_name(hazard.part)
    match hazard.part_class:
        case PartClass.REDUNDANCY:
            # Which of them is missing, others tell.
            domain, reserve = "redundancy", "sets"
        case PartClass.REDUNDANT if hazard.kind in _SUPPLY_KINDS or supply is not None:
            domain, reserve = f"supply:{supply or hazard.part}", "supplies"
        case PartClass.REDUNDANT if hazard.kind is HardwareEventKind.FAN:
            reserve = "fans"
        case PartClass.REDUNDANT if hazard.kind in _DISK_KINDS:
            reserve = "disks"
        case PartClass.REDUNDANT if hazard.kind is HardwareEventKind.LINK_DOWN:
            domain, reserve = "link:bond", "links"
        case kind if kind in _APART:
            domain = f"{kind.value}:{hazard.part}"
        case _:
            if hazard.kind is HardwareEventKind.POWER_SUPPLY and supply is not None:
                reserve = "supplies"
            elif hazard.kind is HardwareEventKind.LINK_DOWN and told.bonds and hazard.part not in told.bonds:
                domain, reserve = "link:bond", "links"
    curve = tuple(hazard.within(h) for h in HORIZON_SECONDS)
    if reserve == "supplies" and told.word.by_domain.get(domain) == 0.0:
        curve = tuple(RECOVERED * p for p in curve)
    is_set = reserve == "sets"
    part = "" if is_set else hazard.part
    return Fact(
        domain=domain,
        curve=curve,
        source="event",
        part=part,
        reserve=reserve,
        is_set=is_set,
        witnesses=hazard.witnesses,
    )


RECOVERED = 0.1
"""What is left of a lost reserve's record once the machine says that the part is nominal again."""
