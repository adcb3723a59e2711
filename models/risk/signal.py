"""Signals: named, unit-carrying quantities per node, defined as data, and their summaries over time."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from models.base import Duration, UtcTime, Value
from models.risk.witness import Witness, witness_of

Floats = NDArray[np.float64]


class Component(StrEnum):
    POWER = "power"
    THERMAL = "thermal"
    MEMORY = "memory"
    STORAGE = "storage"
    NETWORK = "network"
    CPU = "cpu"
    NODE = "node"


class SignalKind(StrEnum):
    GAUGE = "gauge"
    """a level, such as volts"""
    COUNTER = "counter"
    """only grows, except at a reset; its rate is what counts"""


class FeedLimits(Value):
    """What one kind of mains or direct-current feed may be, in volts."""

    nominal: float
    low: float
    high: float


class Limits(Value):
    """Documented limits of a signal, in the signal's unit. A None side has no limit."""

    low: float | None = None
    """below this the component is out of specification"""
    high: float | None = None
    """above this the component is out of specification"""
    nominal: float | None = None
    """the value it is built for; None where the standard names none"""
    relative: bool = False
    """low and high are distances from the part's own healthy median (low negative), for counts that differ from part
    to part and only matter when they grow"""
    rows: tuple[FeedLimits, ...] = ()
    """several documented sets of limits, of which the measured level says which one holds; low and high are then None"""
    source: str = ""
    """where the figures stand: a specification, data sheet or paper"""

    @property
    def known(self) -> bool:
        """Whether there is any limit."""
        return not (self.low is None and self.high is None) or bool(self.rows)

    def measured(self, level: float) -> Limits | None:
        """The limits of the row whose nominal value is nearest to a healthy level, among those it lies within; self without
        rows. None: no row fits."""
        if not self.rows:
            return self
        fitting = [row for row in self.rows if row.low <= level <= row.high]
        if not fitting:
            return None
        row = min(fitting, key=lambda one: abs(one.nominal - level))
        return Limits(low=row.low, high=row.high, nominal=row.nominal, source=self.source)

    @model_validator(mode="after")
    def _ordered(self) -> Limits:
        if self.rows and not (self.low is None and self.high is None and not self.relative):
            raise ValueError("rows and limits of its own: give one of them")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.relative and ((self.low is not None and self.low >= 0) or (self.high is not None and self.high <= 0)):
            raise ValueError("relative limits need low below 0 and high above 0: they are distances from the median")
        return self


STATISTICS = ("last", "min", "max", "mean", "count")
"""What a summary holds of a stretch of time; count is the number of moments at which something was reported."""
_OVER_TIME = {"last": "last", "min": "min", "max": "max", "mean": "avg", "count": "count"}
_MATCHERS = re.compile(r"\{[^{}]*\}")
CADENCE_SPANS = (600, 3600)
"""Seconds within which scrapes are counted to learn how often a series is scraped."""
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_WORDS = r"(?!(?:and|or|unless|bool|offset|by|on|without|ignoring|inf|nan)\b)"
_SELECTOR = re.compile(
    # name{matchers} or {matchers}; or a bare name that is no function, keyword, number's unit or macro
    rf'(?<![\w:$"])(?:{_WORDS}[a-zA-Z_:][\w:]*)?\{{[^{{}}]*\}}|(?<![\w:$"]){_WORDS}[a-zA-Z_:][\w:]*(?![\w:]*\s*\()'
)
_RANGE = re.compile(r"\[[^]]*\]")
_STRINGS_OUTSIDE = re.compile(r'"[^"]*"(?=\s*[,)])')


@lru_cache(maxsize=4096)
def _selectors(promql: str) -> tuple[str, ...]:
    braces = _MATCHERS.findall(promql)
    kept = _GROUPING.sub(" ", _RANGE.sub("", _MATCHERS.sub("{#}", promql)))
    parts = iter(braces)
    whole = re.sub(r"\{#\}", lambda _: next(parts), _STRINGS_OUTSIDE.sub('""', kept))
    return tuple(dict.fromkeys(found.group() for found in _SELECTOR.finditer(whole)))


