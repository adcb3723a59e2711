"""Signals out of Prometheus, or out of anything that speaks its HTTP API (Thanos, Mimir, VictoriaMetrics).

prometheus-api-client asks; this module checks each answer before it believes it. An answer that is late, partial, refused,
malformed or ambiguous raises, naming the signal, so that nobody mistakes it for a healthy one.
"""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import requests
from numpy.typing import NDArray
from pydantic_core import from_json
from urllib3.util import Retry

from models.errors import BadInput, MetricsUnavailable
from models.signal import STATISTICS, Signal, SignalHistory, Summaries

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
        self._session = _CheckedSession(self._url)
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
        found: dict[tuple[str, str], tuple[Mapping[str, str], Floats]] = {}
        for begin in range(0, count, MAX_POINTS):
            points = grid[begin : begin + MAX_POINTS]
            for series in self._range(signal, points, step_seconds):
                labels, values = self._read(signal, series, points, step_seconds)
                self._place(signal, found, labels, values, begin, count)
        return [SignalHistory(signal, node, part, grid, values) for (node, part), (_, values) in sorted(found.items())]

    def summaries(
        self,
        signal: Signal,
        *,
        first: int,
        last: int,
        step_seconds: int,
        resolution_seconds: int,
        recorded: bool = False,
    ) -> Summaries:
        """Last, min, max, mean and count of the stretches that end at `first`, `first + step_seconds` … `last` (unix seconds).

        Prometheus computes them; `recorded`: its recording rules have done so already (5-minute stretches only).
        Raises as `histories` does.
        """
        points: Floats = np.arange(first, last + 1, step_seconds, dtype=np.float64)
        query = signal.recorded if recorded else signal.summary_query(
            self._node_label, stretch_seconds=step_seconds, resolution_seconds=resolution_seconds
        )  # fmt: skip
        if points.size > MAX_POINTS:
            raise ValueError(f"{points.size} stretches asked for at once, {MAX_POINTS} at most")
        with _UNCOLLECTED:
            return self._summarise(signal, self._range(signal, points, step_seconds, query), points, step_seconds)

    def _summarise(
        self, signal: Signal, found: list[Mapping[str, Any]], points: Floats, step_seconds: float
    ) -> Summaries:
        parts: dict[tuple[str, str], int] = {}
        try:
            # Comprehensions and maps, not one loop: a fleet's answer has fifty thousand series.
            labelled: list[Mapping[str, str]] = [series["metric"] for series in found]
            samples: list[list[tuple[float, str]]] = [series["values"] for series in found]
            seen = self._names(labelled, signal)
            place_of: dict[tuple[str, str], int] = {}  # each name is read once, not once a statistic
            for node, part in dict.fromkeys(seen):
                if not node:
                    raise self._unlabelled(signal, labelled[seen.index((node, part))])
                place_of[node, part] = parts.setdefault((node_name(node), part), len(parts)) * len(STATISTICS)
            stats = map(_STATISTIC.__getitem__, map(itemgetter("stat"), labelled))
            owner = np.array(list(map(place_of.__getitem__, seen)), np.int64) + np.array(list(stats), np.int64)
            lengths = list(map(len, samples))
            flat_samples = list(chain.from_iterable(samples))
            times = list(map(itemgetter(0), flat_samples))
            numbers = list(map(float, map(itemgetter(1), flat_samples)))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(signal, error) from error
        moment: Floats = np.array(times, dtype=np.float64)
        at = np.rint((moment - points[0]) / step_seconds).astype(np.int64)
        if moment.size and (at.min() < 0 or np.any(np.abs(moment - points[0] - at * step_seconds) > 0.5)):
            raise self._ungridded(signal)
        keep = at < points.size  # rounding the end up may have asked for one more
        place = (np.repeat(owner, lengths) * points.size + at)[keep]
        flat: Floats = np.full(len(parts) * len(STATISTICS) * points.size, np.nan)
        number: Floats = np.array(numbers, dtype=np.float64)[keep]
        flat[place] = np.where(np.isfinite(number), number, np.nan)
        if place.size and np.bincount(place, minlength=1).max() > 1:
            twice = int(np.argmax(np.bincount(place))) // (points.size * len(STATISTICS))
            node, part = list(parts)[twice]
            raise BadInput(
                f"signal {signal.name}: two series for node {node!r}{f', part {part!r}' if part else ''}; "
                f"query: {signal.query(self._node_label)}",
                hint="aggregate it, or name the differing label as part_label",
            )
        values = flat.reshape(len(parts), len(STATISTICS), points.size).transpose(1, 0, 2)
        return Summaries(signal, points, list(parts), values)

    def _names(self, labelled: list[Mapping[str, str]], signal: Signal) -> list[tuple[str, str]]:
        """Node label and part of each series, empty where there is none."""
        if signal.part_label is None:
            return [(labels.get(self._node_label, ""), "") for labels in labelled]
        try:
            return list(map(itemgetter(self._node_label, signal.part_label), labelled))
        except KeyError:
            part = signal.part_label
            return [(labels.get(self._node_label, ""), labels.get(part, "")) for labels in labelled]

    def _range(
        self, signal: Signal, points: Floats, step_seconds: float, query: str | None = None
    ) -> list[Mapping[str, Any]]:
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
        except _RefusalError as refusal:
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
            found[key] = (labels, np.full(count, np.nan))
        seen, whole = found[key]
        piece = whole[begin : begin + values.size]
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


