"""Fault domains: one fact is one cause, however many sensors, names and records tell of it. Pure.

A fault domain is what one fault takes along: a supply with its feed and its fan, the cooling, one disk whatever it is called, one
link or bond, a memory module, a processor. Within a domain the strongest of what is told counts; between domains they combine as
independent causes.

What is one of several (a supply, a fan, a leg of a bond, a member of an array) is a *reserve* while its
partners are well: its loss is told and keeps vms away, and no more. With a second one of them in trouble each
counts in full. A numbered supply that failed on a machine that still runs had a partner.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from models.forecast.limits.part import CRITICAL, Curve
from models.risk.parts import fault_domain, part_class, supply_name
from models.risk.risk import HORIZONS
from models.risk.signal import Component, PartClass, Signal
from models.risk.witness import Witness

RESERVE = 0.18
"""The most that all lost reserves say together, whatever the horizon: enough that no vm is sent there (`target.max_probability`
is 0.1 by default), less than any drain costs (`drain.price` is 0.25). Judgement."""
_SOON = HORIZONS.index("2h")
TROUBLE = 0.05
"""P(fails within a week) from which on a part counts as one that its partners can't lean on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What one history, or the records of one kind on one part, say."""

    domain: str
    """`supply:PSU1`, `cooling`, `disk:sda` …"""
    curve: Curve
    source: str
    """which signal, or `event`: parts are told apart by their names within one source only"""
    part: str = ""
    reserve: str = ""
    """of what it is one of several: `supplies`, `fans`, `links`, `disks`; empty: its loss takes the node along"""
    is_set: bool = False
    """it tells of all of them together: that a reserve is gone, not which one"""
    witnesses: frozenset[Witness] = frozenset()
    """by which ways it is told"""


def domain_of(signal: Signal, part: str) -> str:
    """The fault domain of a signal's part. Example: `psu_input_volts` of `PS1 VIN` → `supply:PSU1`."""
    match signal.domain:
        case "rail" | "supply" | "fan":
            supply = supply_name(part)
            if supply is not None:
                return f"supply:{supply}"
            if signal.domain == "fan":
                return "cooling"
            if signal.domain == "supply" or part_class(Component.POWER, part) is PartClass.REDUNDANT:
                number = _NUMBER.search(part)
                return f"supply:PSU{number.group() if number else ''}"
            return "rails"
        case "":
            return fault_domain(signal.component, part) if signal.component is not Component.NODE else "node"
        case "array":
            return f"disk:{part.removeprefix('/dev/')}"
        case "filesystem":
            return "disk:filesystem"
        case "cooling" | "monitoring" | "battery" | "add-on" | "processor":
            return signal.domain
        case other:
            return f"{other}:{part}"


_NUMBER = re.compile(r"\d+")


def reserve_of(
    signal: Signal, part: str, *, level: float, bonds: frozenset[str] = frozenset(), supplies: int = 0
) -> str:
    """Of what a signal's part is one of several; empty: of nothing.

    `level` is its newest reading, `bonds` are the node's bonds, `supplies` how many supplies its sensors name. A
    port is one of several where there is a bond. A supply that is off is a lost reserve; one whose output is out
    of bounds drags the bus it shares.
    """
    if signal.component is Component.NETWORK:
        return "links" if signal.redundant and bonds and not (part in bonds and signal.unit == "up") else ""
    if signal.domain == "rail":
        kind = part_class(Component.POWER, part)
        is_off = signal.own_word or abs(level) < 0.5 * abs(signal.limits.nominal or 0.0)
        if kind is PartClass.REDUNDANT or (supply_name(part) is not None and supplies > 1 and is_off):
            return "supplies"
        return ""
    if not signal.redundant:
        return ""
    if signal.domain == "array" and level >= CRITICAL:
        return ""
    if signal.domain == "fan":
        return "fans" if supply_name(part) is None else "supplies"
    if signal.domain == "supply":
        told = supply_name(part) is not None or part_class(Component.POWER, part) is not PartClass.NORMAL
        return "supplies" if told or _NUMBER.search(part) or part == "Status" else ""
    return "disks"


def strongest(facts: Sequence[Fact], *, alone: frozenset[str] = frozenset()) -> list[Curve]:
    """One curve a domain that anything is told of, and one for all lost reserves together.

    `alone`: kinds of reserve of which the node has one only, so that there is none to fall back on.
    """
    own: dict[str, Curve] = {}
    spare: dict[str, Curve] = {}
    weak = {kind for kind in {fact.reserve for fact in facts} if kind and (kind in alone or _in_trouble(facts, kind))}
    for fact in _joined(facts):
        held = spare if fact.reserve and fact.reserve not in weak else own
        known = held.get(fact.domain)
        held[fact.domain] = fact.curve if known is None else _higher(known, fact.curve)
    curves = [curve for domain, curve in own.items() if not domain.startswith("memory")]
    memory = [fact for fact in facts if fact.domain.startswith("memory")]
    if memory:
        curves.append(_of_memory(memory))
    lost = [curve for domain, curve in spare.items() if domain not in own or own[domain] < curve]
    if lost:
        curves.append(tuple(min(RESERVE, max(level)) for level in zip(*lost, strict=True)))
    return curves


def _in_trouble(facts: Iterable[Fact], kind: str) -> bool:
    """Whether one source tells of two of them. Names of different sources are not compared: one counts supplies from 0, the
    other from 1."""
    parts: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if fact.reserve == kind and not fact.is_set and fact.curve[-1] >= TROUBLE:
            parts[fact.source].add(fact.domain if kind == "supplies" else fact.part)
    return any(len(names) > 1 for names in parts.values())


_OTHER_NAME = re.compile(r"^disk:(?:ata\d|md\d|dm-\d|host\d|\d+:\d|mapper/|filesystem$|ext\d|xfs|btrfs|zfs|raid)")
"""What a disk's trouble is also called: its port, a device or a file system above it."""


def _joined(facts: Sequence[Fact]) -> Iterable[Fact]:
    """The facts, those that name a disk otherwise in the domain of the disk that is worst off."""
    disks = [fact for fact in facts if fact.domain.startswith("disk:")]
    plain = [fact for fact in disks if not _OTHER_NAME.match(fact.domain) and fact.curve[-1] > 0.0]
    worst = max(plain or disks, key=lambda fact: fact.curve[::-1], default=None)
    for fact in facts:
        if worst is not None and _OTHER_NAME.match(fact.domain):
            yield replace(fact, domain=worst.domain)
        else:
            yield fact


def _of_memory(facts: Sequence[Fact]) -> Curve:
    """What all modules say together: those in trouble are causes of their own as far as one source tells them apart.

    Two sources name the same module differently, and what names a controller or nothing means one of its modules: of those
    the strongest counts. What corrects itself on many modules is no more than on one.
    """
    groups: dict[tuple[str, str, bool], dict[str, Curve]] = defaultdict(dict)
    for fact in facts:
        style, _, name = fact.domain.partition(":")[2].partition("/")
        modules = groups[fact.source, style, name.startswith("MC")]
        modules[name] = _higher(modules.get(name, fact.curve), fact.curve)
    said = [fact.curve for fact in facts]
    for modules in groups.values():
        in_trouble = [curve for curve in modules.values() if curve[_SOON] >= TROUBLE]
        if len(in_trouble) > 1:
            said.append(tuple(1.0 - math.prod(1.0 - p for p in level) for level in zip(*in_trouble, strict=True)))
    return reduce(_higher, said)


def _higher(one: Curve, other: Curve) -> Curve:
    return tuple(map(max, one, other))