class Signal(Value):
    """One quantity per node, as data: how to ask for it, its unit and limits, and what it means."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """such as `psu_12v_volts`"""
    component: Component
    kind: SignalKind = SignalKind.GAUGE
    unit: str
    """as a person writes it: V, A, °C, rpm, errors/h"""
    promql: str
    """gives one series per node and instance of the part; `$node_label` stands for the label that names nodes"""
    exporter: str = ""
    """who exposes what the query reads, such as `ipmi_exporter`: what to install where it is missing"""
    part_label: str | None = None
    """the label that tells parts of one node apart (sensor name, disk, DIMM); None when there is one per node"""
    title: str = "{part}"
    """how a driver names it: `{part}` stands for the part, such as `pending sectors of {part}`"""
    limits: Limits
    noise: float = Field(default=0.0, ge=0)
    """the smallest spread worth believing, in the signal's unit: the sensor's step, or one count"""
    window: Duration = Field(default=timedelta(minutes=5), gt=timedelta(0))
    """what `$window` stands for in promql, at the least; `$per_hour` brings a count over it to an hour"""
    domain: str = Field(default="", pattern=r"^[a-z-]*$")
    """the kind of fault domain its parts belong to: supply, rail, cooling, fan, disk, array, link …; empty: the component's"""
    redundant: bool = False
    """one of several: its loss while the others are well is a loss of reserve"""
    own_word: bool = False
    """it is what the machine itself says of the part: a state of the BMC, of a driver or of a disk"""
    state: str = ""
    """the signal that is the machine's own word on the same part: while it says nominal, a limit of ours triggers
    nothing alone"""
    follows_load: bool = False
    """it moves with the workload: spread and short climbs say nothing, only a level well on its way to the limit does"""
    failure_weight: float = Field(default=1.0, ge=0, le=1)
    """P(the node fails | this limit is crossed): one dead fan of six is not a dead node"""
    failure_delay: Duration = timedelta(0)
    """mean time from crossing the limit to the failure, for those that fail; exponential"""
    critical_weight: float | None = Field(default=None, ge=0, le=1)
    """of states: P(the node fails | critical); failure_weight then is that of a warning"""
    critical_delay: Duration | None = None
    """as failure_delay, when critical"""
    weight_reason: str = ""
    """why failure_weight and failure_delay are what they are; `judgement` where no figure was found"""
    meaning: str
    """one sentence an operator reads in a driver"""
    column: str = Field(default="", pattern=r"^[a-z0-9_]*$")
    """what public data about such parts calls it, in the same unit, such as `smart_5`; empty: nothing the same is known"""

    @field_validator("title")
    @classmethod
    def _only_part(cls, title: str) -> str:
        try:
            title.format(part="x")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError("only {part} may stand in braces") from error
        return title

    @field_validator("promql")
    @classmethod
    def _names_nodes(cls, promql: str) -> str:
        if not promql.strip():
            raise ValueError("expected a PromQL expression")
        return promql

    @cached_property
    def looks_back(self) -> bool:
        """Computed over a range of time, such as a rate: it goes on for a while after the last sample."""
        return "[" in _MATCHERS.sub("", self.promql)

    @cached_property
    def witness(self) -> Witness:
        """By which way its series come."""
        return witness_of(self.exporter)

    @cached_property
    def is_watched(self) -> bool:
        """It has a limit and carries weight: a part of it can raise a risk."""
        return self.failure_weight > 0 and self.limits.known

    @property
    def selectors(self) -> tuple[str, ...]:
        """The series that promql reads, such as `node_edac_errors{kind="ue"}`, each once; empty where none can be told."""
        return _selectors(self.promql)

    @cached_property
    def scrapes(self) -> Signal | None:
        """A signal whose values are the moments of a node's newest scrape of this one (unix seconds); None: can't be told."""
        if not self.selectors:
            return None
        query = " or ".join(f"max by ($node_label) (timestamp({selector}))" for selector in self.selectors)
        return self.model_copy(update={"name": f"{self.name}_scraped_at", "promql": query, "part_label": None})

    @cached_property
    def scrape_counts(self) -> Signal | None:
        """A signal that counts a node's scrapes of this one within `CADENCE_SPANS` (seconds, its parts); None: can't be told."""
        if not self.selectors:
            return None
        counts = (
            f'label_replace(max by ($node_label) (count_over_time({selector}[{span}s])), "span", "{span}", "", "")'
            for selector in self.selectors
            for span in CADENCE_SPANS
        )
        changed = {"name": f"{self.name}_scrapes", "promql": " or ".join(counts), "part_label": "span"}
        return self.model_copy(update=changed)

    def with_window(self, cadence_seconds: float) -> Signal:
        """Itself, or with a window that holds three scrapes of series that are scraped only so often."""
        window = math.ceil(3.0 * cadence_seconds / 60.0) * 60.0
        if "$window" not in self.promql or window <= self.window.total_seconds():
            return self
        return self.model_copy(update={"window": timedelta(seconds=window)})

    def query(self, node_label: str) -> str:
        """The PromQL to send, with `$node_label`, `$window` and `$per_hour` filled in."""
        window = self.window.total_seconds()
        return (
            self.promql.replace("$node_label", node_label)
            .replace("$window", f"{window:.0f}s")
            .replace("$per_hour", f"{3600.0 / window:g}")
        )

    def summary_query(
        self, node_label: str, *, stretch_seconds: int, resolution_seconds: int, statistics: Sequence[str] = STATISTICS
    ) -> str:
        """PromQL that has Prometheus compute each of `statistics` over a stretch, told apart by the label `stat`.

        Within the stretch the signal is evaluated every `resolution_seconds`.
        """
        inside = f"({self.query(node_label)})[{stretch_seconds}s:{resolution_seconds}s]"
        return " or ".join(
            f'label_replace({_OVER_TIME[stat]}_over_time({inside}), "stat", "{stat}", "", "")' for stat in statistics
        )

    @property
    def recorded(self) -> str:
        """The series that the shipped recording rules keep these summaries in."""
        return f"lifeboat:{self.name}:5m"


