"""Where signals and hardware events are read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar, Protocol, runtime_checkable

from models.risk.signal import HardwareEvent, Signal, SignalHistory, Summaries


class MetricsSource(Protocol):
    """Where signals are read from: Prometheus, or anything that speaks its HTTP API."""

    def histories(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        """One history per node and part, NaN where nothing was reported.

        Raises MetricsUnavailable when the source is unreachable, refuses, or answers only in part, and BadInput when the
        signal gives two series for one node and part.
        """
        ...


@runtime_checkable
class ScrapeSource(Protocol):
    """Who knows when series were scraped. Without one, every step of an answer counts as a scrape."""

    def cadences(self, signal: Signal, *, at: datetime) -> Mapping[str, float]:
        """Seconds between the newest scrapes of a signal, by node; nodes of which it can't be told are left out.

        Raises as `MetricsSource.histories` does.
        """
        ...

    def scrapes(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        """For each node the moment of the newest scrape (unix seconds) at each step, NaN where there was none.

        Raises as `MetricsSource.histories` does.
        """
        ...


class SummarySource(Protocol):
    """Who computes 5-minute summaries: Prometheus, or anything that speaks its HTTP API."""

    def summaries(
        self,
        signal: Signal,
        *,
        first: int,
        last: int,
        step_seconds: int,
        resolution_seconds: int,
        recorded: bool = False,
        last_only: bool = False,
    ) -> Summaries:
        """The stretches that end at `first`, `first + step_seconds` … `last` (unix seconds). Raises as `histories` does.

        `last_only`: of the statistics only `last` is computed; the others are NaN. Not together with `recorded`.
        """
        ...


class GuestLoads(Protocol):
    """Who knows how busy guests were."""

    def busiest_hours(self, within: timedelta) -> Mapping[tuple[str, str], tuple[float, float]]:
        """(node, guest's libvirt name) → (processors in use in its busiest hour, share of the hours that were seen).

        Raises MetricsUnavailable.
        """
        ...


class HardwareLog(Protocol):
    """Where hardware events are read from: a directory of collected logs, or a BMC's SEL."""

    def events(self, *, since: datetime) -> list[HardwareEvent]:
        """Events at or after `since`, oldest first. Raises HardwareLogUnavailable."""
        ...


@runtime_checkable
class DoubtfulLog(Protocol):
    """A hardware log that says what it could not make sense of."""

    title: ClassVar[str]
    """what a person calls it, such as `log files`"""

    def doubts(self) -> list[str]:
        """What the last `events` left open, one line each: what was not understood, times that can't be, silence."""
        ...


@runtime_checkable
class PuzzlingLog(Protocol):
    """A hardware log that counts what no pattern names."""

    def strange_lines(self, most: int) -> list[str]:
        """Kinds of such lines, what varies in them as `*`, the most frequent first. Outsiders' words: for people and readers."""
        ...


@runtime_checkable
class SpokenLog(Protocol):
    """A hardware log that is made of messages."""

    def listen(self, heard: Callable[[str, str, datetime], None]) -> None:
        """Have `heard` told of every message (program, text, time) of hardware's programs that `events` reads from now on."""
        ...


@runtime_checkable
class PrintedLog(Protocol):
    """A hardware log that a tool prints."""

    def printed(self) -> str:
        """All of it. Raises HardwareLogUnavailable."""
        ...
