"""Signals out of Prometheus, or out of anything that speaks its HTTP API (Thanos, Mimir, VictoriaMetrics).

prometheus-api-client asks; this module checks each answer before it believes it. An answer that is late, partial, refused,
malformed or ambiguous raises, naming the signal, so that nobody mistakes it for a healthy one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import requests
from numpy.typing import NDArray
from urllib3.util import Retry

from models.errors import BadInput, MetricsUnavailable
from models.risk.signal import STATISTICS, Signal, SignalHistory, Summaries
from tools.garbage import UNCOLLECTED
from tools.prometheus.cadence import scrape_cadence
from tools.prometheus.matrix import Matrix
from tools.prometheus.session import CheckedSession, RefusalError

MAX_POINTS = 10_000
"""Steps asked for at once. Prometheus refuses a range query over 11,000 points per series."""

Floats = NDArray[np.float64]


class PrometheusMetrics:
    """A `MetricsSource` over Prometheus's HTTP API. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        node_label: str = "instance",
        timeout_seconds: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Connects to nothing yet. Raises BadInput when the url is not one."""
        from prometheus_api_client.prometheus_connect import PrometheusConnect

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(
                f"prometheus.url {_without_password(url)!r} is not an http or https URL",
                hint="give it as http://HOST:9090",
            )
        self._url = _without_password(url)
        self._node_label = node_label
        self._timeout = timeout_seconds
        self._session = CheckedSession(self._url)
        self._known: dict[str, tuple[tuple[bytes, str | None], _Places]] = {}
        """by signal: the series of its last summaries, and whose they are"""
        self._client = PrometheusConnect(
            url=url.rstrip("/"),
            headers=dict(headers or {}),
            # Its own default, three retries with a back-off, would hold a pass up for seconds.
            retry=Retry(total=1, connect=1, read=0, status=0, other=0, backoff_factor=0.05),
            session=self._session,
            timeout=timeout_seconds,  # pyright: ignore[reportArgumentType]  # requests takes a float
            method="POST",
        )

    @property
    def url(self) -> str:
        """Where it asks, without a password."""
        return self._url

    def close(self) -> None:
        self._client.close()

    def histories(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        """One history per node and part on a grid of `step_seconds` from `start` (whole seconds), ending by `end`.

        NaN where nothing was reported, and where it was NaN or infinite. No series at all gives an empty list.
        Raises MetricsUnavailable (unreachable, refused, partial, malformed) and BadInput (the signal's PromQL is wrong,
        or gives two series for one node and part, or a series without the node label).
        """
        if step_seconds <= 0 or end <= start:
            raise ValueError(f"expected start < end and a step above 0, got {start} to {end} by {step_seconds} s")
        first = math.floor(start.timestamp())
        count = math.floor((end.timestamp() - first) / step_seconds) + 1
        grid: Floats = first + step_seconds * np.arange(count, dtype=np.float64)
        grid.flags.writeable = False  # so that all histories have the very same one, not a view each
        found: dict[tuple[str, str], tuple[Mapping[str, str], Floats]] = {}
        for begin in range(0, count, MAX_POINTS):
            points = grid[begin : begin + MAX_POINTS]
            for labels, values in self._gridded(
                signal, self._range(signal, points, step_seconds), points, step_seconds
            ):
                self._place(signal, found, labels, values, begin, count)
        return [SignalHistory(signal, node, part, grid, values) for (node, part), (_, values) in sorted(found.items())]

    def cadences(self, signal: Signal, *, at: datetime) -> dict[str, float]:
        """Seconds between the newest scrapes of a signal, by node. Raises as `histories` does."""
        counts = signal.scrape_counts
        if counts is None:
            return {}
        found: dict[str, dict[str, float]] = {}
        # Two steps: a range that is none at all is refused.
        for history in self.histories(counts, start=at - timedelta(seconds=1), end=at, step_seconds=1.0):
            if history.part.isdigit() and np.isfinite(history.values[-1]):
                found.setdefault(history.node, {})[history.part] = float(history.values[-1])
        return {node: cadence for node, one in found.items() if (cadence := scrape_cadence(one)) is not None}

    def scrapes(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        """For each node the moment of the newest scrape at each step. Raises as `histories` does."""
        moments = signal.scrapes
        return [] if moments is None else self.histories(moments, start=start, end=end, step_seconds=step_seconds)

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
        """Last, min, max, mean and count of the stretches that end at `first`, `first + step_seconds` … `last` (unix seconds).

        Prometheus computes them; `recorded`: its recording rules have done so already (5-minute stretches only). `last_only`: the
        others stay NaN.
        Raises as `histories` does.
        """
        points: Floats = np.arange(first, last + 1, step_seconds, dtype=np.float64)
        query = signal.recorded if recorded else signal.summary_query(
            self._node_label, stretch_seconds=step_seconds, resolution_seconds=resolution_seconds,
            statistics=STATISTICS[:1] if last_only else STATISTICS,
        )  # fmt: skip
        if points.size > MAX_POINTS:
            raise ValueError(f"{points.size} stretches asked for at once, {MAX_POINTS} at most")
        with UNCOLLECTED:
            return self._summarise(signal, self._range(signal, points, step_seconds, query), points, step_seconds)

    def _summarise(self, signal: Signal, found: Matrix, points: Floats, step_seconds: float) -> Summaries:
        try:
            rows = found.rows()
            if rows is None:
                series = self._decoded(signal, found)
                places = self._placed(signal, [one["metric"] for one in series])
                samples: list[list[tuple[float, str]]] = [one["values"] for one in series]
                lengths = list(map(len, samples))
                flat_samples = list(chain.from_iterable(samples))
                moment: Floats = np.array(list(map(itemgetter(0), flat_samples)), dtype=np.float64)
                number: Floats = np.array(list(map(float, map(itemgetter(1), flat_samples))), dtype=np.float64)
            else:
                # From pass to pass the series are the same ones, as a rule: their labels are read once.
                key = (rows.digest, signal.part_label)
                known = self._known.get(signal.name)
                places = known[1] if known is not None and known[0] == key else self._placed(signal, rows.labelled())
                self._known[signal.name] = key, places
                lengths, moment, number = rows.lengths, rows.times, rows.values
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(signal, error) from error
        at = np.rint((moment - points[0]) / step_seconds).astype(np.int64)
        if moment.size and (at.min() < 0 or np.any(np.abs(moment - points[0] - at * step_seconds) > 0.5)):
            raise self._ungridded(signal)
        keep = at < points.size  # rounding the end up may have asked for one more
        place = (np.repeat(places.owner, lengths) * points.size + at)[keep]
        parts = places.parts
        flat: Floats = np.full(len(parts) * len(STATISTICS) * points.size, np.nan)
        number = np.where(np.isfinite(number), number, np.nan)[keep]
        flat[place] = number
        choose = _worse(signal.promql) if places.by_port else None
        if choose is not None:
            choose.at(flat, place, number)
        elif place.size and np.bincount(place, minlength=1).max() > 1:
            twice = int(np.argmax(np.bincount(place))) // (points.size * len(STATISTICS))
            node, part = parts[twice]
            raise BadInput(
                f"signal {signal.name}: two series for node {node!r}{f', part {part!r}' if part else ''}; "
                f"query: {signal.query(self._node_label)}",
                hint="aggregate it, or name the differing label as part_label",
            )
        values = flat.reshape(len(parts), len(STATISTICS), points.size).transpose(1, 0, 2)
        return Summaries(signal, points, parts, values)

    def _placed(self, signal: Signal, labelled: list[Mapping[str, str]]) -> _Places:
        """Whose series these are. Comprehensions and maps, not one loop: a fleet's answer has fifty thousand."""
        parts: dict[tuple[str, str], int] = {}
        seen = self._names(labelled, signal)
        place_of: dict[tuple[str, str], int] = {}  # each name is read once, not once a statistic
        names = dict.fromkeys(seen)
        for node, part in names:
            if not node:
                raise self._unlabelled(signal, labelled[seen.index((node, part))])
            place_of[node, part] = parts.setdefault((node_name(node), part), len(parts)) * len(STATISTICS)
        stats = map(_STATISTIC.__getitem__, map(itemgetter("stat"), labelled))
        owner = np.array(list(map(place_of.__getitem__, seen)), np.int64) + np.array(list(stats), np.int64)
        return _Places(tuple(parts), owner, by_port=len(parts) < len(names))

    def _names(self, labelled: list[Mapping[str, str]], signal: Signal) -> list[tuple[str, str]]:
        """Node label and part of each series, empty where there is none."""
        if signal.part_label is None:
            return [(labels.get(self._node_label, ""), "") for labels in labelled]
        try:
            return list(map(itemgetter(self._node_label, signal.part_label), labelled))
        except KeyError:
            part = signal.part_label
            return [(labels.get(self._node_label, ""), labels.get(part, "")) for labels in labelled]

    def _range(self, signal: Signal, points: Floats, step_seconds: float, query: str | None = None) -> Matrix:
        query = query or signal.query(self._node_label)
        try:
            # The client rounds to whole seconds; half a step more keeps the last point inside.
            end = math.ceil(points[-1]) if points.size > 1 else points[-1]
            return self._client.custom_query_range(  # pyright: ignore[reportReturnType]
                query,
                start_time=datetime.fromtimestamp(points[0], UTC),
                end_time=datetime.fromtimestamp(end, UTC),
                step=f"{step_seconds:g}",
            )
        except RefusalError as refusal:
            raise refusal.about(signal, query, self._url) from None
        except requests.Timeout as error:
            raise MetricsUnavailable(
                f"Prometheus at {self._url} did not answer {signal.name} within {self._timeout:g} s",
                hint="check its load, or raise prometheus.timeout_seconds",
            ) from error
        except requests.RequestException as error:
            raise MetricsUnavailable(
                f"Prometheus at {self._url} is unreachable ({_reason(error)})",
                hint="check prometheus.url in the settings, and that Prometheus runs and listens there",
            ) from error

    def _gridded(
        self, signal: Signal, found: Matrix, points: Floats, step_seconds: float
    ) -> Iterable[tuple[Mapping[str, str], Floats]]:
        """The labels of each series of an answer and its values on the grid."""
        with UNCOLLECTED:
            rows = found.rows()
            if rows is None:
                return [self._read(signal, series, points, step_seconds) for series in self._decoded(signal, found)]
            try:
                labelled = rows.labelled()
            except ValueError as error:
                raise self._unreadable(signal, error) from error
        values = rows.on_grid(points, step_seconds)
        if values is None:
            raise self._ungridded(signal)
        # Of its own each: a slice would keep all of them in memory as long as one is needed.
        return zip(labelled, map(np.copy, values), strict=True)

    def _read(
        self, signal: Signal, series: Mapping[str, Any], points: Floats, step_seconds: float
    ) -> tuple[Mapping[str, str], Floats]:
        """The labels of one series and its values on the grid."""
        values: Floats = np.full(points.size, np.nan)
        try:
            labels: Mapping[str, str] = series["metric"]
            samples: list[tuple[float, str]] = series["values"]
            times: Floats = np.array([sample[0] for sample in samples], dtype=np.float64)
            numbers: Floats = np.array([float(sample[1]) for sample in samples], dtype=np.float64)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._unreadable(signal, error) from error
        places = np.rint((times - points[0]) / step_seconds)
        off = np.abs(times - points[0] - places * step_seconds) > 0.5
        if times.size and (np.any(off) or np.any(np.diff(places) <= 0) or places[0] < 0):
            raise self._ungridded(signal)
        inside = places < points.size  # rounding the end up may have asked for one point more
        values[places[inside].astype(np.int64)] = np.where(np.isfinite(numbers), numbers, np.nan)[inside]
        return labels, values

    def _place(
        self,
        signal: Signal,
        found: dict[tuple[str, str], tuple[Mapping[str, str], Floats]],
        labels: Mapping[str, str],
        values: Floats,
        begin: int,
        count: int,
    ) -> None:
        node = labels.get(self._node_label)
        if not node:
            raise self._unlabelled(signal, labels)
        key = (node_name(node), labels.get(signal.part_label, "") if signal.part_label else "")
        if key not in found:
            if values.size == count:
                found[key] = (labels, values)
                return
            found[key] = (labels, np.full(count, np.nan))
        seen, whole = found[key]
        piece = whole[begin : begin + values.size]
        if seen.get(self._node_label) != node and (choose := _worse(signal.promql)) is not None:
            choose(piece, values, out=piece)  # the same machine by another port: another of its exporters
            return
        if np.any(np.isfinite(piece) & np.isfinite(values)):
            differ = sorted(k for k in {*seen, *labels} if seen.get(k) != labels.get(k))
            different = ", ".join(f"{k}={seen.get(k, '')!r} and {labels.get(k, '')!r}" for k in differ)
            part = f", part {key[1]!r}" if key[1] else ""
            raise BadInput(
                f"signal {signal.name}: two series for node {key[0]!r}{part} that differ in {different or 'nothing'}; "
                f"query: {signal.query(self._node_label)}",
                hint=f"aggregate it, such as `max by ({', '.join(filter(None, ('$node_label', signal.part_label)))}) (…)`, "
                "or name the differing label as part_label",
            )
        # One after the other, such as before and after a part was replaced, is one history.
        np.copyto(piece, values, where=np.isfinite(values))

    def _decoded(self, signal: Signal, found: Matrix) -> list[Mapping[str, Any]]:
        try:
            with UNCOLLECTED:
                return found.series()
        except ValueError as error:
            raise self._unreadable(signal, error) from error

    def _unlabelled(self, signal: Signal, labels: Mapping[str, str]) -> BadInput:
        return BadInput(
            f"signal {signal.name}: its query gives a series without the label {self._node_label!r} ({_show(labels)})",
            hint="aggregate it `by ($node_label)`, or set prometheus.node_label to the label that names nodes",
        )

    def _unreadable(self, signal: Signal, error: Exception) -> MetricsUnavailable:
        return MetricsUnavailable(
            f"Prometheus at {self._url} answered {signal.name} with a series that can't be read ({error})",
            hint="check that the URL is Prometheus's own API, not a proxy that rewrites it",
        )

    def _ungridded(self, signal: Signal) -> MetricsUnavailable:
        return MetricsUnavailable(
            f"Prometheus at {self._url} answered {signal.name} with times it was not asked for",
            hint="check its clock, and whether a caching proxy stands before it",
        )


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the series of an answer belong."""

    parts: tuple[tuple[str, str], ...]
    """(node, part), each once"""
    owner: NDArray[np.int64]
    """of each series: the place of its part × statistics, plus that of its statistic"""
    by_port: bool = False
    """some parts have several series, of one machine by several ports"""


_STATISTIC = {stat: place for place, stat in enumerate(STATISTICS)}


_AGGREGATION = re.compile(r"(-\s*)?\b(min|max|sum|count)\s+by\b")


def _worse(promql: str) -> np.ufunc | None:
    """Which of two series the query itself would keep; None where it does not say."""
    found = _AGGREGATION.search(promql)
    if found is None:
        return None
    return np.fmax if (found[2] != "min") != (found[1] is not None) else np.fmin


def node_name(label: str) -> str:
    """A node's name out of its label: `node-a:9100` → `node-a`, `[::1]:9100` → `::1`; anything else as it is."""
    host, colon, port = label.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.endswith("]")):
        label = host
    return label[1:-1] if label.startswith("[") and label.endswith("]") else label


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url.rstrip("/")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def _reason(error: requests.RequestException) -> str:
    """The innermost reason, in few words: `Connection refused` rather than five nested exceptions."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "No route to host", "Network is unreachable"):
        if known.lower() in text.lower():
            return known.lower()
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate was not accepted"
    return type(error).__name__


def _show(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{k}={v!r}" for k, v in sorted(labels.items())[:6]) + "}"