def _read_only(values: Floats) -> Floats:
    """The same numbers, not to be changed through it. One that is so already is taken as it is: a fleet's look has a million."""
    if values.flags.writeable:
        values = values.view()
        values.flags.writeable = False
    return values


class SignalHistory:
    """What a signal did on one part of one node: times (unix seconds, ascending) and values, float64, NaN = unknown.

    Not a pydantic type: it carries arrays, which can be read only, and is never written to a file.
    """

    __slots__ = ("node", "part", "signal", "times", "values")

    def __init__(self, signal: Signal, node: str, part: str, times: Floats, values: Floats) -> None:
        """Raises ValueError when times and values differ in shape."""
        if times.shape != values.shape or times.ndim != 1:
            raise ValueError(f"{signal.name} on {node}: times {times.shape} and values {values.shape} differ")
        self.signal = signal
        self.node = node
        self.part = part
        self.times = _read_only(times)
        self.values = _read_only(values)

    def __repr__(self) -> str:
        return f"SignalHistory({self.signal.name}, {self.node}, {self.part!r}, {self.times.size} samples)"

    @property
    def newest(self) -> float | None:
        """Unix time of the newest sample that holds a number; None when none does."""
        if self.values.size and np.isfinite(self.values[-1]):
            return float(self.times[-1])
        known = np.flatnonzero(np.isfinite(self.values))
        return float(self.times[known[-1]]) if known.size else None

    def since(self, start: float) -> SignalHistory:
        """The part of it at or after `start` (unix seconds)."""
        first = int(np.searchsorted(self.times, start, side="left"))
        return SignalHistory(self.signal, self.node, self.part, self.times[first:], self.values[first:])

    def until(self, end: float) -> SignalHistory:
        """The part of it at or before `end` (unix seconds)."""
        after = int(np.searchsorted(self.times, end, side="right"))
        return SignalHistory(self.signal, self.node, self.part, self.times[:after], self.values[:after])