class _Uncollected:
    """Holds Python's cycle collector back while a large answer is decoded: it would search a million new dicts, again and again,
    for cycles that JSON can't have, for three quarters of the time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._was_on:
                gc.enable()


_UNCOLLECTED = _Uncollected()
_STATISTIC = {stat: place for place, stat in enumerate(STATISTICS)}


def node_name(label: str) -> str:
    """A node's name out of its label: `node-a:9100` → `node-a`, `[::1]:9100` → `::1`; anything else as it is."""
    host, colon, port = label.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.endswith("]")):
        label = host
    return label[1:-1] if label.startswith("[") and label.endswith("]") else label


class _RefusalError(Exception):
    """Prometheus answered, but not with data."""

    def __init__(self, what: str, *, kind: str = "", status: int = 200) -> None:
        super().__init__(what)
        self.what, self.kind, self.status = what, kind, status

    def about(self, signal: Signal, query: str, url: str) -> BadInput | MetricsUnavailable:
        if self.kind == "bad_data" or "many-to-many" in self.what or "duplicate series" in self.what:
            return BadInput(
                f"signal {signal.name}: Prometheus refuses its query: {self.what}; query: {query}",
                hint="mend its promql",
            )
        hint = "see Prometheus's own log"
        if self.status in (401, 403):
            hint = "put the credentials into prometheus.headers"
        elif self.status == 404 or self.kind == "not-json":
            hint = "check prometheus.url: it must be the address before /api/v1"
        elif self.kind == "partial":
            hint = "the rest is unknown; mend the store that did not answer"
        return MetricsUnavailable(f"Prometheus at {url} gave no data for {signal.name}: {self.what}", hint=hint)


class _CheckedSession(requests.Session):
    """Looks at each answer before the client, which drops warnings, types and messages, gets to see it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._shown = url

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        if method == "POST":
            # The client puts everything into the URL, where long queries do not fit.
            kwargs["data"], kwargs["params"] = kwargs.pop("params", None), None
        response = super().request(method, url, *args, **kwargs)
        try:
            with _UNCOLLECTED:
                body = from_json(response.content)
        except ValueError:
            kind = response.headers.get("content-type", "no content type").split(";")[0]
            what = f"HTTP {response.status_code} with {kind} instead of JSON"
            raise _RefusalError(what, kind="not-json", status=response.status_code) from None
        if not isinstance(body, dict):
            raise _RefusalError("JSON that is not an object", kind="not-json", status=response.status_code)
        if response.status_code != 200 or body.get("status") != "success":
            message = " ".join(str(body.get("error") or f"HTTP {response.status_code}").split())[:300]
            raise _RefusalError(message, kind=str(body.get("errorType", "")), status=response.status_code)
        # Prometheus 2.50 to 2.5x mixes remarks on the query into the warnings; those do not make data partial.
        warnings = [str(w) for w in body.get("warnings") or () if not str(w).startswith("PromQL info")]
        if warnings:
            raise _RefusalError(f"it answered only in part ({' '.join(warnings[0].split())[:300]})", kind="partial")
        if body.get("isPartial"):  # VictoriaMetrics: a storage node did not answer
            raise _RefusalError("it answered only in part (isPartial)", kind="partial")
        data = body.get("data")
        if not isinstance(data, dict) or data.get("resultType") != "matrix" or not isinstance(data.get("result"), list):
            raise _RefusalError("no matrix in its answer", kind="not-json")
        response.json = _always(body)  # decoding takes longer than everything else: once is enough
        return response


def _always(body: object) -> Callable[..., object]:
    def decoded(**_: object) -> object:
        return body

    return decoded


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