class Summaries:
    """What one signal's series did in each stretch of time: STATISTICS × series × stretches, float64, NaN = unknown.

    Not a pydantic type, as `SignalHistory`. `times` are the ends of the stretches (unix seconds, ascending).
    """

    __slots__ = ("parts", "signal", "times", "values")

    def __init__(self, signal: Signal, times: Floats, parts: Sequence[tuple[str, str]], values: Floats) -> None:
        """`parts` are (node, part), unique. Raises ValueError when the shapes do not fit."""
        if values.shape != (len(STATISTICS), len(parts), times.size):
            raise ValueError(
                f"{signal.name}: summaries of shape {values.shape} for {len(parts)} parts, {times.size} times"
            )
        self.signal = signal
        self.times = times
        self.parts = tuple(parts)
        self.values = values


class HardwareEventKind(StrEnum):
    VOLTAGE = "voltage"
    CURRENT = "current"
    TEMPERATURE = "temperature"
    FAN = "fan"
    POWER_SUPPLY = "power-supply"
    MEMORY_CORRECTED = "memory-corrected"
    MEMORY_UNCORRECTED = "memory-uncorrected"
    MACHINE_CHECK = "machine-check"
    PCIE = "pcie"
    DISK_IO = "disk-io"
    DISK_SMART = "disk-smart"
    LINK_DOWN = "link-down"
    LINK_UP = "link-up"
    THROTTLE = "throttle"
    LOCKUP = "lockup"
    """the kernel, or a whole task of it, got stuck; it may be software"""
    POWER_LOST = "power-lost"
    BOOT = "boot"
    OTHER = "other"


class PartClass(StrEnum):
    """What losing the part means for the node."""

    NORMAL = "normal"
    """nothing more is known"""
    MAIN_RAIL = "main-rail"
    """a voltage that the node does not run without"""
    BATTERY = "battery"
    """keeps a clock or a cache alive, not the node"""
    ADD_ON = "add-on"
    """a card, a drive or a module that may run hot, fail or be pulled while the node goes on"""
    REDUNDANT = "redundant"
    """one of several that do the same: a supply, its feed, a fan, a leg of a bond, a member of an array"""
    REDUNDANCY = "redundancy"
    """the state of such a set, not one of it"""
    CONTROLLER = "controller"
    """a storage controller: every disk behind it goes with it"""
    USB_NIC = "usb-nic"
    """a network interface on USB, such as the BMC's own"""
    UNUSED_PORT = "unused-port"
    """a network port that never had a link"""
    REMOVABLE = "removable"
    """a stick or a virtual medium"""


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class HardwareEvent(Value):
    """A typed record read from a log. Carries no raw log text: that may hold anything."""

    node: str
    time: UtcTime
    kind: HardwareEventKind
    component: Component
    severity: Severity
    part: str = Field(default="", pattern=r"^[A-Za-z0-9_.:/-]{0,64}$")
    """which one, by the name its source gives it: `PSU1_12V_Out`, `DIMM_A2`, `sda`, `eth0`; only letters, digits, `_ . : / -`.
    What belongs to the same thing: `models.risk.parts.fault_domain`"""
    part_class: PartClass = PartClass.NORMAL
    """what losing that part means for the node"""
    asserted: bool = True
    """False when the record says the condition went away"""
    witness: Witness = Witness.HOST_LOG
    """by which way it was read"""
